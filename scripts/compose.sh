#!/usr/bin/env bash
# compose.sh up: starts what deploy/compose.yaml holds, makes what is missing for it, and waits until it serves.
# compose.sh down [OPTIONS]: stops and removes it. Its data stays, unless -v is given.
# PORT is where it is published (7400), COMPOSE_PROJECT_NAME what its containers' names begin with (keepstate).
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

export COMPOSE_PROJECT_NAME=${COMPOSE_PROJECT_NAME:-keepstate} PORT=${PORT:-7400}

find_compose() {
  if docker compose version > /dev/null 2>&1; then
    compose=(docker compose)
  else
    command -v docker-compose > /dev/null || apt_install docker-compose
    compose=(docker-compose)
  fi
  compose+=(-f deploy/compose.yaml)
}

serves() { # asked as a caller would who has set nothing
  env -i .venv/bin/keepstate stores --address "localhost:$PORT" --timeout 2s > /dev/null 2>&1
}

# A checkout under a umask of 077 has files that daprd, which is another user there, could not read.
check_components() {
  [ -z "$(find deploy/components ! -perm -o=r)" ] ||
    die "other users must be able to read deploy/components, daprd in its container among them: chmod -R o+rX deploy/components"
}

# Found out only by compose, it would leave the other containers behind.
check_port() {
  if (exec 3<> "/dev/tcp/127.0.0.1/$PORT") 2> /dev/null && [ -z "$("${compose[@]}" ps -q keepstate)" ]; then
    die "something else listens at port $PORT: choose another, make up PORT=7500"
  fi
}

up() {
  check_components
  scripts/setup.sh run
  scripts/image.sh > /dev/null
  find_compose
  set -a
  . "$cache/containers.env"
  set +a
  check_port
  step "compose up" timeout --foreground 600 "${compose[@]}" up -d
  local until=$((SECONDS + 60))
  until serves; do
    [ "$SECONDS" -lt "$until" ] || { "${compose[@]}" logs --tail=20 >&2; die "it does not serve after 60 s"; }
    sleep 0.2
  done
  say "serves"
  local option=
  [ "$PORT" = 7400 ] || option=" --address localhost:$PORT"
  cat >&2 << SAID
keepstate: at localhost:$PORT, keeping records in Redis beside a Dapr sidecar
  try it:
    .venv/bin/keepstate put greeting hello$option && .venv/bin/keepstate get greeting -o value$option
  end it:
    make down           (the records stay for the next make up)
    make down ARGS=-v   (they go, too)
SAID
}

case ${1:-} in
  up) [ $# = 1 ] || die "up takes no arguments"; up ;;
  down)
    find_compose
    exec "${compose[@]}" "$@"
    ;;
  *) die "usage: scripts/compose.sh up|down" ;;
esac
