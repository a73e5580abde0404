#!/usr/bin/env bash
# Provides h2load, with which `make bench` makes plain calls. A second run changes nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

command -v h2load > /dev/null || apt_install nghttp2-client
