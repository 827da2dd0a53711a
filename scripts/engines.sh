#!/usr/bin/env bash
# Installs the container engines and the browser that tests and demo need, where that is possible: as root on Debian or
# Ubuntu. Elsewhere it does nothing; the tests then say what they left out. musl: another libc, for one test.
#   engines.sh [docker] [podman] [browser] [musl]     default: all
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

[ "$(id -u)" = 0 ] && is_debian || exit 0

declare -A packages=(
  [docker]="dockerd:docker.io runc:runc busybox:busybox-static docker-compose:docker-compose"
  [podman]="podman:podman runc:runc crun:crun busybox:busybox-static newuidmap:uidmap slirp4netns:slirp4netns fuse-overlayfs:fuse-overlayfs"
  [browser]="chromium:chromium"
  [musl]="musl-gcc:musl-tools"
)
missing=()
for engine in "${@:-docker podman browser musl}"; do
  for name in $engine; do
    for pair in ${packages[$name]:-}; do
      command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
    done
  done
done
[ ${#missing[@]} = 0 ] || apt_install $(printf '%s\n' "${missing[@]}" | sort -u)
