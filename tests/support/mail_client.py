"""A client of mail servers for the tests: posts envelopes and waits for the word, fetches history page by page."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from offchain.keys import PrivateKey, PublicKey
from offchain.rlpx import peer as rlpx
from offchain.whisper.envelope import Envelope, mine
from offchain.whisper.mail import Completion, Failure, HistoryRequest, decode_completion, seal_request
from offchain.whisper.protocol import SHH, Acknowledged, BatchAnswered, Code, Extension, ShhPeer, Status

WAIT = 20.0
"""Seconds for anything to happen; nothing here takes long."""


def key(number: int) -> PrivateKey:
    """The private key of that number."""
    return PrivateKey(number.to_bytes(32, "big"))


def mail(number: int, topic: bytes = b"abcd", *, size: int = 300, pow_target: float = 0.0, age: int = 0) -> Envelope:
    """An envelope sent `age` seconds ago, still alive."""
    data = number.to_bytes(4, "big") * (size // 4)
    return mine(int(time.time()) + 50, 50 + age, topic, data, pow_target)


@dataclass
class Page:
    """An answer to one request."""

    envelopes: list[Envelope] = field(default_factory=list)
    end: Completion | Failure | None = None
    packets: int = 0


class MailClient:
    """One connection to a mail server."""

    def __init__(self, shh: ShhPeer, own: PrivateKey) -> None:
        self.shh = shh
        self.key = own
        self.answered: dict[bytes, list[str]] = {}
        """What became of each batch: the texts of its faults."""
        self.acknowledged: set[bytes] = set()
        self.page = Page()
        self._changed = asyncio.Condition()
        self._reader = asyncio.ensure_future(self._read())

    @classmethod
    async def connect(cls, server: PublicKey, port: int, own: PrivateKey, status: Status | None = None) -> MailClient:
        peer = await rlpx.connect(own, server, "127.0.0.1", port, [SHH])
        return cls(await ShhPeer.start(peer, status or Status(light=True, confirmations=True)), own)

    async def post(self, envelopes: Sequence[Envelope]) -> list[str]:
        """Send, wait until the server has them on disk; the reasons of those it refused."""
        batches = await self.shh.send_envelopes(envelopes, known_pow=1e9)
        await self._until(lambda: all(batch in self.answered for batch in batches))
        return [text for batch in batches for text in self.answered[batch]]

    async def ask(self, request: HistoryRequest, *, packet: bytes | None = None, now: float | None = None) -> Page:
        """One request and its answer."""
        sealed = seal_request(request, self.shh.peer.remote, self.key, now or time.time(), pow_target=0)
        self.page = Page()
        await self.shh.send(Code.HISTORY_REQUEST, packet or sealed.packet)
        await self._until(lambda: self.page.end is not None)
        return self.page

    async def fetch(self, topics: Sequence[bytes], *, limit: int = 0, lower: int = 0) -> list[Envelope]:
        """All there is, page by page."""
        found: list[Envelope] = []
        cursor = b""
        while True:
            request = HistoryRequest(lower, int(time.time()) + 60, None, tuple(topics), limit, cursor)
            page = await self.ask(request)
            assert isinstance(page.end, Completion), page.end
            found += page.envelopes
            cursor = page.end.cursor
            if not cursor:
                return found

    async def close(self) -> None:
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        await self.shh.close()

    @property
    def lost(self) -> bool:
        """Whether the server closed the connection."""
        return self._reader.done()

    async def until_lost(self) -> None:
        await asyncio.wait([self._reader], timeout=WAIT)
        assert self.lost

    async def _read(self) -> None:
        try:
            async for event in self.shh:
                if isinstance(event, Acknowledged):
                    self.acknowledged.add(event.batch)
                elif isinstance(event, BatchAnswered):
                    self.answered[event.response.batch] = [fault.text for fault in event.response.faults]
                elif isinstance(event, Extension) and event.code == Code.DIRECT:
                    self.page.envelopes += Envelope.decode_many(event.payload)
                    self.page.packets += 1
                elif isinstance(event, Extension) and event.code == Code.REQUEST_COMPLETE:
                    self.page.end = decode_completion(event.payload)
                async with self._changed:
                    self._changed.notify_all()
        finally:
            async with self._changed:
                self._changed.notify_all()

    async def _until(self, condition: object) -> None:
        assert callable(condition)
        async with asyncio.timeout(WAIT), self._changed:
            await self._changed.wait_for(lambda: condition() or self._reader.done())
        if not condition():
            await self._reader
            raise AssertionError("the connection ended")
