#!/usr/bin/env bash
# Builds llama.cpp's server with CUDA, on a machine without a GPU or a CUDA toolkit: the sources are those of
# llama-cpp-python's release, the compiler is NVIDIA's from PyPI.
#
#   benchmarks/gpu/build_llama.sh DIRECTORY        # DIRECTORY/llama-server; $CUDA_ARCH, 90 (H200) if not set
#
# Needs python3 with venv, cmake, ninja and g++. Takes an hour and a half of two cores. It links cudart and cublas 13
# dynamically: where it runs they must be in LD_LIBRARY_PATH (engines.py takes those of PyTorch's wheels or the toolkit).
set -euo pipefail
(($# == 1)) || { sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2; }
mkdir -p "$1"
cd "$1"
[ -d tools ] || python3 -m venv tools
tools/bin/pip install --quiet nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 \
    nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85 nvidia-cublas==13.0.2.14 'scikit-build-core<2'
[ -d llama_cpp_python-0.3.36 ] || {
    tools/bin/pip download --quiet --no-deps --no-binary llama-cpp-python --no-build-isolation --dest . llama-cpp-python==0.3.36
    tar xzf llama_cpp_python-0.3.36.tar.gz
}
cuda=$(echo "$PWD"/tools/lib/python3*/site-packages/nvidia/cu13)
[ -e "$cuda/lib64" ] || ln -s lib "$cuda/lib64"
# The wheels have libraries by their version only, and no driver to link with.
for name in cudart cublas cublasLt; do [ -e "$cuda/lib/lib$name.so" ] || ln -s "lib$name.so.13" "$cuda/lib/lib$name.so"; done
mkdir -p "$cuda/lib/stubs"
grep -oE '\bcu[A-Z][A-Za-z0-9]+ *\(' "$cuda/include/cuda.h" | tr -d ' (' | sort -u | sed 's/.*/void &(void){}/; p; s/(void){}/_v2(void){}/' > stub.c
gcc -w -shared -fPIC -Wl,-soname,libcuda.so.1 -o "$cuda/lib/stubs/libcuda.so.1" stub.c
ln -sf libcuda.so.1 "$cuda/lib/stubs/libcuda.so"
export PATH=$cuda/bin:$PATH CUDA_PATH=$cuda
cmake -G Ninja -S llama_cpp_python-0.3.36/vendor/llama.cpp -B build -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_CUDA_COMPILER="$cuda/bin/nvcc" -DCUDAToolkit_ROOT="$cuda" -DCMAKE_CUDA_ARCHITECTURES="${CUDA_ARCH:-90}" \
    -DCMAKE_EXE_LINKER_FLAGS="-L$cuda/lib/stubs" -DBUILD_SHARED_LIBS=OFF -DGGML_CUDA=ON -DGGML_CUDA_FA=OFF -DGGML_CUDA_NCCL=OFF \
    -DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_OPENMP=OFF -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF \
    -DLLAMA_BUILD_UI=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF
ninja -C build llama-server
strip -o llama-server build/bin/llama-server
echo "$PWD/llama-server"
