#!/bin/sh
# pnpm, pnpx, yarn and yarnpkg: what corepack runs for this name.
#
# Corepack writes into its cache. So the bundled versions are linked into the job's own cache, and a project that names
# another version in its package.json gets that one downloaded beside them.
cache=${COREPACK_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/node/corepack}
if [ ! -e "$cache/lastKnownGood.json" ]; then
  for version in /opt/corepack/v1/*/*; do
    link=$cache${version#/opt/corepack}
    [ -e "$link" ] || { mkdir -p "${link%/*}" && ln -s "$version" "$link"; }
  done
  cp /opt/corepack/lastKnownGood.json "$cache/"
fi
export COREPACK_HOME="$cache" COREPACK_DEFAULT_TO_LATEST=0 COREPACK_ENABLE_DOWNLOAD_PROMPT=0
exec corepack "${0##*/}" "$@"
