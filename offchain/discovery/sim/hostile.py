"""Nodes that work together to hide honest servers: whatever they are asked, they name each other.

They advertise themselves under the topic like servers, admit everybody in word and nobody in deed, answer TOPICQUERY
and FINDNODE with their own kind only, hint at their own kind only, and otherwise behave.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from offchain.discovery.address import UdpAddress
from offchain.discovery.node import Node
from offchain.discovery.sim.space import Space
from offchain.discovery.table import BUCKET_SIZE, Entry, Table
from offchain.discovery.topics.admission import LIFETIME, SharedAdmission
from offchain.discovery.topics.registrar import MAX_RETURNED, Confirmation, Registrar
from offchain.enr import Enr
from offchain.types import NodeId, Topic


class Ring:
    """Those who work together."""

    def __init__(self, rng: Random) -> None:
        self.members: list[Node] = []
        self.ids: set[NodeId] = set()
        self.rng = rng
        self._space = Space([])

    def corrupt(self, node: Node) -> None:
        """Have a node, which has not started, belong to the ring."""
        node.directory.registrar = _HostileRegistrar(self)
        node.contacts.table = _HostileTable(node.id, self)
        self.members.append(node)
        self.ids.add(node.id)

    def some(self, count: int) -> list[Enr]:
        """Records of a few."""
        return [node.record for node in self.rng.sample(self.members, min(count, len(self.members)))]

    @property
    def space(self) -> Space:
        """The members by id."""
        if len(self._space) != len(self.members):
            self._space = Space(self.members)
        return self._space


class _HostileRegistrar(Registrar):
    def __init__(self, ring: Ring) -> None:
        super().__init__(SharedAdmission(), ring.rng, lan=False)
        self._ring = ring

    def register(
        self, node_id: NodeId, source: UdpAddress, topic: Topic, record: bytes, ticket: bytes, newest: int, now: float
    ) -> Confirmation | None:
        return Confirmation(b"", LIFETIME)

    def advertisers(self, topic: Topic, source: UdpAddress, now: float) -> list[Enr]:
        return self._ring.some(MAX_RETURNED)


class _HostileTable(Table):
    def __init__(self, local_id: NodeId, ring: Ring) -> None:
        super().__init__(local_id, ring.rng)
        self._own = local_id
        self._ring = ring

    def at_distances(self, distances: Iterable[int]) -> list[Entry]:
        space, rng = self._ring.space, self._ring.rng
        nodes = [node for distance in distances for node in space.sample(self._own, distance, BUCKET_SIZE, rng)]
        return [_entry(node.record) for node in nodes]

    def live_at(self, center: bytes, distance: int) -> list[Entry]:
        nodes = self._ring.space.sample(center, distance, 1, self._ring.rng)
        return [_entry(node.record) for node in nodes]


def _entry(enr: Enr) -> Entry:
    return Entry(enr, (str(enr.ip), enr.udp or 0), inbound=False, live=True)
