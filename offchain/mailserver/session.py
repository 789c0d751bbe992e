"""One peer of a mail server, from status to goodbye: a client, a sender, or another server.

Reading goes on while envelopes are written to disk and requests are answered, within bounds: when those are reached,
reading stops, and TCP holds the peer back. Reading never waits for sending: two servers that relay to each other as
fast as they can would wait for each other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine
from dataclasses import replace
from functools import partial
from typing import Any

from offchain.config import MailserverConfig
from offchain.errors import PeerError, StorageError
from offchain.mailserver.answer import Answer, SyncAnswer
from offchain.mailserver.desk import Desk
from offchain.mailserver.outbox import Outbox
from offchain.mailserver.reconcile.exchange import Exchange
from offchain.mailserver.reconcile.packets import WPSYNC
from offchain.mailserver.sync import CatchUp, Meetings
from offchain.rlpx.p2p import DisconnectReason
from offchain.rlpx.peer import Peer
from offchain.types import NodeId, short
from offchain.whisper.mail import MAX_REQUEST_SIZE, Failure, MailError, SyncResponse
from offchain.whisper.packets import OTHER_ERROR, BatchFault, BatchResponse
from offchain.whisper.protocol import (
    Code,
    EnvelopesReceived,
    Event,
    Extension,
    OtherMessage,
    Rules,
    ShhPeer,
    Status,
)

log = logging.getLogger("offchain.mailserver")

BATCHES_IN_FLIGHT = 256
"""Batches of a peer that wait for the disk; beyond it we stop reading."""

BYTES_IN_FLIGHT = 2 * 1024 * 1024
"""Their envelopes, likewise; a single batch may be larger."""

REQUESTS_WAITING = 16
"""History requests of a peer that wait for the one being answered; beyond it they are refused."""

MAX_REFUSALS = 100
"""Requests refused in a row, after which the peer is dropped."""

ACKNOWLEDGEMENTS_WAITING = 4_096
"""Acknowledgements that a peer has not read; beyond it the peer is dropped."""

SYNC_PARTS_WAITING = 8
"""Parts of a sync answer that wait to be stored; beyond it we stop reading."""

GRACE = 3.0
"""Seconds that stopping waits for envelopes on their way to disk and for answers on their way to clients."""

SYNC_TIMEOUT = 30.0
"""How long the next part of a sync answer may take."""


Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class Session:
    """A connection to a peer. `run` returns when it is over."""

    def __init__(self, shh: ShhPeer, desk: Desk, meetings: Meetings, spawn: Spawn, *, dialed: bool) -> None:
        """`spawn` starts what must not end with the connection: storing what came over it."""
        self.node_id: NodeId = shh.peer.node_id
        self.dialed = dialed
        """Whether we called it, or it called us."""
        self.outbox: Outbox | None = None
        """What waits to be relayed; None if the peer is not a server that we relay with."""
        self.quiet = asyncio.Event()
        """Set while no batch and no request is being worked on."""
        self.quiet.set()
        self._in_flight = 0
        self._shh = shh
        self._desk = desk
        self._meetings = meetings
        self._spawn = spawn
        self._storing = 0
        self._storing_bytes = 0
        self._room = asyncio.Event()
        self._requests: asyncio.Queue[bytes] = asyncio.Queue(REQUESTS_WAITING)
        self._sync_requests: asyncio.Queue[bytes] = asyncio.Queue(2)
        self._sync_parts: asyncio.Queue[SyncResponse] = asyncio.Queue(SYNC_PARTS_WAITING)
        self._syncing = False
        self._exchange = (
            Exchange(partial(shh.peer.send, WPSYNC.name), desk, self.node_id) if _speaks_sync(shh) else None
        )
        self._even = False
        self._finishing = False
        self._refusals = 0
        self._acknowledging = 0
        self._end: asyncio.Future[DisconnectReason] = asyncio.get_running_loop().create_future()
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Serve the peer until the connection is over, whoever ends it."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._tasks.create_task(self._closer())
                self._tasks.create_task(self._answer_requests())
                self._tasks.create_task(self._answer_syncs())
                if self._exchange is not None:
                    self._tasks.create_task(self._exchange.answer())
                if self.outbox is not None:
                    self._start_relaying(self._tasks)
                async for event in self._shh:  # ends by raising, which ends the tasks too
                    await self._take(event)
        except* PeerError as errors:
            log.debug("%s: %s", short(self.node_id), errors.exceptions[0])
        finally:
            self._tasks = None
            if self._even:
                self._meetings.part(self.node_id, self._desk.clock())

    def link(self) -> None:
        """Relay with this peer from now on: it is a trusted server, and no stranger's limits hold for it."""
        if self.outbox is None:
            self.outbox = Outbox()
            self._shh.lift_rate_limit()
            if self._tasks is not None:
                self._start_relaying(self._tasks)

    def finish(self) -> None:
        """The server is about to stop: end the answer under way with a cursor, and begin no other."""
        self._finishing = True

    def end(self, reason: DisconnectReason) -> None:
        """Close the connection soon."""
        if not self._end.done():
            self._end.set_result(reason)

    async def _closer(self) -> None:
        reason = await self._end
        await self._shh.close(reason)

    async def _take(self, event: Event) -> None:
        if isinstance(event, EnvelopesReceived):
            await self._take_envelopes(event)
        elif isinstance(event, Extension):
            if event.code == Code.HISTORY_REQUEST:
                await self._take_request(event.payload)
            elif event.code == Code.SYNC_REQUEST:
                self._take_sync_request(event.payload)
            elif event.code == Code.SYNC_RESPONSE and self._syncing:
                await self._sync_parts.put(self._read_sync(event.payload))
        elif isinstance(event, OtherMessage) and event.capability == WPSYNC.name and self._exchange is not None:
            await self._exchange.take(event.code, event.payload)

    # Envelopes

    async def _take_envelopes(self, received: EnvelopesReceived) -> None:
        self._desk.count_refusals(received.refused)
        if self.outbox is not None:
            for envelope in received.envelopes:
                self.outbox.discard(envelope.hash)
        size = sum(len(envelope.raw) for envelope in received.envelopes)
        while self._storing >= BATCHES_IN_FLIGHT or (self._storing_bytes + size > BYTES_IN_FLIGHT and self._storing):
            self._room.clear()
            await self._room.wait()
        self._storing += 1
        self._storing_bytes += size
        self._spawn(self._store(received, size))

    async def _store(self, received: EnvelopesReceived, size: int) -> None:
        """Store a batch and acknowledge it, in this order: who is told "stored" may forget the envelope."""
        self._begin()
        try:
            try:
                refused = await self._desk.store(received.envelopes, self.node_id)
            finally:
                self._storing -= 1
                self._storing_bytes -= size
                self._room.set()
            await self._acknowledge(replace(received, refused=(*received.refused, *refused)), stored=True)
        except StorageError as error:
            self._desk.storage_failed(error)
            await self._acknowledge(received, stored=False)
        finally:
            self._done()

    async def _acknowledge(self, received: EnvelopesReceived, *, stored: bool) -> None:
        """Tell the peer what became of its batch, if it wants to know and is still there."""
        if not received.batch or self._shh.closed:
            return
        if self._acknowledging >= ACKNOWLEDGEMENTS_WAITING:
            self.end(DisconnectReason.USELESS_PEER)
            return
        self._acknowledging += 1
        try:
            if stored:
                await self._shh.acknowledge(received)
            else:
                text = "this server cannot store envelopes now"
                faults = tuple(BatchFault(envelope.hash, OTHER_ERROR, text) for envelope in received.envelopes)
                await self._shh.send(Code.BATCH_RESPONSE, BatchResponse(received.batch, faults).encode())
        except PeerError as error:
            log.debug("%s: not acknowledged: %s", short(self.node_id), error)
        finally:
            self._acknowledging -= 1

    # Requests

    async def _take_request(self, packet: bytes) -> None:
        if len(packet) > MAX_REQUEST_SIZE:  # at once: what waits in the queue takes memory
            await self._refuse(self._desk.refuse(packet, "the request is too large", "too large"))
            return
        try:
            self._requests.put_nowait(packet)
        except asyncio.QueueFull:
            await self._refuse(self._desk.refuse(packet, "too many requests at a time", "too many at a time"))

    async def _answer_requests(self) -> None:
        """One after the other: mail does not say which request it answers."""
        while True:
            packet = await self._requests.get()
            self._begin()
            try:
                answer = self._answer(packet)
                if isinstance(answer, Failure):
                    await self._refuse(answer)
                else:
                    self._refusals = 0
                    await self._send_answer(answer, packet)
            finally:
                self._done()

    def _answer(self, packet: bytes) -> Answer | Failure:
        if self._finishing:
            return self._desk.refuse(packet, "the server is about to stop: ask another", "stopping")
        return self._desk.answer(packet, self._shh.peer.remote, self._shh.peer.address[0])

    async def _send_answer(self, answer: Answer, packet: bytes) -> None:
        """Send an answer slice by slice, none before there is room for it. A slow peer gets a part, and a cursor."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._desk.config.answer_time
        try:
            while not answer.finished:
                packets = await self._desk.look(answer, self.node_id)
                if not answer.finished and (self._finishing or loop.time() >= end):
                    packets += answer.complete()
                await self._shh.send_many(packets)
        except StorageError as error:
            self._desk.storage_failed(error)
            failure = self._desk.refuse(packet, "this server cannot read its archive now", "storage error")
            await self._shh.send(Code.REQUEST_COMPLETE, failure.encode())
        self._desk.counts["envelopes sent"] += answer.envelopes

    async def _refuse(self, failure: Failure) -> None:
        self._refusals += 1
        if self._refusals > MAX_REFUSALS:
            self.end(DisconnectReason.USELESS_PEER)
        await self._shh.send(Code.REQUEST_COMPLETE, failure.encode())

    def _begin(self) -> None:
        self._in_flight += 1
        self.quiet.clear()

    def _done(self) -> None:
        self._in_flight -= 1
        if not self._in_flight:
            self.quiet.set()

    # Other servers

    def _start_relaying(self, tasks: asyncio.TaskGroup) -> None:
        assert self.outbox is not None
        tasks.create_task(self._relay(self.outbox))
        tasks.create_task(self._catch_up() if self._exchange is None else self._exchange.run())

    async def _relay(self, outbox: Outbox) -> None:
        while True:
            envelopes = await outbox.take()
            await self._shh.send_envelopes(envelopes, known_pow=self._desk.config.min_pow)
            self._desk.counts["envelopes relayed"] += len(envelopes)

    async def _catch_up(self) -> None:
        """Fetch what we missed from a server that does not speak wpsync.

        If it fails the link works all the same; the next meeting tries again.
        """
        round_ = self._meetings.begin(self.node_id, self._desk.clock())
        self._syncing = True
        try:
            while round_.request is not None:
                await self._shh.send(Code.SYNC_REQUEST, round_.request.encode())
                await self._read_page(round_)
        except (TimeoutError, StorageError, MailError) as error:
            log.info("catching up with %s stopped: %s", short(self.node_id), error or "no answer")
        finally:
            self._syncing = False
        if round_.failure is not None:
            log.info("catching up with %s stopped: %s", short(self.node_id), round_.failure)
        self._even = round_.succeeded
        self._desk.counts["catching up: done" if self._even else "catching up: failed"] += 1

    async def _read_page(self, round_: CatchUp) -> None:
        asked = round_.request
        while round_.request is asked:
            async with asyncio.timeout(SYNC_TIMEOUT):
                part = await self._sync_parts.get()
            envelopes = self._desk.judge_old(part.envelopes)
            self._desk.counts["envelopes caught up"] += len(envelopes)
            await self._desk.store(envelopes, self.node_id)
            round_.receive(part)

    def _take_sync_request(self, payload: bytes) -> None:
        """One may wait while one is answered; who asks faster than it reads is not answered."""
        if self._sync_requests.full() or len(payload) > MAX_REQUEST_SIZE:
            self._desk.counts["sync requests refused"] += 1
        else:
            self._sync_requests.put_nowait(payload)

    async def _answer_syncs(self) -> None:
        while True:
            payload = await self._sync_requests.get()
            answer = self._desk.answer_sync(payload, self.node_id)
            if isinstance(answer, SyncResponse):
                await self._shh.send(Code.SYNC_RESPONSE, answer.encode())
                continue
            await self._send_sync(answer)

    async def _send_sync(self, answer: SyncAnswer) -> None:
        try:
            while not answer.finished:
                await self._shh.send_many(await self._desk.look(answer, self.node_id))
        except StorageError as error:
            self._desk.storage_failed(error)
            failure = SyncResponse(final=True, error="this server cannot read its archive now")
            await self._shh.send(Code.SYNC_RESPONSE, failure.encode())

    def _read_sync(self, payload: bytes) -> SyncResponse:
        try:
            return SyncResponse.decode(payload)
        except MailError as error:
            return SyncResponse(final=True, error=str(error))


async def greet(connected: Peer, config: MailserverConfig, clock: Callable[[], float], *, trusted: bool) -> ShhPeer:
    """Exchange statuses with a peer, which is held to a rate unless it is a server that we trust."""
    rate = None if trusted else config.envelopes_per_second
    rules = Rules(
        max_envelope=config.max_message_bytes,
        envelopes_per_second=rate,
        envelope_burst=int(rate or 0),
        acknowledge=False,
    )
    status = Status(min_pow=config.min_pow, confirmations=True)
    return await ShhPeer.start(connected, status, rules=rules, clock=clock, others=True)


async def drain(sessions: Collection[Session]) -> None:
    """Let what is on its way arrive, for a moment. Long answers end with a cursor, to go on with elsewhere."""
    for session in tuple(sessions):
        session.finish()
    try:
        async with asyncio.timeout(GRACE):
            for session in tuple(sessions):
                await session.quiet.wait()
    except TimeoutError:
        log.info("stopping before everything was answered")


def _speaks_sync(shh: ShhPeer) -> bool:
    return any((each.name, each.version) == (WPSYNC.name, WPSYNC.version) for each in shh.peer.capabilities)
