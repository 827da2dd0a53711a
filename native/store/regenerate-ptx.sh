#!/bin/sh
# Makes src/hotseat/store/chunks.ptx from chunks.cu. Needs nvcc; the result is checked in, so a build does not.
# Target and PTX version are the oldest possible, as in native/engine/regenerate-ptx.sh.
set -eu
cd "$(dirname "$0")"
out=../../src/hotseat/store/chunks.ptx
nvcc=${NVCC:-nvcc}
arch=$("$nvcc" --list-gpu-arch | head -n 1)
"$nvcc" -O3 --ptx -arch="$arch" -o "$out" chunks.cu
sed -i -e '/^\/\//d' -e 's/^\.version .*/.version 6.3/' "$out"
if command -v ptxas >/dev/null; then ptxas -arch="sm_${arch#compute_}" -o /dev/null "$out"; fi
