"""shh/6 between two peers: the session (a machine over packets) and ShhPeer (its shell over rlpx.Peer).

Both say their status first. Then each sends envelopes that meet the other's requirements, and judges what it gets:
only envelopes that are in time, of a sane size and ttl, with enough proof of work and inside our bloom filter become
events. A refused envelope costs its sender a little trust; a packet that is not one ends the connection.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from offchain.errors import ConnectionLost, LocalError
from offchain.hashing import keccak256
from offchain.rlpx.p2p import DisconnectReason
from offchain.rlpx.peer import Disconnected, Peer
from offchain.whisper import packets
from offchain.whisper.bloom import envelope_matches
from offchain.whisper.envelope import MAX_ENVELOPE, Envelope, EnvelopeError, Fault, PowRule, encode_many
from offchain.whisper.packets import EXTENSIONS, SHH, BatchFault, BatchResponse, Code, RateLimits, ShhError, Status

__all__ = [
    "SHH",
    "Acknowledged",
    "BatchAnswered",
    "Code",
    "Disconnected",
    "EnvelopesReceived",
    "Event",
    "Extension",
    "NoStatus",
    "OtherMessage",
    "RateLimits",
    "Refusal",
    "RequirementsChanged",
    "Rules",
    "ShhError",
    "ShhPeer",
    "ShhSession",
    "Status",
    "StatusReceived",
]

BATCH_BYTES = 256 * 1024
"""Envelopes are sent in packets of about this size: others take 1 MiB."""

BATCH_ENVELOPES = 4_096
"""Most envelopes of a packet, however small: an answer may have to name each of them."""

CHANGE_ALLOWANCE = 10.0
"""Seconds for which what met our old requirements is still taken after we changed them."""


class NoStatus(LocalError):
    """Something was to be sent before the peer's status came."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How strictly a peer is judged."""

    max_envelope: int = MAX_ENVELOPE
    """Bytes of one envelope."""

    pow_rules: tuple[PowRule, ...] = (PowRule.LEADING, PowRule.TRAILING)
    """Any of these will do."""

    envelopes_per_second: float | None = None
    """More than these are refused; None takes all."""

    envelope_burst: int = 1_000
    """So many at once besides."""

    refused_burst: int = 1_000
    """Refused envelopes after which the peer is dropped; ten a second are forgiven."""

    control_burst: int = 100
    """Packets of no use (changes of requirements, empty lists, unknown codes) likewise."""

    acknowledge: bool = True
    """Answer batches once they are judged. Otherwise whoever keeps them calls `acknowledge` when they are safe."""


@dataclass(frozen=True, slots=True)
class StatusReceived:
    """The peer said who it is; always the first event."""

    status: Status


@dataclass(frozen=True, slots=True)
class RequirementsChanged:
    """The peer wants other envelopes than before."""

    status: Status


@dataclass(frozen=True, slots=True)
class Refusal:
    """An envelope we did not take."""

    hash: bytes
    fault: Fault


@dataclass(frozen=True, slots=True)
class EnvelopesReceived:
    """A batch came."""

    envelopes: tuple[Envelope, ...]
    """Acceptable."""

    refused: tuple[Refusal, ...]
    batch: bytes
    """What to acknowledge; empty if the peer does not want to know."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The peer has the batch."""

    batch: bytes


@dataclass(frozen=True, slots=True)
class BatchAnswered:
    """The peer says what became of the batch."""

    response: BatchResponse


@dataclass(frozen=True, slots=True)
class Extension:
    """A packet between mail servers and clients, codes 123 to 127, as it came."""

    code: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class OtherMessage:
    """A message of another capability of the same connection, as it came."""

    capability: str
    code: int
    payload: bytes


Event: TypeAlias = (
    StatusReceived | RequirementsChanged | EnvelopesReceived | Acknowledged | BatchAnswered | Extension | OtherMessage
)
Packet: TypeAlias = tuple[int, bytes]


class ShhSession:
    """One end of shh/6. `now` is the time of day, in seconds since 1970: envelopes carry it.

    `receive` raises ShhError, and nothing else, when the peer must be dropped.
    """

    def __init__(self, status: Status, now: float, rules: Rules | None = None) -> None:
        self._rules = rules or Rules()
        self._status = status
        self._old_status = status
        self._changed_at = 0.0
        self._out: list[Packet] = [(Code.STATUS, status.encode())]
        self._refusals = _Bucket(self._rules.refused_burst, 10.0, now)
        self._control = _Bucket(self._rules.control_burst, 10.0, now)
        rate = self._rules.envelopes_per_second
        self._envelopes = None if rate is None else _Bucket(self._rules.envelope_burst + rate, rate, now)
        self._expected_answers = 0
        self.remote: Status | None = None
        """The peer's status with its later changes; None until it came."""

    @property
    def status(self) -> Status:
        """Ours, as last told."""
        return self._status

    def packets_to_send(self) -> list[Packet]:
        """(code, payload) since the last call."""
        out, self._out = self._out, []
        return out

    # OUT

    def set_requirements(self, now: float, *, min_pow: float | None = None, bloom: bytes | None = None) -> None:
        """Ask for other envelopes from now on. What met the old requirements is still taken for a while."""
        self._old_status, self._changed_at = self._status, now
        if min_pow is not None:
            self._status = replace(self._status, min_pow=min_pow)
            self._out.append((Code.POW_REQUIREMENT, packets.encode_pow(min_pow)))
        if bloom is not None:
            self._status = replace(self._status, bloom=bloom)
            self._out.append((Code.BLOOM_FILTER, packets.encode_bloom(bloom)))

    def send_envelopes(self, envelopes: Iterable[Envelope], *, known_pow: float = 0.0) -> list[bytes]:
        """Send those that the peer wants. Returns the hashes of the batches, if the peer will acknowledge them.

        `known_pow` is what all of them are known to have, so that it need not be computed again.
        """
        if self.remote is None:
            raise NoStatus("the peer's status has not come")
        batches = []
        for batch in _batches(each for each in envelopes if self._wanted(each, self.remote, known_pow)):
            payload = encode_many(batch)
            self._out.append((Code.MESSAGES, payload))
            if self.remote.confirmations:
                self._expected_answers += 2
                batches.append(keccak256(payload))
        return batches

    def acknowledge(self, received: EnvelopesReceived) -> None:
        """Tell the peer what became of its batch, if it wants to know."""
        if not received.batch:
            return
        faults = tuple(BatchFault(each.hash, _fault_code(each.fault), each.fault.value) for each in received.refused)
        self._out.append((Code.BATCH_RESPONSE, BatchResponse(received.batch, faults).encode()))
        self._out.append((Code.BATCH_ACKNOWLEDGED, packets.encode_acknowledgement(received.batch)))

    def _wanted(self, envelope: Envelope, remote: Status, known_pow: float) -> bool:
        if remote.bloom is not None and not envelope_matches(remote.bloom, envelope.topic):
            return False
        return known_pow >= remote.min_pow or envelope.best_pow(remote.min_pow) >= remote.min_pow

    def lift_rate_limit(self) -> None:
        """Take as many envelopes a second as come: the peer turned out to be one that we trust."""
        self._envelopes = None

    # IN

    def receive(self, code: int, payload: bytes, now: float) -> Event | None:
        """Take in one packet; what it means, if anything."""
        if self.remote is None:
            return self._receive_status(code, payload)
        if code in EXTENSIONS:
            return Extension(code, payload)
        if code == Code.MESSAGES:
            return self._receive_envelopes(payload, now)
        if code == Code.BATCH_ACKNOWLEDGED:
            self._answer_came(now)
            return Acknowledged(packets.decode_acknowledgement(payload))
        if code == Code.BATCH_RESPONSE:
            self._answer_came(now)
            return BatchAnswered(BatchResponse.decode(payload))
        self._spend_control(now)
        if code == Code.POW_REQUIREMENT:
            return self._remote_changed(replace(self.remote, min_pow=packets.decode_pow(payload)))
        if code == Code.BLOOM_FILTER:
            return self._remote_changed(replace(self.remote, bloom=packets.decode_bloom(payload)))
        if code == Code.RATE_LIMITS:
            return self._remote_changed(replace(self.remote, rate_limits=RateLimits.decode(payload)))
        if code == Code.STATUS:
            raise ShhError("a second status")
        return None  # a later version's packet: skipped, as EIP-627 asks

    def _receive_status(self, code: int, payload: bytes) -> Event:
        if code != Code.STATUS:
            raise ShhError(f"packet {code} came before the status")
        status = Status.decode(payload)
        if status.version != packets.VERSION:
            raise ShhError(f"the peer speaks version {status.version}, expected {packets.VERSION}")
        self.remote = status
        return StatusReceived(status)

    def _receive_envelopes(self, payload: bytes, now: float) -> EnvelopesReceived:
        try:
            envelopes = Envelope.decode_many(payload)
        except EnvelopeError as error:
            raise ShhError(f"envelopes: {error}") from None
        if not envelopes:
            self._spend_control(now)
        accepted = []
        refused = []
        for each in envelopes:
            fault = self._judge(each, now)
            if fault is None:
                accepted.append(each)
            else:
                refused.append(Refusal(each.hash, fault))
        if refused and not self._refusals.take(now, len(refused)):
            raise ShhError(f"too many envelopes that cannot be taken, the last for: {refused[-1].fault.value}")
        batch = keccak256(payload) if self.remote is not None and self.remote.confirmations else b""
        received = EnvelopesReceived(tuple(accepted), tuple(refused), batch)
        if self._rules.acknowledge:
            self.acknowledge(received)
        return received

    def _judge(self, envelope: Envelope, now: float) -> Fault | None:
        """What is wrong with an envelope, cheapest questions first."""
        if self._envelopes is not None and not self._envelopes.take(now):
            return Fault.RATE
        fault = envelope.fault(now, self._rules.max_envelope)
        if fault is not None:
            return fault
        ours = self._status
        old = self._old_status if now < self._changed_at + CHANGE_ALLOWANCE else ours
        if not (_passes(ours.bloom, envelope.topic) or _passes(old.bloom, envelope.topic)):
            return Fault.BLOOM
        min_pow = min(ours.min_pow, old.min_pow)
        if min_pow > 0 and not any(envelope.pow(rule) >= min_pow for rule in self._rules.pow_rules):
            return Fault.POW
        return None

    def _remote_changed(self, status: Status) -> RequirementsChanged:
        self.remote = status
        return RequirementsChanged(status)

    def _answer_came(self, now: float) -> None:
        if self._expected_answers:
            self._expected_answers -= 1
        else:
            self._spend_control(now)

    def _spend_control(self, now: float) -> None:
        if not self._control.take(now):
            raise ShhError("a flood of packets without use")


class ShhPeer:
    """shh/6 over an open connection. Iterate over it for events; only then packets are read.

    The iteration never ends by itself: it raises Disconnected when the connection is over, and ShhError after it has
    closed the connection of a peer that broke the protocol. Both are PeerErrors.
    """

    def __init__(self, peer: Peer, session: ShhSession, clock: Callable[[], float], others: bool = False) -> None:
        self.peer = peer
        self._others = others
        self.session = session
        self._clock = clock
        self._events: deque[Event] = deque()
        self._breach: ShhError | None = None

    @classmethod
    async def start(
        cls,
        peer: Peer,
        status: Status,
        *,
        rules: Rules | None = None,
        timeout: float = 5.0,  # noqa: ASYNC109 (the bound on the peer's status)
        clock: Callable[[], float] = time.time,
        others: bool = False,
    ) -> ShhPeer:
        """Exchange statuses. ConnectionLost if the peer's does not come within `timeout` seconds.

        With `others`, messages of other capabilities of the connection are events too, once the status came.
        """
        shh = cls(peer, ShhSession(status, clock(), rules), clock, others)
        try:
            async with asyncio.timeout(timeout):
                await shh._flush()
                while shh.session.remote is None:
                    await shh._receive(1)
        except TimeoutError:
            await peer.close(DisconnectReason.TIMEOUT)
            raise ConnectionLost(f"{peer!r} sent no status within {timeout:g} s") from None
        shh._events.clear()  # only the StatusReceived that `remote_status` tells
        return shh

    @property
    def remote_status(self) -> Status:
        """The peer's status, with its later changes."""
        assert self.session.remote is not None
        return self.session.remote

    @property
    def closed(self) -> bool:
        """Whether the connection is over."""
        return self.peer.closed

    async def send_envelopes(self, envelopes: Sequence[Envelope], *, known_pow: float = 0.0) -> list[bytes]:
        """See ShhSession.send_envelopes. Waits while the peer does not keep up.

        Have somebody iterate over the events meanwhile: a peer whose own sendings are not read may stop reading.
        """
        batches = self.session.send_envelopes(envelopes, known_pow=known_pow)
        await self._flush()
        return batches

    async def send(self, code: int, payload: bytes) -> None:
        """Send a packet as it is: codes 123 to 127."""
        await self.peer.send(SHH.name, code, payload)

    async def send_many(self, packets_to_send: Iterable[Packet]) -> None:
        """Send packets as they are, cheaper than one by one."""
        await self.peer.send_many(SHH.name, packets_to_send)

    async def acknowledge(self, received: EnvelopesReceived) -> None:
        """See ShhSession.acknowledge. Does not wait for the peer to keep up, see Peer.send_now."""
        self.session.acknowledge(received)
        self._answer()

    async def set_requirements(self, *, min_pow: float | None = None, bloom: bytes | None = None) -> None:
        """See ShhSession.set_requirements."""
        self.session.set_requirements(self._clock(), min_pow=min_pow, bloom=bloom)
        await self._flush()

    def lift_rate_limit(self) -> None:
        """See ShhSession.lift_rate_limit."""
        self.session.lift_rate_limit()

    async def close(self, reason: DisconnectReason = DisconnectReason.REQUESTED) -> None:
        """Say goodbye and close the connection."""
        await self.peer.close(reason)

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        while not self._events:
            await self._receive()
        return self._events.popleft()

    async def _receive(self, limit: int = 64) -> None:
        """Take in packets: what they mean goes to the events, what they ask for to the peer.

        A breach is raised only after the events that came before it were taken.
        """
        if self._breach is not None:
            raise self._breach
        for message in await self.peer.receive_many(limit):
            if message.capability != SHH.name:
                if self._others and self.session.remote is not None:
                    self._events.append(OtherMessage(message.capability, message.code, message.payload))
                continue
            try:
                event = self.session.receive(message.code, message.payload, self._clock())
            except ShhError as error:
                self._breach = error
                await self.peer.close(DisconnectReason.SUBPROTOCOL_ERROR)
                return
            if event is not None:
                self._events.append(event)
        self._answer()

    def _answer(self) -> None:
        """Send what the session says to what came in."""
        waiting = self.session.packets_to_send()
        if waiting:
            self.peer.send_now(SHH.name, waiting)

    async def _flush(self) -> None:
        waiting = self.session.packets_to_send()
        if waiting:
            await self.peer.send_many(SHH.name, waiting)


class _Bucket:
    """So many at once, refilled by so many a second."""

    __slots__ = ("_burst", "_left", "_rate", "_since")

    def __init__(self, burst: float, rate: float, now: float) -> None:
        self._burst = burst
        self._rate = rate
        self._left = burst
        self._since = now

    def take(self, now: float, count: int = 1) -> bool:
        """Whether so many more are within the bound. The clock may be set back; then nothing is refilled."""
        self._left = min(self._burst, self._left + max(0.0, now - self._since) * self._rate)
        self._since = now
        if self._left < count:
            return False
        self._left -= count
        return True


def _passes(bloom: bytes | None, topic: bytes) -> bool:
    return bloom is None or envelope_matches(bloom, topic)


def _batches(envelopes: Iterable[Envelope]) -> Iterable[list[Envelope]]:
    batch: list[Envelope] = []
    size = 0
    for each in envelopes:
        if batch and (size + len(each.raw) > BATCH_BYTES or len(batch) == BATCH_ENVELOPES):
            yield batch
            batch, size = [], 0
        batch.append(each)
        size += len(each.raw)
    if batch:
        yield batch


def _fault_code(fault: Fault) -> int:
    return packets.TIME_NOT_SYNCED if fault in (Fault.FUTURE, Fault.EXPIRED) else packets.OTHER_ERROR
