"""What of history was read, per topic, so that what is lacking is known and can be filled later.

    covered(topic, lower, upper)        seconds from lower to upper, both included; no two of a topic touch

A stretch counts as read when a reading of it ended complete, and only up to some time before now: envelopes arrive some
time after they were sent.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from offchain.client.history import Finished, Query
from offchain.errors import StorageError

SETTLING = 120
"""Seconds after which nothing more is expected to arrive for a moment."""

MAX_TOPICS = 100_000
FORMAT = 1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS covered (
    topic BLOB NOT NULL, lower INTEGER NOT NULL, upper INTEGER NOT NULL, PRIMARY KEY (topic, lower)
) WITHOUT ROWID
"""

Stretch = tuple[int, int]
"""The first and the last second."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch of time that was not read, and of which topics."""

    topics: tuple[bytes, ...]
    lower: int
    upper: int

    def query(self, page_size: int = 150) -> Query:
        """What fills it."""
        return Query(self.topics, self.lower, self.upper, page_size)


class Coverage:
    """A small SQLite file. StorageError if it cannot be used. Calls take well below a millisecond."""

    def __init__(self, path: Path | str) -> None:
        """`path` may be ":memory:"."""
        self._path = path
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")  # what a power failure loses is read once more
            found = self._db.execute("PRAGMA user_version").fetchone()[0]
            if found not in (0, FORMAT):
                raise StorageError(f"{path} holds version {found}, expected {FORMAT}")
            self._db.execute(_SCHEMA)
            self._db.execute(f"PRAGMA user_version = {FORMAT}")
        except sqlite3.Error as error:
            raise StorageError(f"{path} cannot be used: {error}") from error

    def __enter__(self) -> Coverage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def gaps(self, topics: Iterable[bytes], lower: int, upper: int) -> list[Gap]:
        """What is lacking from lower to upper, oldest first; topics that lack the same stretch are put together."""
        lacking: defaultdict[Stretch, list[bytes]] = defaultdict(list)
        for topic in sorted(set(topics)):
            for stretch in holes(self.covered(topic), lower, upper):
                lacking[stretch].append(topic)
        return [Gap(tuple(of), *stretch) for stretch, of in sorted(lacking.items())]

    def covered(self, topic: bytes) -> list[Stretch]:
        """The stretches of a topic that were read, oldest first."""
        try:
            rows = self._db.execute("SELECT lower, upper FROM covered WHERE topic = ? ORDER BY lower", [topic])
            return [(lower, upper) for lower, upper in rows]
        except sqlite3.Error as error:
            raise StorageError(f"{self._path} cannot be read: {error}") from error

    def cover(self, topics: Sequence[bytes], lower: int, upper: int) -> None:
        """A stretch was read, for all of these topics."""
        if lower > upper:
            return
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for topic in topics:
                    joined = join([*self.covered(topic), (lower, upper)])
                    self._db.execute("DELETE FROM covered WHERE topic = ?", [topic])
                    self._db.executemany("INSERT INTO covered VALUES (?, ?, ?)", [(topic, *each) for each in joined])
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise StorageError(f"{self._path} cannot be written: {error}") from error

    def finished(self, query: Query, finished: Finished, now: float) -> None:
        """A reading of history ended: what it read to the end counts, also if it did not get to its own end."""
        if not query.topics:
            return
        lower, upper = query.lower, min(query.upper, int(now) - SETTLING)
        if query.cursor is not None:
            lower = max(lower, _second(query.cursor) + 1)
        if finished.cursor is not None:
            upper = min(upper, _second(finished.cursor) - 1)  # of that second there may be more
        elif not finished.complete:
            return
        self.cover(query.topics, lower, upper)

    def forget_before(self, time: int) -> None:
        """Nothing older is of interest any more."""
        try:
            self._db.execute("DELETE FROM covered WHERE upper < ?", [time])
        except sqlite3.Error as error:
            raise StorageError(f"{self._path} cannot be written: {error}") from error


def join(stretches: Iterable[Stretch]) -> list[Stretch]:
    """Stretches in order, those that touch or overlap made one."""
    joined: list[Stretch] = []
    for lower, upper in sorted(stretches):
        if joined and lower <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(joined[-1][1], upper))
        else:
            joined.append((lower, upper))
    return joined


def holes(covered: Iterable[Stretch], lower: int, upper: int) -> list[Stretch]:
    """What is between lower and upper and in none of the stretches, which are in order and do not touch."""
    found: list[Stretch] = []
    for first, last in covered:
        if first > upper:
            break
        if last < lower:
            continue
        if first > lower:
            found.append((lower, first - 1))
        lower = last + 1
    if lower <= upper:
        found.append((lower, upper))
    return found


def _second(cursor: bytes) -> int:
    return int.from_bytes(cursor[:4], "big")
