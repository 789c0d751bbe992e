"""What commands print, and with what exit code they end.

With --json exactly one document with a schemaVersion goes to stdout and everything else to stderr; long-lived commands
print one such document per line instead. Without it, the answer goes to stdout and remarks to stderr. --quiet silences
remarks, never answers or errors.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TextIO

import click

SCHEMA_VERSION = 1


class Exit(IntEnum):
    """How a command ended, for programs."""

    YES = 0
    """Done; or the answer is yes, trusted."""
    ERROR = 1
    """It did not work; the message says what to do."""
    USAGE = 2
    """The command line is not one that the command takes."""
    UNTRUSTED = 3
    """The answer is no: not trusted; or a server withheld something."""
    STALE = 4
    """What is known is too old to answer, or the listing has expired."""
    TAMPERED = 5
    """What an endpoint said contradicts what was proven."""


class Failed(Exception):
    """Ends the command with a code, after it has printed its answer."""

    def __init__(self, code: Exit) -> None:
        super().__init__(code.name)
        self.code = code


@dataclass(slots=True)
class Output:
    """Where a command's words go."""

    as_json: bool = False
    quiet: bool = False
    _out: TextIO = field(default_factory=lambda: sys.stdout)
    _err: TextIO = field(default_factory=lambda: sys.stderr)

    def answer(self, document: dict[str, object], text: str) -> None:
        """The command's answer: the document with --json, else the text."""
        if self.as_json:
            self._write(document)
        else:
            click.echo(text, file=self._out)

    def event(self, document: dict[str, object], text: str) -> None:
        """One of many answers of a long-lived command: a line of JSON, or of text."""
        self.answer(document, text)
        self._out.flush()

    def note(self, text: str) -> None:
        """A remark: progress, or what is being waited for."""
        if not self.quiet:
            click.echo(text, file=self._err)

    def error(self, kind: str, message: str) -> None:
        """What went wrong; a document too, so that a program need not read prose."""
        if self.as_json:
            self._write({"error": {"kind": kind, "message": message}})
        click.echo(f"waypost: {message}", file=self._err)

    def _write(self, document: dict[str, object]) -> None:
        click.echo(json.dumps({"schemaVersion": SCHEMA_VERSION, **document}, separators=(",", ":")), file=self._out)


def table(rows: Sequence[tuple[str, ...]], header: tuple[str, ...] | None = None) -> str:
    """Rows as aligned columns, two spaces apart."""
    lines = [header, *rows] if header else rows
    if not lines:
        return ""
    widths = [max(len(row[column]) for row in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in lines
    )
