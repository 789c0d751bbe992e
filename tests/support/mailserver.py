"""For tests of offchain.mailserver: envelopes of chosen hash and time, an archive in memory, a peer without network."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

from offchain import rlp
from offchain.keys import PrivateKey
from offchain.mailserver.archive.base import Archivable, DayInfo, Page, Query, position
from offchain.mailserver.archive.day import Collector
from offchain.rlpx.p2p import DisconnectReason
from offchain.rlpx.peer import Disconnected
from offchain.whisper.bloom import envelope_matches
from offchain.whisper.envelope import Envelope
from offchain.whisper.protocol import SHH, EnvelopesReceived, Event

DAY = 86_400
MARCH = 20_513 * DAY
"""Midnight, 1 March 2026."""


@dataclass(frozen=True)
class Sample:
    """What the archive needs to know of an envelope."""

    raw: bytes
    hash: bytes
    topic: bytes
    sent: int

    @property
    def position(self) -> bytes:
        return self.sent.to_bytes(4, "big") + self.hash


def sample(sent: int, number: int, topic: bytes = b"abcd", size: int = 20) -> Sample:
    """An envelope whose hash begins with its number."""
    raw = rlp.encode([sent + 50, 50, topic, number.to_bytes(4, "big").ljust(size, b"."), 7])
    return Sample(raw, number.to_bytes(4, "big") + bytes(28), topic, sent)


def raws(samples: Iterable[Sample]) -> list[bytes]:
    """Their RLP in the archive's order."""
    return [each.raw for each in sorted(samples, key=lambda each: each.position)]


def bloom(*topics: bytes) -> bytes:
    """The filter of some topics, straight from EIP-627."""
    bits = bytearray(64)
    for topic in topics:
        for j in range(3):
            index = topic[j] + (256 if topic[3] >> j & 1 else 0)
            bits[index // 8] |= 1 << index % 8
    return bytes(bits)


def old_bloom(topic: bytes) -> bytes:
    """The filter that programs before geth 1.9 made: they assigned bytes instead of or-ing bits into them."""
    bits = bytearray(64)
    for j in range(3):
        index = topic[j] + (256 if topic[3] >> j & 1 else 0)
        bits[index // 8] = 1 << index % 8
    return bytes(bits)


async def until(condition: Callable[[], object], turns: int = 100_000) -> None:
    """Let the other tasks run until the condition holds."""
    for _ in range(turns):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("the condition never held")


class MemoryArchive:
    """An archive that is a sorted list."""

    waits = False

    def __init__(self, envelopes: Iterable[Archivable] = ()) -> None:
        self.kept: dict[bytes, Archivable] = {}
        self.failure: Exception | None = None
        self.queries: list[Query] = []
        self.deleted: list[int] = []
        self.add_many(list(envelopes))

    def add_many(self, envelopes: Sequence[Archivable]) -> list[bool]:
        if self.failure is not None:
            raise self.failure
        added = []
        for each in envelopes:
            at = position(each.sent, each.hash)
            added.append(at not in self.kept)
            self.kept[at] = each
        return added

    def query(self, query: Query) -> Page:
        if self.failure is not None:
            raise self.failure
        self.queries.append(query)
        page = Collector(query.limit, query.max_bytes)
        for at, each in sorted(self.kept.items()):
            wanted = (
                each.topic in query.topics
                if query.topics
                else query.bloom is None or envelope_matches(query.bloom, each.topic)
            )
            if query.lower <= each.sent <= query.upper and at > query.cursor and wanted and not page.take(at, each.raw):
                break
        return Page(page.envelopes, page.last, page.cursor)

    def positions(self, begin: bytes, end: bytes, limit: int) -> list[bytes]:
        if self.failure is not None:
            raise self.failure
        return sorted(at for at in self.kept if begin <= at < end)[:limit]

    def get_many(self, positions: Collection[bytes]) -> list[bytes | None]:
        return [self.kept[at].raw if at in self.kept else None for at in positions]

    def days(self) -> list[DayInfo]:
        counts = Counter(each.sent // DAY for each in self.kept.values())
        return [DayInfo(day, 100, count) for day, count in sorted(counts.items())]

    def count(self) -> int:
        return len(self.kept)

    def delete_day(self, day: int) -> None:
        self.deleted.append(day)

    def close(self) -> None:
        pass


class FakeTrust:
    """Trusts those it is told to."""

    def __init__(self, *nodes: bytes) -> None:
        self.nodes = set(nodes)

    def is_trusted(self, kind: str, node_id: bytes) -> bool:
        return kind == "mailserver" and node_id in self.nodes

    def why(self, kind: str, node_id: bytes) -> str:
        return "it is in the list" if self.is_trusted(kind, node_id) else "it is not in the list"


class FakeShh:
    """A peer without a network: the test feeds events, and looks at what was sent. Sending waits at a gate."""

    def __init__(self, own: PrivateKey, host: str = "192.0.2.1") -> None:
        self.peer = SimpleNamespace(
            node_id=own.public.node_id, remote=own.public, address=(host, 30303), capabilities=(SHH,)
        )
        self.sent: list[tuple[int, bytes]] = []
        self.relayed: list[Envelope] = []
        self.acknowledged: list[EnvelopesReceived] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.closed = False
        self.limited = True
        self.reason: DisconnectReason | None = None
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()

    def feed(self, *events: Event) -> None:
        for event in events:
            self._events.put_nowait(event)

    def unread(self) -> int:
        return self._events.qsize()

    def hang_up(self) -> None:
        self.closed = True
        self._events.put_nowait(None)

    def of_code(self, code: int) -> list[bytes]:
        return [payload for sent_code, payload in self.sent if sent_code == code]

    def __aiter__(self) -> FakeShh:
        return self

    async def __anext__(self) -> Event:
        event = await self._events.get()
        if event is None:
            raise Disconnected(DisconnectReason.REQUESTED, by_us=False)
        return event

    async def send(self, code: int, payload: bytes) -> None:
        await self.send_many([(code, payload)])

    async def send_many(self, packets: Iterable[tuple[int, bytes]]) -> None:
        await self._ready()
        self.sent += packets

    async def send_envelopes(self, envelopes: Sequence[Envelope], *, known_pow: float = 0.0) -> list[bytes]:
        await self._ready()
        self.relayed += envelopes
        return []

    async def acknowledge(self, received: EnvelopesReceived) -> None:
        await self._ready()
        self.acknowledged.append(received)

    def lift_rate_limit(self) -> None:
        self.limited = False

    async def close(self, reason: DisconnectReason = DisconnectReason.REQUESTED) -> None:
        self.reason = reason
        self.hang_up()

    async def _ready(self) -> None:
        await self.gate.wait()
        if self.closed:
            raise Disconnected(DisconnectReason.REQUESTED, by_us=False)


def pages(archive, query: Query) -> list[list[bytes]]:
    """All of an answer, page by page."""
    found, cursor = [], query.cursor
    while True:
        page = archive.query(
            Query(query.lower, query.upper, query.topics, query.bloom, query.limit, cursor, query.max_bytes)
        )
        found.append(page.envelopes)
        if page.cursor is None:
            return found
        assert page.cursor > cursor
        cursor = page.cursor
