"""A node of any registered kind: trust, discovery and its service, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from offchain.config import ChainConfig, DiscoveryConfig, ServiceConfig
from offchain.discovery.service import Discovery
from offchain.keys import PrivateKey
from offchain.node.background import background
from offchain.node.kinds import Service, make_service
from offchain.node.policy_watch import PolicyWatch, default_policy
from offchain.trust.nodes import TrustedNodes
from offchain.trust.policy import Policy
from offchain.trust.trusted_set import TrustChange
from offchain.types import Kind


@dataclass(frozen=True, slots=True)
class ServiceNode:
    """A running node; `open_service` makes it."""

    kind: Kind
    trust: TrustedNodes
    discovery: Discovery
    service: Service

    async def set_policy(self, policy: Policy) -> None:
        """Put a policy in force. Does not write the file."""
        self.trust.set_policy(policy)
        self.service.recheck()

    def status(self) -> dict[str, object]:
        """How everything stands, as JSON."""
        record = self.discovery.record
        return {
            "schemaVersion": 1,
            "kind": self.kind,
            "nodeId": "0x" + record.node_id.hex(),
            "record": record.text,
            "port": self.service.port,
            "trust": self.trust.status(),
            "service": self.service.stats(),
            "discovery": self.discovery.stats(),
        }

    async def _follow_trust(self) -> None:
        async for change in self.trust.changes():
            if isinstance(change, TrustChange):
                self.service.trust_changed(change.kind, change.node_id, change.trusted, change.reason)
            else:
                self.service.recheck()


@asynccontextmanager
async def open_service(
    kind: Kind,
    key: PrivateKey,
    chain: ChainConfig,
    discovery: DiscoveryConfig,
    config: ServiceConfig,
    policy_path: Path,
) -> AsyncIterator[ServiceNode]:
    """Run a node of a registered kind for as long as the block lasts. Its record names the kind and its TCP port.

    ConfigError if the kind, the policy file or an address is of no use, StorageError if what it keeps is.
    """
    watch = PolicyWatch(policy_path, default_policy(chain))
    async with TrustedNodes(chain, watch.policy) as trust:
        service = make_service(kind, key, config, trust)
        async with service:
            kinds = discovery.kinds if kind in discovery.kinds else (*discovery.kinds, kind)
            async with Discovery(key, replace(discovery, kinds=kinds, tcp=service.port)) as network:
                node = ServiceNode(kind, trust, network, service)
                async with background(node._follow_trust(), service.run(network), watch.run(node.set_policy)):
                    yield node
