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
from offchain.discovery.wire import MAX_WAITING, Received, Remote
from offchain.enr import Enr
from offchain.types import NodeId

MAX_SESSIONS = 2_000
CHALLENGE_TIMEOUT = 1.5


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


class FastWire:
    """One node's. `record`, an attribute, is its own newest."""

    def __init__(self, local_id: NodeId, record: Enr, known: Callable[[NodeId], Enr | None]) -> None:
        self.record = record
        self.stats: Counter[str] = Counter()
        self._id = local_id
        self._known = known
        self._sessions: OrderedDict[_Key, None] = OrderedDict()
        self._waiting: dict[_Key, tuple[float, list[bytes]]] = {}
        self._out: list[tuple[FastPacket, UdpAddress]] = []

    def send_request(self, remote: Remote, message: bytes, now: float, *, again: bool = False) -> bytes | None:
        """Send a request, after a handshake if need be."""
        key = (remote.node_id, remote.address)
        if key in self._sessions:
            self._sessions.move_to_end(key)
            self._out.append((Parcel(self._id, message), remote.address))
            return None
        expires, waiting = self._waiting.get(key, (0.0, []))
        if message not in waiting and len(waiting) < MAX_WAITING:
            waiting.append(message)
        if expires <= now or again:
            self._out.append((Hello(self._id), remote.address))
        self._waiting[key] = (now + CHALLENGE_TIMEOUT, waiting)
        return None

    def send_response(self, node_id: NodeId, address: UdpAddress, message: bytes, now: float) -> None:
        """Send an answer."""
        if (node_id, address) in self._sessions:
            self._out.append((Parcel(self._id, message), address))

    def forget(self, nonce: bytes | None) -> None:
        """Nothing is kept of requests."""

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
            self._answer_challenge(key, packet)
            return None
        if packet.handshake:
            self._install(key)
            self.stats["handshakes_in"] += 1
            self._flush(key)
            return Received(packet.source, source, packet.message, packet.record or self._known(packet.source))
        if key not in self._sessions:
            self._challenge(key)
            return None
        return Received(packet.source, source, packet.message)

    def session(self, node_id: NodeId, address: UdpAddress, now: float) -> object | None:
        """Not None if there is a session."""
        return self if (node_id, address) in self._sessions else None

    def handle_timeouts(self, now: float) -> None:
        """Give up handshakes."""
        for key in [key for key, (expires, _) in self._waiting.items() if expires <= now]:
            del self._waiting[key]

    def sizes(self) -> dict[str, int]:
        """How much is held."""
        return {"sessions": len(self._sessions), "handshakes": len(self._waiting)}

    def _challenge(self, key: _Key) -> None:
        known = self._known(key[0])
        self._out.append((Challenge(self._id, known.seq if known else 0), key[1]))

    def _answer_challenge(self, key: _Key, packet: Challenge) -> None:
        _, waiting = self._waiting.get(key, (0.0, []))
        if not waiting:
            self._sessions.pop(key, None)
            return
        record = self.record if packet.seq < self.record.seq else None
        self._install(key)
        self._out.append((Parcel(self._id, waiting.pop(0), True, record), key[1]))
        self._flush(key)

    def _flush(self, key: _Key) -> None:
        _, waiting = self._waiting.pop(key, (0.0, []))
        self._out += [(Parcel(self._id, message), key[1]) for message in waiting]

    def _install(self, key: _Key) -> None:
        self._sessions[key] = None
        self._sessions.move_to_end(key)
        if len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
