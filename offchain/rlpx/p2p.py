"""The base protocol of RLPx: capabilities, message ids, compression (devp2p rlpx.md, "Capability Messaging").

    message    = RLP integer id || payload; from p2p version 5 the payload of all but Hello is raw Snappy
    Hello      = 0x00 [version, client id, [[name, version], ...], port, pubkey64]
    Disconnect = 0x01 [reason]
    Ping, Pong = 0x02, 0x03 []

Capability ids begin at 0x10; the shared capabilities take their ranges in alphabetical order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

import cramjam

from offchain import rlp
from offchain.errors import DecodeError
from offchain.keys import InvalidKey, PublicKey

VERSION = 5
OLDEST_VERSION = 4
SNAPPY_VERSION = 5
HELLO, DISCONNECT, PING, PONG = range(4)
BASE_LENGTH = 0x10
"""Ids of the base protocol."""

MAX_HELLO = 2048
"""Largest message before the connection is established."""

MAX_CAPABILITIES = 64
MAX_NAME = 32
MAX_MESSAGE = 16 * 1024 * 1024
"""Largest payload after decompression that RLPx knows."""

EMPTY_LIST = b"\xc0"


class P2pError(DecodeError):
    """The bytes are not a message of the base protocol."""


class DisconnectReason(IntEnum):
    """Why a connection ends."""

    REQUESTED = 0x00
    TCP_ERROR = 0x01
    PROTOCOL_BREACH = 0x02
    USELESS_PEER = 0x03
    TOO_MANY_PEERS = 0x04
    ALREADY_CONNECTED = 0x05
    INCOMPATIBLE_VERSION = 0x06
    NULL_IDENTITY = 0x07
    QUITTING = 0x08
    UNEXPECTED_IDENTITY = 0x09
    SELF = 0x0A
    TIMEOUT = 0x0B
    SUBPROTOCOL_ERROR = 0x10


@dataclass(frozen=True, slots=True, order=True)
class Capability:
    """A protocol spoken over the connection."""

    name: str
    version: int
    length: int = 0
    """Message ids it takes. Not in Hello: both ends know it."""


@dataclass(frozen=True, slots=True)
class Hello:
    """Who somebody is and what they speak."""

    client_id: str
    capabilities: tuple[Capability, ...]
    public: PublicKey
    version: int = VERSION
    port: int = 0

    def encode(self) -> bytes:
        """The payload, without the message id."""
        capabilities: list[rlp.Encodable] = [[each.name, each.version] for each in self.capabilities]
        return rlp.encode([self.version, self.client_id, capabilities, self.port, self.public.to_bytes()])

    @classmethod
    def decode(cls, payload: bytes) -> Hello:
        """From a payload; more items may follow (EIP-8). P2pError otherwise."""
        try:
            items = rlp.decode_list(payload)
            if len(items) < 5:
                raise P2pError(f"Hello has {len(items)} items, expected at least 5")
            pairs = rlp.as_list(items[2])
            if len(pairs) > MAX_CAPABILITIES:
                raise P2pError(f"Hello has {len(pairs)} capabilities, expected at most {MAX_CAPABILITIES}")
            return cls(
                client_id=rlp.as_bytes(items[1]).decode("utf-8", "replace"),
                capabilities=tuple(_capability(each) for each in pairs),
                public=PublicKey.from_bytes(rlp.as_bytes(items[4], 64)),
                version=rlp.as_int(items[0]),
                port=rlp.as_int(items[3]),
            )
        except (rlp.RlpError, InvalidKey) as error:
            raise P2pError(f"Hello: {error}") from None


@dataclass(frozen=True, slots=True)
class Shared:
    """A capability both ends speak, and where its ids begin on this connection."""

    capability: Capability
    offset: int


def share(ours: Iterable[Capability], theirs: Iterable[Capability]) -> tuple[Shared, ...]:
    """The capabilities both speak, each in the highest common version, with their ids in alphabetical order."""
    offered = {(each.name, each.version) for each in theirs}
    best: dict[str, Capability] = {}
    for each in sorted(ours):
        if (each.name, each.version) in offered:
            best[each.name] = each
    shared = []
    offset = BASE_LENGTH
    for name in sorted(best):
        shared.append(Shared(best[name], offset))
        offset += best[name].length
    return tuple(shared)


_SHORT_IDS = tuple(rlp.encode(each) for each in range(256))


def encode_id(message_id: int) -> bytes:
    """The id as RLP writes it: 0 is 0x80, and from 0x80 on it takes two bytes."""
    return _SHORT_IDS[message_id] if 0 <= message_id < len(_SHORT_IDS) else rlp.encode(message_id)


def split_id(message: bytes) -> tuple[int, int]:
    """The id at the start of a message, and where the payload begins."""
    if not message:
        raise P2pError("the message is empty")
    first = message[0]
    if 0 < first < 0x80:
        return first, 1
    if first == 0x80:
        return 0, 1
    end = first - 0x7F
    if not 0x81 <= first <= 0x84 or end > len(message):
        raise P2pError(f"the message begins with {first:#04x}, which is no id")
    message_id = int.from_bytes(message[1:end], "big")
    if message[1] == 0 or message_id < 0x80:
        raise P2pError(f"the id {message_id} is not in its shortest form")
    return message_id, end


def encode_disconnect(reason: DisconnectReason) -> bytes:
    """The payload, not compressed."""
    return rlp.encode([int(reason)])


def decode_disconnect(payload: bytes) -> DisconnectReason:
    """The reason in whatever form it comes: [reason], bare, compressed or not; REQUESTED if none can be read.

    Never raises: whoever says goodbye wrongly is gone all the same.
    """
    for candidate in (payload, _decompressed_or_none(payload)):
        if not candidate:
            continue
        try:
            item = rlp.decode(candidate)
            if isinstance(item, list):
                item = item[0] if item else b""
            return DisconnectReason(rlp.as_int(b"" if item == b"\0" else item))
        except ValueError:
            continue
    return DisconnectReason.REQUESTED


def compress(payload: bytes) -> bytes:
    """Raw Snappy, without frames."""
    return bytes(cramjam.snappy.compress_raw(payload))


def decompress(data: bytes, max_size: int = MAX_MESSAGE) -> bytes:
    """From raw Snappy. The length it claims is checked first, so that nothing larger is ever allocated."""
    try:
        size = cramjam.snappy.decompress_raw_len(data)
        if size > max_size:
            raise P2pError(f"the message decompresses to {size} bytes, expected at most {max_size}")
        return bytes(cramjam.snappy.decompress_raw(data))
    except cramjam.DecompressionError as error:
        raise P2pError(f"the message is not Snappy: {error}") from None


def max_compressed(size: int) -> int:
    """How long a payload of `size` bytes can become, with its id."""
    return size + size // 6 + 32 + 5


def _capability(item: rlp.Item) -> Capability:
    pair = rlp.as_list(item)
    if len(pair) < 2:
        raise P2pError(f"a capability has {len(pair)} items, expected 2")
    name = rlp.as_bytes(pair[0])
    if len(name) > MAX_NAME:
        raise P2pError(f"a capability's name has {len(name)} bytes, expected at most {MAX_NAME}")
    return Capability(name.decode("utf-8", "replace"), rlp.as_int(pair[1]))


def _decompressed_or_none(payload: bytes) -> bytes | None:
    try:
        return decompress(payload, MAX_HELLO)
    except P2pError:
        return None
