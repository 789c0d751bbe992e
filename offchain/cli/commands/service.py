"""`waypost service`."""

from __future__ import annotations

from pathlib import Path

import click

from offchain.cli.context import common_options, state_of
from offchain.cli.options import bootnode_option, chain_options, host_option, key_option, overrides, port_option


@click.command()
@click.argument("kind")
@key_option
@host_option
@port_option
@click.option("--tcp-port", type=click.IntRange(0, 65535), default=0, help="TCP port of RLPx; 0 takes a free one.")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for what it keeps.  [default: KIND under the home folder]",
)
@click.option("--contact", default="mailto:operator@example.invalid", help="Where others may complain.")
@bootnode_option
@chain_options
@common_options
def service(
    kind: str,
    key_path: Path | None,
    host: str | None,
    port: int | None,
    tcp_port: int,
    data: Path | None,
    contact: str,
    bootnodes: tuple[str, ...],
    **chain: object,
) -> None:
    """Run a node of another kind than a mail server.

    KIND is one that is registered in offchain.node.kinds. The node announces itself in Discovery v5 like any
    other. Whether clients use it is up to the registry and the curators.
    """
    from offchain.cli.services import run_service

    state = state_of()
    given = overrides(chain, discovery={"host": host, "port": port, "bootnodes": bootnodes})
    run_service(state.output, state.settings(given), key_path, kind, tcp_port, data, contact)
