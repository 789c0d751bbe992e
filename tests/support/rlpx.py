"""Helpers for tests of offchain.rlpx: scripted randomness, machines joined by a link, a transport in memory."""

from __future__ import annotations

import asyncio
import json
import random
from collections import deque
from functools import lru_cache
from pathlib import Path
from typing import Any

from offchain.hashing import keccak256
from offchain.keys import PrivateKey
from offchain.rlpx import auth, p2p
from offchain.rlpx.auth import Secrets
from offchain.rlpx.connection import Closed, Connection, Event, Limits, Message, Opened
from offchain.rlpx.frame import FrameReader, FrameWriter
from offchain.rlpx.p2p import Capability

VECTORS = Path(__file__).parent.parent / "vectors"
SHH = Capability("shh", 6, 128)
MAIL = Capability("mail", 1, 16)


def vectors(name: str) -> Any:
    """A file of tests/vectors."""
    return json.loads((VECTORS / f"{name}.json").read_text())


@lru_cache
def key(number: int) -> PrivateKey:
    """The private key of that number: the same in every run."""
    return PrivateKey(keccak256(b"test key %d" % number))


class ScriptedRandom(random.Random):
    """Gives out recorded bytes in order, so that a recorded exchange can be repeated."""

    def __init__(self, *pieces: bytes) -> None:
        super().__init__(0)
        self._pieces = deque(pieces)

    def randbytes(self, n: int) -> bytes:
        piece = self._pieces.popleft()
        assert len(piece) == n, f"asked for {n} bytes, the record has {len(piece)}"
        return piece

    def randrange(self, *args: Any, **kwargs: Any) -> int:
        return len(self._pieces[0])


def secrets_pair() -> tuple[Secrets, Secrets]:
    """What the two ends hold after a handshake."""
    from sha3 import keccak_256

    aes, mac = keccak256(b"aes"), keccak256(b"mac")
    return (
        Secrets(aes, mac, keccak_256(b"there"), keccak_256(b"back")),
        Secrets(aes, mac, keccak_256(b"back"), keccak_256(b"there")),
    )


def frame_pair(max_frame: int = 1 << 20) -> tuple[FrameWriter, FrameReader]:
    """A writer, and the reader at the other end."""
    ours, theirs = secrets_pair()
    return FrameWriter(ours), FrameReader(theirs, max_frame)


def events(connection: Connection) -> list[Event]:
    """All that wait."""
    found = []
    while (event := connection.next_event()) is not None:
        found.append(event)
    return found


class Link:
    """Two machines joined by a wire that cuts the bytes as `rng` likes, or hands them on whole without one."""

    def __init__(self, left: Connection, right: Connection, rng: random.Random | None = None) -> None:
        self.left, self.right = left, right
        self.left_events: list[Event] = []
        self.right_events: list[Event] = []
        self._rng = rng
        self.now = 0.0

    def run(self) -> None:
        """Carry bytes until neither has any more to say."""
        while True:
            there, back = self.left.data_to_send(), self.right.data_to_send()
            self.left_events += events(self.left)
            self.right_events += events(self.right)
            if not there and not back:
                return
            for piece in self._cut(there):
                self.right.receive(piece, self.now)
            for piece in self._cut(back):
                self.left.receive(piece, self.now)
            self.left_events += events(self.left)
            self.right_events += events(self.right)

    def _cut(self, data: bytes) -> list[bytes]:
        if self._rng is None or not data:
            return [data] if data else []
        pieces = []
        while data:
            size = self._rng.choice((1, 2, 15, 16, 17, 31, 32, 33, 100, 1000, 100_000))
            pieces.append(data[:size])
            data = data[size:]
        return pieces


def connection_pair(
    ours: tuple[Capability, ...] = (SHH,),
    theirs: tuple[Capability, ...] = (SHH,),
    limits: Limits | None = None,
    seed: int = 1,
) -> tuple[Connection, Connection]:
    """An initiator and a recipient, before the first byte."""
    rng = random.Random(seed)
    left = Connection(key(1), ours, remote=key(2).public, client_id="left", now=0.0, rng=rng, limits=limits)
    right = Connection(key(2), theirs, client_id="right", now=0.0, rng=rng, limits=limits)
    return left, right


def open_link(limits: Limits | None = None, rng: random.Random | None = None, **kwargs: Any) -> Link:
    """Two open connections, their Opened events taken."""
    link = Link(*connection_pair(limits=limits, **kwargs), rng)
    link.run()
    assert isinstance(link.left_events.pop(0), Opened)
    assert isinstance(link.right_events.pop(0), Opened)
    return link


def only_closed(found: list[Event]) -> Closed:
    """The one event, which must be Closed."""
    (event,) = found
    assert isinstance(event, Closed), event
    return event


def messages(found: list[Event]) -> list[Message]:
    """The messages among events."""
    return [each for each in found if isinstance(each, Message)]


class RawPeer:
    """A peer that made the handshake with a connection and then sends whatever a test likes, with the right MACs."""

    def __init__(self, connection: Connection, secrets: Secrets, own_key: PrivateKey) -> None:
        self.connection = connection
        self.key = own_key
        self.now = 0.0
        self.writer, self.reader = FrameWriter(secrets), FrameReader(secrets)

    @classmethod
    def dial(cls, connection: Connection, remote: PrivateKey, own_key: PrivateKey | None = None) -> RawPeer:
        """As the initiator, to a recipient with the key `remote`."""
        own_key, rng = own_key or key(1), random.Random(3)
        ephemeral, nonce = auth.random_key(rng), rng.randbytes(32)
        packet = auth.encode_auth(own_key, remote.public, ephemeral, nonce, rng)
        connection.receive(packet, 0.0)
        said = connection.data_to_send()
        size = auth.packet_size(said)
        found = auth.decode_ack(own_key, said[:size])
        secrets = auth.derive(
            initiator=True,
            ephemeral=ephemeral,
            remote_ephemeral=found.ephemeral,
            nonce=nonce,
            remote_nonce=found.nonce,
            auth=packet,
            ack=said[:size],
        )
        peer = cls(connection, secrets, own_key)
        peer.reader.receive(said[size:])
        return peer

    @classmethod
    def answer(cls, connection: Connection, own_key: PrivateKey | None = None) -> RawPeer:
        """As the recipient that the connection dialled."""
        own_key, rng = own_key or key(2), random.Random(4)
        ephemeral, nonce = auth.random_key(rng), rng.randbytes(32)
        packet = connection.data_to_send()
        found = auth.decode_auth(own_key, packet)
        ack = auth.encode_ack(found.initiator, ephemeral, nonce, rng)
        secrets = auth.derive(
            initiator=False,
            ephemeral=ephemeral,
            remote_ephemeral=found.ephemeral,
            nonce=nonce,
            remote_nonce=found.nonce,
            auth=packet,
            ack=ack,
        )
        connection.receive(ack, 0.0)
        return cls(connection, secrets, own_key)

    def hello(self, *capabilities: Capability, version: int = p2p.VERSION) -> None:
        """Introduce ourselves truthfully."""
        self.send(p2p.HELLO, p2p.Hello("raw", capabilities or (SHH,), self.key.public, version=version).encode())

    def send(self, message_id: int, body: bytes) -> None:
        """One message, its body as it is."""
        self.send_body(p2p.encode_id(message_id) + body)

    def send_body(self, body: bytes) -> None:
        """One frame, its content as it is."""
        self.connection.receive(self.writer.encode(body), self.now)

    def heard(self) -> list[tuple[int, bytes]]:
        """(id, body) of what the connection said since the last call."""
        found = []
        for message in self.reader.receive(self.connection.data_to_send()):
            message_id, at = p2p.split_id(message)
            found.append((message_id, message[at:]))
        return found


class MemoryTransport(asyncio.Transport):
    """One end of a pipe in memory. What is written arrives in the loop's next turn; a paused reader's bytes wait."""

    def __init__(self, protocol: asyncio.Protocol, address: tuple[str, int]) -> None:
        super().__init__({"peername": address})
        self._loop = asyncio.get_running_loop()
        self.protocol = protocol
        self.other: MemoryTransport | None = None
        self.waiting: deque[bytes] = deque()
        """Sent to us, not yet read."""
        self.reading = True
        self._high = 64 * 1024
        self._closing = False
        self._lost = False
        self._write_paused = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing or self.other is None:
            return
        self.other.waiting.append(bytes(data))
        self._loop.call_soon(self.other._deliver)
        if not self._write_paused and self.buffered() > self._high:
            self._write_paused = True
            self.protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        return self.buffered()

    def buffered(self) -> int:
        """Bytes we wrote that the other has not read."""
        return sum(map(len, self.other.waiting)) if self.other is not None else 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = high or self._high

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True
        self._loop.call_soon(self._deliver)

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self._lose)

    def abort(self) -> None:
        if not self._closing and self.other is not None:
            self.other.waiting.clear()
        self._closing = True
        self._loop.call_soon(self._lose)

    def _deliver(self) -> None:
        while self.reading and self.waiting and not self._closing:
            self.protocol.data_received(self.waiting.popleft())
        other = self.other
        if other is not None and other._write_paused and other.buffered() <= other._high // 4:
            other._write_paused = False
            other.protocol.resume_writing()
        at_end = other is not None and other._lost and not self.waiting and not self._closing
        if at_end and not self.protocol.eof_received():
            self.close()

    def _lose(self) -> None:
        if self._lost:
            return
        self._lost = True
        self.protocol.connection_lost(None)
        if self.other is not None:
            self._loop.call_soon(self.other._deliver)


def pipe(left: asyncio.Protocol, right: asyncio.Protocol, address: tuple[str, int] = ("192.0.2.1", 1000)) -> None:
    """Join two protocols by a pipe in memory."""
    near, far = MemoryTransport(left, address), MemoryTransport(right, address)
    near.other, far.other = far, near
    left.connection_made(near)
    right.connection_made(far)
