"""Packets in, messages out: sessions and handshakes as one state machine.

    A                                   B
    | message under keys B hasn't, or random bytes -->
    | <-- WHOAREYOU, naming that packet's nonce       B keeps a challenge for a second
    | handshake: proof, ephemeral key, message -->    B has the keys, valid because the message decrypts
    | <-- answer under the new keys                   A's keys are valid from here; what waited is sent

Nothing is answered before a session exists but with a WHOAREYOU, which is shorter than any packet it can answer. While
a challenge is open, further packets that can't be decrypted get the same WHOAREYOU again. A challenge is used up by the
first handshake that comes for it, good or bad: one signature check each.

Every store is bounded. Times are seconds, on whatever clock the caller has.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from offchain.discovery import packet as packets
from offchain.discovery.access import OPEN, Access
from offchain.discovery.address import UdpAddress
from offchain.discovery.agreement import proof_digest, session_keys
from offchain.discovery.limits import InboundLimiter
from offchain.discovery.packet import Handshake, Mask, Ordinary, PacketError, WhoAreYou
from offchain.discovery.session import Keys, Session, SessionKey, SessionStore
from offchain.enr import Enr, EnrError
from offchain.keys import InvalidKey, PrivateKey, PublicKey
from offchain.types import NodeId

CHALLENGE_LIFETIME = 1.0
"""Seconds that a challenge can be answered, and that its WHOAREYOU is repeated."""

MAX_CHALLENGES = 1_024
"""Open challenges; the oldest goes when there are more."""

HANDSHAKE_TIMEOUT = 1.5
"""Seconds from the last packet of ours in a handshake until it is given up."""

ASK_AGAIN = 0.3
"""Seconds after which a further request asks for the handshake again: the node may have come up since."""

MAX_HANDSHAKES = 1_024
"""Handshakes that we have begun; no request starts another when there are so many."""

MAX_WAITING = 64
"""Messages that wait for one handshake; what comes on top is lost, as packets are."""

MAX_SENT = 4_096
"""Requests sent that may still be challenged; the oldest is forgotten when there are more."""

SENT_LIFETIME = 3.0
_MAX_PROOFS = 3
_MAX_REPEATS = 2
_MASKS = 2_048
_RANDOM_MESSAGE_SIZE = 44


@dataclass(frozen=True, slots=True)
class Remote:
    """A node to talk to, and where."""

    node_id: NodeId
    public: PublicKey = field(compare=False, repr=False)
    address: UdpAddress


@dataclass(frozen=True, slots=True)
class Received:
    """A message that somebody provably sent."""

    node_id: NodeId
    address: UdpAddress
    message: bytes
    record: Enr | None = None
    """The sender's, if this was its handshake: the one it sent, or the one we had."""


@dataclass(slots=True)
class _Challenge:
    header: bytes
    datagram: bytes
    record: Enr | None
    expires: float


@dataclass(slots=True)
class _Sent:
    remote: Remote
    message: bytes | None
    """None for random bytes."""

    expires: float


@dataclass(slots=True)
class _Outgoing:
    """A handshake that we began, or were challenged to."""

    remote: Remote
    deadline: float
    waiting: deque[bytes] = field(default_factory=lambda: deque(maxlen=MAX_WAITING))
    first: bytes | None = None
    """The message in the handshake packet."""

    asked: float = 0.0
    """When random bytes were sent last."""

    keys: Keys | None = None
    """Not valid before the other side has used them."""

    challenge: bytes = b""
    datagram: bytes = b""
    proofs: int = 0
    repeats: int = 0


class PacketLayer(Protocol):
    """What a node needs of its packet layer: `Wire`, or in simulations one without cryptography."""

    record: Enr
    stats: Counter[str]

    @property
    def idle(self) -> bool: ...

    def send_request(self, remote: Remote, message: bytes, now: float, *, again: bool = False) -> bytes | None: ...

    def send_response(self, node_id: NodeId, address: UdpAddress, message: bytes, now: float) -> None: ...

    def forget(self, nonce: bytes | None) -> None: ...

    def datagrams_to_send(self) -> list[tuple[bytes, UdpAddress]]: ...

    def receive_datagram(self, datagram: bytes, source: UdpAddress, now: float) -> Received | None: ...

    def session(self, node_id: NodeId, address: UdpAddress, now: float) -> object | None: ...

    def handle_timeouts(self, now: float) -> None: ...

    def sizes(self) -> dict[str, int]: ...


class Wire:
    """The packet layer of one node."""

    def __init__(
        self,
        key: PrivateKey,
        record: Enr,
        rng: Random,
        limiter: InboundLimiter,
        known: Callable[[NodeId], Enr | None],
        *,
        protocol_id: bytes = packets.PROTOCOL_ID,
        sessions: int = 2_000,
        access: Access = OPEN,
    ) -> None:
        """`known` gives the record that we have of a node; `record`, an attribute, is our own newest."""
        self.record = record
        self.stats: Counter[str] = Counter()
        self._key = key
        self._id = key.public.node_id
        self._rng = rng
        self._limiter = limiter
        self._known = known
        self._protocol_id = protocol_id
        self._access = access
        self._own_mask = Mask(self._id)
        self._masks: OrderedDict[NodeId, Mask] = OrderedDict()
        self._sessions = SessionStore(sessions)
        self._challenges: OrderedDict[SessionKey, _Challenge] = OrderedDict()
        self._outgoing: OrderedDict[SessionKey, _Outgoing] = OrderedDict()
        self._sent: OrderedDict[bytes, _Sent] = OrderedDict()
        self._out: list[tuple[bytes, UdpAddress]] = []

    # sending

    def send_request(self, remote: Remote, message: bytes, now: float, *, again: bool = False) -> bytes | None:
        """Send a request, after a handshake if need be; `again` if it was sent before and not answered.

        Gives the nonce of the packet, for `forget`; None if nothing was sent yet.
        """
        key = (remote.node_id, remote.address)
        outgoing = self._outgoing.get(key)
        if outgoing is not None:
            return self._send_during_handshake(outgoing, message, now, again)
        session = self._sessions.get(key, now)
        if session is not None and not session.current.used_up:
            return self._send_tracked(remote, session.current, message, now)
        if len(self._outgoing) >= MAX_HANDSHAKES:
            self.stats["handshakes_refused"] += 1
            return None
        outgoing = _Outgoing(remote, now + HANDSHAKE_TIMEOUT)
        outgoing.waiting.append(message)
        self._outgoing[key] = outgoing
        return self._send_random(outgoing, now)

    def send_response(self, node_id: NodeId, address: UdpAddress, message: bytes, now: float) -> None:
        """Send an answer to where the request came from. Without a session it is lost, as packets are."""
        session = self._sessions.get((node_id, address), now)
        if session is not None and not session.current.used_up:
            self._seal(node_id, address, session.current, message)

    def forget(self, nonce: bytes | None) -> None:
        """The request in the packet with this nonce was answered."""
        if nonce is not None:
            self._sent.pop(nonce, None)

    def datagrams_to_send(self) -> list[tuple[bytes, UdpAddress]]:
        """What to send, and where to; each once."""
        out = self._out
        self._out = []
        return out

    # receiving

    def receive_datagram(self, datagram: bytes, source: UdpAddress, now: float) -> Received | None:
        """Take in a datagram; the message in it, if there is one that can be believed."""
        if not self._access.permits_address(source[0]):
            self.stats["dropped_denied"] += 1
            return None
        if not self._limiter.packet(source, now):
            self.stats["dropped_rate"] += 1
            return None
        try:
            packet = packets.decode(datagram, self._own_mask, self._protocol_id)
        except PacketError:
            self.stats["dropped_packet"] += 1
            return None
        if isinstance(packet, WhoAreYou):
            self._on_whoareyou(packet, source, now)
            return None
        if not self._access.permits(packet.source, source[0]):
            self.stats["dropped_denied"] += 1
            return None
        if isinstance(packet, Ordinary):
            return self._on_ordinary(packet, source, now)
        return self._on_handshake(packet, source, now)

    def _on_ordinary(self, packet: Ordinary, source: UdpAddress, now: float) -> Received | None:
        key = (packet.source, source)
        session = self._sessions.get(key, now)
        if session is not None:
            message = session.current.open(packet.nonce, packet.ciphertext, packet.header)
            if message is not None:
                return self._accepted(session.current, packet, source, message)
        outgoing = self._outgoing.get(key)
        if outgoing is not None and outgoing.keys is not None:
            message = outgoing.keys.open(packet.nonce, packet.ciphertext, packet.header)
            if message is not None:
                self._confirm(key, outgoing, now)
                return self._accepted(outgoing.keys, packet, source, message)
        if session is not None and session.previous is not None:
            message = session.previous.open(packet.nonce, packet.ciphertext, packet.header)
            if message is not None:
                return self._accepted(session.previous, packet, source, message)
        self._challenge(key, packet.nonce, now)
        return None

    def _accepted(self, keys: Keys, packet: Ordinary, source: UdpAddress, message: bytes) -> Received | None:
        if not keys.accept(packet.nonce):
            self.stats["dropped_replay"] += 1
            return None
        return Received(packet.source, source, message)

    def _challenge(self, key: SessionKey, nonce: bytes, now: float) -> None:
        node_id, source = key
        if node_id == self._id or not self._limiter.challenge(source, now):
            self.stats["challenges_refused"] += 1
            return
        challenge = self._challenges.get(key)
        if challenge is None or challenge.expires <= now:
            record = self._known(node_id)
            header = packets.whoareyou_header(
                self._rng.randbytes(packets.IV_SIZE),
                nonce,
                self._rng.randbytes(packets.ID_NONCE_SIZE),
                0 if record is None else record.seq,
                self._protocol_id,
            )
            datagram = packets.encode(Mask(node_id), header)
            challenge = _Challenge(header, datagram, record, now + CHALLENGE_LIFETIME)
            self._challenges[key] = challenge
            self._challenges.move_to_end(key)
            if len(self._challenges) > MAX_CHALLENGES:
                self._challenges.popitem(last=False)
        self.stats["challenges_sent"] += 1
        self._out.append((challenge.datagram, source))

    def _on_handshake(self, packet: Handshake, source: UdpAddress, now: float) -> Received | None:
        key = (packet.source, source)
        challenge = self._challenges.pop(key, None)
        if challenge is None or challenge.expires <= now:
            self.stats["handshakes_unasked"] += 1
            return None
        checked = self._check_handshake(packet, challenge)
        if checked is None:
            self.stats["handshakes_bad"] += 1
            return None
        keys, record, message = checked
        self.stats["handshakes_in"] += 1
        outgoing = self._outgoing.pop(key, None)
        # Both sides began at once: the answer to our handshake may still come, under its keys.
        self._sessions.install(key, keys, outgoing.keys if outgoing else None, now)
        if outgoing is not None:
            self._flush(outgoing, keys, now)
        return Received(packet.source, source, message, record)

    def _check_handshake(self, packet: Handshake, challenge: _Challenge) -> tuple[Keys, Enr, bytes] | None:
        record = challenge.record
        try:
            if packet.record:
                sent = Enr.decode(packet.record)
                if record is None or sent.seq >= record.seq:
                    record = sent
            if record is None or record.node_id != packet.source:
                return None
            ephemeral = PublicKey.from_bytes(packet.ephemeral)
        except (EnrError, InvalidKey):
            return None
        digest = proof_digest(challenge.header, packet.ephemeral, self._id)
        if not record.public.verify(packet.signature, digest):
            return None
        secret = self._key.ecdh_compressed(ephemeral)
        read, write = session_keys(secret, challenge.header, packet.source, self._id)
        keys = Keys(write, read)
        message = keys.open(packet.nonce, packet.ciphertext, packet.header)
        return None if message is None else (keys, record, message)

    def _on_whoareyou(self, packet: WhoAreYou, source: UdpAddress, now: float) -> None:
        sent = self._sent.get(packet.nonce)
        if sent is None or sent.remote.address != source or sent.expires <= now:
            self.stats["challenges_unasked"] += 1
            return
        key = (sent.remote.node_id, source)
        outgoing = self._outgoing.get(key)
        if outgoing is None:
            if sent.message is None or len(self._outgoing) >= MAX_HANDSHAKES:
                return  # a session came about since; what was to be sent went under its keys
            outgoing = _Outgoing(sent.remote, now + HANDSHAKE_TIMEOUT, first=sent.message)
            self._outgoing[key] = outgoing
        if outgoing.challenge == packet.header:
            self._repeat_handshake(outgoing, source, now)
            return
        if outgoing.proofs >= _MAX_PROOFS:
            self.stats["challenges_unasked"] += 1
            return
        message = sent.message if sent.message is not None else outgoing.first
        if message is None:
            if not outgoing.waiting:
                return
            message = outgoing.waiting.popleft()
        self._prove(outgoing, message, packet, now)

    def _repeat_handshake(self, outgoing: _Outgoing, source: UdpAddress, now: float) -> None:
        """The other side repeats its WHOAREYOU: it hasn't had our handshake, or its packet is a duplicate."""
        if outgoing.repeats < _MAX_REPEATS:
            outgoing.repeats += 1
            outgoing.deadline = now + HANDSHAKE_TIMEOUT
            self._out.append((outgoing.datagram, source))

    def _prove(self, outgoing: _Outgoing, message: bytes, packet: WhoAreYou, now: float) -> None:
        remote = outgoing.remote
        ephemeral = self._ephemeral()
        ephemeral_public = ephemeral.public.compressed
        secret = ephemeral.ecdh_compressed(remote.public)
        write, read = session_keys(secret, packet.header, self._id, remote.node_id)
        keys = Keys(write, read)
        nonce = keys.next_nonce(self._rng.randbytes(8))
        header = packets.handshake_header(
            self._rng.randbytes(packets.IV_SIZE),
            nonce,
            self._id,
            self._key.sign(proof_digest(packet.header, ephemeral_public, remote.node_id)),
            ephemeral_public,
            self.record.raw if packet.enr_seq < self.record.seq else b"",
            self._protocol_id,
        )
        outgoing.datagram = packets.encode(self._mask(remote.node_id), header, keys.seal(nonce, message, header))
        outgoing.challenge = packet.header
        outgoing.keys = keys
        outgoing.first = message
        outgoing.proofs += 1
        outgoing.deadline = now + HANDSHAKE_TIMEOUT
        self.stats["handshakes_out"] += 1
        self._out.append((outgoing.datagram, remote.address))

    def _ephemeral(self) -> PrivateKey:
        while True:
            try:
                return PrivateKey(self._rng.randbytes(32))
            except InvalidKey:
                continue  # one draw in 2^128

    # the handshake's other end

    def _send_during_handshake(self, outgoing: _Outgoing, message: bytes, now: float, again: bool) -> bytes | None:
        if outgoing.keys is not None and again:
            # If our handshake arrived, this is understood; if not, it brings the WHOAREYOU back.
            return self._send_tracked(outgoing.remote, outgoing.keys, message, now)
        if message not in outgoing.waiting:
            outgoing.waiting.append(message)
        if outgoing.keys is None and now - outgoing.asked >= ASK_AGAIN:
            outgoing.deadline = now + HANDSHAKE_TIMEOUT
            return self._send_random(outgoing, now)
        return None

    def _confirm(self, key: SessionKey, outgoing: _Outgoing, now: float) -> None:
        """The other side used the new keys: they are valid."""
        assert outgoing.keys is not None
        del self._outgoing[key]
        self._sessions.install(key, outgoing.keys, None, now)
        self._flush(outgoing, outgoing.keys, now)

    def _flush(self, outgoing: _Outgoing, keys: Keys, now: float) -> None:
        for message in outgoing.waiting:
            self._send_tracked(outgoing.remote, keys, message, now)

    # packets

    def _send_random(self, outgoing: _Outgoing, now: float) -> bytes:
        remote = outgoing.remote
        outgoing.asked = now
        nonce = self._rng.randbytes(packets.NONCE_SIZE)
        header = packets.ordinary_header(self._rng.randbytes(packets.IV_SIZE), nonce, self._id, self._protocol_id)
        noise = self._rng.randbytes(_RANDOM_MESSAGE_SIZE)
        self._out.append((packets.encode(self._mask(remote.node_id), header, noise), remote.address))
        self._track(nonce, remote, None, now)
        return nonce

    def _send_tracked(self, remote: Remote, keys: Keys, message: bytes, now: float) -> bytes:
        nonce = self._seal(remote.node_id, remote.address, keys, message)
        self._track(nonce, remote, message, now)
        return nonce

    def _track(self, nonce: bytes, remote: Remote, message: bytes | None, now: float) -> None:
        self._sent[nonce] = _Sent(remote, message, now + SENT_LIFETIME)
        if len(self._sent) > MAX_SENT:
            self._sent.popitem(last=False)

    def _seal(self, node_id: NodeId, address: UdpAddress, keys: Keys, message: bytes) -> bytes:
        drawn = self._rng.randbytes(packets.IV_SIZE + 8)
        nonce = keys.next_nonce(drawn[packets.IV_SIZE :])
        header = packets.ordinary_header(drawn[: packets.IV_SIZE], nonce, self._id, self._protocol_id)
        self._out.append((packets.encode(self._mask(node_id), header, keys.seal(nonce, message, header)), address))
        return nonce

    def _mask(self, node_id: NodeId) -> Mask:
        mask = self._masks.get(node_id)
        if mask is None:
            mask = self._masks[node_id] = Mask(node_id)
            if len(self._masks) > _MASKS:
                self._masks.popitem(last=False)
        return mask

    # time

    def handle_timeouts(self, now: float) -> None:
        """Forget what is over."""
        while self._sent and next(iter(self._sent.values())).expires <= now:
            self._sent.popitem(last=False)
        while self._challenges and next(iter(self._challenges.values())).expires <= now:
            self._challenges.popitem(last=False)
        for key in [key for key, outgoing in self._outgoing.items() if outgoing.deadline <= now]:
            outgoing = self._outgoing.pop(key)
            self.stats["handshakes_failed"] += 1
            if outgoing.keys is not None:
                # It said that it doesn't know the old keys; it may have taken the new ones, and answer under them.
                self._sessions.remove(key)

    @property
    def idle(self) -> bool:
        """Whether nothing is held that `handle_timeouts` will forget."""
        return not (self._sent or self._challenges or self._outgoing)

    def session(self, node_id: NodeId, address: UdpAddress, now: float) -> Session | None:
        """The session with a node at an address, if there is one."""
        return self._sessions.get((node_id, address), now)

    def sizes(self) -> dict[str, int]:
        """How much is held: each of these is bounded."""
        return {
            "sessions": len(self._sessions),
            "challenges": len(self._challenges),
            "handshakes": len(self._outgoing),
            "sent": len(self._sent),
            "masks": len(self._masks),
            "limiter": len(self._limiter),
        }
