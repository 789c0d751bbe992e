"""`waypost serve`: the client as a service of this machine."""

from __future__ import annotations

import click

from offchain.cli.context import common_options, state_of
from offchain.cli.options import bootnode_option, chain_options, overrides


@click.command()
@click.option("--http-port", type=click.IntRange(0, 65535), help="TCP port of the local interface; 0 takes a free one.")
@bootnode_option
@chain_options
@common_options
def serve(http_port: int | None, bootnodes: tuple[str, ...], **chain: object) -> None:
    """Run the client: follow the registry, keep a pool of trusted nodes, offer HTTP.

    Prints what happens to nodes and why. The interface listens on this machine only; other commands (status, nodes,
    mail fetch) use it by themselves. A change of policy counts at once.
    """
    from offchain.cli.daemon import run_daemon

    state = state_of()
    settings = state.settings(overrides(chain, discovery={"bootnodes": bootnodes}, http={"port": http_port}))
    run_daemon(settings, state.output)
