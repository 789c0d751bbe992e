#!/usr/bin/env bash
# Every run of docs/discovery.md but the large one (`make sim`), into docs/figures/sim.jsonl: about ten minutes of one core.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-docs/figures/sim.jsonl}
rm -f "$out"
run() { .venv/bin/python -m offchain.discovery.sim --out "$out" "$@"; }
for rate in 0.2 0.5; do
  run registrar --strategy shared --attack cache --attack-rate "$rate"
  run registrar --strategy shared --attack target --attack-rate "$rate"
done
for share in 0.5 0.9; do
  run registrar --strategy shared --attack none --target-share "$share"
done
run network --nodes 1000 --servers 5 --settled
run sweep
run compare --nodes 150
for part in 0.2 0.333 0.5; do
  run hour --nodes 600 --topics 18 --seconds 300 --first-search 120 --hostile "$part"
done
