#!/bin/bash
# What jobs in Lambda call: the interpreters and package managers, of every version, wherever their files lie.
set -euo pipefail

# Debian's own Python is 3.11. A job that installs packages does so below its HOME, so nothing of Debian's can break.
mkdir -p /opt/python/3.11/bin
ln -s /usr/bin/python3.11 /opt/python/3.11/bin/python3.11
rm -f /usr/lib/python3*/EXTERNALLY-MANAGED

for home in /opt/python/3.*; do
  bin=$home/bin version=${home##*/}
  find "$bin" -mindepth 1 ! -name "python$version" ! -name "python$version-config" -delete
  rm -rf "$home/lib/python$version"/{test,idlelib,turtledemo} "$home/share"
  ln -s "python$version" "$bin/python3"
  ln -s python3 "$bin/python"
  for name in pip pip3 "pip$version"; do
    printf '#!/bin/sh\nexec %s -m pip "$@"\n' "$bin/python$version" >"$bin/$name"
    chmod 0755 "$bin/$name"
  done
  "$bin/python$version" -c 'import bz2, ctypes, lzma, sqlite3, ssl, zlib; import pip'
  # Nothing can be written beside the modules later.
  [ "$version" = 3.11 ] || "$bin/python$version" -m compileall -q "$home/lib/python$version" >/dev/null || true
done

for name in pnpm pnpx yarn yarnpkg; do install -m 0755 /package_manager.sh "/usr/local/bin/$name"; done
chmod -R a+rX,go-w /opt/corepack
# Lambda's user. Node, git and ssh ask for the name of theirs.
echo 'sbx_user1051:x:993:990::/tmp:/bin/bash' >>/etc/passwd
echo 'sbx_user1051:x:990:' >>/etc/group
