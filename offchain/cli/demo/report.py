"""How the demonstration is told: steps, what each showed, and a table at the end.

With --json the story goes to stderr and one document to stdout.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import click

from offchain.cli.output import Output, table
from offchain.errors import LocalError

LEAST_SHOWN = 0.05
"""Seconds below which a step's time is not worth a mention."""


class CheckFailed(LocalError):
    """Something that the demonstration shows did not hold."""


@dataclass(slots=True)
class Check:
    """One statement, and what was seen of it."""

    what: str
    held: bool
    seen: str


@dataclass(slots=True)
class Step:
    """One scene."""

    number: int
    title: str
    started: float
    seconds: float = 0.0
    checks: list[Check] = field(default_factory=list)
    finished: bool = False

    @property
    def held(self) -> bool:
        """Whether it came to its end and everything it showed was so."""
        return self.finished and all(check.held for check in self.checks)


class Report:
    """Tells the story as it happens."""

    def __init__(self, output: Output, steps: int, folder: Path) -> None:
        self.steps: list[Step] = []
        self.figures: dict[str, tuple[float, str]] = {}
        """What was measured on the way: name to value and unit."""
        self._output = output
        self._folder = folder
        self._total = steps
        self._started = time.monotonic()

    def begin(self, title: str) -> Step:
        """Begin a step; the one before is over, and held what it said."""
        self._finish()
        step = Step(len(self.steps) + 1, title, time.monotonic())
        self.steps.append(step)
        self._say("")
        self._say(click.style(f"[{step.number}/{self._total}] {title}", bold=True))
        return step

    def tell(self, text: str) -> None:
        """Something that happens."""
        self._say(f"      {text}")

    def quote(self, who: str, text: str) -> None:
        """What an actor said."""
        self._say(click.style(f"      {who}: {text}", dim=True))

    def command(self, text: str) -> None:
        """A command that is run, as one would type it."""
        self._say(click.style(f"      $ {text}", fg="cyan"))

    def check(self, what: str, held: bool, seen: str) -> None:
        """A statement and what was seen; CheckFailed if it does not hold."""
        self.steps[-1].checks.append(Check(what, held, seen))
        mark = click.style("  ok  ", fg="green") if held else click.style(" FAIL ", fg="red", bold=True)
        self._say(f"{mark}{what}: {seen}")
        if not held:
            raise CheckFailed(f"step {self.steps[-1].number}: {what}: {seen}")

    def figure(self, name: str, value: float, unit: str) -> None:
        """Note a measurement."""
        self.figures[name] = (value, unit)

    def end(self, fault: str | None = None) -> bool:
        """Close the last step, print the table; whether everything held."""
        self._finish()
        return self.conclude(fault)

    def conclude(self, fault: str | None = None) -> bool:
        """Print the table as things stand; whether everything held."""
        seconds = time.monotonic() - self._started
        complete = fault is None and len(self.steps) == self._total and all(step.held for step in self.steps)
        rows = [
            (str(step.number), step.title, "held" if step.held else "FAILED", f"{step.seconds:.1f} s")
            for step in self.steps
        ]
        self._say("")
        self._say(table(rows, ("", "step", "", "")))
        if self.figures:
            self._say("")
            self._say(table([(name, f"{value:,.4g} {unit}") for name, (value, unit) in self.figures.items()]))
        self._say("")
        if complete:
            self._say(click.style(f"Everything held, in {seconds:.1f} s.", fg="green", bold=True))
        else:
            if fault:
                self._say(fault)
            told = f"{sum(step.held for step in self.steps)} of {self._total} steps held"
            self._say(click.style(f"It did not hold: {told}.", fg="red", bold=True))
        if self._output.as_json:
            self._output.answer(self._document(complete, seconds, fault), "")
        return complete

    def _finish(self) -> None:
        if self.steps and not self.steps[-1].finished:
            step = self.steps[-1]
            step.seconds = time.monotonic() - step.started
            step.finished = True

    def _document(self, complete: bool, seconds: float, fault: str | None) -> dict[str, object]:
        return {
            "held": complete,
            "seconds": round(seconds, 3),
            "fault": fault,
            "folder": str(self._folder),
            "figures": {name: {"value": value, "unit": unit} for name, (value, unit) in self.figures.items()},
            "steps": [
                {
                    "number": step.number,
                    "title": step.title,
                    "held": step.held,
                    "seconds": round(step.seconds, 3),
                    "checks": [{"what": each.what, "held": each.held, "seen": each.seen} for each in step.checks],
                }
                for step in self.steps
            ],
        }

    def _say(self, text: str) -> None:
        click.echo(text, err=self._output.as_json)
