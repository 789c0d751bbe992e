#!/usr/bin/env bash
# Let node_modules/.bin/anvil be anvil itself, not npm's Node wrapper around it: a wrapper that is killed leaves its
# chain running, and every start costs a Node start.
set -euo pipefail
for binary in node_modules/@foundry-rs/anvil-*/bin/anvil; do
  if [ -x "$binary" ]; then
    ln -sf "../../$binary" node_modules/.bin/anvil
    node_modules/.bin/anvil --version >/dev/null
    exit 0
  fi
done
echo "anvil for this platform did not come with npm's packages; npm's wrapper stays" >&2
