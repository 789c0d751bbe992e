"""Print the coverage of every contract from Brownie's report, and fail below 95 %.

    brownie test --coverage && python setup/coverage.py

Statements are counted once, branches once for each way they can go. As Brownie counts them, what a contract inherits is
its own. EXCEPTIONS names contracts that may be below the bar, with the least they must reach and why.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

REPORT = Path(__file__).resolve().parent.parent / "reports" / "coverage.json"
BAR = 0.95
CONTRACTS = (
    "NodeRegistry", "OwnerCurator", "TokenCurator", "BallotBox", "Parameters", "ParameterVote", "DiscoveryLens",
)  # fmt: skip
"""CommittedLog and VerdictBook are abstract, Contest and PackedTerms libraries: they are counted in these."""

EXCEPTIONS: dict[str, tuple[float, float, str]] = {}
"""Least share of statements and of branches, and the reason."""


def main() -> None:
    totals = {name: each["totals"] for name, each in json.loads(REPORT.read_text())["coverage"].items()}
    if missing := [name for name in CONTRACTS if name not in totals]:
        sys.exit(f"the report has nothing of {', '.join(missing)}: did all tests run?")
    below = []
    print(f"{'contract':16} {'statements':>18} {'branches':>18}")
    for name in CONTRACTS:
        statements, (true, false, count) = totals[name]["statements"], totals[name]["branches"]
        shares = share(*statements), share(true + false, 2 * count)
        least = EXCEPTIONS.get(name, (BAR, BAR, ""))
        shown = (f"{statements[0]}/{statements[1]}", f"{true + false}/{2 * count}")
        print(f"{name:16} {shown[0]:>10} {shares[0]:7.1%} {shown[1]:>10} {shares[1]:7.1%}  {least[2]}")
        if shares[0] < least[0] or shares[1] < least[1]:
            below.append(name)
    if below:
        sys.exit(f"below the bar: {', '.join(below)}")


def share(part: int, whole: int) -> float:
    """Of nothing, all is reached."""
    return part / whole if whole else 1.0


if __name__ == "__main__":
    main()
