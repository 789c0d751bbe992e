#!/usr/bin/env bash
# Analyse all contracts with slither, in a virtual environment of its own (.setup/slither), as setup/slither.txt
# pins it: what it needs and what Brownie needs differ.
#
#     setup/slither.sh            exit 1 on a finding of medium or higher that has no written reason in the code
#     setup/slither.sh --low      show those of low and informational severity too
#
# A reason is a comment above the line: `// slither-disable-next-line <detector>`, and why.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=.setup/slither
if ! cmp -s setup/slither.txt "$venv/installed.txt"; then
  rm -rf "$venv"
  "${PYTHON:-python3}" -m venv "$venv"
  "$venv/bin/python" -m pip --disable-pip-version-check install --quiet --no-deps -r setup/slither.txt
  cp setup/slither.txt "$venv/installed.txt"
fi
# The compiler of the set-up speaks standard JSON only; slither takes that as its target.
"${PYTHON:-python3}" setup/slither_input.py > .setup/slither-input.json
level=(--exclude-low --exclude-informational --exclude-optimization)
[ "${1:-}" = --low ] && level=()
"$venv/bin/slither" .setup/slither-input.json --compile-force-framework Solc-json \
  --solc "$PWD/.solcx/solc-v0.8.37" --filter-paths "node_modules/|contracts/testing/" "${level[@]}" --fail-medium
