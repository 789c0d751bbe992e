"""What a client grants a push server, and the packets of wppush/1 that carry it.

    grant    [1, server 32, issued, expires, endpoint, p256dh 65, auth 16, [topic 4 ...]]   without topics: revoked
    0 grant    seal_asym(server's key, grant, signed by the client's node key)
    1 answer   [keccak256 of packet 0, text]      an empty text: taken

Who signed must be who is connected. The grant names the server, so that a server cannot use it at another, and the time
of issue, so that an older one does not replace a newer one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from offchain import rlp
from offchain.errors import DecodeError
from offchain.hashing import keccak256
from offchain.keys import PrivateKey, PublicKey
from offchain.rlpx.p2p import Capability
from offchain.types import NodeId
from offchain.whisper import cipher

WPPUSH = Capability("wppush", 1, 4)
GRANT, ANSWER = range(2)

VERSION = 1
MAX_TOPICS = 64
MAX_ENDPOINT = 1_000
MAX_PACKET = 4_096
MAX_DAYS = 30
FUTURE = 60.0
"""Seconds by which a client's clock may be ahead."""

MAX_TEXT = 200


class GrantError(DecodeError):
    """The bytes are not a grant, or not one for this server from this client now."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A client's permission to be pushed to."""

    server: NodeId
    issued: int
    expires: int
    """Unix seconds."""
    endpoint: str = field(repr=False)
    """The push service's URL for the device: who knows it may push."""
    p256dh: bytes = field(repr=False)
    """65 bytes: the device's public key, uncompressed P-256."""
    auth: bytes = field(repr=False)
    """16 bytes: the device's authentication secret."""
    topics: tuple[bytes, ...]
    """4 bytes each, at most 64; none revokes."""

    def encode(self) -> bytes:
        """The grant before it is sealed."""
        times = (self.issued, self.expires)
        return rlp.encode([VERSION, self.server, *times, self.endpoint, self.p256dh, self.auth, self.topics])

    @classmethod
    def decode(cls, data: bytes) -> Grant:
        """From what was sealed."""
        try:
            version, server, issued, expires, endpoint, p256dh, auth, topics = rlp.as_list(rlp.decode(data), 8)
            if rlp.as_int(version) != VERSION:
                raise GrantError(f"the grant is of version {rlp.as_int(version)}, expected {VERSION}")
            listed = rlp.as_list(topics)
            if len(listed) > MAX_TOPICS:
                raise GrantError(f"the grant has {len(listed)} topics, expected at most {MAX_TOPICS}")
            return cls(
                NodeId(rlp.as_bytes(server, 32)),
                rlp.as_int(issued, 5),
                rlp.as_int(expires, 5),
                _endpoint(rlp.as_bytes(endpoint)),
                rlp.as_bytes(p256dh, 65),
                rlp.as_bytes(auth, 16),
                tuple(dict.fromkeys(rlp.as_bytes(topic, 4) for topic in listed)),
            )
        except rlp.RlpError as error:
            raise GrantError(f"the grant: {error}") from None


def seal(grant: Grant, server: PublicKey, client: PrivateKey) -> bytes:
    """Packet 0."""
    return cipher.seal_asym(server, grant.encode(), client)


def unseal(packet: bytes, server: PrivateKey, connected: PublicKey, now: float) -> Grant:
    """The grant of a client that is connected. GrantError says to the client what is wrong."""
    if len(packet) > MAX_PACKET:
        raise GrantError(f"the packet has {len(packet)} bytes, expected at most {MAX_PACKET}")
    try:
        message = cipher.open_asym(server, packet)
    except cipher.CipherError:
        raise GrantError("the grant is not encrypted to this server's key") from None
    if message.signer != connected:
        raise GrantError("the grant is not signed by the key of the connection")
    grant = Grant.decode(message.payload)
    if grant.server != server.public.node_id:
        raise GrantError("the grant is for another server")
    if grant.issued > now + FUTURE:
        raise GrantError("the grant was issued in the future: look at the clock")
    if not now < grant.expires <= now + MAX_DAYS * 86_400 + FUTURE:
        raise GrantError(f"the grant has expired, or lasts longer than {MAX_DAYS} days")
    return grant


def encode_answer(packet: bytes, text: str = "") -> bytes:
    """Packet 1, to packet 0."""
    return rlp.encode([keccak256(packet), text.encode()[:MAX_TEXT]])


def decode_answer(payload: bytes) -> tuple[bytes, str]:
    """Which packet 0 it answers, and what is wrong with it; nothing if it was taken."""
    try:
        digest, text = rlp.as_list(rlp.decode(payload), 2)
        return rlp.as_bytes(digest, 32), rlp.as_bytes(text)[:MAX_TEXT].decode("utf-8", "replace")
    except rlp.RlpError as error:
        raise GrantError(f"the answer: {error}") from None


def _endpoint(data: bytes) -> str:
    """A URL that can be pushed to: https, a host, nothing odd in it."""
    try:
        text = data.decode("ascii")
        parts = urlsplit(text)
        usable = (
            len(text) <= MAX_ENDPOINT and text.isprintable() and " " not in text and parts.scheme in ("https", "http")
        )
        if not usable or not parts.hostname or parts.username is not None or (parts.port or 1) < 1:
            raise ValueError
    except ValueError:
        raise GrantError("the endpoint is not a URL that can be pushed to") from None
    return text
