#!/usr/bin/env bash
# Builds the service's image from deploy/Dockerfile, and prints its id. A second run without a change builds nothing.
#
# The packages are fetched here, outside of the build, checked by their hashes, and kept in the cache: so the build needs no
# network, and inside nothing is compiled. KEEPSTATE_IMAGE names the image (keepstate:local), KEEPSTATE_PYTHON_IMAGE its base.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

python=3.11  # the base's
name=${KEEPSTATE_IMAGE:-keepstate:local}

scripts/setup.sh run
scripts/containers.sh
exec 9> "$cache/image.lock"  # one at a time: they share the folder of wheels
flock -w 1800 9 || die "another run of scripts/image.sh has been busy for half an hour"
base=${KEEPSTATE_PYTHON_IMAGE:-$(sed -n 's/^KEEPSTATE_PYTHON_IMAGE=//p' "$cache/containers.env")}

mapfile -t sources < <(find client/keepstate client/keepstate_program server pyproject.toml README.md LICENSE \
  requirements/run.txt deploy/Dockerfile scripts/image.sh -type f ! -name '*.pyc' | LC_ALL=C sort)
recipe=$(fingerprint "${sources[@]}" -- \
  "${sources[@]}" "$(docker image inspect -f '{{.Id}}' "$base")")

id_of() { docker image inspect -f "{{.Id}} {{index .Config.Labels \"keepstate.recipe\"}}" "$1" 2> /dev/null; }

if read -r id made < <(id_of "$name") && [ "$made" = "$recipe" ]; then
  say "image $name: there"
  echo "$id"
  exit 0
fi

architecture=$(docker version -f '{{.Server.Arch}}')
case $architecture in
  amd64) machine=x86_64 ;;
  arm64) machine=aarch64 ;;
  *) die "no wheels for the Docker engine's machine, $architecture" ;;
esac
wheels=$cache/wheels-$(fingerprint requirements/run.txt -- "$python" "$machine")

download() {
  rm -rf "$wheels.new"
  timeout --foreground 900 .venv/bin/pip download -q --disable-pip-version-check --require-hashes --no-deps \
    --only-binary=:all: --implementation cp --python-version "$python" \
    --platform "manylinux2014_$machine" --platform "manylinux_2_17_$machine" --platform "manylinux_2_28_$machine" \
    -d "$wheels.new" -r requirements/run.txt
  mv "$wheels.new" "$wheels"
}

build() { # CONTEXT
  mkdir "$1/wheels"
  cp "$wheels"/*.whl "$1/wheels"
  timeout --foreground 300 .venv/bin/uv build -q --wheel --offline --no-build-isolation -o "$1/wheels" .
  timeout --foreground 900 docker build --iidfile "$1/id" --build-arg "BASE=$base" --label "keepstate.recipe=$recipe" \
    -t "$name" -f deploy/Dockerfile "$1"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
[ -d "$wheels" ] || step "wheels for Python $python on $machine" download
step "image $name" build "$work"
# What the name stood for before, and what this build and earlier ones left of their stages.
[ -z "${id:-}" ] || docker rmi "$id" > /dev/null 2>&1 || true  # refused while a container uses it
docker image prune --force --filter label=keepstate.stage > /dev/null
echo "$(< "$work/id")"
