"""Which days of the archive are to go, and which envelopes are too old to be kept at all.

Days go whole, oldest first: those past the retention time, then as many as bring size and number below their bounds. A
clock that has jumped ahead would make everything old, so after a start or a jump nothing is deleted for its age until
the clock has gone on evenly for a while. A clock set back deletes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from offchain.mailserver.archive.base import SECONDS_PER_DAY, DayInfo

SETTLING = 3_600.0
"""Seconds for which the clock must have gone evenly."""

JUMP = 60.0
"""Seconds by which the clock may part from even time between two looks."""


class Retention:
    """Decides what is kept. Times in seconds: `now` since 1970, `elapsed` of a clock that nobody sets."""

    def __init__(
        self, days: int, max_bytes: int, max_envelopes: float = math.inf, *, settling: float = SETTLING
    ) -> None:
        self._days = days
        self._max_bytes = max_bytes
        self._max_envelopes = max_envelopes
        self._settling = settling
        self._last: tuple[float, float] | None = None
        self._even_since = 0.0

    def oldest(self, now: float) -> int:
        """Envelopes sent before it are not taken."""
        return (int(now) // SECONDS_PER_DAY - self._days) * SECONDS_PER_DAY

    def due(self, days: Sequence[DayInfo], now: float, elapsed: float) -> list[int]:
        """The days to delete now; never today or later."""
        settled = self._settled(now, elapsed)
        today = int(now) // SECONDS_PER_DAY
        gone = [each.day for each in days if settled and each.day < today - self._days]
        kept = [each for each in days if each.day not in gone]
        size, count = sum(each.size for each in kept), sum(each.count for each in kept)
        for each in kept:
            fits = size <= self._max_bytes and count <= self._max_envelopes
            if fits or each.day >= min(today, kept[-1].day):
                break
            gone.append(each.day)
            size -= each.size
            count -= each.count
        return gone

    def _settled(self, now: float, elapsed: float) -> bool:
        if self._last is None or abs((now - self._last[0]) - (elapsed - self._last[1])) > JUMP:
            self._even_since = elapsed
        self._last = (now, elapsed)
        return elapsed - self._even_since >= self._settling
