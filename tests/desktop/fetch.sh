#!/usr/bin/env bash
# Installs what the tests at the desk need: a sound server, which they start for themselves, and PyAudio, which
# has no wheel for Linux and is built. usage: tests/desktop/fetch.sh VENV
#
# What is there already is kept.
set -euo pipefail

VENV="$1"
HERE="$(dirname "$0")"
PACKAGES=(pulseaudio pulseaudio-utils libasound2-plugins portaudio19-dev gcc)
PIP=("$VENV/bin/python" -m pip --disable-pip-version-check --quiet install --require-hashes)

fail() { echo "tests/desktop: $1" >&2; exit 1; }

install() {
  local as=()
  command -v apt-get >/dev/null || fail "please install these first: $* (here is no apt-get)"
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || fail "please install these first, as root: $*"
    as=(sudo)
  fi
  echo "Installing $* ..."
  SECONDS=0
  "${as[@]}" apt-get update -qq </dev/null
  "${as[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -qq -y --no-install-recommends "$@" </dev/null >/dev/null
  echo "  done in $SECONDS s"
}

dpkg -s "${PACKAGES[@]}" >/dev/null 2>&1 || install "${PACKAGES[@]}"

if ! "$VENV/bin/python" -c 'import pyaudio' 2>/dev/null; then
  headers=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
  [ -e "$headers/Python.h" ] || install "$(basename "$headers")-dev" # Debian's Python comes without
  echo "Building PyAudio ..."
  SECONDS=0
  "${PIP[@]}" -r "$HERE/build.lock"
  "${PIP[@]}" --no-build-isolation -r "$HERE/pyaudio.lock"
  echo "  done in $SECONDS s"
fi
