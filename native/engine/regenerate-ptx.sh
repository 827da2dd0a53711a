#!/bin/sh
# Makes kernels.ptx and kernels_ptx.inc from kernels.cu. Needs nvcc; both results are checked in, so a build does not.
# The target is the oldest that this nvcc knows, and the PTX version the oldest that this target allows (6.3 for
# sm_75): nothing newer is used, and an older driver then takes it too. ptxas, if there, proves that it is still valid.
set -eu
cd "$(dirname "$0")"
nvcc=${NVCC:-nvcc}
arch=$("$nvcc" --list-gpu-arch | head -n 1)
"$nvcc" -O3 --ptx -arch="$arch" -o kernels.ptx kernels.cu
# no comments (they name the compiler's build), oldest version
sed -i -e '/^\/\//d' -e 's/^\.version .*/.version 6.3/' kernels.ptx
if command -v ptxas >/dev/null; then ptxas -arch="sm_${arch#compute_}" -o /dev/null kernels.ptx; fi
{
    echo '/* Made from kernels.ptx by regenerate-ptx.sh; do not edit. */'
    sed -e '/^[[:space:]]*$/d' -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/^/"/' -e 's/$/\\n"/' kernels.ptx
} > kernels_ptx.inc
