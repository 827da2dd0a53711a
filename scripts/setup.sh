#!/usr/bin/env bash
# setup.sh VENV LOCK: makes the virtual environment VENV if there is none and installs what LOCK names, hash for hash.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
venv=$1 lock=$2

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
  local candidate
  for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 /usr/bin/python3; do
    if new_enough "$candidate"; then
      command -v "$candidate"
      return
    fi
  done
  die "no Python 3.11 or newer found" "install one (Debian 12, Ubuntu 24.04: apt-get install python3) or name it: make PYTHON=/path/to/python3"
}

# A virtual environment that was copied or moved still points to its old place: make it again.
if [ -e "$venv" ] && ! "$venv/bin/python" -c "import sys, os; sys.exit(not os.path.samefile(sys.prefix, '$venv'))" 2>/dev/null; then
  say "$venv does not work here; making it again"
  rm -rf "$venv"
fi
if [ ! -e "$venv" ]; then
  python=$(find_python)
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    version=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if [ "$(id -u)" = 0 ] && is_debian; then
      apt_install "$version"
    else
      die "$python cannot make virtual environments (no ensurepip)" "as root: apt-get install $version"
    fi
  fi
  say "making $venv with $("$python" --version)"
  "$python" -m venv "$venv"
fi

say "installing $lock"
if [ -x "$venv/bin/uv" ]; then
  "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --require-hashes -r "$lock"
else
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$lock"
fi
