#!/usr/bin/env bash
# engine.sh COMMAND…: run it with a Docker engine, a registry program and an image of Debian to build on.
#
# The engine is the one that answers. Without one, as root on Debian, its packages are installed and an engine is started
# that ends with the command. Where that may not be, it says why and ends with 0: nothing was tested.
set -euo pipefail
base=${RUNNER_FLEET_BASE:-fleet-base:bookworm}
folder=$(mktemp -d)
engine=
end() {
  [ -z "$engine" ] || { kill "$engine" && wait "$engine"; } 2>/dev/null || true
  # A container on the host's network leaves its namespace mounted.
  awk -v below="$folder/" 'index($2, below) == 1 { print $2 }' /proc/mounts | sort -r | xargs -r umount || true
  rm -rf "$folder"
}
trap end EXIT

skip() {
  echo "e2e: skipped: $*"
  exit 0
}
install() {
  [ "$(id -u)" = 0 ] || skip "$* must be installed, which needs root"
  command -v apt-get >/dev/null || skip "$* must be installed, and this is no Debian"
  timeout 300 apt-get -qq update >"$folder/log" 2>&1 || skip "apt-get update fails: $(tail -n 1 "$folder/log")"
  DEBIAN_FRONTEND=noninteractive timeout 300 apt-get -qq install --no-install-recommends -y "$@" >"$folder/log" 2>&1 ||
    skip "$* cannot be installed: $(tail -n 1 "$folder/log")"
}

command -v docker-registry >/dev/null || install docker-registry
if ! timeout 20 docker version >/dev/null 2>&1; then
  { command -v dockerd && command -v iptables; } >/dev/null || install docker.io iptables
  [ "$(id -u)" = 0 ] || skip "no Docker engine answers, and to start one needs root"
  dockerd --data-root "$folder/data" --exec-root "$folder/exec" --pidfile "$folder/pid" \
    --host "unix://$folder/docker.sock" >"$folder/dockerd.log" 2>&1 &
  engine=$!
  export DOCKER_HOST=unix://$folder/docker.sock
  for _ in $(seq 60); do
    timeout 5 docker version >/dev/null 2>&1 && break
    kill -0 "$engine" 2>/dev/null || skip "the engine does not start: $(tail -n 1 "$folder/dockerd.log")"
    sleep 0.5
  done
  timeout 5 docker version >/dev/null 2>&1 || skip "the engine does not answer: $(tail -n 1 "$folder/dockerd.log")"
fi
if ! docker image inspect "$base" >/dev/null 2>&1; then
  if timeout 120 docker pull -q debian:bookworm-slim >/dev/null 2>&1; then
    docker tag debian:bookworm-slim "$base"
  else
    command -v debootstrap >/dev/null || install debootstrap
    timeout 600 debootstrap --variant=minbase bookworm "$folder/root" >"$folder/log" 2>&1 ||
      skip "no registry answers, and Debian cannot be fetched: $(tail -n 1 "$folder/log")"
    tar -C "$folder/root" -c . | docker import - "$base" >/dev/null
  fi
fi
# An engine may run where its containers reach nothing.
docker run --rm "$base" timeout 60 bash -c \
  'apt-get -qq update && exec 3<>/dev/tcp/pypi.org/443' >"$folder/log" 2>&1 ||
  skip "containers do not reach Debian's packages and PyPI: $(tail -n 1 "$folder/log")"
export RUNNER_FLEET_BASE=$base
timeout "${E2E_WITHIN_S:-1800}" "$@"
