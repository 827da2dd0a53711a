#!/bin/bash
# sanitize.sh BIN BUILD [PYTEST_ARGS]: builds the compiled parts with ASan and UBSan, and runs tests/interposer on them.
set -euo pipefail
bin=$1 build=$2
shift 2
"$bin/cmake" -S . -B "$build" -G Ninja -DSKBUILD_STATE=sanitize -DPython_EXECUTABLE="$PWD/$bin/python" \
  -DCMAKE_C_FLAGS="-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer" >/dev/null
"$bin/cmake" --build "$build" --target cuda nvidia-ml hotseat-interposer hotseat-demo-engine -- --quiet
export HOTSEAT_SANITIZED=$PWD/$build HOTSEAT_SANITIZER
HOTSEAT_SANITIZER=$(cc -print-file-name=libasan.so)
# Not those of old C libraries, and of a gigabyte, which takes long here.
exec "$bin/python" -m pytest -p sanitized tests/interposer/test_interposed_{programs,graphs,pools,newer,checkpoint,engine}.py \
  -k 'not whatever_its_size' "$@"
