#!/usr/bin/env bash
# Prove the arithmetic of the curation contracts with z3, in a virtual environment of its own (.setup/z3).
set -euo pipefail
cd "$(dirname "$0")/.."
venv=.setup/z3
version=4.15.3.0
if [ "$(cat "$venv/installed" 2>/dev/null)" != "$version" ]; then
  rm -rf "$venv"
  "${PYTHON:-python3}" -m venv "$venv"
  "$venv/bin/python" -m pip --disable-pip-version-check install --quiet --only-binary :all: "z3-solver==$version"
  echo "$version" > "$venv/installed"
fi
"$venv/bin/python" tests/proofs/prove.py
