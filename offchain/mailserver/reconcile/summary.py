"""What our own archive holds, as reconciliation asks: totals of ranges, their parts, and what we lack of a list."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Protocol

from offchain.mailserver.reconcile.fingerprint import Total, total
from offchain.mailserver.reconcile.packets import (
    MAX_LISTED,
    MAX_PARTS,
    WINDOW,
    Divided,
    Listed,
    Question,
    Range,
    Same,
    Told,
    window_of,
    window_ranges,
)

PAGE = 4_096
"""Positions read from the archive at a time."""

REMEMBERED = 20_000
"""Windows whose totals are remembered: some 70 days."""

REMEMBERED_FOR = 120.0
"""Seconds for which they are believed: several servers may write to one database."""


class Store(Protocol):
    """The part of an archive that reconciliation reads. Calls block and may come from any thread."""

    def positions(self, begin: bytes, end: bytes, limit: int) -> list[bytes]: ...

    def get_many(self, positions: Collection[bytes]) -> list[bytes | None]: ...


class Summary:
    """Looks into the archive. Blocks, and may be used from several threads."""

    def __init__(self, store: Store, elapsed: Callable[[], float]) -> None:
        """`elapsed` is a clock that nobody sets."""
        self._store = store
        self._elapsed = elapsed
        self._lock = threading.Lock()
        self._totals: dict[int, tuple[Total, float]] = {}
        self._adding_up: dict[int, object] = {}

    def touched(self, times: Iterable[int]) -> None:
        """Envelopes sent at these times were added."""
        with self._lock:
            for window in {sent // WINDOW for sent in times}:
                self._totals.pop(window, None)
                self._adding_up.pop(window, None)

    def total(self, range_: Range) -> Total:
        """What we have in a range."""
        window = window_of(range_)
        if window_ranges(window * WINDOW, window * WINDOW) != [range_]:
            return total(self._positions(range_))
        mark = object()
        with self._lock:
            known = self._totals.get(window)
            if known is not None and known[1] > self._elapsed():
                return known[0]
            self._adding_up[window] = mark
        found = total(self._positions(range_))
        with self._lock:
            if self._adding_up.get(window) is mark:  # nothing was added meanwhile
                del self._adding_up[window]
                self._totals[window] = (found, self._elapsed() + REMEMBERED_FOR)
                if len(self._totals) > REMEMBERED:
                    del self._totals[next(iter(self._totals))]
        return found

    def tell(self, question: Question) -> tuple[Told, int]:
        """Our answer to a question, and how many envelopes were looked at for it."""
        mine = self.total(question.range)
        if mine.fingerprint == question.fingerprint:
            return Same(), mine.count
        if mine.count > MAX_LISTED:
            divided = self._divide(question.range, mine.count)
            if divided is not None:
                return divided, 2 * mine.count
        first = self._store.positions(question.range.begin, question.range.end, MAX_LISTED)
        return Listed(tuple(first)), mine.count

    def lacking(self, positions: Collection[bytes]) -> list[bytes]:
        """Those of the positions at which we have nothing."""
        return [at for at, raw in zip(positions, self._store.get_many(positions), strict=True) if raw is None]

    def get_many(self, positions: Collection[bytes]) -> list[bytes | None]:
        """The envelopes at these positions; None where there is none."""
        return self._store.get_many(positions)

    def _divide(self, range_: Range, count: int) -> Divided | None:
        """The range in parts of as many envelopes each; None if there are no longer enough for two."""
        size = -(-count // MAX_PARTS)
        parts: list[tuple[bytes, bytes]] = []
        part: list[bytes] = []
        for at in self._positions(range_):
            if len(part) >= size and len(parts) < MAX_PARTS - 1:
                parts.append((_border(part[-1], at), total(part).fingerprint))
                part = []
            part.append(at)
        parts.append((range_.end, total(part).fingerprint))
        return Divided(tuple(parts)) if len(parts) > 1 else None

    def _positions(self, range_: Range) -> Iterator[bytes]:
        begin = range_.begin
        while True:
            page = self._store.positions(begin, range_.end, PAGE)
            yield from page
            if len(page) < PAGE:
                return
            begin = page[-1] + b"\0"


def _border(before: bytes, after: bytes) -> bytes:
    """The shortest bound between two positions that follow each other."""
    size = next(at for at, (a, b) in enumerate(zip(before, after, strict=True)) if a != b)
    return after[: size + 1]
