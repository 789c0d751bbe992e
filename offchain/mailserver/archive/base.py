"""What an archive is: envelopes in the order of (sent, hash), looked up by topics or by bloom filter.

    position = sent u32 big endian || envelope hash 32      also the cursor of a history request

A cursor is exclusive: the answer goes on after it. It names a place in the order and not a row in a database, so it is
valid on every server, also on one that never held the envelope it names.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

SECONDS_PER_DAY = 86_400
MAX_SENT = 2**32 - 1
CURSOR_SIZE = 36
TOPIC_SIZE = 4
BLOOM_SIZE = 64
MAX_QUERY_TOPICS = 512
MAX_PAGE = 2_000
"""Envelopes in a page at most; a longer answer is several pages."""

MAX_PAGE_BYTES = 1024 * 1024
"""A page ends with the envelope that reaches this size."""


class Archivable(Protocol):
    """What the archive needs to know of an envelope."""

    @property
    def raw(self) -> bytes: ...
    @property
    def hash(self) -> bytes: ...
    @property
    def topic(self) -> bytes: ...
    @property
    def sent(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Query:
    """Which envelopes are wanted."""

    lower: int
    upper: int
    """Seconds since 1970; envelopes sent from lower to upper, both included."""

    topics: tuple[bytes, ...] = ()
    """4 bytes each. Without topics the bloom filter decides."""

    bloom: bytes | None = None
    """64 bytes; None is every topic."""

    limit: int = MAX_PAGE
    cursor: bytes = b""
    """36 bytes to go on after, or nothing."""

    max_bytes: int = MAX_PAGE_BYTES


@dataclass(frozen=True, slots=True)
class Page:
    """Part of an answer, oldest first."""

    envelopes: list[bytes]
    """RLP, as it came."""

    last: bytes | None
    """Position of the last envelope of the page; None if the page is empty."""

    cursor: bytes | None
    """Where to go on; None when the range holds no more. A short page may have one: the search has looked at enough."""


@dataclass(frozen=True, slots=True)
class DayInfo:
    """One day of the archive, in UTC."""

    day: int
    """Days since 1970."""

    size: int
    """Bytes on disk."""

    count: int
    """Envelopes. A database estimates it, and is a minute behind."""


class Archive(Protocol):
    """A store of envelopes. Calls block and may come from any thread; one thread adds at a time."""

    waits: bool
    """Whether a query waits for another process, so that it is better made in a thread of its own."""

    def add_many(self, envelopes: Sequence[Archivable]) -> list[bool]:
        """Store durably, then say for each envelope whether it is new. StorageError means that any may be missing."""
        ...

    def query(self, query: Query) -> Page:
        """The next page of an answer."""
        ...

    def positions(self, begin: bytes, end: bytes, limit: int) -> list[bytes]:
        """The first positions from begin to before end, in order. Bounds are positions, or the first bytes of some."""
        ...

    def get_many(self, positions: Collection[bytes]) -> list[bytes | None]:
        """The envelopes at these positions; None where there is none."""
        ...

    def days(self) -> list[DayInfo]:
        """What is kept, oldest first."""
        ...

    def count(self) -> int:
        """How many envelopes are kept."""
        ...

    def delete_day(self, day: int) -> None:
        """Forget a whole day."""
        ...

    def close(self) -> None:
        """Let go of the files. Everything added is on disk already."""
        ...


def check_archivable(envelopes: Sequence[Archivable]) -> None:
    """ValueError for what no archive can hold; the protocol lets no such envelope through."""
    for each in envelopes:
        if not 0 <= each.sent <= MAX_SENT or len(each.topic) != TOPIC_SIZE:
            raise ValueError(f"sent is {each.sent} and the topic {each.topic!r}; this was to be checked before")


def check_query(query: Query) -> None:
    """ValueError for a query that none can answer."""
    if query.cursor and len(query.cursor) != CURSOR_SIZE:
        raise ValueError(f"a cursor has {CURSOR_SIZE} bytes, found {len(query.cursor)}")
    if query.bloom is not None and len(query.bloom) != BLOOM_SIZE:
        raise ValueError(f"a bloom filter has {BLOOM_SIZE} bytes, found {len(query.bloom)}")
    if len(query.topics) > MAX_QUERY_TOPICS or any(len(topic) != TOPIC_SIZE for topic in query.topics):
        raise ValueError(f"expected at most {MAX_QUERY_TOPICS} topics of {TOPIC_SIZE} bytes each")


def day_at(bound: bytes) -> int:
    """The day of a position, or of the first bytes of one."""
    return int.from_bytes(bound[:4].ljust(4, b"\0"), "big") // SECONDS_PER_DAY


def position(sent: int, envelope_hash: bytes) -> bytes:
    """Where an envelope stands in the order: its key, and the cursor after it."""
    return sent.to_bytes(4, "big") + envelope_hash


def first_position(query: Query) -> bytes:
    """The lowest position that the query may return: the range's begin, or what follows the cursor."""
    start = max(query.lower, 0).to_bytes(4, "big") + bytes(32) if query.lower <= MAX_SENT else b"\xff" * 37
    if query.cursor:
        return max(start, query.cursor + b"\0")  # no position lies between a cursor and itself with a zero byte added
    return start
