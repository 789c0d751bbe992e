#!/usr/bin/env bash
# Draw the plots of docs/discovery.md from docs/figures/sim.jsonl, with matplotlib in an environment of its own
# (.setup/plots): nothing else here needs it.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=.setup/plots
if [ ! -x "$venv/bin/python" ]; then
  "${PYTHON:-python3}" -m venv "$venv"
  "$venv/bin/python" -m pip --disable-pip-version-check install --quiet --no-deps -r setup/plots.txt
fi
"$venv/bin/python" offchain/discovery/sim/plots.py "${1:-docs/figures/sim.jsonl}" "${2:-docs/figures}"
