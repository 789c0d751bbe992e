"""An archive in LMDB: one environment per day, so that forgetting a day is deleting its files."""

from __future__ import annotations

import bisect
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from offchain.errors import StorageError
from offchain.mailserver.archive.base import (
    MAX_SENT,
    SECONDS_PER_DAY,
    Archivable,
    DayInfo,
    Page,
    Query,
    check_archivable,
    check_query,
    day_at,
    first_position,
)
from offchain.mailserver.archive.day import INITIAL_MAP, Collector, Day, DayClosed, NotThereYet
from offchain.mailserver.archive.folder import ArchiveFolder
from offchain.mailserver.archive.topics import FULL

_Result = TypeVar("_Result")

MAX_OPEN_DAYS = 64
"""Days with open files at a time; the one unused for longest is closed."""


class LmdbArchive:
    """Envelopes in a folder of LMDB environments. Made and used as `archive.base.Archive` says.

    StorageError if the folder is somebody else's, in use, damaged, or the disk is full. After a failed write what was
    stored before is still there, and the next write is tried afresh.
    """

    waits = False

    def __init__(
        self,
        folder: Path,
        *,
        initial_map: int = INITIAL_MAP,
        max_open_days: int = MAX_OPEN_DAYS,
        readonly: bool = False,
    ) -> None:
        """`readonly`: the archive of another process, which writes it meanwhile. Nothing may be added or deleted."""
        self._readonly = readonly
        self._folder = ArchiveFolder(folder, readonly=readonly)
        self._as_of = 0
        self._initial_map = initial_map
        self._max_open_days = max_open_days
        self._lock = threading.Lock()
        self._closed = False
        self._open: OrderedDict[int, Day] = OrderedDict()
        self._numbers: list[int] = []
        self._list_days()
        self._counts: dict[int, int] = {}
        """Envelopes of days that have not changed since they were counted."""
        try:
            for number in self._numbers[-2:]:  # those in use; say at the start that they are damaged
                self._use_if_there(number, lambda day: None, None)
        except StorageError:
            self.close()
            raise

    def add_many(self, envelopes: Sequence[Archivable]) -> list[bool]:
        """Store durably, one commit per day met; for each envelope, whether it is new."""
        check_archivable(envelopes)
        by_day: defaultdict[int, list[int]] = defaultdict(list)
        for at, envelope in enumerate(envelopes):
            by_day[envelope.sent // SECONDS_PER_DAY].append(at)
        added = [False] * len(envelopes)
        for number, places in sorted(by_day.items()):
            of_day = [envelopes[at] for at in places]
            try:
                new = self._use(number, partial(Day.add, envelopes=of_day), make=True)
            except StorageError:
                self._close_day(number)  # LMDB takes nothing more after some failures; opened anew it does
                raise
            self._counts.pop(number, None)
            for at, is_new in zip(places, new, strict=True):
                added[at] = is_new
        return added

    def query(self, query: Query) -> Page:
        """The next page, oldest first; of the days that are there, if some are deleted meanwhile."""
        check_query(query)
        if self._readonly:
            self._list_days()
        page = Collector(query.limit, query.max_bytes)
        upper_sent = min(query.upper, MAX_SENT)
        first, upper = first_position(query), max(upper_sent, 0).to_bytes(4, "big") + b"\xff" * 32
        if query.limit < 1 or upper_sent < 0 or first > upper:
            return Page([], None, None)
        bloom = FULL if query.bloom is None else int.from_bytes(query.bloom, "big")
        topics = tuple(dict.fromkeys(query.topics))
        first_day = int.from_bytes(first[:4], "big") // SECONDS_PER_DAY
        numbers = self._numbers
        for number in numbers[bisect.bisect_left(numbers, first_day) :]:
            if number > upper_sent // SECONDS_PER_DAY or page.full:
                break
            self._use_if_there(number, lambda day: day.collect(first, upper, topics, bloom, page), None)
        return Page(page.envelopes, page.last, page.cursor)

    def positions(self, begin: bytes, end: bytes, limit: int) -> list[bytes]:
        """The first positions from begin to before end, in order."""
        found: list[bytes] = []
        first, last = (day_at(bound) for bound in (begin, end))
        for number in self._numbers:
            if not first <= number <= last:
                continue
            if len(found) >= limit:
                break
            of_day = partial(Day.positions, begin=begin, end=end, limit=limit - len(found))
            found += self._use_if_there(number, of_day, [])
        return found

    def get_many(self, positions: Collection[bytes]) -> list[bytes | None]:
        """The envelopes at these positions; None where there is none."""
        by_day: defaultdict[int, list[bytes]] = defaultdict(list)
        for at in positions:
            by_day[day_at(at)].append(at)
        found: dict[bytes, bytes | None] = {}
        numbers = self._numbers
        for number, of_day in by_day.items():
            if number in numbers:
                nothing: list[bytes | None] = [None] * len(of_day)
                raws = self._use_if_there(number, partial(Day.get_many, positions=of_day), nothing)
                found.update(zip(of_day, raws, strict=True))
        return [found.get(at) for at in positions]

    def days(self) -> list[DayInfo]:
        """What is kept, oldest first."""
        return [DayInfo(number, self._folder.day_size(number), self._count(number)) for number in self._numbers]

    def count(self) -> int:
        """How many envelopes are kept."""
        return sum(self._count(number) for number in self._numbers)

    def delete_day(self, day: int) -> None:
        """Forget a whole day, once those who read it are done."""
        with self._lock:
            self._numbers = [number for number in self._numbers if number != day]
            self._counts.pop(day, None)
            if open_day := self._open.pop(day, None):
                open_day.close()
            self._folder.remove_day(day)

    def close(self) -> None:
        """Close all files and give the folder back."""
        with self._lock:
            self._closed = True
            while self._open:
                self._open.popitem()[1].close()
            self._folder.close()

    def _list_days(self) -> None:
        """See which days there are. Those that another process has deleted are closed."""
        changed = self._folder.changed() if self._readonly else 0
        if self._numbers and changed == self._as_of:
            return
        with self._lock:
            self._as_of, self._numbers = changed, self._folder.days()
            for number in [each for each in self._open if each not in self._numbers]:
                self._open.pop(number).close()

    def _count(self, number: int) -> int:
        """Envelopes of a day; 0 if it cannot be read, so that the days beside it can be looked at all the same."""
        count = self._counts.get(number)
        if count is None:
            try:
                count = self._counts[number] = self._use(number, Day.count)
            except StorageError:
                return 0
        return count

    def _use(self, number: int, action: Callable[[Day], _Result], make: bool = False) -> _Result:
        """Do something with a day; again if it was closed between being found and being used."""
        while True:
            try:
                return action(self._day(number, make))
            except DayClosed:
                continue

    def _use_if_there(self, number: int, action: Callable[[Day], _Result], otherwise: _Result) -> _Result:
        """Do something with a day that may be deleted meanwhile, or just be begun."""
        try:
            return self._use(number, action)
        except NotThereYet:
            return otherwise
        except StorageError:
            if number in self._numbers:
                raise
            return otherwise

    def _day(self, number: int, make: bool = False) -> Day:
        with self._lock:
            if self._closed:
                raise StorageError("the archive is closed")
            if day := self._open.get(number):
                self._open.move_to_end(number)
                return day
            if number not in self._numbers and not make:
                raise StorageError(f"day {number} is not in the archive")
            try:
                path = self._folder.day_path(number) if self._readonly else self._folder.make_day(number)
                day = Day(number, path, self._initial_map, readonly=self._readonly)
            except OSError as error:
                raise StorageError(f"the archive cannot begin a day: {error}") from error
            if number not in self._numbers:
                self._numbers = sorted([*self._numbers, number])
            self._open[number] = day
            if len(self._open) > self._max_open_days:
                self._open.popitem(last=False)[1].close()
            return day

    def _close_day(self, number: int) -> None:
        with self._lock:
            if day := self._open.pop(number, None):
                day.close()
