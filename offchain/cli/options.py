"""Options that several commands share, and what they override in the configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

key_option = click.option(
    "--key",
    "key_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The node's key file.  [default: node.key under the home folder]",
)
host_option = click.option("--host", help="Address to listen on.")
port_option = click.option("--port", type=click.IntRange(0, 65535), help="UDP port of discovery; 0 takes a free one.")
bootnode_option = click.option(
    "--bootnode", "bootnodes", multiple=True, help="Record (enr:...) of a node to start from; may be repeated."
)


def chain_options(command: F) -> F:
    """Add --network, --deployment and --rpc."""
    for option in (
        click.option("--rpc", multiple=True, help="Endpoint of the chain; may be repeated."),
        click.option("--deployment", help="File with the addresses of the contracts."),
        click.option("--network", help="Name of a file in deployments/."),
    ):
        command = option(command)
    return command


def overrides(chain: Mapping[str, object], **sections: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """What the options said, by section of the configuration; options that were not given say nothing."""
    if "deployment" in chain and isinstance(chain["deployment"], str):
        chain = {**chain, "deployment": str(Path(chain["deployment"]).expanduser().absolute())}
    given = {
        name: {key: value for key, value in section.items() if value is not None and value != ()}
        for name, section in {"chain": chain, **sections}.items()
    }
    return {name: section for name, section in given.items() if section}
