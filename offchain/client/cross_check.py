"""Comparing what one reading of history gave with what other servers have: decided without sockets, clocks or tasks.

A server that lies by omission answers like one that has less. It is noticed when another server, asked for the same,
has more. That alone does not say who is to blame, a server may have been down, but it says what is missing where.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from offchain.client.history import Finished, HistoryEvent, Query, Received
from offchain.types import NodeId


@dataclass(frozen=True, slots=True)
class CrossChecked:
    """What came of a comparison."""

    compared: bool
    """Whether other servers told all they have of the same range."""

    reason: str
    """In words for people."""

    first: tuple[NodeId, ...]
    """Who gave the first reading."""

    second: tuple[NodeId, ...]
    """With whom it was compared."""

    withheld: tuple[bytes, ...]
    """Hashes of envelopes that only the second have, old enough to have reached the first."""

    lacked: int
    """Envelopes that only the first have: the second lack or withhold them."""


class CrossCheck:
    """Takes in the second reading of a query."""

    def __init__(self, query: Query, seen: Collection[bytes], first: Finished, settled: int) -> None:
        """`seen`: hashes of the first reading; `settled`: a Unix time before which envelopes have got around."""
        self._seen = seen
        self._first = first
        self._settled = settled
        self._end = first.cursor
        self._found: set[bytes] = set()
        self._withheld: list[bytes] = []
        self._second: tuple[NodeId, ...] = ()
        self._complete = False
        self._reason = "the first reading was not complete"
        self.query = replace(query, limit=None)

    @property
    def worth_it(self) -> bool:
        """Whether there is something to compare with."""
        return self._first.complete

    def take(self, event: HistoryEvent) -> bool:
        """Take in an event; False when what follows is beyond the first reading."""
        if isinstance(event, Received):
            envelope = event.envelope
            key = envelope.position
            if self._end is not None and key > self._end:
                self._complete = True
                return False
            self._found.add(envelope.hash)
            if event.node_id not in self._second:
                self._second = (*self._second, event.node_id)
            if envelope.hash not in self._seen and envelope.sent < self._settled:
                self._withheld.append(envelope.hash)
        elif isinstance(event, Finished):
            self._complete = event.complete
            self._second = event.servers
            self._reason = event.reason
        return True

    def result(self) -> CrossChecked:
        """What came of it."""
        lacked = len(set(self._seen) - self._found) if self._complete else 0
        if not self._complete:
            reason = f"not compared: {self._reason}"
        elif self._withheld:
            reason = f"{len(self._withheld)} envelopes were withheld or missing"
        else:
            reason = "nothing was withheld"
        servers = (self._first.servers, self._second)
        return CrossChecked(self._complete, reason, *servers, tuple(self._withheld), lacked)
