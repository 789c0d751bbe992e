"""What a mail server does with what peers send, apart from connections: takes envelopes, opens requests, answers.

Everything is counted by outcome, and said to the peer in words that tell it what to do.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from offchain.config import MailserverConfig
from offchain.errors import StorageError
from offchain.keys import PrivateKey, PublicKey
from offchain.mailserver.answer import Answer, SyncAnswer
from offchain.mailserver.archive.base import Archive
from offchain.mailserver.archive.warmth import Warmth, page_faults
from offchain.mailserver.quota import Limits, Quotas, RequestMemory
from offchain.mailserver.reconcile.summary import Summary
from offchain.mailserver.reconcile.unwanted import Unwanted
from offchain.mailserver.retention import Retention
from offchain.mailserver.turns import Turns
from offchain.types import MAILSERVER, NodeId, TrustView
from offchain.whisper.cipher import key_from_password
from offchain.whisper.envelope import Envelope, EnvelopeError, Fault, PowRule
from offchain.whisper.mail import (
    DEFAULT_PASSWORD,
    Failure,
    MailError,
    SyncRequest,
    SyncResponse,
    open_request,
    request_id,
)
from offchain.whisper.protocol import Packet, Refusal
from offchain.whisper.sealed import AnswerSealer

log = logging.getLogger("offchain.mailserver")

WARN_INTERVAL = 10.0
"""Seconds between warnings of the same trouble."""

BUSY_PAUSE = 2.0
"""Seconds after which a client may try again that came when too many were waiting."""

LOOKS_AT_A_TIME = 8
"""Steps of answers at a time: where they wait for a database or the disk, it may as well have several to do."""

NewEnvelopes = Callable[[Sequence[Envelope], NodeId], None]
"""Told of envelopes that were not known before, once they are safe, and who brought them."""


class Writer(Protocol):
    """Who brings envelopes to disk: `ArchiveWriter`, or another process that has one."""

    async def add(self, envelopes: Sequence[Envelope]) -> list[bool]:
        """Store; returns once they are on disk, with whether each is new. StorageError if the disk refused."""
        ...


class Desk:
    """The decisions of a mail server."""

    def __init__(
        self,
        key: PrivateKey,
        config: MailserverConfig,
        trust: TrustView,
        archive: Archive,
        writer: Writer,
        retention: Retention,
        clock: Callable[[], float],
        on_new: NewEnvelopes,
    ) -> None:
        self.config = config
        self.counts: Counter[str] = Counter()
        """How often what happened."""
        self.archive = archive
        self.clock = clock
        self._key = key
        self._trust = trust
        self._writer = writer
        self._retention = retention
        self._on_new = on_new
        self._quotas = Quotas(Limits(config.requests_per_minute, config.requests_per_minute_per_address))
        self._requests = RequestMemory()
        self._turns = Turns(LOOKS_AT_A_TIME)
        self._warmth = Warmth()
        self.summary = Summary(archive, time.monotonic)
        """What other servers compare with theirs."""
        self.unwanted = Unwanted()
        self._warned_at = 0.0
        self._password_key = key_from_password(DEFAULT_PASSWORD) if config.password_requests else None

    # Envelopes

    async def store(self, envelopes: Sequence[Envelope], source: NodeId) -> list[Refusal]:
        """Keep envelopes that the protocol found acceptable. Returns once they are on disk, with those not kept.

        StorageError if the disk refused them: then none of them is acknowledged. Whoever stops waiting changes nothing:
        what is on its way to the disk gets there, and is told of.
        """
        oldest = self.oldest(self.clock())
        kept = [envelope for envelope in envelopes if envelope.sent >= oldest]
        writing = asyncio.ensure_future(self.keep(kept, source))
        writing.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen, if nobody waits any more
        await asyncio.shield(writing)
        refused = [Refusal(envelope.hash, Fault.EXPIRED) for envelope in envelopes if envelope.sent < oldest]
        self.count_refusals(refused)
        return refused

    async def keep(self, envelopes: Sequence[Envelope], source: NodeId) -> list[bool]:
        """Keep envelopes of any age, and tell of the new ones; for each whether it is one. StorageError likewise."""
        try:
            added = await self._writer.add(envelopes)
        except StorageError:
            self.counts["envelopes lost to a storage error"] += len(envelopes)
            raise
        new = [envelope for envelope, is_new in zip(envelopes, added, strict=True) if is_new]
        self.counts["envelopes stored"] += len(new)
        self.counts["envelopes known already"] += len(envelopes) - len(new)
        if new:
            self.summary.touched(envelope.sent for envelope in new)
            self._on_new(new, source)
        return added

    def oldest(self, now: float) -> int:
        """Envelopes sent before it are not taken."""
        return self._retention.oldest(now)

    def count_refusals(self, refused: Sequence[Refusal]) -> None:
        """Count envelopes that were not taken, by reason."""
        for each in refused:
            self.counts[f"envelopes refused: {each.fault.value}"] += 1

    def judge_old(self, raws: Sequence[bytes]) -> list[Envelope]:
        """Those envelopes of another server's archive that belong into ours: they may have expired, nothing else."""
        now = self.clock()
        good = []
        for raw in raws:
            try:
                envelope = Envelope.decode(raw)
            except EnvelopeError:
                self.counts["envelopes refused: not one"] += 1
                continue
            fault = envelope.fault(now, self.config.max_message_bytes)
            if fault in (None, Fault.EXPIRED) and not self._has_work(envelope):
                fault = Fault.POW
            if fault in (None, Fault.EXPIRED):
                good.append(envelope)
            else:
                self.count_refusals([Refusal(envelope.hash, fault)])
        return good

    def _has_work(self, envelope: Envelope) -> bool:
        return any(envelope.pow(rule) >= self.config.min_pow for rule in PowRule)

    # Requests

    async def look(self, answer: Answer | SyncAnswer, node_id: NodeId) -> list[Packet]:
        """Take a step of an answer when it is the client's turn; in a thread, if it will have to wait for others."""
        async with self._turns.turn(node_id) as turn:
            before = answer.envelopes
            waits = self.archive.waits or self._warmth.is_cold(time.monotonic())
            packets, faults = await asyncio.to_thread(_watched, answer.step) if waits else _watched(answer.step)
            self._warmth.note(faults, time.monotonic())
            turn.envelopes = answer.envelopes - before
        return packets

    def answer(self, packet: bytes, peer: PublicKey, host: str) -> Answer | Failure:
        """The answer to a history request, or why there is none."""
        now = self.clock()
        wait = self._quotas.wait(peer.node_id, host, now)
        if wait > 0:
            return self.refuse(packet, f"too many requests: try again in {wait:.1f} s", "too many")
        if self._turns.waiting >= self.config.max_waiting_requests:
            return self.refuse(packet, f"the server is busy: try again in {BUSY_PAUSE:.1f} s", "busy")
        try:
            opened = open_request(
                packet,
                self._key,
                peer,
                now,
                password_key=self._password_key,
                allow_plain=self._password_key is not None,
            )
            request = opened.request.resolved(now, self.config.max_page)
        except MailError as error:
            return self.refuse(packet, str(error), "not understood")
        if not self._requests.is_new(opened.id, opened.valid_until, now):
            return self.refuse(packet, "the request was sent before: make a new one", "repeated")
        self.counts["requests"] += 1
        self.counts["requests for sealed answers"] += request.sealed
        sealer = AnswerSealer(self._key, peer, opened.id) if request.sealed else None
        return Answer(self.archive, request, opened.id, sealer)

    def refuse(self, packet: bytes, text: str, reason: str) -> Failure:
        """A refusal of a history request, counted by its reason."""
        self.counts[f"requests refused: {reason}"] += 1
        return Failure(request_id(packet), text)

    def storage_failed(self, error: StorageError) -> None:
        """Tell the operator, not for every envelope."""
        self.counts["storage errors"] += 1
        now = self.clock()
        if abs(now - self._warned_at) >= WARN_INTERVAL:
            self._warned_at = now
            log.warning("the archive fails: %s", error)

    # Other servers

    def is_trusted_server(self, node_id: NodeId) -> bool:
        """Whether the node is a mail server that we relay with."""
        return self._trust.is_trusted(MAILSERVER, node_id)

    def answer_sync(self, payload: bytes, node_id: NodeId) -> SyncAnswer | SyncResponse:
        """The answer to a sync request, or why there is none."""
        if not self.is_trusted_server(node_id):
            self.counts["sync requests refused"] += 1
            return SyncResponse(final=True, error="this server does not trust yours")
        try:
            request = SyncRequest.decode(payload)
        except MailError as error:
            self.counts["sync requests refused"] += 1
            return SyncResponse(final=True, error=str(error))
        self.counts["sync requests"] += 1
        return SyncAnswer(self.archive, request)


def _watched(step: Callable[[], list[Packet]]) -> tuple[list[Packet], int]:
    """Take a step; what it gave, and for how many pages it waited for the disk."""
    before = page_faults()
    return step(), page_faults() - before
