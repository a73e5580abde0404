#!/usr/bin/env bash
# Provides what containers are run on: a Docker engine, and images of Redis, PostgreSQL, daprd, and of Python, which the
# service's own image is built on.
#
# An engine that runs is used; one that is installed is started; else Debian's or Ubuntu's is installed. The images are the
# public ones where an image registry answers. Where none does they are made from packages, under names that shadow no public
# one. At the end $cache/containers.env names the images, or says why there are none; the tests read it. A second run changes nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

result=$cache/containers.env
export failure_file=$cache/containers.failure
work=
building=

finish() {
  local status=$?
  trap - EXIT
  [ -z "$building" ] || kill -- "-$building" 2> /dev/null || true
  [ -z "$work" ] || as_root rm -rf --one-file-system "$work"
  if [ "$status" != 0 ]; then
    [ -s "$failure_file" ] || echo "scripts/containers.sh was stopped" > "$failure_file"
    echo "KEEPSTATE_CONTAINERS_ERROR=$(cat "$failure_file")" > "$result"
  fi
  exit "$status"
}

# --- the engine ---

engine_answers() { timeout --foreground 10 docker version > /dev/null 2>&1; }

alive() { # PID NAME: such a process is there, and is no zombie
  local comm state
  read -r _ comm state _ 2> /dev/null < "/proc/$1/stat" && [ "$comm" = "($2)" ] && [ "$state" != Z ]
}

# A process file that outlived its process, after a kill or a power cut, may name a stranger by now, and dockerd would not start.
drop_stale_pid() { # FILE NAME
  local pid
  pid=$(cat "$1" 2> /dev/null) || return 0
  alive "$pid" "$2" || as_root rm -f "$1"
}

dockerd_runs() {
  local process
  for process in /proc/[0-9]*; do
    ! alive "${process#/proc/}" dockerd || return 0
  done
  return 1
}

# Starts dockerd so that it outlives this script and holds none of its files: not its output, not its lock.
start_dockerd() {
  local log=$cache/log/dockerd.log fd options=()
  [ "$(id -u)" = 0 ] || options=(--group "$(id -gn)")  # else the one who ran this could not use the socket
  drop_stale_pid /var/run/docker.pid dockerd
  drop_stale_pid /run/docker/containerd/containerd.pid containerd
  (
    exec < /dev/null > "$log" 2>&1
    for fd in /proc/"$BASHPID"/fd/*; do
      fd=${fd##*/}
      [ "$fd" -le 2 ] || eval "exec $fd>&-"
    done
    as_root setsid --fork dockerd "${options[@]}"
  )
}

wait_for_engine() {
  local until=$((SECONDS + 60))
  until engine_answers; do
    [ "$SECONDS" -lt "$until" ] || die "the Docker engine did not start in 60 s: $(tail -n 1 "$cache/log/dockerd.log" 2> /dev/null)"
    # One that was just killed may still have been going when it was looked for; then there is none now.
    [ -d /run/systemd/system ] || dockerd_runs || { sleep 1; dockerd_runs || start_dockerd; }
    sleep 0.3
  done
}

provide_engine() {
  if command -v docker > /dev/null && engine_answers; then
    say "engine: runs"
    return
  fi
  [ -z "${DOCKER_HOST:-}" ] || die "the Docker engine that DOCKER_HOST names does not answer"
  may_be_root || die "no Docker engine answers $(id -un), and to install or start one needs root or sudo"
  if ! command -v dockerd > /dev/null || ! command -v iptables > /dev/null; then
    apt_install docker.io iptables ca-certificates
  fi
  command -v docker > /dev/null || apt_install docker-cli  # a package of its own in newer releases
  if ! engine_answers && [ "$(id -u)" != 0 ] && as_root timeout --foreground 10 docker version > /dev/null 2>&1; then
    die "the Docker engine runs but $(id -un) may not use it: add $(id -un) to the group docker and log in again"
  fi
  if [ -d /run/systemd/system ]; then
    as_root systemctl start docker || die "systemctl start docker failed"
  fi
  wait_for_engine
  say "engine: started"
}

# --- the images ---

# What debootstrap brings that no container needs.
trim=('--exclude=./var/cache/apt/archives/*' '--exclude=./var/lib/apt/lists/*' '--exclude=./usr/share/doc/*'
  '--exclude=./usr/share/man/*' '--exclude=./usr/share/locale/*' --exclude=./var/lib/postgresql/15)

debian() { # FOLDER PACKAGE: a minimal Debian with that package
  as_root mkdir -p "$cache/debs"
  as_root timeout --foreground 900 debootstrap --variant=minbase --cache-dir="$cache/debs" --include="$2" bookworm "$1"
}

import() { # FOLDER NAME RECIPE [CHANGE...]: makes the folder an image that remembers what it was made by
  local folder=$1 name=$2 recipe=$3 change changes=()
  shift 3
  for change in "$@" "LABEL keepstate.recipe=$recipe"; do changes+=(-c "$change"); done
  as_root tar -C "$folder" "${trim[@]}" -c . | timeout --foreground 300 docker import "${changes[@]}" - "$name"
}

make_redis() { # NAME RECIPE
  debian "$work/redis" redis-server
  as_root mkdir -p "$work/redis/data"
  import "$work/redis" "$@" 'WORKDIR /data' 'EXPOSE 6379' 'CMD ["redis-server","--bind","0.0.0.0","--protected-mode","no"]'
}

make_postgres() { # NAME RECIPE
  debian "$work/postgres" postgresql
  as_root tee "$work/postgres/start" > /dev/null << 'START'
#!/bin/sh
# The first start makes the database, later ones find it. Everyone is trusted: it is for tests.
set -e
export PGDATA=/var/lib/postgresql/data
run="setpriv --reuid=postgres --regid=postgres --init-groups"
bin=/usr/lib/postgresql/15/bin
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  install -d -o postgres -g postgres -m 700 "$PGDATA"
  $run $bin/initdb --auth=trust --encoding=UTF8 --locale=C.UTF-8
  echo 'host all all all trust' >> "$PGDATA/pg_hba.conf"
fi
exec $run $bin/postgres -c listen_addresses='*'
START
  as_root chmod 755 "$work/postgres/start"
  import "$work/postgres" "$@" 'EXPOSE 5432' 'CMD ["/start"]'
}

make_python() { # NAME RECIPE
  debian "$work/python" python3-venv
  import "$work/python" "$@" 'CMD ["python3"]'
}

# Without a tag that names the components the program panics at its start; state_etcd adds etcd's store to the stable ones.
daprd_flags=('-tags=stablecomponents,state_etcd' -ldflags='-s -w -X github.com/dapr/dapr/pkg/buildinfo.version=1.18.2')

make_daprd() { # NAME RECIPE
  local folder=$work/daprd
  mkdir -p "$folder/etc/ssl/certs" "$folder/tmp"
  chmod 1777 "$folder/tmp"
  cp "$(cat "$work/daprd.path")" "$folder/daprd"
  [ ! -r /etc/ssl/certs/ca-certificates.crt ] || cp /etc/ssl/certs/ca-certificates.crt "$folder/etc/ssl/certs/"
  import "$folder" "$@" 'WORKDIR /' 'CMD ["./daprd"]'
}

registry_answers() { # asked once, and not for long: a network may also swallow the question
  [ -n "${registry:-}" ] || registry=$(timeout --foreground 10 docker manifest inspect redis:7 > /dev/null 2>&1 && echo yes || echo no)
  [ "$registry" = yes ]
}

declare -A chosen=() missing=()

choose() { # KIND PUBLIC MADE RECIPE: the name of an image that is there; else it is noted as missing
  local kind=$1 public=$2 made=$3 recipe=$4
  if docker image inspect "$public" > /dev/null 2>&1; then
    chosen[$kind]=$public
  elif [ "$(docker image inspect -f '{{index .Config.Labels "keepstate.recipe"}}' "$made" 2> /dev/null)" = "$recipe" ]; then
    chosen[$kind]=$made
  elif registry_answers && timeout --foreground 900 docker pull -q "$public" > /dev/null; then
    say "$public: pulled"
    chosen[$kind]=$public
  else
    chosen[$kind]=$made
    missing[$kind]=$recipe
  fi
}

make_missing() {
  local kind replaced
  [ "${#missing[@]}" != 0 ] || return 0
  say "no image registry answers: making ${!missing[*]} from packages"
  may_be_root || die "making images from packages needs root or sudo"
  work=$(mktemp -d /var/tmp/keepstate.XXXXXX)  # /tmp is often mounted so that no system can be made in it
  if [ -n "${missing[daprd]:-}" ]; then
    set -m  # a process group of its own, so that stopping it stops the compiler too
    scripts/go-build.sh tests/containers/daprd "${daprd_flags[@]}" > "$work/daprd.path" &
    building=$!
    set +m
  fi
  if [ -n "${missing[redis]:-}${missing[postgres]:-}${missing[python]:-}" ] && ! command -v debootstrap > /dev/null; then
    apt_install debootstrap debian-archive-keyring ca-certificates wget gpgv
  fi
  for kind in redis postgres python daprd; do
    [ -n "${missing[$kind]:-}" ] || continue
    if [ "$kind" = daprd ]; then
      wait "$building" || die "daprd could not be built from its Go modules"
      building=
    fi
    replaced=$(docker image inspect -f '{{.Id}}' "${chosen[$kind]}" 2> /dev/null) || replaced=
    step "image ${chosen[$kind]}" "make_$kind" "${chosen[$kind]}" "${missing[$kind]}"
    [ -z "$replaced" ] || docker rmi "$replaced" > /dev/null 2>&1 || true  # refused while a container uses it
  done
}

# --- all of it, one run at a time ---

trap finish EXIT
trap 'exit 130' INT TERM HUP
exec 9> "$cache/containers.lock"
flock -w 3600 9 || die "another run of scripts/containers.sh has been busy for an hour"
rm -f "$failure_file"
provide_engine
choose redis redis:7 keepstate-test/redis:7.0 "$(fingerprint -- "$(declare -f debian import make_redis)")"
choose postgres postgres:15 keepstate-test/postgres:15 "$(fingerprint -- "$(declare -f debian import make_postgres)")"
choose python python:3.11-slim keepstate-test/python:3.11 "$(fingerprint -- "$(declare -f debian import make_python)")"
choose daprd daprio/daprd:1.18.2 keepstate-test/daprd:1.18.2 \
  "$(fingerprint tests/containers/daprd/go.{mod,sum} -- "${daprd_flags[@]}" "$(declare -f import make_daprd)")"
make_missing
cat > "$result.new" << RESULT
KEEPSTATE_REDIS_IMAGE=${chosen[redis]}
KEEPSTATE_POSTGRES_IMAGE=${chosen[postgres]}
KEEPSTATE_DAPRD_IMAGE=${chosen[daprd]}
KEEPSTATE_PYTHON_IMAGE=${chosen[python]}
RESULT
mv "$result.new" "$result"
say "images: ${chosen[*]}"
