"""`waypost mailserver`."""

from __future__ import annotations

from pathlib import Path

import click

from offchain.cli.commands.archive import archive
from offchain.cli.context import common_options, state_of
from offchain.cli.options import bootnode_option, chain_options, host_option, key_option, overrides, port_option


@click.group(invoke_without_command=True)
@key_option
@host_option
@port_option
@click.option("--tcp-port", type=click.IntRange(0, 65535), help="TCP port of RLPx; 0 takes a free one.")
@click.option("--data", help="Folder of the archive.")
@click.option("--workers", type=click.IntRange(1, 64), help="Processes that serve clients on the port; 1 by default.")
@bootnode_option
@chain_options
@common_options
@click.pass_context
def mailserver(
    ctx: click.Context,
    /,
    key_path: Path | None,
    host: str | None,
    port: int | None,
    tcp_port: int | None,
    data: str | None,
    workers: int | None,
    bootnodes: tuple[str, ...],
    **chain: object,
) -> None:
    """Run a mail server.

    It announces itself in Discovery v5, keeps what is sent to it, passes it on to other trusted servers, and answers
    requests for history. Whether clients use it is up to the registry and the curators: see `waypost node authorize`.
    """
    if ctx.invoked_subcommand is not None:
        return
    from offchain.cli.services import run_mailserver

    state = state_of()
    given = overrides(
        chain,
        discovery={"host": host, "port": port, "bootnodes": bootnodes},
        mailserver={"host": host, "port": tcp_port, "data": data, "workers": workers},
    )
    run_mailserver(state.output, state.settings(given), key_path)


mailserver.add_command(archive)
