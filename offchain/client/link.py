"""A connection to one mail server: shh/6 over RLPx, and who in the client waits for what comes in on it.

At most one history request is outstanding on a connection: envelopes that a server delivers do not say which request
they answer. What comes without a request is ignored.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from offchain.client.dialect import is_ours
from offchain.client.held import Answers, Held
from offchain.contact import Contact
from offchain.errors import ConnectionLost, DecodeError, PeerError
from offchain.hashing import keccak256
from offchain.keys import PrivateKey, PublicKey
from offchain.rlpx import peer as rlpx
from offchain.types import short
from offchain.whisper.bloom import EMPTY_BLOOM
from offchain.whisper.envelope import Envelope, encode_many
from offchain.whisper.mail import Completion, Failure, SealedRequest, decode_completion, is_failure
from offchain.whisper.packets import BatchResponse
from offchain.whisper.protocol import SHH, Acknowledged, BatchAnswered, Code, Event, Extension, ShhPeer, Status
from offchain.whisper.sealed import AnswerOpener

log = logging.getLogger("offchain.client")

OVER = "the connection is over"

INBOX = 64
"""Packets that wait for a reader of history. When it is full, reading pauses, and TCP holds the server back."""

ABANDONED_TIME = 30.0
"""Seconds in which a server must finish a request that nobody waits for any more; else its connection is closed."""

STATUS = Status(min_pow=0.0, bloom=EMPTY_BLOOM, light=True, confirmations=True)
"""What a client says of itself: no envelopes unless asked for, and acknowledgements please."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """Envelopes that were asked for."""

    envelopes: list[Envelope]


@dataclass(frozen=True, slots=True)
class Completed:
    """The server says that it sent all."""

    completion: Completion | Failure


@dataclass(frozen=True, slots=True)
class Broken:
    """The server sent what cannot be read."""

    reason: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection is over."""

    reason: str


HistoryItem = Delivered | Completed | Broken | Lost


class Inbox:
    """What came in for one reader of history, in order. `Lost` comes after everything that arrived before it."""

    def __init__(self) -> None:
        self._items: deque[HistoryItem] = deque()
        self._readable = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._open = True

    async def put(self, item: HistoryItem) -> None:
        """Add an item; waits while the inbox is full, unless its reader left."""
        while self._open and len(self._items) >= INBOX:
            self._room.clear()
            await self._room.wait()
        self.put_now(item)

    def put_now(self, item: HistoryItem) -> None:
        """Add an item even if the inbox is full."""
        if self._open:
            self._items.append(item)
            self._readable.set()

    def peek(self) -> HistoryItem | None:
        """The next item, which stays."""
        return self._items[0] if self._items else None

    def take(self) -> HistoryItem | None:
        """The next item, or None if there is none now."""
        if not self._items:
            return None
        item = self._items.popleft()
        self._room.set()
        return item

    async def wait(self) -> None:
        """Wait until there is an item."""
        while not self._items:
            self._readable.clear()
            await self._readable.wait()

    def close(self) -> None:
        """The reader leaves."""
        self._open = False
        self._items.clear()
        self._room.set()


class MailLink(Held):
    """One connection, for the pool to hold and the mailbox to use."""

    def __init__(self, contact: Contact, shh: ShhPeer) -> None:
        super().__init__(contact)
        self._shh = shh
        self._inbox: Inbox | None = None
        self._request_id: bytes | None = None
        self._opener: AnswerOpener | None = None
        self._abandoned_at: float | None = None
        self._batches: Answers[BatchResponse] = Answers()

    @classmethod
    async def connect(cls, key: PrivateKey, contact: Contact) -> MailLink:
        """A connection to the node, whose key is proven. PeerError if it can't be made; the caller bounds the time."""
        peer = await rlpx.connect(key, contact.public, contact.host, contact.tcp, [SHH])
        shh: ShhPeer | None = None
        try:
            shh = await ShhPeer.start(peer, STATUS)
        finally:
            if shh is None:
                await peer.close()
        return cls(contact, shh)

    @property
    def public(self) -> PublicKey:
        """The server's key, as proven in the handshake."""
        return self._shh.peer.remote

    @property
    def client_id(self) -> str:
        """Which program the server says it is."""
        return self._shh.peer.hello.client_id

    @property
    def status_fields(self) -> int:
        """How many fields its status had."""
        return self._shh.remote_status.fields

    @property
    def old(self) -> bool:
        """Whether it is not one of Waypost's."""
        return not is_ours(self.client_id)

    @property
    def min_pow(self) -> float:
        """The proof of work that the server requires of envelopes."""
        return self._shh.remote_status.min_pow

    @property
    def closed(self) -> bool:
        """Whether the connection is over, or about to be."""
        return self.over is not None or self._shh.closed

    @property
    def busy(self) -> bool:
        """Whether a history request is outstanding."""
        return self._inbox is not None or self._request_id is not None

    def stuck(self, now: float) -> bool:
        """Whether the server never finished a request that nobody waits for any more."""
        return self._abandoned_at is not None and now > self._abandoned_at + ABANDONED_TIME

    # The mailbox's side

    @asynccontextmanager
    async def history(self) -> AsyncIterator[Inbox]:
        """An inbox for one history request after another. A request left unfinished keeps the connection busy."""
        assert not self.busy, "one history request at a time"
        inbox = self._inbox = Inbox()
        if self.closed:
            inbox.put_now(Lost(self.over or OVER))
        try:
            yield inbox
        finally:
            inbox.close()
            self._inbox = None
            if self._request_id is not None:
                self._abandoned_at = asyncio.get_running_loop().time()

    async def ask(self, request: SealedRequest, answer_key: PrivateKey | None = None) -> None:
        """Send a history request. ConnectionLost if the connection is over.

        `answer_key` opens the answer of a request for a sealed one: then nothing that is not sealed counts.
        """
        self._check_open()
        self._request_id = request.id
        self._opener = None if answer_key is None else AnswerOpener(answer_key, self.public, request.id)
        await self._shh.send(Code.HISTORY_REQUEST, request.packet)

    async def store(self, envelopes: Sequence[Envelope]) -> dict[bytes, str | None]:
        """Send envelopes in one packet and wait until the server says what became of them; the caller bounds the time.

        By hash: None for one that the server has, else why it doesn't take it. ConnectionLost if the connection ends.
        """
        self._check_open()
        batch = keccak256(encode_many(list(envelopes)))
        with self._batches.to(batch) as answer:
            if await self._shh.send_envelopes(envelopes) == [batch]:
                response = await asyncio.shield(answer)
                faults = {fault.envelope: fault.text or f"code {fault.code}" for fault in response.faults}
                return {envelope.hash: faults.get(envelope.hash) for envelope in envelopes}
        if len(envelopes) == 1:
            return {envelopes[0].hash: self._why_unsent()}
        results: dict[bytes, str | None] = {}
        for envelope in envelopes:  # some were not sent, or more than one packet was: find out one by one
            results |= await self.store([envelope])
        return results

    # Inside

    async def _read(self) -> str:
        try:
            async for event in self._shh:
                await self._take(event)
        except PeerError as error:
            return str(error)
        return OVER

    async def _hang_up(self) -> None:
        await self._shh.close()

    async def _take(self, event: Event) -> None:
        if isinstance(event, Extension):
            await self._take_extension(event)
        elif isinstance(event, Acknowledged):
            self._batches.came(event.batch, BatchResponse(event.batch))
        elif isinstance(event, BatchAnswered):
            self._batches.came(event.response.batch, event.response)

    async def _take_extension(self, event: Extension) -> None:
        inbox = self._inbox
        if self._request_id is None:
            log.debug("%s sent packet %d, unasked", short(self.node_id), event.code)
            return
        try:
            if event.code == Code.DIRECT:
                content = self._opened(event.payload)
                if inbox is not None:
                    await inbox.put(Delivered(Envelope.decode_many(content)))
            elif event.code == Code.REQUEST_COMPLETE:
                completion = self._completion(event.payload)
                if completion.request_id == self._request_id:
                    self._request_id = self._abandoned_at = None
                    if inbox is not None:
                        await inbox.put(Completed(completion))
        except DecodeError as error:
            if inbox is not None:
                await inbox.put(Broken(f"it sent what cannot be read: {error}"))

    def _opened(self, payload: bytes) -> bytes:
        return payload if self._opener is None else self._opener.open(payload)

    def _completion(self, payload: bytes) -> Completion | Failure:
        """The end of an answer. A failure is never sealed."""
        if self._opener is None or is_failure(payload):
            return decode_completion(payload)
        return decode_completion(self._opener.open(payload))

    def _fail_all(self, reason: str) -> None:
        if self._inbox is not None:
            self._inbox.put_now(Lost(reason))
        self._batches.fail(reason)

    def _check_open(self) -> None:
        if self.closed:
            raise ConnectionLost(self.over or OVER)

    def _why_unsent(self) -> str:
        if not self._shh.remote_status.confirmations:
            return "the server does not acknowledge envelopes"
        return f"the server does not want it: it asks for a proof of work of {self.min_pow:g}, or for other topics"
