"""Following what arrives: which reading of history comes next, and when. Decided without sockets, clocks or tasks.

Servers don't announce envelopes to clients, so a client asks. Two readings take turns:

    step    from the last envelope seen, often: a few hundred bytes when there is nothing new
    sweep   over the last minutes again, seldom: what reached the server late, or another server only, comes then

A connection that breaks, a server that fails or a machine that slept changes nothing: the next reading begins where the
last one got to, so no gap remains. Every envelope comes once; those that were late come after younger ones.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from offchain.client.coverage import SETTLING
from offchain.client.history import Finished, Query
from offchain.whisper.envelope import Envelope

SHORTEST_PAUSE = 1.0
"""Seconds between readings while envelopes come."""

LONGEST_PAUSE = 8.0
"""While none come: the pause grows by half each time."""

LONGEST_FAILING_PAUSE = 60.0
"""After readings that failed: the pause doubles each time."""

SWEEP_INTERVAL = 30.0

AHEAD = 60
"""Seconds after now up to which is asked: the sender's clock may be ahead."""


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """Everything from lower to upper, in Unix seconds, was given; more of it is not expected."""

    lower: int
    upper: int


class Follow:
    """Read `query` to its end, giving out what `take` finds new, say `finished`, wait for `pause`, and so on."""

    def __init__(self, topics: tuple[bytes, ...], since: int, rng: random.Random) -> None:
        """`since`: envelopes sent before it are not wanted."""
        self._topics = topics
        self._since = since
        self._rng = rng
        self._settled = since - 1
        self._cursor: bytes | None = None
        self._seen: dict[bytes, int] = {}
        self._swept_at: float | None = None
        self._began_at = 0.0
        self._resume: bytes | None = None
        """Where a sweep broke off."""
        self._sweeping = False
        self._new = 0
        self._quiet = SHORTEST_PAUSE
        self._failures = 0

    def query(self, now: float) -> Query:
        """What to read now. `now` is the time of day; a clock that was set back does no harm."""
        sweep_age = None if self._swept_at is None else abs(now - self._swept_at)
        self._sweeping = sweep_age is None or sweep_age >= SWEEP_INTERVAL
        self._new = 0
        lower = self._settled + 1
        upper = max(int(now) + AHEAD, lower)
        if self._sweeping:
            if self._resume is None:
                self._began_at = now
            return Query(self._topics, lower, upper, cursor=self._resume)
        return Query(self._topics, lower, upper, cursor=self._cursor)

    def take(self, envelope: Envelope) -> bool:
        """Whether an envelope of the reading comes for the first time."""
        key = envelope.position
        if self._cursor is None or key > self._cursor:
            self._cursor = key
        if envelope.hash in self._seen:
            return False
        if envelope.sent > self._began_at - SETTLING:  # older ones are not read again
            self._seen[envelope.hash] = envelope.sent
        self._new += 1
        return True

    def finished(self, finished: Finished) -> CaughtUp | None:
        """The reading ended. After a sweep: what is certain to have been given."""
        self._failures = 0 if finished.complete else self._failures + 1
        self._quiet = SHORTEST_PAUSE if self._new else min(self._quiet * 1.5, LONGEST_PAUSE)
        if self._sweeping:
            self._resume = None if finished.complete else finished.cursor
        if not (finished.complete and self._sweeping):
            return None
        self._swept_at = self._began_at
        settled = int(self._began_at) - SETTLING
        if settled <= self._settled:
            return None
        lower, self._settled = self._settled + 1, settled
        self._seen = {each: sent for each, sent in self._seen.items() if sent > settled}
        return CaughtUp(lower, settled)

    def pause(self) -> float:
        """Seconds until the next reading."""
        if self._failures:
            return min(2.0**self._failures, LONGEST_FAILING_PAUSE) * self._rng.uniform(0.8, 1.2)
        return self._quiet
