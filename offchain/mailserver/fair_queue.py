"""Whose turn it is: answers of many clients share one archive fairly, slice by slice.

Start-time fair queueing (Goyal, Vin, Cheng 1996) with equal weights: a slice that waits begins, in virtual time, where
its client's last one ended, or now if that is longer ago; the one that begins first goes first, and ends after as much
virtual time as it cost. Virtual time is the beginning of what is served. So a client that asks for a lot waits for
those that ask for little, however many slices it would take; and who did not ask for an hour has saved up nothing.
Virtual time also goes on by itself, slowly, so that no stream of newcomers keeps anybody waiting for ever.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable

BASE_COST = 4.0
"""What a slice costs besides its envelopes, in envelopes: looking up is work even if nothing is found."""

PATIENCE = 4
"""A stream of newcomers keeps a client waiting this many times as long as its share would have taken."""

SWEEP = 1_000
"""Clients remembered before those whose slices ended long ago are forgotten."""


class FairQueue:
    """Orders what waits. Knows no clock and no tasks: `enter` what waits, take the `next`, and say what it `cost`."""

    def __init__(self) -> None:
        self._now = 0.0
        """Virtual time."""
        self._ends: dict[Hashable, float] = {}
        """Where each client's last slice ended, as long as that is to come."""
        self._waiting: list[tuple[float, int, Hashable, object]] = []
        self._count = 0
        self._sweep_at = SWEEP

    def __len__(self) -> int:
        return len(self._waiting)

    def enter(self, client: Hashable, ticket: object) -> None:
        """A slice of a client's waits. Of a client only one may wait or be served at a time."""
        self._count += 1
        heapq.heappush(self._waiting, (max(self._now, self._ends.get(client, 0.0)), self._count, client, ticket))

    def next(self) -> tuple[Hashable, object] | None:
        """The client that is served next, and its ticket; None if nothing waits."""
        if not self._waiting:
            return None
        begin, _, client, ticket = heapq.heappop(self._waiting)
        self._now = max(self._now, begin)
        self._ends[client] = begin + BASE_COST
        return client, ticket

    def cost(self, client: Hashable, envelopes: float) -> None:
        """The client's slice was served, and brought so many envelopes."""
        self._ends[client] = self._ends.get(client, self._now) + envelopes
        self._now += (BASE_COST + envelopes) / (len(self._waiting) + 1) / PATIENCE
        if len(self._ends) > self._sweep_at:
            self._ends = {each: end for each, end in self._ends.items() if end > self._now}
            self._sweep_at = 2 * len(self._ends) + SWEEP
