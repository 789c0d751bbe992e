"""One day of envelopes in an LMDB environment.

    table d:  sent4 || hash32            -> envelope RLP          everything, oldest first
    table k:  topic4 || sent4 || hash32  -> nothing               the same order for each topic

LMDB keeps a reader's snapshot while a writer commits and survives a kill at any moment. Two things need everybody out
for an instant, closing and growing the map, and `_Doorkeeper` sees to that.
"""

from __future__ import annotations

import heapq
import math
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb

from offchain.errors import StorageError
from offchain.mailserver.archive.base import CURSOR_SIZE, TOPIC_SIZE, Archivable, position
from offchain.mailserver.archive.folder import fsync_folder
from offchain.mailserver.archive.topics import FULL, TopicSet, needed_bits, topic_in

INITIAL_MAP = 256 * 1024**2
"""Bytes of address space for a new day; doubled when it is full. Files are only as large as what they hold."""

MAX_READERS = 256
MAX_KNOWN_TOPICS = 200_000
"""Distinct topics of a day that are remembered in memory; a day with more is searched envelope by envelope."""

TOPICS_INTERVAL = 10.0
"""Seconds between two looks at all topics of a day that another process writes."""

MAX_MERGED_TOPICS = 512
"""A filter that lets more topics of a day through is answered by a scan instead of a merge."""

MAX_SCANNED = 5_000
"""Envelopes looked at for one page of a scan; then the page ends, however short it is, with a cursor."""


class Collector:
    """A page being filled: takes positions and envelopes until it is full."""

    __slots__ = ("_limit", "cursor", "envelopes", "full", "last", "room", "scans_left")

    def __init__(self, limit: int, max_bytes: int) -> None:
        self.envelopes: list[bytes] = []
        self.last: bytes | None = None
        self.cursor: bytes | None = None
        self.full = False
        self.scans_left = MAX_SCANNED
        self._limit = limit
        self.room = max_bytes

    @property
    def left(self) -> int:
        """Envelopes that still fit, by their number."""
        return self._limit - len(self.envelopes)

    def take(self, at: bytes, raw: bytes) -> bool:
        """Add an envelope; whether there is room for another."""
        self.envelopes.append(raw)
        self.last = at
        self.room -= len(raw)
        if len(self.envelopes) >= self._limit or self.room <= 0:
            self.cursor = at
            self.full = True
        return not self.full

    def give_up(self, at: bytes) -> None:
        """End the page after a position that was only looked at."""
        self.cursor = at
        self.full = True


class NotThereYet(StorageError):
    """The process that writes the archive is just beginning the day."""


class DayClosed(StorageError):
    """The day was closed meanwhile, to be deleted or to make room for another."""


class Day:
    """The envelopes sent on one day. Reading may happen in any thread, adding in one at a time."""

    def __init__(self, number: int, path: Path, initial_map: int = INITIAL_MAP, *, readonly: bool = False) -> None:
        """`readonly`: another process writes it. NotThereYet if that has not begun."""
        self.number = number
        self._readonly = readonly
        self._topics_of = 0
        """The transaction whose topics are remembered, and when they were looked up."""
        self._topics_at = -math.inf
        self._path = path
        self._door = _Doorkeeper()
        self._topics: TopicSet | None = None
        self._topics_lock = threading.Lock()
        env: Any = None
        try:
            existing = path.joinpath("data.mdb").stat().st_size if path.joinpath("data.mdb").exists() else 0
            self._env = env = lmdb.open(
                str(path),
                map_size=max(initial_map, 2 * existing),
                max_dbs=2,
                max_readers=MAX_READERS,
                readonly=readonly,
                create=not readonly,
                readahead=False,
                mode=0o600,
            )
            self._check_size()
            self._d = self._env.open_db(b"d", create=not readonly)
            self._k = self._env.open_db(b"k", create=not readonly)
            self._env.reader_check()
            if not existing and not readonly:
                fsync_folder(path)
        except (lmdb.Error, OSError) as error:
            if readonly and (not path.joinpath("data.mdb").exists() or isinstance(error, lmdb.NotFoundError)):
                if env is not None:
                    env.close()
                raise NotThereYet(f"the archive's day {path} is not there yet") from error
            raise StorageError(
                f"the archive's day {path} cannot be opened: {error}; move the folder away to go on without this day"
            ) from error

    def add(self, envelopes: Sequence[Archivable]) -> list[bool]:
        """Store and commit; for each envelope, whether it is new."""
        with self._topics_lock:
            while True:
                try:
                    added = self._commit(envelopes)
                    break
                except lmdb.MapFullError:
                    self._grow()
                except lmdb.Error as error:
                    raise StorageError(f"the archive's day {self._path} cannot be written: {error}") from error
            if self._topics is not None:
                self._topics.add(envelope.topic for envelope in envelopes)
        return added

    def collect(self, first: bytes, upper: bytes, topics: Sequence[bytes], bloom: int, page: Collector) -> None:
        """Fill the page with what lies between two positions (both included), of the topics or else by the filter."""
        by_topics = topics or bloom == FULL or self._readonly
        wanted: Sequence[bytes] | None = topics or (None if by_topics else self._matching(bloom))
        with self._reading() as txn:
            if self._readonly and wanted is None and bloom != FULL:
                wanted = self._matching_as_of(txn, bloom)
            if wanted is None or len(wanted) > MAX_MERGED_TOPICS:
                self._scan(txn, first, upper, bloom, page)
            else:
                self._merge(txn, wanted, first, upper, page)

    def positions(self, begin: bytes, end: bytes, limit: int) -> list[bytes]:
        """The first positions from begin to before end."""
        found: list[bytes] = []
        with self._reading() as txn:
            cursor = txn.cursor(self._d)
            if cursor.set_range(begin):
                for at in cursor.iternext(keys=True, values=False):
                    if at >= end or len(found) >= limit:
                        break
                    found.append(at)
        return found

    def get_many(self, positions: Collection[bytes]) -> list[bytes | None]:
        """The envelopes at these positions; None where there is none."""
        with self._reading() as txn:
            find = txn.cursor(self._d).get
            return [find(at) for at in positions]

    def count(self) -> int:
        """How many envelopes the day holds."""
        with self._reading() as txn:
            entries: int = txn.stat(self._d)["entries"]
            return entries

    def close(self) -> None:
        """Close, once the last reader is out. Using the day afterwards is DayClosed."""
        with self._door.alone():
            self._door.shut = True
            self._env.close()

    def _commit(self, envelopes: Sequence[Archivable]) -> list[bool]:
        added = []
        index = []
        with self._door.inside(), self._env.begin(write=True) as txn:
            cursor = txn.cursor(self._d)
            for envelope in envelopes:
                at = position(envelope.sent, envelope.hash)
                new: bool = cursor.put(at, envelope.raw, overwrite=False)
                added.append(new)
                if new:
                    index.append((envelope.topic + at, b""))
            index.sort()
            txn.cursor(self._k).putmulti(index)
        return added

    def _check_size(self) -> None:
        """A file that lost its end would kill the process when a page behind the end is touched."""
        expected = (self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"]
        found = self._path.joinpath("data.mdb").stat().st_size
        if found < expected:
            self._env.close()
            raise StorageError(
                f"the archive's day {self._path} is damaged: its file has {found} bytes, expected {expected};"
                " move the folder away to go on without this day"
            )

    def _grow(self) -> None:
        with self._door.alone():
            self._env.set_mapsize(2 * self._env.info()["map_size"])

    def _follow_growth(self) -> None:
        """Take in that the process that writes the day made room for more."""
        try:
            with self._door.inside(), self._env.begin():
                return
        except lmdb.MapResizedError:
            pass
        except lmdb.Error as error:
            raise StorageError(f"the archive's day {self._path} cannot be read: {error}") from error
        with self._door.alone():
            self._env.set_mapsize(0)

    @contextmanager
    def _reading(self) -> Iterator[Any]:
        if self._readonly:
            self._follow_growth()
        try:
            with self._door.inside(), self._env.begin() as txn:
                yield txn
        except lmdb.Error as error:
            raise StorageError(f"the archive's day {self._path} cannot be read: {error}") from error

    def _merge(self, txn: Any, topics: Sequence[bytes], first: bytes, upper: bytes, page: Collector) -> None:
        """Envelopes of several topics in one order: the lowest of the topics' next positions, again and again."""
        heads: list[tuple[bytes, bytes, Any]] = []
        for topic in topics:
            cursor = txn.cursor(self._k)
            if cursor.set_range(topic + first):
                key = cursor.key()
                if key[:TOPIC_SIZE] == topic and key[TOPIC_SIZE:] <= upper:
                    heads.append((key[TOPIC_SIZE:], topic, cursor))
        heapq.heapify(heads)
        find = txn.cursor(self._d).get
        while heads:
            at, topic, cursor = heads[0]
            raw = find(at)
            if raw is None:
                raise StorageError(f"the archive's day {self._path} is damaged: its index names a missing envelope")
            if not page.take(at, raw):
                return
            key = cursor.key() if cursor.next() else b""
            following = key[TOPIC_SIZE:]
            if key[:TOPIC_SIZE] == topic and following <= upper:
                heapq.heapreplace(heads, (following, topic, cursor))
            else:
                heapq.heappop(heads)

    def _scan(self, txn: Any, first: bytes, upper: bytes, bloom: int, page: Collector) -> None:
        """Every envelope of the range, one by one, those that the filter lets through."""
        cursor = txn.cursor(self._d)
        if not cursor.set_range(first):
            return
        missing = FULL ^ bloom
        for at, raw in cursor:
            if at > upper:
                return
            if missing and needed_bits(topic_in(raw)) & missing:
                page.scans_left -= 1
                if page.scans_left <= 0:
                    page.give_up(at)
                    return
            elif not page.take(at, raw):
                return

    def _matching(self, bloom: int) -> list[bytes] | None:
        """The day's topics that the filter lets through; None if the day has too many topics to know."""
        if self._topics is None:
            with self._topics_lock:  # no commit between reading the topics and remembering them
                if self._topics is None:
                    with self._reading() as txn:
                        self._topics = TopicSet(self._distinct_topics(txn), MAX_KNOWN_TOPICS)
        return None if self._topics.overflown else self._topics.matching(bloom)

    def _matching_as_of(self, txn: Any, bloom: int) -> list[bytes] | None:
        """The same where another process writes, which may have met other topics since they were looked up.

        While it writes, a filter is answered by a scan, except now and then.
        """
        with self._topics_lock:
            if self._topics is None or txn.id() != self._topics_of:
                if time.monotonic() < self._topics_at + TOPICS_INTERVAL:
                    return None
                self._topics, self._topics_of = TopicSet(self._distinct_topics(txn), MAX_KNOWN_TOPICS), txn.id()
                self._topics_at = time.monotonic()
            return None if self._topics.overflown else self._topics.matching(bloom)

    def _distinct_topics(self, txn: Any) -> Iterator[bytes]:
        """The topics in the index, by jumping from each behind its last key."""
        cursor = txn.cursor(self._k)
        found = cursor.first()
        for _ in range(MAX_KNOWN_TOPICS + 1):
            if not found:
                return
            topic: bytes = cursor.key()[:TOPIC_SIZE]
            yield topic
            found = cursor.set_range(topic + b"\xff" * (CURSOR_SIZE + 1))


class _Doorkeeper:
    """Lets many in at once, or one alone. Whoever is inside must not ask again: that would wait for itself."""

    def __init__(self) -> None:
        self.shut = False
        self._inside = 0
        self._wanted_alone = False
        self._changed = threading.Condition()

    @contextmanager
    def inside(self) -> Iterator[None]:
        with self._changed:
            while self._wanted_alone:
                self._changed.wait()
            if self.shut:
                raise DayClosed("the archive's day is closed")
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                if not self._inside and self._wanted_alone:
                    self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps newcomers out, waits for those inside, and lets the others go on afterwards."""
        with self._changed:
            while self._wanted_alone:
                self._changed.wait()
            self._wanted_alone = True
            try:
                while self._inside:
                    self._changed.wait()
                yield
            finally:
                self._wanted_alone = False
                self._changed.notify_all()
