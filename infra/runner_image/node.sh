#!/bin/sh
# node.sh MAJOR: Node into /opt/node/MAJOR, with its npm and corepack.
set -eu
home=/opt/node/$1
modules=$home/lib/node_modules
archive=$(mktemp)
unpack() {
  /fetch.sh "$1" "$archive"
  mkdir -p "$2"
  tar --extract --gzip --file "$archive" --directory "$2" --strip-components 1 --no-same-owner
}
unpack "node-$1" "$home"
unpack "npm-$1" "$modules/npm"
unpack corepack "$modules/corepack"
rm -rf "$archive" "$home/share" "$home/include/node/openssl/archs" "$home"/*.md "$home/package.json"
chmod 0755 "$home/bin/node"
chmod -R a+rX,go-w "$home"
ln -s ../lib/node_modules/npm/bin/npm-cli.js "$home/bin/npm"
ln -s ../lib/node_modules/npm/bin/npx-cli.js "$home/bin/npx"
ln -s ../lib/node_modules/corepack/dist/corepack.js "$home/bin/corepack"
chmod 0755 "$modules/npm/bin/npm-cli.js" "$modules/npm/bin/npx-cli.js" "$modules/corepack/dist/corepack.js"
# `npm install --global` may not write here: its programs go where PATH has them.
printf 'prefix=${HOME}/.local\nupdate-notifier=false\n' >"$modules/npm/npmrc"
