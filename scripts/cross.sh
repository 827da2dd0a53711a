#!/bin/bash
# cross.sh BUILD [MACHINE]: compiles the interposer for a machine that this one is not, and checks that it asks for no glibc that is younger
# than 2.17. Debian: apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross
set -euo pipefail
build=$1 machine=${2:-aarch64}
mkdir -p "$build"
out=$build/libhotseat-interposer.so
"$machine-linux-gnu-gcc" -std=gnu11 -O2 -fPIC -shared -Wall -Wextra -Wshadow -Wvla -Werror -fvisibility=hidden -fno-strict-aliasing \
  -Inative/include native/interposer/*.c -o "$out" \
  -Wl,-z,defs -Wl,-z,nodelete -Wl,--no-as-needed -l:libdl.so.2 -l:libpthread.so.0
youngest=$("$machine-linux-gnu-objdump" -T "$out" | grep -o 'GLIBC_2\.[0-9]*' | sort -uV | tail -1)
[ "$(printf '%s\n' "$youngest" GLIBC_2.17 | sort -V | tail -1)" = GLIBC_2.17 ] || { echo "$out asks for $youngest" >&2; exit 1; }
echo "$out: $("$machine-linux-gnu-objdump" -T "$out" | grep -c ' g .* cu[A-Z]') calls of the driver, $youngest"
