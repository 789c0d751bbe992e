"""A mail server: trust, discovery, the server, and its relay to other trusted servers, put together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from offchain.client.finder import Finder
from offchain.client.finder_machine import Admitted, Finding
from offchain.client.broadcast import Listener
from offchain.config import ChainConfig, DiscoveryConfig, MailserverConfig
from offchain.contact import Contact
from offchain.discovery.service import Discovery
from offchain.keys import PrivateKey
from offchain.mailserver.server import Mailserver
from offchain.node.background import background
from offchain.node.policy_watch import PolicyWatch
from offchain.trust.nodes import Resync, TrustedNodes
from offchain.types import MAILSERVER, NodeId

log = logging.getLogger("offchain.node")


@dataclass(slots=True)
class ServerNode:
    """A running mail server; `open_server` makes it."""

    trust: TrustedNodes
    discovery: Discovery
    server: Mailserver
    finder: Finder

    def status(self) -> dict[str, object]:
        """How everything stands, as JSON."""
        record = self.discovery.record
        return {
            "schemaVersion": 1,
            "kind": MAILSERVER,
            "nodeId": record.node_id.hex(),
            "record": record.text,
            "trust": self.trust.status(),
            "discovery": self.discovery.stats(),
            "finder": self.finder.stats(),
        }


@asynccontextmanager
async def open_server(
    key: PrivateKey,
    chain: ChainConfig,
    discovery: DiscoveryConfig,
    server: MailserverConfig,
    policy_path: Path,
) -> AsyncIterator[ServerNode]:
    """Run a mail server for as long as the block lasts. Its record names its kind and port; the policy file is followed."""
    raise NotImplementedError
