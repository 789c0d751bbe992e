"""B(s): nodes that may be registrars of a topic, sorted by their log distance from the topic.

The bucket of distance 256 holds half of all nodes, 255 a quarter, and so on; the last, 239, takes all that are nearer.
Buckets are filled from the routing table, and with the hints that come with answers to REGTOPIC and TOPICQUERY. Of
one answer's hints, a bucket takes one; of one /24 (or /64), a bucket takes one: whoever wants to fill a bucket needs a
subnet for each place in it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container, Iterable
from dataclasses import dataclass
from random import Random

from offchain.discovery.address import Scope, UdpAddress, bucket_subnet, scope_of_text
from offchain.discovery.topics.capability import speaks_topics
from offchain.enr import Enr
from offchain.types import NodeId, Topic

FARTHEST = 256
NEAREST = 239
BUCKETS = range(FARTHEST, NEAREST - 1, -1)
"""From far to near: the order in which they are used."""

BUCKET_SIZE = 16
MAX_HINTS = 8
"""Hints taken from one answer."""


@dataclass(slots=True)
class _Exclusion:
    until: float
    times: int


class Exclusions:
    """Nodes that failed us, each left alone for a while: half a minute at first, an hour at most."""

    FIRST = 30.0
    LONGEST = 3_600.0
    CAPACITY = 2_048

    def __init__(self) -> None:
        self._nodes: OrderedDict[NodeId, _Exclusion] = OrderedDict()
        self.next_end = float("inf")
        """When the first of them has been left alone for long enough: at most so late."""

    def add(self, node_id: NodeId, now: float) -> None:
        """The node failed."""
        known = self._nodes.pop(node_id, None)
        times = 1 if known is None else known.times + 1
        wait = min(self.FIRST * 2 ** min(times - 1, 8), self.LONGEST)
        self._nodes[node_id] = _Exclusion(now + wait, times)
        self.next_end = min(self.next_end, now + wait)
        if len(self._nodes) > self.CAPACITY:
            self._nodes.popitem(last=False)

    def forgive(self, node_id: NodeId) -> None:
        """The node did well."""
        self._nodes.pop(node_id, None)

    def holds(self, node_id: NodeId, now: float) -> bool:
        """Whether to leave the node alone."""
        known = self._nodes.get(node_id)
        return known is not None and now < known.until

    def pass_by(self, now: float) -> None:
        """Those that have been left alone until now are done with: `next_end` is of others."""
        self.next_end = min((each.until for each in self._nodes.values() if each.until > now), default=float("inf"))

    def __len__(self) -> int:
        return len(self._nodes)


class ServiceTable:
    """The table of one topic. Addresses are checked by the caller."""

    def __init__(
        self, topic: Topic, local_id: NodeId, exclusions: Exclusions, rng: Random, *, lan: bool, room: int = BUCKET_SIZE
    ) -> None:
        """With `lan`, private and loopback addresses are not limited per subnet; `room` for so many in a bucket."""
        self.topic = topic
        self._local_id = local_id
        self._exclusions = exclusions
        self._rng = rng
        self._lan = lan
        self._room = room
        self._buckets: dict[int, dict[NodeId, tuple[Enr, UdpAddress]]] = {}
        self._number = int.from_bytes(topic, "big")
        self.changes = 0
        """Counts the nodes taken in."""

    def bucket_of(self, node_id: NodeId) -> int:
        """The number of the bucket in which the node belongs."""
        return max((self._number ^ int.from_bytes(node_id, "big")).bit_length(), NEAREST)

    def add(self, enr: Enr, address: UdpAddress, now: float) -> bool:
        """Take a node in, or its newer record. Whether it is in the table now."""
        node_id = enr.node_id
        bucket = self._buckets.setdefault(self.bucket_of(node_id), {})
        known = bucket.get(node_id)
        if known is not None:
            if enr.seq > known[0].seq:
                bucket[node_id] = (enr, address)
            return True
        if (
            node_id == self._local_id
            or not speaks_topics(enr)
            or self._exclusions.holds(node_id, now)
            or len(bucket) >= self._room
            or self._has_neighbour(bucket, address)
        ):
            return False
        bucket[node_id] = (enr, address)
        self.changes += 1
        return True

    def add_hints(self, hints: Iterable[tuple[Enr, UdpAddress]], now: float) -> list[Enr]:
        """Take in the hints of one answer: one a bucket. Those that are new."""
        taken: list[Enr] = []
        filled: set[int] = set()
        for enr, address in hints:
            number = self.bucket_of(enr.node_id)
            if number in filled or len(filled) >= MAX_HINTS:
                continue
            filled.add(number)
            if enr.node_id not in self and self.add(enr, address, now):
                taken.append(enr)
        return taken

    def remove(self, node_id: NodeId) -> None:
        """Take a node out."""
        self._buckets.get(self.bucket_of(node_id), {}).pop(node_id, None)

    def members(self, number: int, but: Container[NodeId] = ()) -> list[Enr]:
        """The nodes of a bucket, but these, in random order."""
        members = [enr for node_id, (enr, _) in self._buckets.get(number, {}).items() if node_id not in but]
        self._rng.shuffle(members)
        return members

    def pick(self, number: int, but: set[NodeId]) -> Enr | None:
        """A node of a bucket at random, not one of these."""
        choice = [enr for node_id, (enr, _) in self._buckets.get(number, {}).items() if node_id not in but]
        return self._rng.choice(choice) if choice else None

    def size(self, number: int) -> int:
        """How many nodes are in a bucket."""
        return len(self._buckets.get(number, ()))

    def record_of(self, node_id: NodeId) -> Enr | None:
        """The record of a node of the table."""
        known = self._buckets.get(self.bucket_of(node_id), {}).get(node_id)
        return known[0] if known else None

    def wanted(self) -> tuple[int, ...]:
        """Distances at which more nodes are welcome, the emptiest buckets first: for REGTOPIC and TOPICQUERY."""
        room = [number for number in BUCKETS if self.size(number) < self._room]
        room.sort(key=self.size)
        return tuple(room[:MAX_HINTS])

    def __contains__(self, node_id: NodeId) -> bool:
        return node_id in self._buckets.get(self.bucket_of(node_id), {})

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))

    def _has_neighbour(self, bucket: dict[NodeId, tuple[Enr, UdpAddress]], address: UdpAddress) -> bool:
        if self._lan and scope_of_text(address[0]) is not Scope.PUBLIC:
            return False
        subnet = bucket_subnet(address[0])
        return any(bucket_subnet(other[0]) == subnet for _, other in bucket.values())
