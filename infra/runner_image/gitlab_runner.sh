#!/bin/sh
# gitlab_runner.sh FILE: puts gitlab-runner into FILE, proven by a checksum, root's and with mode 0711.
#
# A binary in /given is taken, and GITLAB_RUNNER_SHA256_… must name its checksum. Else the release of
# GITLAB_RUNNER_VERSION is downloaded. Without a checksum for it, GitLab's list of checksums counts when the key with
# the fingerprint GITLAB_RUNNER_SIGNER has signed it.
# Source: https://docs.gitlab.com/runner/install/linux-manually/, "GPG signatures for package installation".
set -eu

fail() {
  echo "gitlab-runner: $*" >&2
  exit 1
}

# A job runs as the runner's user in Lambda. The kernel closes /proc/<pid>/mem of a program that its user may not read.
architecture=$(dpkg --print-architecture)
case $architecture in
  amd64) sha256=$GITLAB_RUNNER_SHA256_X86_64 ;;
  arm64) sha256=$GITLAB_RUNNER_SHA256_ARM64 ;;
  *) fail "there is no image for $architecture" ;;
esac
name=gitlab-runner-linux-$architecture
release=$GITLAB_RUNNER_RELEASES/v$GITLAB_RUNNER_VERSION

fetch() {
  curl --fail --silent --show-error --location --retry 5 --output "$2" "$1" || fail "cannot fetch $1"
}

# The checksum of $name in the signed list.
signed() {
  folder=$(mktemp -d)
  fetch "$release/release.sha256" "$folder/list"
  fetch "$release/release.sha256.asc" "$folder/signature"
  fetch "$GITLAB_RUNNER_KEY" "$folder/key"
  gpg --batch --quiet --homedir "$folder" --import "$folder/key" 2>/dev/null || fail "$GITLAB_RUNNER_KEY is no key"
  gpg --batch --homedir "$folder" --status-fd 1 --verify "$folder/signature" "$folder/list" \
    >"$folder/verdict" 2>/dev/null || true
  # A key that has expired meanwhile still proves what it signed; a revoked one does not.
  awk -v signer="$GITLAB_RUNNER_SIGNER" '
    $2 == "REVKEYSIG" { exit 1 }
    $2 == "VALIDSIG" && $NF == signer { found = 1 }
    END { exit !found }' "$folder/verdict" || fail "its list of checksums is not signed by $GITLAB_RUNNER_SIGNER"
  awk -v name="$name" '{ sub(/^.*[\/*]/, "", $2) } $2 == name { print $1; exit }' "$folder/list"
  rm -rf "$folder"
}

if [ -f /given/gitlab-runner ]; then
  [ -n "$sha256" ] || fail "the given binary needs its checksum: set GITLAB_RUNNER_SHA256_X86_64 or …_ARM64"
  cp /given/gitlab-runner "$1"
else
  [ -n "$sha256" ] || sha256=$(signed)
  [ -n "$sha256" ] || fail "its list of checksums does not have $name"
  fetch "$release/binaries/$name" "$1"
fi
echo "$sha256  $1" | sha256sum --check --strict --quiet || fail "its checksum is not $sha256"
chown root:root "$1"
chmod 0711 "$1"
"$1" --version | grep -Eq "^Version: +$GITLAB_RUNNER_VERSION\$" || fail "this is not version $GITLAB_RUNNER_VERSION"
echo "gitlab-runner $GITLAB_RUNNER_VERSION for $architecture: sha256 $sha256"
