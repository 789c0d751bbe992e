#!/usr/bin/env bash
# Make the virtual environment $1 from requirements.txt.
#
# eth-brownie's compiled wheel is broken in four places (its `networks` settings, the `state_machine` fixture and
# coverage raise TypeError), so it is built from source without its compilation step.
set -euo pipefail
venv=$1
"${PYTHON:-python3}" - <<'CHECK'
import sys
if sys.version_info < (3, 11):
    sys.exit(f"Waypost needs Python 3.11 or newer; this is {sys.version.split()[0]}. Name another with PYTHON=python3.12")
CHECK
[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check install --quiet "$@"; }
pip -r setup/bootstrap.txt
BROWNIE_NOCOMPILE=1 pip --no-build-isolation --no-binary eth-brownie -r requirements.txt
pip --no-build-isolation --no-deps --editable .
