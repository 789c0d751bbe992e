"""How every benchmark prints: one table for people, one JSON document for programs."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One measured value."""

    value: float
    unit: str
    goal: str = ""
    """What to reach, as ">= 20000" or "<= 50"; empty if the figure is for comparison only."""

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without one."""
        if not self.goal:
            return None
        sign, bound = self.goal.split()
        return self.value >= float(bound) if sign == ">=" else self.value <= float(bound)


def report(name: str, figures: dict[str, Figure], as_json: bool) -> None:
    """Print the figures on stdout, as one JSON document or as a table."""
    if as_json:
        document = {
            key: {"value": figure.value, "unit": figure.unit, "goal": figure.goal} for key, figure in figures.items()
        }
        json.dump({"name": name, "figures": document, "machine": machine()}, sys.stdout)
        print()
        return
    print(f"\n{name}  ({machine()})")
    width = max(map(len, figures))
    for key, figure in figures.items():
        verdict = {True: "met", False: "NOT MET", None: ""}[figure.met]
        print(f"  {key:<{width}}  {figure.value:>14,.2f} {figure.unit:<16} {figure.goal:<12} {verdict}")


def machine() -> str:
    """Where and on what commit a figure was measured."""
    revision = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return f"{platform.machine()}, Python {platform.python_version()}, commit {revision.stdout.strip() or 'unknown'}"
