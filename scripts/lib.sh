# Shared by the scripts beside it; sourced, never run.

if [ -t 2 ]; then bold=$'\033[1m' red=$'\033[31m' plain=$'\033[0m'; else bold='' red='' plain=''; fi

say() { printf '%s==>%s %s\n' "$bold" "$plain" "$*" >&2; }

# die MESSAGE HINT: what happened and what to do about it.
die() {
  printf '%serror:%s %s\n' "$red" "$plain" "$1" >&2
  [ $# -lt 2 ] || printf ' hint: %s\n' "$2" >&2
  exit 1
}

is_debian() { [ -r /etc/debian_version ] && command -v apt-get >/dev/null; }

# apt_install PACKAGE...: only where we may (root on Debian or Ubuntu); quiet unless it fails.
apt_install() {
  say "apt-get install $*"
  local log
  log=$(mktemp)
  if ! { DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" ||
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"; }; } >"$log" 2>&1; then
    tail -20 "$log" >&2
    rm -f "$log"
    die "apt-get could not install: $*" "install them by hand and run the command again"
  fi
  rm -f "$log"
}
