"""The ids of a whole network, sorted: who is at which distance from where, without asking around."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from random import Random

from offchain.discovery.node import Node
from offchain.discovery.table import BUCKET_SIZE
from offchain.types import NodeId

_ENOUGH_CHECKS = 3
"""Answers in a row after which a table asks at the slow pace."""


class Space:
    """Nodes by id."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._nodes = sorted(nodes, key=lambda node: node.id)
        self._numbers = [int.from_bytes(node.id, "big") for node in self._nodes]

    def __len__(self) -> int:
        return len(self._nodes)

    def at(self, center: bytes, distance: int) -> list[Node]:
        """All nodes at a log distance (1 to 256) from an id: they are neighbours in the order of ids."""
        low = (int.from_bytes(center, "big") >> distance - 1 ^ 1) << distance - 1
        begin = bisect_left(self._numbers, low)
        return self._nodes[begin : bisect_left(self._numbers, low + (1 << distance - 1), begin)]

    def sample(self, center: bytes, distance: int, count: int, rng: Random) -> list[Node]:
        """Some of them, in random order."""
        nodes = self.at(center, distance)
        return rng.sample(nodes, min(count, len(nodes)))

    def distances(self, center: NodeId) -> Iterator[int]:
        """The distances at which there is anybody, from far to near."""
        left = len(self._nodes)
        for distance in range(256, 0, -1):
            if left <= 0:
                return
            found = len(self.at(center, distance))
            left -= found
            if found:
                yield distance


def converge(nodes: list[Node], rng: Random, now: float, spread: float) -> None:
    """Give each node the table that it would have after a long time: all buckets full, everybody in it proven.

    Places are drawn at random among the nodes at each distance, as the table's rules allow. There are no sessions yet.
    Nodes walk again within `spread` seconds, each at a time of its own.
    """
    space = Space(nodes)
    for node in nodes:
        table = node.contacts.table
        for distance in space.distances(node.id):
            taken = 0
            for other in space.sample(node.id, distance, 2 * BUCKET_SIZE, rng):
                remote = node.requests.remote(other.record)
                if remote is None or not table.add(other.record, remote.address, now, live=True):
                    continue
                entry = table.get(other.id)
                assert entry is not None
                entry.checks = _ENOUGH_CHECKS
                taken += 1
                if taken == BUCKET_SIZE:
                    break
        node.explorer.rest(now + rng.random() * spread)
