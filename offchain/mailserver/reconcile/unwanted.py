"""Hashes of envelopes that another server has and we refused, so that they are not fetched in every round."""

from __future__ import annotations

from collections.abc import Iterable

CAPACITY = 65_536
"""Beyond it those refused first are forgotten, and fetched and refused again some day."""


class Unwanted:
    """A bounded set."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._hashes: dict[bytes, None] = {}

    def remember(self, hashes: Iterable[bytes]) -> None:
        """These were refused."""
        for each in hashes:
            self._hashes[each] = None
            if len(self._hashes) > self._capacity:
                del self._hashes[next(iter(self._hashes))]

    def __contains__(self, envelope_hash: object) -> bool:
        return envelope_hash in self._hashes

    def __len__(self) -> int:
        return len(self._hashes)
