"""`waypost discover`: find nodes of a kind, now, and say whether they are trusted."""

from __future__ import annotations

import click

from offchain.cli.context import common_options, state_of
from offchain.cli.options import bootnode_option, chain_options, host_option, overrides


@click.command()
@click.argument("kind")
@click.option("--for", "seconds", type=click.FloatRange(0), default=30.0, show_default=True, help="Seconds; 0: no end.")
@click.option("--count", type=click.IntRange(1), help="End when so many were found that are trusted.")
@click.option(
    "--wait",
    type=click.FloatRange(0.1),
    default=20.0,
    show_default=True,
    help="Seconds to catch up with the registry before the search begins.",
)
@host_option
@bootnode_option
@chain_options
@common_options
def discover(
    kind: str,
    seconds: float,
    count: int | None,
    wait: float,
    host: str | None,
    bootnodes: tuple[str, ...],
    **chain: object,
) -> None:
    """Look for nodes of KIND, and say of each whether it is trusted, and why.

    Says also how it was found: by its topic, by the kinds in its record, or by its id, which the registry gave. Without
    a registry ([chain], or --network) nobody is asked for trust. Nothing is connected to. Ends with 0 if nodes were
    found that can be used, 3 if none of those found is trusted, 1 if none was found.
    """
    from offchain.cli.discovering import discover as search
    from offchain.cli.knowledge import parsed_kind

    state = state_of()
    settings = state.settings(overrides(chain, discovery={"host": host, "bootnodes": bootnodes}))
    search(settings, state.output, parsed_kind(kind), seconds=seconds or None, count=count, wait=wait)
