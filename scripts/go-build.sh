#!/usr/bin/env bash
# go-build.sh FOLDER [GO BUILD FLAGS...]: builds the program that FOLDER's go.mod names as its tool, and prints where it lies.
# Each version is built once a machine and kept in the cache. Go is the machine's own if new enough, else a package's.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
. scripts/lib-go.sh

folder=$1
shift
package=$(sed -n 's/^tool //p' "$folder/go.mod")
name=${package##*/}
program=$cache/$name-$(fingerprint "$folder/go.mod" "$folder/go.sum" -- "$@")/$name
[ ! -x "$program" ] || { echo "$program"; exit 0; }

build() {
  cd "$folder"
  CGO_ENABLED=0 run_go build -mod=readonly -trimpath -buildvcs=false "$@" -o "$program.new" "$package"
  mv "$program.new" "$program"  # so that an interrupted build never passes for a whole one
}

find_go
mkdir -p "${program%/*}"
say "$name: building from Go modules; the first time on a machine that takes half a minute for grpcurl, six for daprd"
step "$name, built from Go modules" build "$@"
echo "$program"
