"""One search: who advertises a topic?

Registrars are asked from the far buckets of the service table to the near ones, up to five in each; the next bucket is
entered when the last one's are all asked, and never before one of them was. Far buckets are where most nodes are, so
that nobody can stand in the way of a search by being near to the topic. Of one registrar's answer, ten advertisers
count.

It ends when nobody is left to ask; or before, when enough advertisers were found and of the last twelve registrars that
answered ten named somebody. If a topic is as common as the many names say, most registrars know it. If only few know
it, those few may be making it up together, and the search goes on to where honest ads must be
(docs/decisions/0025-when-a-search-is-over.md).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from offchain.discovery.address import UdpAddress
from offchain.discovery.topics.registrar import MAX_RETURNED
from offchain.discovery.topics.service_table import BUCKETS, ServiceTable
from offchain.enr import Enr
from offchain.types import NodeId

K_LOOKUP = 5
F_LOOKUP = 30
LAST_ANSWERS = 12
MUST_KNOW = 10
"""Of the last answers, those that must name somebody before a search ends early."""

ALPHA = 5
"""Registrars asked at a time."""


class Discoverer:
    """The search, on a fresh service table that the caller fills."""

    def __init__(self, table: ServiceTable, *, enough: int = F_LOOKUP) -> None:
        self.table = table
        self.found: dict[NodeId, Enr] = {}
        """Advertisers, newest records."""

        self.asked = 0
        """Registrars asked."""

        self._enough = enough
        self._knew: deque[bool] = deque(maxlen=LAST_ANSWERS)
        self._asked: set[NodeId] = set()
        self._per_bucket: dict[int, int] = {}
        self._in_flight: set[NodeId] = set()

    @property
    def done(self) -> bool:
        """Whether enough was found, or nobody is left to ask."""
        return self._is_enough() or (not self._in_flight and self._next() is None)

    def next_queries(self) -> list[Enr]:
        """Whom to ask now; each must be reported with `answered` or `failed`."""
        queries: list[Enr] = []
        while len(self._in_flight) < ALPHA and not self._is_enough():
            enr = self._next()
            if enr is None:
                break
            number = self.table.bucket_of(enr.node_id)
            self._per_bucket[number] = self._per_bucket.get(number, 0) + 1
            self._asked.add(enr.node_id)
            self._in_flight.add(enr.node_id)
            self.asked += 1
            queries.append(enr)
        return queries

    def answered(
        self, node_id: NodeId, advertisers: Iterable[Enr], hints: Iterable[tuple[Enr, UdpAddress]], now: float
    ) -> list[Enr]:
        """A registrar named these, as it may. The advertisers that are new."""
        if node_id not in self._in_flight:
            return []
        self._in_flight.discard(node_id)
        self.table.add_hints(hints, now)
        new: list[Enr] = []
        named = list(advertisers)[:MAX_RETURNED]
        self._knew.append(bool(named))
        for enr in named:
            known = self.found.get(enr.node_id)
            if known is None or enr.seq > known.seq:
                self.found[enr.node_id] = enr
                new.append(enr)
        return new

    def failed(self, node_id: NodeId) -> None:
        """A registrar did not answer: another may be asked in its place."""
        if node_id in self._in_flight:
            self._in_flight.discard(node_id)
            self._per_bucket[self.table.bucket_of(node_id)] -= 1

    def _is_enough(self) -> bool:
        return len(self.found) >= self._enough and sum(self._knew) >= MUST_KNOW

    def _next(self) -> Enr | None:
        for number in BUCKETS:
            if self._per_bucket.get(number, 0) >= K_LOOKUP:
                continue
            enr = self.table.pick(number, self._asked)
            if enr is not None:
                return enr
        return None
