"""The packet layer without packets: messages by reference, no cryptography.

Takes the place of `wire.Wire` under a node. What is kept of the real one is what can be seen from outside: a first
request costs one round trip more (a challenge), the handshake carries the sender's record when the other side has none
or an older one, sessions belong to (id, address) and are bounded, and an answer without a session is lost.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from offchain.discovery.address import UdpAddress
from offchain.discovery.wire import ASK_AGAIN, HANDSHAKE_TIMEOUT, MAX_WAITING, Received, Remote
from offchain.enr import Enr
from offchain.types import NodeId

MAX_SESSIONS = 2_000


@dataclass(frozen=True, slots=True)
class Hello:
    """Stands for random bytes, or a packet that can't be decrypted."""

    source: NodeId


@dataclass(frozen=True, slots=True)
class Challenge:
    """Stands for WHOAREYOU."""

    source: NodeId
    seq: int


@dataclass(frozen=True, slots=True)
class Parcel:
    """Stands for a packet with a message."""

    source: NodeId
    message: bytes
    handshake: bool = False
    record: Enr | None = None


FastPacket: TypeAlias = Hello | Challenge | Parcel
_Key: TypeAlias = tuple[NodeId, UdpAddress]


@dataclass(slots=True)
class _Outgoing:
    """A handshake that we began."""

    expires: float
    asked: float
    waiting: list[bytes]
    proved: bool = False
    """Our part is done; it is over when the other side says something."""


class FastWire:
    """One node's. `record`, an attribute, is its own newest."""

    def __init__(self, local_id: NodeId, record: Enr, known: Callable[[NodeId], Enr | None]) -> None:
        self.record = record
        self.stats: Counter[str] = Counter()
        self._id = local_id
        self._known = known
        self._sessions: OrderedDict[_Key, bytes | None] = OrderedDict()
        """With the last request sent, which a challenge may ask for again."""

        self._outgoing: dict[_Key, _Outgoing] = {}
        self._out: list[tuple[FastPacket, UdpAddress]] = []

    def send_request(self, remote: Remote, message: bytes, now: float, *, again: bool = False) -> bytes | None:
        """Send a request, after a handshake if need be."""
        key = (remote.node_id, remote.address)
        outgoing = self._outgoing.get(key)
        if outgoing is not None:
            self._send_during_handshake(key, outgoing, message, now, again)
        elif key in self._sessions:
            self._install(key, message)
            self._out.append((Parcel(self._id, message), remote.address))
        else:
            self._outgoing[key] = _Outgoing(now + HANDSHAKE_TIMEOUT, now, [message])
            self._out.append((Hello(self._id), remote.address))
        return None

    def send_response(self, node_id: NodeId, address: UdpAddress, message: bytes, now: float) -> None:
        """Send an answer."""
        if (node_id, address) in self._sessions:
            self._out.append((Parcel(self._id, message), address))

    def forget(self, nonce: bytes | None) -> None:
        """Nothing is kept by nonces."""

    def packets_to_send(self) -> list[tuple[FastPacket, UdpAddress]]:
        """What to send, and where to; each once."""
        out = self._out
        self._out = []
        return out

    def datagrams_to_send(self) -> list[tuple[bytes, UdpAddress]]:
        """There are none."""
        return []

    def receive_datagram(self, datagram: bytes, source: UdpAddress, now: float) -> Received | None:
        """There are none."""
        return None

    def receive(self, packet: FastPacket, source: UdpAddress, now: float) -> Received | None:
        """Take in a packet; the message in it, if there is one."""
        key = (packet.source, source)
        if isinstance(packet, Hello):
            self._challenge(key)
            return None
        if isinstance(packet, Challenge):
            self._prove(key, packet, now)
            return None
        outgoing = self._outgoing.get(key)
        if packet.handshake or (outgoing is not None and outgoing.proved):
            self._install(key, None)
            self._outgoing.pop(key, None)
            if outgoing is not None:
                self._out += [(Parcel(self._id, message), source) for message in outgoing.waiting]
        elif key not in self._sessions:
            self._challenge(key)
            return None
        if not packet.handshake:
            return Received(packet.source, source, packet.message)
        self.stats["handshakes_in"] += 1
        return Received(packet.source, source, packet.message, packet.record or self._known(packet.source))

    def session(self, node_id: NodeId, address: UdpAddress, now: float) -> object | None:
        """Not None if there is a session."""
        return self if (node_id, address) in self._sessions else None

    def handle_timeouts(self, now: float) -> None:
        """Give up handshakes."""
        for key in [key for key, outgoing in self._outgoing.items() if outgoing.expires <= now]:
            del self._outgoing[key]

    def sizes(self) -> dict[str, int]:
        """How much is held."""
        return {"sessions": len(self._sessions), "handshakes": len(self._outgoing)}

    def _send_during_handshake(self, key: _Key, outgoing: _Outgoing, message: bytes, now: float, again: bool) -> None:
        if outgoing.proved and again:
            self._out.append((Parcel(self._id, message), key[1]))
            return
        if message not in outgoing.waiting and len(outgoing.waiting) < MAX_WAITING:
            outgoing.waiting.append(message)
        if not outgoing.proved and now - outgoing.asked >= ASK_AGAIN:
            outgoing.asked, outgoing.expires = now, now + HANDSHAKE_TIMEOUT
            self._out.append((Hello(self._id), key[1]))

    def _challenge(self, key: _Key) -> None:
        known = self._known(key[0])
        self.stats["challenges_sent"] += 1
        self._out.append((Challenge(self._id, known.seq if known else 0), key[1]))

    def _prove(self, key: _Key, packet: Challenge, now: float) -> None:
        outgoing = self._outgoing.get(key)
        if outgoing is None:
            last = self._sessions.pop(key, None)
            if last is None:
                return
            outgoing = self._outgoing[key] = _Outgoing(now + HANDSHAKE_TIMEOUT, now, [last])
        if outgoing.proved or not outgoing.waiting:
            return
        outgoing.proved = True
        outgoing.expires = now + HANDSHAKE_TIMEOUT
        record = self.record if packet.seq < self.record.seq else None
        self.stats["handshakes_out"] += 1
        self._out.append((Parcel(self._id, outgoing.waiting.pop(0), True, record), key[1]))

    def _install(self, key: _Key, last: bytes | None) -> None:
        self._sessions[key] = last
        self._sessions.move_to_end(key)
        if len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
