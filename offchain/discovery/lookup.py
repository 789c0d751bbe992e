"""The iterative lookup: who of all nodes is closest to a target?

Ask the closest nodes that we know, three at a time, for nodes at the distances that the target has from them; ask the
closest of those that they name; until the sixteen closest have all been asked. A pure state machine: `next_queries`
says whom to ask, `answered` and `failed` say how it went.
"""

from __future__ import annotations

from collections.abc import Iterable

from offchain.discovery.table import BUCKET_SIZE, log_distance, xor_distance
from offchain.enr import Enr
from offchain.types import NodeId

ALPHA = 3
REQUEST_LIMIT = 3
"""Distances asked of a node."""

MAX_SEEN = 1_024
"""Nodes that a lookup takes in; honest ones end long before."""


def lookup_distances(asked: NodeId, target: NodeId) -> tuple[int, ...]:
    """Distances from the asked node at which nodes near the target are: the target's own first, then its neighbours."""
    middle = log_distance(asked, target)
    distances = [middle] if middle else []
    step = 1
    while len(distances) < REQUEST_LIMIT:
        distances += [each for each in (middle + step, middle - step) if 1 <= each <= 256]
        step += 1
    return tuple(distances[:REQUEST_LIMIT])


class Lookup:
    """One lookup."""

    def __init__(self, target: NodeId, local_id: NodeId, seeds: Iterable[Enr], *, until: NodeId | None = None) -> None:
        """Begin with these nodes; end early when the node `until` is named."""
        self.target = target
        self._until = until
        self._local_id = local_id
        self._nodes: dict[NodeId, Enr] = {}
        self._asked: set[NodeId] = set()
        self._in_flight: set[NodeId] = set()
        self._answered: set[NodeId] = set()
        self._failed: set[NodeId] = set()
        self._take(seeds)

    @property
    def done(self) -> bool:
        """Whether nothing is left to ask, or the node was found."""
        if self._until is not None and self._until in self._nodes:
            return True
        return not self._in_flight and not self._open()

    def next_queries(self) -> list[Enr]:
        """Whom to ask now: so many that three answers are awaited."""
        if self.done:
            return []
        chosen = self._open()[: max(ALPHA - len(self._in_flight), 0)]
        for enr in chosen:
            self._asked.add(enr.node_id)
            self._in_flight.add(enr.node_id)
        return chosen

    def answered(self, node_id: NodeId, named: Iterable[Enr]) -> None:
        """A node that was asked named these; they are checked (signature, distance, address) by the caller."""
        self._in_flight.discard(node_id)
        self._answered.add(node_id)
        self._take(named)

    def failed(self, node_id: NodeId) -> None:
        """A node that was asked did not answer."""
        self._in_flight.discard(node_id)
        self._failed.add(node_id)

    def result(self) -> list[Enr]:
        """The closest nodes that answered, closest first."""
        return self._sorted(self._answered)[:BUCKET_SIZE]

    def record_of(self, node_id: NodeId) -> Enr | None:
        """The newest record of a node that was named, whether or not it answered."""
        return self._nodes.get(node_id)

    def _take(self, records: Iterable[Enr]) -> None:
        for enr in records:
            if enr.node_id == self._local_id:
                continue
            known = self._nodes.get(enr.node_id)
            if (known is None and len(self._nodes) < MAX_SEEN) or (known is not None and enr.seq > known.seq):
                self._nodes[enr.node_id] = enr

    def _open(self) -> list[Enr]:
        """Not yet asked, among the sixteen closest that have not failed."""
        closest = self._sorted(self._nodes.keys() - self._failed)[:BUCKET_SIZE]
        return [enr for enr in closest if enr.node_id not in self._asked]

    def _sorted(self, node_ids: Iterable[NodeId]) -> list[Enr]:
        nodes = [self._nodes[node_id] for node_id in node_ids]
        return sorted(nodes, key=lambda enr: xor_distance(enr.node_id, self.target))
