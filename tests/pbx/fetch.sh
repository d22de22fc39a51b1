#!/usr/bin/env bash
# Fetches a telephone exchange and a telephone for the tests: Asterisk 22, its recorded prompts with their
# transcripts, and baresip. usage: tests/pbx/fetch.sh
#
# They are Debian packages of the release that has them, unpacked into a folder of their own and run from
# there: nothing is installed, nothing needs root. They come from the mirror that this machine's apt uses.
# The folder is $AGENTKIT_PBX, by default ~/.cache/agentkit/pbx, so that it outlives a clean clone; it is
# built beside its place and put there when it is complete. What is there already is kept.
set -euo pipefail

RELEASE=sid
PACKAGES="asterisk asterisk-core-sounds-en-wav baresip-core"
HOME_OF_PBX="${AGENTKIT_PBX:-${XDG_CACHE_HOME:-$HOME/.cache}/agentkit/pbx}"
ROOT="$HOME_OF_PBX/root"

fail() { echo "tests/pbx: $1" >&2; exit 1; }

if [ "$(cat "$ROOT/packages" 2>/dev/null)" = "$PACKAGES" ]; then exit 0; fi
for tool in apt-get dpkg-deb; do
  command -v "$tool" >/dev/null || fail "there is no $tool: the tests with Asterisk need Debian to fetch it"
done
. /etc/os-release
mkdir -p "$HOME_OF_PBX"
WORK=$(mktemp -d "$HOME_OF_PBX/part.XXXXXX")
trap 'rm -rf "$WORK"' EXIT
trap 'exit 130' INT TERM HUP
mkdir -p "$WORK"/{root,state/lists/partial,cache/archives/partial}
touch "$WORK/status"

# $1: the sources to use, or nothing for this machine's own. All else is kept in the folder.
apt() {
  local sources=()
  [ -z "$1" ] || sources=(-o Dir::Etc::sourcelist="$1" -o Dir::Etc::sourceparts=/dev/null)
  shift
  apt-get -qq "${sources[@]}" -o Dir::State="$WORK/state" -o Dir::State::status="$WORK/status" \
    -o Dir::Cache="$WORK/cache" -o APT::Sandbox::User=root -o Acquire::Languages=none "$@"
}
mirror() {
  "$@" indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' \
    'Component: main' "Codename: ${VERSION_CODENAME:-}" | sed -n 1p
}

MIRROR=$(mirror apt-get)
if [ -z "$MIRROR" ]; then # the lists are empty, as they are in an image
  apt "" update || fail "apt finds no packages, so Asterisk cannot be fetched"
  MIRROR=$(mirror apt "")
fi
[ -n "$MIRROR" ] || fail "apt knows no mirror of Debian on this machine, so Asterisk cannot be fetched"

echo "Fetching Asterisk and a SIP telephone into $ROOT ..."
SECONDS=0
# The index may be older than it says that it should be: a mirror may lag, or be a snapshot.
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg check-valid-until=no]" \
  "$MIRROR $RELEASE main" >"$WORK/sources.list"
apt "$WORK/sources.list" update
# shellcheck disable=SC2086 # a list of names
apt "$WORK/sources.list" install -y --download-only --no-install-recommends $PACKAGES >/dev/null
for package in "$WORK"/cache/archives/*.deb; do dpkg-deb -x "$package" "$WORK/root"; done
echo "$PACKAGES" >"$WORK/root/packages"
rm -rf "$ROOT"
mv -T "$WORK/root" "$ROOT"
echo "  done in $SECONDS s ($(du -sh "$ROOT" | cut -f1))"
