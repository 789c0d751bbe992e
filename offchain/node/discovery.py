"""A node that takes part in discovery and does nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from offchain.config import DiscoveryConfig
from offchain.discovery.service import Discovery
from offchain.keys import PrivateKey


@dataclass(frozen=True, slots=True)
class DiscoveryNode:
    """What runs."""

    discovery: Discovery

    def status(self) -> dict[str, object]:
        """Its record and counters, as JSON."""
        record = self.discovery.record
        return {
            "schemaVersion": 1,
            "nodeId": "0x" + record.node_id.hex(),
            "record": record.text,
            "discovery": self.discovery.stats(),
        }


@asynccontextmanager
async def open_discovery(key: PrivateKey, config: DiscoveryConfig) -> AsyncIterator[DiscoveryNode]:
    """Run a discovery node for as long as the block lasts."""
    async with Discovery(key, config) as discovery:
        yield DiscoveryNode(discovery)
