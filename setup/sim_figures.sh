#!/usr/bin/env bash
# Every run of docs/discovery.md but the large one (`make sim`), into docs/figures/sim.jsonl: about ten minutes of one
# core, shared by JOBS processes (as many as there are cores). The line of the large run stays if there is one.
#
#   setup/sim_figures.sh [OUT [PATTERN]]     only the runs whose arguments match the pattern, into OUT
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-docs/figures/sim.jsonl}
pattern=${2:-.}

runs() {
  for part in 0.333 0.2 0.5; do
    echo "hour --nodes 600 --topics 18 --seconds 200 --first-search 110 --hostile $part"
  done
  for seed in 1001 1002 1003 1004 1005; do
    echo "--seed $seed hour --nodes 1000 --topics 20 --seconds 200 --first-search 110 --hostile 0.333"
  done
  for attack in cache target; do
    for seed in 1001 1002 1003 1004 1005; do
      echo "--seed $seed registrar --strategy shared --attack $attack"
    done
    echo "--seed 1001 registrar --strategy shared --attack $attack --attack-rate 0.5"
  done
  for share in 0.5 0.9; do
    echo "registrar --strategy shared --attack none --target-share $share"
  done
  echo "network --nodes 1000 --servers 5 --settled"
  echo "sweep"
  echo "compare --nodes 100"
}

parts=$(mktemp -d)
trap 'rm -rf "$parts"' EXIT
runs | grep -e "$pattern" | awk -v parts="$parts" '{ printf "--out %s/%02d.jsonl %s\n", parts, NR, $0 }' |
  xargs -P "${JOBS:-$(nproc)}" -L 1 .venv/bin/python -m offchain.discovery.sim >/dev/null
grep -s '"nodes": 10000,' "$out" >"$parts/large" || true
cat "$parts"/*.jsonl "$parts/large" >"$out"
