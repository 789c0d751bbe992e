"""One RLPx connection as a machine: no socket, no clock, no await.

    bytes in  -> receive(data, now)         bytes out -> data_to_send()
    messages  -> send(...)                  events    -> next_event()
    time      -> tick(now)                  when      -> next_deadline()

    AUTH/ACK --> HELLO --> OPEN --> CLOSED

Whatever comes in, nothing is raised: what a peer does wrong ends the connection, with a `Closed` event that says why.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple, TypeAlias, TypeVar

from offchain.errors import DecodeError, LocalError
from offchain.keys import PrivateKey, PublicKey
from offchain.rlpx import auth, p2p
from offchain.rlpx.frame import FrameReader, FrameWriter
from offchain.rlpx.p2p import Capability, DisconnectReason, Hello, Shared

T = TypeVar("T")


class NotOpen(LocalError):
    """A message was given to a connection that is not open, or for a capability that is not shared."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a peer may do. Times in seconds, sizes in bytes."""

    max_message: int = 1024 * 1024
    """Largest payload, after decompression."""

    handshake_timeout: float = 5.0
    """From the first byte to both Hellos."""

    ping_interval: float = 15.0
    """Silence after which we ask whether the peer is there."""

    ping_timeout: float = 20.0
    """Silence after the ping that ends the connection."""

    control_burst: int = 20
    """Pings and unasked pongs at once; one a second more. A flood is a breach."""


class Message(NamedTuple):
    """One message of a capability."""

    capability: str
    code: int
    """Within the capability, from 0."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Opened:
    """Both Hellos are there; messages may flow."""

    hello: Hello
    shared: tuple[Shared, ...]


@dataclass(frozen=True, slots=True)
class Closed:
    """The connection ended; the last event."""

    reason: DisconnectReason
    by_us: bool
    detail: str = ""
    """For people; empty if the reason says all."""


Event: TypeAlias = Opened | Message | Closed


class State(Enum):
    """How far a connection is."""

    HANDSHAKE = auto()
    HELLO = auto()
    OPEN = auto()
    CLOSED = auto()


class Connection:
    """One end of a connection. The initiator gives `remote`, and is sure of it once the connection opens."""

    def __init__(
        self,
        key: PrivateKey,
        capabilities: Sequence[Capability],
        *,
        remote: PublicKey | None = None,
        client_id: str,
        now: float,
        rng: random.Random,
        port: int = 0,
        limits: Limits | None = None,
    ) -> None:
        """`rng` draws keys and nonces: random.SystemRandom() outside of tests."""
        self._key = key
        self._capabilities = tuple(capabilities)
        self._limits = limits or Limits()
        self._hello = Hello(client_id, self._capabilities, key.public, port=port)
        self._rng = rng
        self._events: deque[Event] = deque()
        self._out: list[bytes] = []
        self._handshake_buffer = b""
        self._tried_v4 = False
        self._ephemeral: PrivateKey | None = None
        self._nonce = b""
        self._auth = b""
        self._reader: FrameReader | None = None
        self._writer: FrameWriter | None = None
        self._snappy = False
        self._by_name: dict[str, Shared] = {}
        self._by_id: Mapping[int, tuple[str, int]] = {}
        self._deadline = now + self._limits.handshake_timeout
        self._pinged = False
        self._control = _Budget(self._limits.control_burst, now)
        self.remote = remote
        """The other end's key; None until a recipient has read the auth."""
        self.remote_hello: Hello | None = None
        self.state = State.HANDSHAKE
        self._initiator = remote is not None
        if remote is not None:
            if remote == key.public:
                self._close(DisconnectReason.SELF, "the address is our own")
                return
            self._auth = auth.encode_auth(key, remote, self._draw(), self._nonce, rng)
            self._out.append(self._auth)

    # OUT

    def next_event(self) -> Event | None:
        """What happened, oldest first; None when that was all."""
        return self._events.popleft() if self._events else None

    def data_to_send(self) -> bytes:
        """Bytes for the wire since the last call."""
        if not self._out:
            return b""
        data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        return data

    def next_deadline(self) -> float | None:
        """When `tick` must be called at the latest; None once closed."""
        return None if self.state is State.CLOSED else self._deadline

    @property
    def shared(self) -> tuple[Shared, ...]:
        """The shared capabilities, once open."""
        return tuple(self._by_name.values())

    @property
    def closed(self) -> bool:
        """Whether nothing more will happen."""
        return self.state is State.CLOSED

    # IN

    def receive(self, data: bytes, now: float) -> None:
        """Take in bytes from the wire, cut anyhow."""
        if self.state is State.CLOSED:
            return
        try:
            if self.state is State.HANDSHAKE:
                data = self._receive_handshake(data)
            if self._reader is not None and self.state is State.HELLO:
                data = self._receive_hello(self._reader, data, now)
            if self._reader is not None and self.state is State.OPEN:
                self._receive_messages(self._reader, data, now)
        except DecodeError as error:
            self._breach(str(error))

    def postpone(self, now: float) -> None:
        """We had stopped reading, so the silence was not the peer's."""
        if self.state is State.OPEN:
            self._pinged = False
            self._deadline = now + self._limits.ping_interval

    def end_of_stream(self) -> None:
        """The other side closed the socket, or it broke."""
        if self.state is not State.CLOSED:
            self._close(DisconnectReason.TCP_ERROR, "the connection was closed without a goodbye", by_us=False)

    def tick(self, now: float) -> None:
        """The deadline may have come."""
        if self.state is State.CLOSED or now < self._deadline:
            return
        if self.state is not State.OPEN:
            self.disconnect(DisconnectReason.TIMEOUT, "the handshake took too long")
        elif self._pinged:
            self.disconnect(DisconnectReason.TIMEOUT, "no answer to a ping")
        else:
            self._pinged = True
            self._deadline = now + self._limits.ping_timeout
            self._send_base(p2p.PING, p2p.EMPTY_LIST)

    def send(self, capability: str, code: int, payload: bytes) -> None:
        """Send one message. NotOpen if there is nobody to send it to."""
        self.send_many(capability, ((code, payload),))

    def send_many(self, capability: str, messages: Iterable[tuple[int, bytes]]) -> None:
        """Send messages of one capability, cheaper than one by one."""
        shared = self._by_name.get(capability)
        if self.state is not State.OPEN or self._writer is None or shared is None:
            raise NotOpen(f"{capability} cannot be spoken: the connection is {self.state.name.lower()}")
        offset, length, compress = shared.offset, shared.capability.length, p2p.compress
        bodies = []
        for code, payload in messages:
            if not 0 <= code < length:
                raise NotOpen(f"{capability} has no message {code}")
            bodies.append(p2p.encode_id(offset + code) + (compress(payload) if self._snappy else payload))
        self._out.append(self._writer.encode_many(bodies))

    def disconnect(self, reason: DisconnectReason = DisconnectReason.REQUESTED, detail: str = "") -> None:
        """Say goodbye and close."""
        if self.state is State.CLOSED:
            return
        if self._writer is not None:
            self._send_base(p2p.DISCONNECT, p2p.encode_disconnect(reason))
        self._close(reason, detail)

    # HANDSHAKE

    def _receive_handshake(self, data: bytes) -> bytes:
        """Read the auth or ack; the bytes after it, or b"" while it is incomplete."""
        self._handshake_buffer += data
        buffer = self._handshake_buffer
        size = self._initiator_reads(buffer) if self._initiator else self._recipient_reads(buffer)
        if size is None:
            return b""
        self._handshake_buffer = b""
        return buffer[size:]

    def _initiator_reads(self, buffer: bytes) -> int | None:
        """The ack; its size once it is there and was understood."""
        return self._reads(buffer, auth.V4_ACK_SIZE, auth.decode_ack_v4, auth.decode_ack, self._derive)

    def _recipient_reads(self, buffer: bytes) -> int | None:
        """The auth; its size once it is there, was understood and answered."""
        return self._reads(buffer, auth.V4_AUTH_SIZE, auth.decode_auth_v4, auth.decode_auth, self._answer)

    def _reads(
        self,
        buffer: bytes,
        v4_size: int,
        decode_v4: Callable[[PrivateKey, bytes], T],
        decode: Callable[[PrivateKey, bytes], T],
        take: Callable[[T, bytes], None],
    ) -> int | None:
        """Hand a handshake message of either format to `take`; its size, or None while it is not all there."""
        if buffer[:1] == b"\x04" and len(buffer) >= v4_size and not self._tried_v4:
            self._tried_v4 = True
            try:
                packet = buffer[:v4_size]
                take(decode_v4(self._key, packet), packet)
                return v4_size
            except auth.HandshakeError:
                pass  # an EIP-8 size may begin with 04 too
        size = auth.packet_size(buffer)
        if size is None or len(buffer) < size:
            return None
        packet = buffer[:size]
        take(decode(self._key, packet), packet)
        return size

    def _answer(self, request: auth.Auth, packet: bytes) -> None:
        self.remote = request.initiator
        if request.initiator == self._key.public:
            self._close(DisconnectReason.SELF, "the peer has our own key")
            return
        encode = auth.encode_ack_v4 if request.plain else auth.encode_ack
        ack = encode(request.initiator, self._draw(), self._nonce, self._rng)
        self._out.append(ack)
        self._start_frames(request.ephemeral, request.nonce, packet, ack)

    def _derive(self, answer: auth.Ack, packet: bytes) -> None:
        self._start_frames(answer.ephemeral, answer.nonce, self._auth, packet)

    def _draw(self) -> PrivateKey:
        """Our ephemeral key and nonce: a recipient draws them only for an initiator that knows its key."""
        self._ephemeral = auth.random_key(self._rng)
        self._nonce = self._rng.randbytes(auth.NONCE_SIZE)
        return self._ephemeral

    def _start_frames(self, remote_ephemeral: PublicKey, remote_nonce: bytes, auth_packet: bytes, ack: bytes) -> None:
        assert self._ephemeral is not None
        secrets = auth.derive(
            initiator=self._initiator,
            ephemeral=self._ephemeral,
            remote_ephemeral=remote_ephemeral,
            nonce=self._nonce,
            remote_nonce=remote_nonce,
            auth=auth_packet,
            ack=ack,
        )
        self._ephemeral = None
        self._reader = FrameReader(secrets, p2p.MAX_HELLO)
        self._writer = FrameWriter(secrets)
        self.state = State.HELLO
        self._out.append(self._writer.encode(p2p.encode_id(p2p.HELLO) + self._hello.encode()))

    # HELLO

    def _receive_hello(self, reader: FrameReader, data: bytes, now: float) -> bytes:
        messages = reader.receive(data, limit=1)
        if not messages:
            return b""
        message_id, at = p2p.split_id(messages[0])
        payload = messages[0][at:]
        if message_id == p2p.DISCONNECT:
            self._close(p2p.decode_disconnect(payload), "before Hello", by_us=False)
            return b""
        if message_id != p2p.HELLO:
            raise p2p.P2pError(f"message {message_id} came before Hello")
        self._open(Hello.decode(payload), reader, now)
        return b""

    def _open(self, hello: Hello, reader: FrameReader, now: float) -> None:
        self.remote_hello = hello
        if hello.public != self.remote:
            self.disconnect(DisconnectReason.UNEXPECTED_IDENTITY, "Hello names another key than the handshake proved")
            return
        if hello.version < p2p.OLDEST_VERSION:
            self.disconnect(DisconnectReason.INCOMPATIBLE_VERSION, f"the peer speaks version {hello.version}")
            return
        self._snappy = hello.version >= p2p.SNAPPY_VERSION
        shared = p2p.share(self._capabilities, hello.capabilities)
        if not shared:
            self.disconnect(DisconnectReason.USELESS_PEER, "no capability is shared")
            return
        self._by_name = {each.capability.name: each for each in shared}
        self._by_id = _ids(shared)
        self.state = State.OPEN
        reader.max_frame = p2p.max_compressed(self._limits.max_message)
        self._deadline = now + self._limits.ping_interval
        self._events.append(Opened(hello, shared))

    # OPEN

    def _receive_messages(self, reader: FrameReader, data: bytes, now: float) -> None:
        messages = reader.receive(data)
        if messages:
            self._pinged = False
            self._deadline = now + self._limits.ping_interval
        by_id, events, split_id = self._by_id, self._events, p2p.split_id
        decompress, snappy, max_size = p2p.decompress, self._snappy, self._limits.max_message
        for message in messages:
            message_id, at = split_id(message)
            known = by_id.get(message_id)
            if known is None:
                self._receive_base(message_id, message[at:], now)
                if self.state is State.CLOSED:
                    return
                continue
            payload = message[at:]
            if snappy:
                payload = decompress(payload, max_size)
            elif len(payload) > max_size:
                raise p2p.P2pError(f"a message has {len(payload)} bytes, expected at most {max_size}")
            events.append(Message(known[0], known[1], payload))

    def _receive_base(self, message_id: int, payload: bytes, now: float) -> None:
        if message_id == p2p.DISCONNECT:
            self._close(p2p.decode_disconnect(payload), "", by_us=False)
        elif message_id in (p2p.PING, p2p.PONG):
            if not self._control.take(now):
                raise p2p.P2pError("a flood of pings")
            if message_id == p2p.PING:
                self._send_base(p2p.PONG, p2p.EMPTY_LIST)
        elif message_id == p2p.HELLO:
            raise p2p.P2pError("a second Hello")
        else:
            raise p2p.P2pError(f"message {message_id} belongs to no shared capability")

    def _send_base(self, message_id: int, payload: bytes) -> None:
        if self._writer is None:
            raise NotOpen("there are no secrets yet")
        self._out.append(
            self._writer.encode(p2p.encode_id(message_id) + (p2p.compress(payload) if self._snappy else payload))
        )

    # END

    def _breach(self, detail: str) -> None:
        """The peer broke the protocol: say so if it can hear it."""
        if self.state in (State.HELLO, State.OPEN):
            self.disconnect(DisconnectReason.PROTOCOL_BREACH, detail)
        else:
            self._close(DisconnectReason.PROTOCOL_BREACH, detail)

    def _close(self, reason: DisconnectReason, detail: str, by_us: bool = True) -> None:
        if self.state is State.CLOSED:
            return
        self.state = State.CLOSED
        self._reader = None
        self._handshake_buffer = b""
        self._events.append(Closed(reason, by_us, detail))


@lru_cache(maxsize=64)
def _ids(shared: tuple[Shared, ...]) -> Mapping[int, tuple[str, int]]:
    """Which capability and code each message id means. One table for all connections that share the same."""
    table = {}
    for each in shared:
        for code in range(each.capability.length):
            table[each.offset + code] = (each.capability.name, code)
    return MappingProxyType(table)


class _Budget:
    """So many at once, and one a second more."""

    __slots__ = ("_burst", "_left", "_since")

    def __init__(self, burst: int, now: float) -> None:
        self._burst = float(burst)
        self._left = float(burst)
        self._since = now

    def take(self, now: float) -> bool:
        """Whether one more is within the budget."""
        self._left = min(self._burst, self._left + (now - self._since)) - 1.0
        self._since = now
        return self._left >= 0.0
