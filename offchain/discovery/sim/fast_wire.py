"""The packet layer without packets: messages by reference, no cryptography, no RLP.

Takes the place of `wire.Wire` under a node, and `REFERENCES` that of the codec. What is kept of the real ones is what
can be seen from outside: a first request costs one round trip more (a challenge), the handshake carries the sender's
record when the other side has none or an older one, sessions are bounded, what waits for a handshake is bounded, and an
answer without a session is lost. Sessions are by node id alone: in a simulation nobody has two addresses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, cast

from offchain.discovery.address import UdpAddress
from offchain.discovery.message import Message
from offchain.discovery.wire import ASK_AGAIN, HANDSHAKE_TIMEOUT, MAX_WAITING, Received, Remote
from offchain.enr import Enr
from offchain.types import NodeId

MAX_SESSIONS = 2_000


class _References:
    """A codec that leaves messages as they are: between the two nodes nobody looks at what he carries."""

    def encode(self, message: Message) -> bytes:
        return cast(bytes, message)

    def decode(self, data: bytes) -> Message:
        return cast(Message, data)


REFERENCES = _References()


@dataclass(slots=True)
class Hello:
    """Stands for random bytes."""

    source: NodeId


@dataclass(slots=True)
class Challenge:
    """Stands for WHOAREYOU."""

    source: NodeId
    seq: int
    refused: bytes | None
    """The message that could not be decrypted: the nonce names it to whoever sent it."""


@dataclass(slots=True)
class Parcel:
    """Stands for a packet with a message."""

    source: NodeId
    message: bytes


@dataclass(slots=True)
class Proof:
    """Stands for a handshake packet."""

    source: NodeId
    message: bytes
    record: Enr | None


FastPacket: TypeAlias = Hello | Challenge | Parcel | Proof


@dataclass(slots=True)
class _Outgoing:
    """A handshake that we began."""

    expires: float
    asked: float
    waiting: list[bytes]
    proved: bool = False
    """Our part is done; it is over when the other side says something."""


class FastWire:
    """One node's. `record`, an attribute, is its own newest; `out` what it sends, for the world to take."""

    __slots__ = ("_id", "_known", "_outgoing", "_sessions", "out", "record", "stats")

    def __init__(self, record: Enr, known: Callable[[NodeId], Enr | None]) -> None:
        self.record = record
        self.stats: Counter[str] = Counter()
        self.out: list[tuple[FastPacket, UdpAddress]] = []
        self._id = record.node_id
        self._known = known
        self._sessions: dict[NodeId, None] = {}
        self._outgoing: dict[NodeId, _Outgoing] = {}

    # sending

    def send_request(self, remote: Remote, message: bytes, now: float, *, again: bool = False) -> bytes | None:
        """Send a request, after a handshake if need be."""
        node_id = remote.node_id
        outgoing = self._outgoing.get(node_id)
        if outgoing is not None:
            self._send_during_handshake(remote, outgoing, message, now, again)
        elif node_id in self._sessions:
            self.out.append((Parcel(self._id, message), remote.address))
        else:
            self._outgoing[node_id] = _Outgoing(now + HANDSHAKE_TIMEOUT, now, [message])
            self.out.append((Hello(self._id), remote.address))
        return None

    def send_response(self, node_id: NodeId, address: UdpAddress, message: bytes, now: float) -> None:
        """Send an answer."""
        if node_id in self._sessions:
            self.out.append((Parcel(self._id, message), address))

    def forget(self, nonce: bytes | None) -> None:
        """Nothing is kept by nonces."""

    def datagrams_to_send(self) -> list[tuple[bytes, UdpAddress]]:
        """There are none."""
        return []

    def receive_datagram(self, datagram: bytes, source: UdpAddress, now: float) -> Received | None:
        """There are none."""
        return None

    # receiving

    def receive(self, packet: FastPacket, source: UdpAddress, now: float) -> Received | None:
        """Take in a packet; the message in it, if there is one."""
        node_id = packet.source
        if isinstance(packet, Parcel):
            outgoing = self._outgoing.get(node_id)
            if outgoing is not None and outgoing.proved:
                self._begin_session(node_id, source)
            elif node_id not in self._sessions:
                self._challenge(packet.source, packet.message, source)
                return None
            return Received(node_id, source, packet.message)
        if isinstance(packet, Hello):
            self._challenge(node_id, None, source)
            return None
        if isinstance(packet, Challenge):
            self._prove(packet, source, now)
            return None
        self._begin_session(node_id, source)
        self.stats["handshakes_in"] += 1
        return Received(node_id, source, packet.message, packet.record or self._known(node_id))

    @property
    def idle(self) -> bool:
        """Whether no handshake is under way."""
        return not self._outgoing

    def session(self, node_id: NodeId, address: UdpAddress, now: float) -> object | None:
        """Not None if there is a session."""
        return self if node_id in self._sessions else None

    def handle_timeouts(self, now: float) -> None:
        """Give up handshakes."""
        for node_id in [each for each, outgoing in self._outgoing.items() if outgoing.expires <= now]:
            del self._outgoing[node_id]

    def sizes(self) -> dict[str, int]:
        """How much is held."""
        return {"sessions": len(self._sessions), "handshakes": len(self._outgoing)}

    # inside

    def _send_during_handshake(
        self, remote: Remote, outgoing: _Outgoing, message: bytes, now: float, again: bool
    ) -> None:
        if outgoing.proved and again:
            self.out.append((Parcel(self._id, message), remote.address))
            return
        if len(outgoing.waiting) < MAX_WAITING and not any(message is each for each in outgoing.waiting):
            outgoing.waiting.append(message)
        if not outgoing.proved and now - outgoing.asked >= ASK_AGAIN:
            outgoing.asked, outgoing.expires = now, now + HANDSHAKE_TIMEOUT
            self.out.append((Hello(self._id), remote.address))

    def _challenge(self, node_id: NodeId, refused: bytes | None, source: UdpAddress) -> None:
        known = self._known(node_id)
        self.stats["challenges_sent"] += 1
        self.out.append((Challenge(self._id, known.seq if known else 0, refused), source))

    def _prove(self, challenge: Challenge, source: UdpAddress, now: float) -> None:
        node_id = challenge.source
        outgoing = self._outgoing.get(node_id)
        if outgoing is None:
            if challenge.refused is None or self._sessions.pop(node_id, self) is self:
                return
            outgoing = self._outgoing[node_id] = _Outgoing(0.0, now, [challenge.refused])
        if outgoing.proved or not outgoing.waiting:
            return
        outgoing.proved = True
        outgoing.expires = now + HANDSHAKE_TIMEOUT
        record = self.record if challenge.seq < self.record.seq else None
        self.stats["handshakes_out"] += 1
        self.out.append((Proof(self._id, outgoing.waiting.pop(0), record), source))

    def _begin_session(self, node_id: NodeId, source: UdpAddress) -> None:
        self._sessions[node_id] = None
        if len(self._sessions) > MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        outgoing = self._outgoing.pop(node_id, None)
        if outgoing is not None:
            self.out += [(Parcel(self._id, message), source) for message in outgoing.waiting]
