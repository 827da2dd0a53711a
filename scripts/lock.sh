#!/usr/bin/env bash
# Writes the lock files from pyproject.toml: every version and hash, no index, no host. Run by `make lock`.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${VENV:-.venv}
compile() {
  "$venv/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
    --no-annotate --no-header "$@"
}
compile pyproject.toml --group build -o requirements.lock
compile pyproject.toml --group build --group dev -c requirements.lock -o requirements-dev.lock
