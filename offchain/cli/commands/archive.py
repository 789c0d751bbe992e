"""`waypost mailserver archive`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import click

from offchain.cli.context import State, common_options, state_of
from offchain.cli.options import overrides
from offchain.cli.output import SCHEMA_VERSION, Exit, Failed

F = TypeVar("F", bound=Callable[..., Any])
STEP = 100_000
"""Envelopes between remarks of progress."""


def place_options(command: F) -> F:
    """Add --data and --database."""
    for option in (
        click.option("--database", help="PostgreSQL that the archive is kept in: postgresql://user@host/database."),
        click.option("--data", help="Folder of the archive."),
    ):
        command = option(command)
    return command


@click.group()
@common_options
def archive() -> None:
    """Look after the archive of a mail server: check it, copy it out and in.

    An archive in a folder is in use by one process at a time: stop the server first. One in PostgreSQL may be in use.
    """


@archive.command()
@place_options
@common_options
def stats(data: str | None, database: str | None) -> None:
    """Say what the archive holds, day by day."""
    from offchain.mailserver.archive.folder import day_name

    state = state_of()
    with _opened(state, data, database) as opened:
        days = opened.days()
        count = opened.count()
    document = {
        "schemaVersion": SCHEMA_VERSION,
        "envelopes": count,
        "bytes": sum(each.size for each in days),
        "days": [{"day": day_name(each.day), "bytes": each.size} for each in days],
    }
    lines = [f"{day_name(each.day)}  {each.size / 2**20:10.1f} MiB" for each in days]
    total = f"{count:,} envelopes in {len(days)} days, {sum(each.size for each in days) / 2**20:.1f} MiB"
    state.output.answer(document, "\n".join([*lines, total]))


@archive.command()
@place_options
@common_options
def check(data: str | None, database: str | None) -> None:
    """Read every envelope and say whether all is as it should be; ends with code 1 if not."""
    from offchain.mailserver.archive import tools

    state = state_of()
    with _opened(state, data, database) as opened:
        report = tools.check(opened, _progress(state, "checked"))
    document = {
        "schemaVersion": SCHEMA_VERSION,
        "sound": not report.faults,
        "envelopes": report.envelopes,
        "lookedUp": report.looked_up,
        "faults": report.faults,
        "first": report.texts,
    }
    verdict = "all is well" if not report.faults else f"{report.faults:,} faults"
    text = f"{report.envelopes:,} envelopes read, {report.looked_up:,} looked up by topic: {verdict}"
    state.output.answer(document, "\n".join([*report.texts, text]))
    if report.faults:
        raise Failed(Exit.ERROR)


@archive.command()
@click.argument("file")
@click.option("--from", "lower", type=click.IntRange(0), default=0, help="First second (Unix time) to copy.")
@click.option("--to", "upper", type=click.IntRange(0), default=2**32 - 1, help="Last second to copy.")
@place_options
@common_options
def export(file: str, lower: int, upper: int, data: str | None, database: str | None) -> None:
    """Copy the archive into FILE; - is standard output. The file appears when it is whole."""
    from offchain.mailserver.archive import tools

    state = state_of()
    with _opened(state, data, database) as opened:
        if file == "-":
            count = tools.export(opened, sys.stdout.buffer, lower, upper, _progress(state, "copied"))
            state.output.note(f"{count:,} envelopes copied")
            return
        with _whole_file(Path(file)) as target:
            count = tools.export(opened, target, lower, upper, _progress(state, "copied"))
    document: dict[str, object] = {"schemaVersion": SCHEMA_VERSION, "envelopes": count, "file": file}
    state.output.answer(document, f"{count:,} envelopes copied into {file}")


@archive.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@place_options
@common_options
def import_(file: str, data: str | None, database: str | None) -> None:
    """Take in what `export` wrote, from FILE or standard input (-). What is there already stays as it is."""
    from offchain.mailserver.archive import tools

    state = state_of()
    with _opened(state, data, database) as opened, click.open_file(file, "rb") as source:
        count, new = tools.import_(opened, cast(BinaryIO, source), _progress(state, "read"))
    document: dict[str, object] = {"schemaVersion": SCHEMA_VERSION, "envelopes": count, "new": new}
    state.output.answer(document, f"{count:,} envelopes read, {new:,} of them new")


@contextmanager
def _opened(state: State, data: str | None, database: str | None) -> Iterator[Any]:
    """The archive of the configuration, or of the options."""
    from offchain.mailserver.archive import open_archive

    config = state.settings(overrides({}, mailserver={"data": data, "database": database})).mailserver()
    opened = open_archive(config)
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def _whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes its name when it is whole and on disk."""
    fresh = path.with_name(path.name + ".new")
    try:
        with open(fresh, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(path)
    finally:
        fresh.unlink(missing_ok=True)


def _progress(state: State, what: str) -> Callable[[int], None]:
    def tell(count: int) -> None:
        if count % STEP == 0:
            state.output.note(f"{count:,} envelopes {what}")

    return tell
