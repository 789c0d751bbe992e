"""`waypost export` and `waypost import`: the registry's history in a file."""

from __future__ import annotations

from pathlib import Path

import click

from offchain.cli.context import common_options, state_of
from offchain.cli.options import chain_options, overrides

wait_option = click.option(
    "--wait",
    type=click.FloatRange(0.1),
    default=60.0,
    show_default=True,
    help="Seconds to catch up with the registry.",
)


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@wait_option
@chain_options
@common_options
def export(file: Path, wait: float, **chain: object) -> None:
    """Write the history of the registry up to a proven block into FILE.

    A new client that imports it need not read the history from the chain. It need not trust you either: an import is
    checked against a proof.
    """
    from offchain.cli.snapshots import export_to

    state = state_of()
    if file.exists():
        state.confirm(f"{file} exists. Overwrite it?")
    found = export_to(state.settings(overrides(chain)), state.output, file, wait)
    state.output.answer(
        found, f"{found['events']} events up to block {found['block']} in {file}, {found['bytes']} bytes"
    )


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@chain_options
@common_options
def import_(file: Path, **chain: object) -> None:
    """Begin with the history in FILE, which another client exported, once it is proven.

    What the file says is checked against the registry's log commitment, proven by an endpoint; a file that was altered
    is refused.
    """
    from offchain.cli.snapshots import import_from

    state = state_of()
    found = import_from(state.settings(overrides(chain)), file)
    state.output.answer(found, f"{found['events']} events, proven at block {found['provenBlock']}")
