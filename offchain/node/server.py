"""A mail server: trust, discovery, the server, and its relay to other trusted servers, put together."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from offchain.client.broadcast import Listener
from offchain.client.finder import Finder
from offchain.client.finder_machine import Admitted, Finding
from offchain.config import ChainConfig, DiscoveryConfig, MailserverConfig
from offchain.discovery.service import Discovery
from offchain.keys import PrivateKey
from offchain.mailserver.server import Mailserver
from offchain.node.background import background
from offchain.node.kind_client import own_contacts
from offchain.node.policy_watch import PolicyWatch, default_policy
from offchain.trust.nodes import TrustedNodes
from offchain.trust.policy import Policy
from offchain.trust.trusted_set import TrustChange
from offchain.types import MAILSERVER

log = logging.getLogger("offchain.node")


@dataclass(frozen=True, slots=True)
class ServerNode:
    """A running mail server; `open_server` makes it."""

    trust: TrustedNodes
    discovery: Discovery
    server: Mailserver
    finder: Finder

    async def set_policy(self, policy: Policy) -> None:
        """Put a policy in force: links with servers that it does not accept are ended. Does not write the file."""
        self.trust.set_policy(policy)
        self.finder.set_own(own_contacts(policy, MAILSERVER))
        self.finder.recheck()
        self.server.relay.review()

    def status(self) -> dict[str, object]:
        """How everything stands, as JSON."""
        record = self.discovery.record
        return {
            "schemaVersion": 1,
            "kind": MAILSERVER,
            "nodeId": "0x" + record.node_id.hex(),
            "record": record.text,
            "port": self.server.port,
            "trust": self.trust.status(),
            "server": self.server.stats(),
            "discovery": self.discovery.stats(),
            "finder": self.finder.stats(),
        }

    async def _follow_trust(self) -> None:
        async for change in self.trust.changes():
            if not isinstance(change, TrustChange):
                self.finder.recheck()
            elif change.kind == MAILSERVER:
                self.finder.trust_changed(change.node_id, change.trusted)
            else:
                continue
            self.server.relay.review()

    async def _offer(self, findings: Listener[Finding]) -> None:
        async for finding in findings:
            if isinstance(finding, Admitted):
                self.server.relay.add_peer(finding.contact)


@asynccontextmanager
async def open_server(
    key: PrivateKey, chain: ChainConfig, discovery: DiscoveryConfig, server: MailserverConfig, policy_path: Path
) -> AsyncIterator[ServerNode]:
    """Run a mail server for as long as the block lasts.

    Its record names its kind and its TCP port. The policy file, which says whom it relays with, is followed. Raises
    ConfigError if the file or an address is of no use, StorageError if the archive or the checkpoint is.
    """
    watch = PolicyWatch(policy_path, default_policy(chain))
    async with TrustedNodes(chain, watch.policy) as trust, Mailserver(key, server, trust) as mailserver:
        kinds = discovery.kinds if MAILSERVER in discovery.kinds else (*discovery.kinds, MAILSERVER)
        async with Discovery(key, replace(discovery, kinds=kinds, tcp=mailserver.port)) as network:
            finder = Finder(
                MAILSERVER,
                trust,
                network,
                trusted_ids=lambda: (node.node_id for node in trust.nodes(MAILSERVER)),
                hungry=lambda: len(mailserver.relay.links) < server.relay_peers,
            )
            node = ServerNode(trust, network, mailserver, finder)
            with finder.findings.listen() as findings:
                async with background(
                    node._follow_trust(), node._offer(findings), finder.run(), watch.run(node.set_policy)
                ):
                    finder.set_own(own_contacts(watch.policy, MAILSERVER))
                    yield node
