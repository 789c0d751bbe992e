"""Compositions: the parts put together into what runs.

    open_client       trust + discovery + finder + pool + mailbox: what an app embeds, and `waypost serve` runs
    open_kind         the same without a mailbox, for any kind of node: you bring what connects
    open_server       trust + discovery + mail server with its relay: `waypost mailserver`
    open_discovery    discovery alone: a bootstrap node

Each is an async context manager. Everything runs inside it and has ended when it is left; if a part fails, its error
comes out of it. To stop on a signal, leave the block:

    async with open_client(key, chain, discovery, client, policy_path) as node:
        await stop.wait()
"""

from offchain.node.client import ClientNode, open_client
from offchain.node.discovery import DiscoveryNode, open_discovery
from offchain.node.kind_client import KindClient, open_kind
from offchain.node.server import ServerNode, open_server

__all__ = [
    "ClientNode",
    "DiscoveryNode",
    "KindClient",
    "ServerNode",
    "open_client",
    "open_discovery",
    "open_kind",
    "open_server",
]
