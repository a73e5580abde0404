#!/usr/bin/env bash
# client-go.sh TASK: what is done with the Go client, client/go. Each task first does `setup`.
#
#   setup         find Go, or fetch it; fetch the modules, each held to a version and a hash; build the tools
#   generate      make the committed stubs, client/go/keepstatev1, from proto/ again
#   check         format, go vet, staticcheck, tidy modules, stubs as generated
#   test          the unit tests; with the race detector where there is a C compiler
#   conformance   build the program for tests/conformance and print its command, one argument a line
#   go ARG...     run Go itself in the caller's folder, the same one and with the same settings
set -euo pipefail
called_in=$PWD
cd "$(dirname "$0")/.."
. scripts/lib.sh
. scripts/lib-go.sh

module=client/go
stubs=$module/keepstatev1
tools=$cache/go-tools-$(fingerprint tools/go/go.mod tools/go/go.sum --)

# --- setup ---

build_tools() {
  rm -rf "$tools.new"
  cd tools/go
  CGO_ENABLED=0 GOBIN="$tools.new" run_go install -mod=readonly -trimpath -buildvcs=false tool
  mv "$tools.new" "$tools"  # so that an interrupted build never passes for a whole one
}

modules() { cd "$module" && run_go mod download; }

setup() {
  local lock fetched
  exec {lock}< scripts/client-go.sh  # one at a time
  flock -w 1800 "$lock" || die "another run of scripts/client-go.sh has been busy for half an hour"
  find_go
  [ -d "$tools" ] || step "Go tools" build_tools
  fetched=$cache/go-modules-$(fingerprint "$module/go.mod" "$module/go.sum" -- "$(run_go env GOMODCACHE)")
  [ -e "$fetched" ] || { step "Go modules" modules; touch "$fetched"; }
  exec {lock}<&-
}

# --- stubs ---

generate() { # FOLDER: writes the stubs below it
  local site
  scripts/setup.sh dev  # has protoc, and google/rpc/*.proto
  site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
  mkdir -p "$1"
  .venv/bin/python -m grpc_tools.protoc -Iproto -I"$site" \
    --plugin="$tools/protoc-gen-go" --plugin="$tools/protoc-gen-go-grpc" \
    --go_out="$1" --go_opt=module=github.com/keepstate/keepstate/client/go \
    --go-grpc_out="$1" --go-grpc_opt=module=github.com/keepstate/keepstate/client/go \
    proto/keepstate/v1/*.proto
}

stubs_are_as_generated() {
  local work status=0
  work=$(mktemp -d)
  generate "$work"
  diff -r "$stubs" "$work/keepstatev1" >&2 || status=1
  rm -rf "$work"
  [ "$status" = 0 ] || die "$stubs differs from proto/: run scripts/client-go.sh generate"
}

# --- check ---

formatted() {
  local wrong
  wrong=$(find "$module" -name '*.go' ! -path "$stubs/*" -print0 | xargs -0 "$(run_go env GOROOT)/bin/gofmt" -l)
  [ -z "$wrong" ] || die "not formatted: run gofmt -w on ${wrong//$'\n'/ }"
}

in_module() { cd "$module" && "$@"; }

staticcheck() { env PATH="${go%/*}:$PATH" "${go_settings[@]}" "$tools/staticcheck" ./...; }

# --- test ---

test_module() {
  local race=()
  # The race detector needs cgo, and that a C compiler.
  [ "$(run_go env CGO_ENABLED)" = 1 ] && command -v "$(run_go env CC)" > /dev/null && race=(-race)
  [ "${#race[@]}" -gt 0 ] || say "no C compiler: the tests run without the race detector"
  cd "$module"
  run_go test "${race[@]}" -timeout 300s "$@" ./...
}

task=${1:-}
[ $# -eq 0 ] || shift
case $task in
  setup) setup ;;
  generate)
    setup
    rm -rf "$stubs"
    generate "$module"
    ;;
  check)
    setup
    formatted
    step "go vet" in_module run_go vet ./...
    step "staticcheck" in_module staticcheck
    step "go.mod is tidy" in_module run_go mod tidy -diff
    stubs_are_as_generated
    ;;
  test)
    setup
    test_module "$@"
    ;;
  conformance)
    setup
    step "conformance program" in_module run_go build -buildvcs=false -o "$PWD/build/client-go/" ./internal/conformance
    echo "$PWD/build/client-go/conformance"
    ;;
  go)
    setup
    cd "$called_in"
    run_go "$@"
    ;;
  *) die "usage: scripts/client-go.sh setup|generate|check|test|conformance|go ARG..." ;;
esac
