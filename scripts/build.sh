#!/usr/bin/env bash
# build.sh VENV BUILD_DIR: installs the command `hotseat` in place and configures and builds the compiled parts.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
venv=$1 build_dir=$2

command -v "${CC:-cc}" >/dev/null || die "no C compiler (${CC:-cc})" "as root: apt-get install gcc libc6-dev"

# CMake refuses a build folder that was made elsewhere (a copied tree).
if [ -f "$build_dir/CMakeCache.txt" ] && ! grep -qx "CMAKE_HOME_DIRECTORY:INTERNAL=$PWD" "$build_dir/CMakeCache.txt"; then
  rm -rf "$build_dir"
fi
say "building the compiled parts and the command hotseat"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! "$venv/bin/python" -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e . >"$log" 2>&1; then
  tail -40 "$log" >&2
  die "the build failed" "the lines above are the end of its log"
fi
"$venv/bin/python" - src/hotseat/_native/hotpath/sources.json <<'END'
import json, sys
why = json.load(open(sys.argv[1])).get("why")
if why:
    print(f"WARNING: the gateway runs uncompiled, which takes about twice the CPU for a request: {why}", file=sys.stderr)
END
