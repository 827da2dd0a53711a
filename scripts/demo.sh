#!/usr/bin/env bash
# demo.sh PLATFORM [ARGUMENT...]: `hotseat demo`, with the container engine installed first where that is possible.
set -euo pipefail
cd "$(dirname "$0")/.."
platform=$1
shift
[ "$platform" = process ] || scripts/engines.sh "$platform"
exec hotseat demo --platform "$platform" "$@"
