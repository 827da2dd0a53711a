#!/usr/bin/env bash
# Fetches the page's libraries from npm, at pinned versions and hashes, into the source tree. Run by hand when one of them changes.
# Nothing is changed in them but one line each: a bare "preact" becomes a path, as there is no build step to resolve it.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
into=src/hotseat/dashboard/static/vendor
axe_into=tests/dashboard/vendor

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fetch() { # NAME VERSION SHA256
  say "$1 $2"
  local file
  file=$(cd "$work" && npm pack --silent "$1@$2")
  echo "$3  $work/$file" | sha256sum --check --quiet || die "$1 $2 is not what it was" "look at what changed before you take it"
  mkdir "$work/$1" && tar -xzf "$work/$file" -C "$work/$1" --strip-components 1
}

take() { # FILE TARGET: without the pointer to a source map that does not come with it
  grep -v '^//# sourceMappingURL=' "$work/$1" | sed 's#from"preact"#from"./preact.js"#g' >"$2"
}

mkdir -p "$into" "$axe_into"
fetch preact 10.29.8 b18cb0a457f3d43c7bb30391a74ade7d13e03bc6e77915e061c70c0fe1123299
fetch htm 3.1.1 2425b9bee11409177bcabc7f32e319926fc6690c1701c0b257c88bdff2d5ba90
fetch uplot 1.6.32 4b8a8191e425658e3ea8c8c1314b0fc679c861ee3a1af2b20c7b16ba50b5133d
fetch axe-core 4.14.1 e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745
take preact/dist/preact.module.js "$into/preact.js"
take preact/hooks/dist/hooks.module.js "$into/preact-hooks.js"
take htm/dist/htm.module.js "$into/htm.js"
take uplot/dist/uPlot.iife.min.js "$into/uplot.js"
take uplot/dist/uPlot.min.css "$into/uplot.css"
for name in preact htm uplot; do cp "$work/$name/LICENSE" "$into/LICENSE.$name.txt"; done
cp "$work/axe-core/axe.min.js" "$work/axe-core/LICENSE" "$axe_into/"
