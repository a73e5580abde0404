# shellcheck shell=bash
# What the scripts here share. Sourced, not run.

PATH="$PATH:/usr/sbin:/sbin"  # where dockerd, iptables and debootstrap lie, off an ordinary user's path
cache=${XDG_CACHE_HOME:-$HOME/.cache}/keepstate  # all that takes long to make is kept here
mkdir -p "$cache/log"

# One line of progress, with the seconds since the script began. On stderr, so that stdout is free for a result.
say() { printf '[%3d s] %s\n' "$SECONDS" "$*" >&2; }

# Ends the script with one line that says why. Where $failure_file is set the first such line is kept there, being the cause.
die() {
  printf 'error: %s\n' "$*" >&2
  [ -z "${failure_file:-}" ] || [ -s "$failure_file" ] || printf '%s\n' "$*" > "$failure_file"
  exit 1
}

# step WHAT COMMAND...: runs the command with its output in a log file, and shows the end of that if it fails. What may take
# long is run by `timeout --foreground`, which a Ctrl-C at the terminal goes through.
step() {
  local what=$1 began=$SECONDS log status
  log=$cache/log/${what//[^A-Za-z0-9.]/-}.log
  shift
  set +e  # not `... || die`: a function called that way would go on after a command of its own fails
  (set -e; "$@") > "$log" 2>&1 < /dev/null
  status=$?
  set -e
  [ "$status" = 0 ] || { tail -n 15 "$log" >&2; die "$what: failed (all of its output: $log)"; }
  say "$what: $((SECONDS - began)) s"
}

may_be_root() { [ "$(id -u)" = 0 ] || command -v sudo > /dev/null; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# Installs packages of Debian or Ubuntu.
apt_install() {
  command -v apt-get > /dev/null || die "not Debian or Ubuntu, so install these by hand: $*"
  may_be_root || die "installing needs root or sudo: $*"
  step "package lists" as_root timeout --foreground 300 apt-get update -q
  step "packages $*" as_root env DEBIAN_FRONTEND=noninteractive \
    timeout --foreground 900 apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=120 "$@"
}

# One hash over files and words, which is how a result knows whether what it was made from has changed.
fingerprint() { # [FILE...] -- [WORD...]
  local files=()
  while [ $# -gt 0 ] && [ "$1" != -- ]; do files+=("$1"); shift; done
  { cat -- "${files[@]}" /dev/null; printf '%s\n' "$@"; } | sha256sum | cut -c1-16
}
