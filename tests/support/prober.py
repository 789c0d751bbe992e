"""A stranger with a socket: speaks discv5 to a node from outside, packet by packet, rightly or wrongly.

It has no state machine and repeats nothing by itself, so that a test says every packet. What it shares with the product
are the codecs, which the specification's vectors hold.
"""

from __future__ import annotations

import random
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from offchain.discovery import message as messages
from offchain.discovery import packet as packets
from offchain.discovery.address import UdpAddress
from offchain.discovery.agreement import proof_digest, session_keys
from offchain.discovery.message import FindNode, Message, Nodes, Ping, Pong
from offchain.discovery.packet import Handshake, Mask, Ordinary, WhoAreYou
from offchain.discovery.session import Keys
from offchain.enr import Enr
from offchain.keys import PrivateKey
from offchain.types import parse_ip

PATIENCE = 60.0
"""Seconds for whatever must come; on a machine at rest it comes within milliseconds."""

REPLY_PATIENCE = 5.0
"""Seconds until a handshake is begun anew: a challenge is open for a second, and a busy machine may sleep that long."""


class Silence(AssertionError):
    """Nothing came."""


@dataclass(slots=True)
class Prober:
    """A node's keys and a socket at one address, facing one node."""

    node: Enr
    target: UdpAddress
    key: PrivateKey
    socket: socket.socket
    record: Enr
    keys: Keys | None = None
    rng: random.Random = field(default_factory=random.SystemRandom)
    mute: bool = False
    """Answers nothing that the node asks."""

    pings: int = 0
    """PINGs of the node that were answered."""

    @property
    def address(self) -> UdpAddress:
        """Where it sends from."""
        name = self.socket.getsockname()
        return name[0], name[1]

    # Sending

    def request_id(self) -> bytes:
        """One that was not used."""
        return self.rng.randbytes(8)

    def send_raw(self, datagram: bytes) -> None:
        """Send bytes."""
        self.socket.sendto(datagram, self.target)

    def random_packet(self) -> bytes:
        """A first packet, which asks for a WHOAREYOU."""
        return self._ordinary(self.rng.randbytes(packets.NONCE_SIZE), lambda nonce, header: self.rng.randbytes(44))

    def sealed(self, message: Message | bytes, keys: Keys | None = None) -> bytes:
        """A message under the session's keys, or under others."""
        used = keys or self.keys
        assert used is not None
        raw = message if isinstance(message, bytes) else messages.encode(message)
        return self._ordinary(
            used.next_nonce(self.rng.randbytes(8)), lambda nonce, header: used.seal(nonce, raw, header)
        )

    def send(self, message: Message | bytes, keys: Keys | None = None) -> None:
        """Send a message under a session."""
        self.send_raw(self.sealed(message, keys))

    def handshake(self, challenge: WhoAreYou, message: Message | bytes) -> tuple[bytes, Keys]:
        """The answer to a WHOAREYOU with a first message in it, and the keys that it makes."""
        raw = message if isinstance(message, bytes) else messages.encode(message)
        ephemeral = PrivateKey.generate()
        public = ephemeral.public.compressed
        secret = ephemeral.ecdh_compressed(self.node.public)
        write, read = session_keys(secret, challenge.header, self.record.node_id, self.node.node_id)
        keys = Keys(write, read)
        nonce = keys.next_nonce(self.rng.randbytes(8))
        header = packets.handshake_header(
            self.rng.randbytes(packets.IV_SIZE),
            nonce,
            self.record.node_id,
            self.key.sign(proof_digest(challenge.header, public, self.node.node_id)),
            public,
            self.record.raw if challenge.enr_seq < self.record.seq else b"",
        )
        return packets.encode(Mask(self.node.node_id), header, keys.seal(nonce, raw, header)), keys

    def _ordinary(self, nonce: bytes, seal: Callable[[bytes, bytes], bytes]) -> bytes:
        header = packets.ordinary_header(self.rng.randbytes(packets.IV_SIZE), nonce, self.record.node_id)
        return packets.encode(Mask(self.node.node_id), header, seal(nonce, header))

    # Receiving

    def receive_raw(self, patience: float = PATIENCE) -> bytes:
        """The next datagram; Silence if none comes."""
        if not select.select([self.socket], [], [], patience)[0]:
            raise Silence(f"nothing came within {patience} s")
        return self.socket.recv(2048)

    def read(self, patience: float = PATIENCE) -> WhoAreYou | Message:
        """The next packet: a WHOAREYOU, or a message under the session. What the node asks is answered, not shown."""
        while True:
            datagram = self.receive_raw(patience)
            packet = packets.decode(datagram, Mask(self.record.node_id))
            if isinstance(packet, WhoAreYou):
                return packet
            assert isinstance(packet, Ordinary | Handshake)
            assert self.keys is not None, "a message before there was a session"
            raw = self.keys.open(packet.nonce, packet.ciphertext, packet.header)
            assert raw is not None, "a message that the session's keys do not open"
            message = messages.decode(raw)
            if not isinstance(message, Ping | FindNode):
                return message
            if not self.mute:
                self._answer(message)

    def _answer(self, request: Ping | FindNode) -> None:
        """As nodes do that know nobody."""
        if isinstance(request, FindNode):
            self.send(Nodes(request.request_id, 1, ()))
        else:
            self.send(Pong(request.request_id, self.record.seq, parse_ip(self.target[0]), self.target[1]))
            self.pings += 1

    # Exchanges

    def ping(self) -> Ping:
        """A PING, to be sent."""
        return Ping(self.request_id(), self.record.seq)

    def challenged(self) -> WhoAreYou:
        """The WHOAREYOU that a first packet gets; what else is on its way is passed over."""
        self.send_raw(self.random_packet())
        while not isinstance(packet := self.read(), WhoAreYou):
            pass
        return packet

    def meet(self, first: Message | None = None) -> Message:
        """Make a session; the answer to the first message, by default a PING."""
        end = time.monotonic() + PATIENCE
        while True:
            datagram, self.keys = self.handshake(self.challenged(), first or self.ping())
            self.send_raw(datagram)
            try:
                answer = self.read(REPLY_PATIENCE)
            except Silence:
                if time.monotonic() > end:
                    raise
            else:
                assert not isinstance(answer, WhoAreYou), "challenged again"
                return answer

    def ask(self, message: Message) -> Message:
        """The next message that comes after a request under the session."""
        self.send(message)
        answer = self.read()
        assert not isinstance(answer, WhoAreYou), "challenged in place of an answer"
        return answer

    def ask_nodes(self, message: Message) -> list[bytes]:
        """The records in all packets of an answer of NODES."""
        first = self.ask(message)
        assert isinstance(first, Nodes)
        records = list(first.records)
        for _ in range(first.total - 1):
            more = self.read()
            assert isinstance(more, Nodes)
            assert (more.request_id, more.total) == (first.request_id, first.total)
            records += more.records
        return records


@contextmanager
def prober(node: Enr, ip: str = "127.0.0.1", *, listed: bool = False, port: int = 0) -> Iterator[Prober]:
    """A prober at an address, for as long as the block lasts; `listed`: its record says where it is."""
    assert node.udp is not None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.bind((ip, port))
        key = PrivateKey.generate()
        where = {"ip": ip, "udp": own.getsockname()[1]} if listed else {}
        yield Prober(node, (str(node.ip), node.udp), key, own, Enr.create(key, **where))
