"""wpsync/1 on one connection: answers the other server's questions, and asks our own, round by round.

The other server is asked only while it is trusted, and answered only then. Reading never waits for sending. Of its
questions one may wait while one is answered; who asks faster than it reads is not answered. Of its answers a few may
wait to be stored; then reading stops, and TCP holds it back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from offchain.errors import StorageError
from offchain.hashing import keccak256
from offchain.mailserver.desk import Desk
from offchain.mailserver.reconcile.asker import Asker
from offchain.mailserver.reconcile.packets import (
    Ask,
    Fetch,
    Refuse,
    SyncError,
    SyncPacket,
    decode,
    encode,
    window_ranges,
)
from offchain.mailserver.reconcile.teller import deliver, tell
from offchain.types import NodeId, short

log = logging.getLogger("offchain.mailserver")

ROUND_INTERVAL = 300.0
"""Seconds between rounds with a server that stays connected: so comes what relay lost, or was too late for it."""

RETRY_INTERVAL = 20.0
"""Seconds after a round that failed."""

ANSWER_TIMEOUT = 30.0
"""How long the next packet of an answer may take."""

ANSWERS_WAITING = 4
QUESTIONS_WAITING = 2

SLACK = 10
"""Seconds by which the newest envelopes may be ahead of our clock."""

Send = Callable[[int, bytes], Awaitable[None]]


class Exchange:
    """Reconciliation with one peer. `run` and `answer` are tasks of its session; `take` hands in what came."""

    def __init__(self, send: Send, desk: Desk, node_id: NodeId) -> None:
        self._send = send
        self._desk = desk
        self._node_id = node_id
        self._questions: asyncio.Queue[Ask | Fetch] = asyncio.Queue(QUESTIONS_WAITING)
        self._answers: asyncio.Queue[SyncPacket] = asyncio.Queue(ANSWERS_WAITING)
        self._asking = False

    async def take(self, code: int, payload: bytes) -> None:
        """Take in a packet. SyncError if it is not one: then the peer is to be dropped."""
        packet = decode(code, payload)
        if isinstance(packet, Ask | Fetch):
            if self._questions.full():
                self._desk.counts["sync requests refused"] += 1
            else:
                self._questions.put_nowait(packet)
        elif self._asking:
            await self._answers.put(packet)
        else:
            self._desk.counts["sync answers nobody asked for"] += 1

    async def answer(self) -> None:
        """Answer questions as long as this runs."""
        while True:
            question = await self._questions.get()
            if not self._desk.is_trusted_server(self._node_id):
                self._desk.counts["sync requests refused"] += 1
                await self._tell(Refuse(question.number, "this server does not trust yours"))
                continue
            try:
                await self._answer(question)
            except StorageError as error:
                self._desk.storage_failed(error)
                await self._tell(Refuse(question.number, "this server cannot read its archive now"))

    async def run(self) -> None:
        """Ask for what we lack, again and again, as long as this runs."""
        spread = self._node_id[0] / 1024  # so that rounds with several servers do not fall together
        while True:
            succeeded = await self.round()
            await asyncio.sleep((ROUND_INTERVAL if succeeded else RETRY_INTERVAL) * (1 + spread))

    async def round(self) -> bool:
        """One round over all the time in which we keep envelopes; whether nothing is lacking now that the peer has."""
        desk = self._desk
        now = desk.clock()
        lower = max(now - desk.config.catch_up, desk.oldest(now))
        windows = window_ranges(int(lower), int(now) + SLACK)
        windows.reverse()  # what is newest is asked for most
        asker = Asker(desk.summary, windows, desk.unwanted)
        self._asking = True
        try:
            while (question := await asyncio.to_thread(asker.next_question)) is not None:
                await self._tell(question)
                while asker.waiting:
                    await self._receive(asker)
        except (TimeoutError, StorageError, SyncError) as error:
            asker.failure = asker.failure or str(error) or "no answer"
        finally:
            self._asking = False
            while not self._answers.empty():
                self._answers.get_nowait()
        if asker.failure is not None:
            log.info("catching up with %s stopped: %s", short(self._node_id), asker.failure)
        desk.counts["catching up: done" if asker.succeeded else "catching up: failed"] += 1
        return asker.succeeded

    async def _receive(self, asker: Asker) -> None:
        """Take in the next packet of an answer, and store what it brings."""
        async with asyncio.timeout(ANSWER_TIMEOUT):
            packet = await self._answers.get()
        raws = await asyncio.to_thread(asker.receive, packet)
        if not raws:
            return
        desk = self._desk
        envelopes = desk.judge_old(raws)
        desk.counts["envelopes caught up"] += len(envelopes)
        refused = await desk.store(envelopes, self._node_id)
        taken = {each.hash for each in envelopes} - {each.hash for each in refused}
        desk.unwanted.remember(keccak256(raw) for raw in raws if keccak256(raw) not in taken)

    async def _answer(self, question: Ask | Fetch) -> None:
        self._desk.counts["sync requests"] += 1
        if isinstance(question, Ask):
            await self._tell(await asyncio.to_thread(tell, self._desk.summary, question))
            return
        for packet in deliver(self._desk.summary, question):
            self._desk.counts["envelopes handed to servers"] += len(packet.raws)
            await self._tell(packet)

    async def _tell(self, packet: SyncPacket) -> None:
        await self._send(*encode(packet))
