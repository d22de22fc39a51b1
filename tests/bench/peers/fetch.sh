#!/usr/bin/env bash
# Makes an environment for each peer that agentkit is compared with, from its own lock.
# usage: tests/bench/peers/fetch.sh VENV
#
# They go to AGENTKIT_PEERS, by default ~/.cache/agentkit/peers, which outlives a clone, and are made with
# VENV's Python. What is there already is kept, unless its lock is newer.
set -euo pipefail

VENV="$1"
HERE="$(dirname "$0")"
HOME_OF_ALL="${AGENTKIT_PEERS:-$HOME/.cache/agentkit/peers}"

for peer in pipecat livekit; do
  if ! [ "$HOME_OF_ALL/$peer/made" -nt "$HERE/$peer.lock" ]; then
    echo "Installing $peer into $HOME_OF_ALL/$peer ..."
    SECONDS=0
    mkdir -p "$HOME_OF_ALL"
    "$VENV/bin/python" -m venv --clear "$HOME_OF_ALL/$peer"
    "$HOME_OF_ALL/$peer/bin/python" -m pip --disable-pip-version-check --quiet install \
      --require-hashes -r "$HERE/$peer.lock"
    touch "$HOME_OF_ALL/$peer/made"
    echo "  done in $SECONDS s"
  fi
done
