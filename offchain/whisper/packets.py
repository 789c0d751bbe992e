"""The packets of shh/6 (EIP-627, and what Status added).

    0    status [6, min PoW, bloom, light, confirmations, rate limits]; everything after the version may be missing
    1    list of envelopes
    2    PoW requirement: bits of the float64, as an integer, bare
    3    bloom filter: 64 bytes, bare
    11   batch acknowledged: keccak256 of the batch's payload, bare
    12   batch response [1, [hash, [[hash, code, text] ...]]]
    20   rate limits [per IP, per peer, per topic], messages a second, 0 for none
    123 to 127   between mail servers and their clients; see offchain.whisper.mail

A minimum PoW of 0 is the empty string, and so is a bloom filter that lets everything pass.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from enum import IntEnum

from offchain import rlp
from offchain.errors import DecodeError
from offchain.rlpx.p2p import Capability
from offchain.whisper.bloom import BLOOM_SIZE, FULL_BLOOM

VERSION = 6
SHH = Capability("shh", VERSION, 128)
"""The capability to give to offchain.rlpx."""

HASH_SIZE = 32
_FLOAT = struct.Struct(">d")
_UINT = struct.Struct(">Q")


class ShhError(DecodeError):
    """The peer broke the Whisper protocol, or its packet is not one. Close the connection."""


class Code(IntEnum):
    """Packet codes, within the capability."""

    STATUS = 0
    MESSAGES = 1
    POW_REQUIREMENT = 2
    BLOOM_FILTER = 3
    BATCH_ACKNOWLEDGED = 11
    BATCH_RESPONSE = 12
    RATE_LIMITS = 20
    SYNC_REQUEST = 123
    SYNC_RESPONSE = 124
    REQUEST_COMPLETE = 125
    HISTORY_REQUEST = 126
    DIRECT = 127


EXTENSIONS = frozenset(range(123, 128))
"""Codes that pass through to mail servers and clients."""

TIME_NOT_SYNCED = 36
"""Code in a batch response: the envelope's times are too old or in the future."""

OTHER_ERROR = 37

MAX_CONTROL = 4_096
"""Bytes of a packet that holds neither envelopes nor what became of them; those of real programs have some 200."""

MAX_BATCH_RESPONSE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class RateLimits:
    """What a peer takes, in messages a second; 0 for no limit."""

    per_ip: int = 0
    per_peer: int = 0
    per_topic: int = 0

    def items(self) -> list[rlp.Encodable]:
        """As RLP items."""
        return [self.per_ip, self.per_peer, self.per_topic]

    def encode(self) -> bytes:
        """Packet 20."""
        return rlp.encode(self.items())

    @classmethod
    def decode(cls, payload: bytes) -> RateLimits:
        """From packet 20."""
        return cls.from_item(_decode(payload))

    @classmethod
    def from_item(cls, item: rlp.Item) -> RateLimits:
        """From an RLP item; further ones may follow in it."""
        try:
            items = rlp.as_list(item)
            if len(items) < 3:
                raise ShhError(f"rate limits are 3 numbers, found {len(items)}")
            return cls(rlp.as_int(items[0]), rlp.as_int(items[1]), rlp.as_int(items[2]))
        except rlp.RlpError as error:
            raise ShhError(f"rate limits: {error}") from None


@dataclass(frozen=True, slots=True)
class Status:
    """What one end requires of envelopes, and what it can do."""

    min_pow: float = 0.0
    bloom: bytes | None = None
    """Topics it wants; None for all."""

    light: bool = False
    """It does not forward envelopes."""

    confirmations: bool = False
    """It acknowledges batches of envelopes, and likes to be acknowledged."""

    rate_limits: RateLimits | None = None
    version: int = VERSION
    fields: int = field(default=5, compare=False)
    """How many fields it had when it came: older programs send fewer."""

    def encode(self) -> bytes:
        """Packet 0, with all the fields that everybody reads or skips."""
        items: list[rlp.Encodable] = [
            self.version,
            float_to_bits(self.min_pow),
            self.bloom or b"",
            int(self.light),
            int(self.confirmations),
        ]
        if self.rate_limits is not None:
            items.append(self.rate_limits.items())
        return rlp.encode(items)

    @classmethod
    def decode(cls, payload: bytes) -> Status:
        """From packet 0; unknown further fields are skipped. The version is not judged here."""
        try:
            items = rlp.as_list(_decode(payload))
            if not items:
                raise ShhError("the status is empty")
            return cls(
                version=rlp.as_int(items[0]),
                min_pow=_pow_of(items[1]) if len(items) > 1 else 0.0,
                bloom=_bloom_of(items[2]) if len(items) > 2 else None,
                light=len(items) > 3 and rlp.as_int(items[3]) != 0,
                confirmations=len(items) > 4 and rlp.as_int(items[4]) != 0,
                rate_limits=RateLimits.from_item(items[5]) if len(items) > 5 else None,
                fields=len(items),
            )
        except rlp.RlpError as error:
            raise ShhError(f"status: {error}") from None


@dataclass(frozen=True, slots=True)
class BatchFault:
    """Why one envelope of a batch was refused."""

    envelope: bytes
    """Its hash."""

    code: int
    text: str


@dataclass(frozen=True, slots=True)
class BatchResponse:
    """What became of a batch of envelopes."""

    batch: bytes
    """keccak256 of its payload."""

    faults: tuple[BatchFault, ...] = ()
    version: int = 1

    def encode(self) -> bytes:
        """Packet 12."""
        faults: list[rlp.Encodable] = [[each.envelope, each.code, each.text] for each in self.faults]
        return rlp.encode([self.version, [self.batch, faults]])

    @classmethod
    def decode(cls, payload: bytes) -> BatchResponse:
        """From packet 12. Of another version only the hash is looked for."""
        try:
            items = rlp.as_list(_decode(payload, MAX_BATCH_RESPONSE))
            if len(items) < 2:
                raise ShhError(f"a batch response has 2 items, found {len(items)}")
            body = rlp.as_list(items[1])
            if len(body) < 2:
                raise ShhError(f"a batch response's body has 2 items, found {len(body)}")
            faults = tuple(_fault_of(each) for each in rlp.as_list(body[1]))
            return cls(rlp.as_bytes(body[0], HASH_SIZE), faults, rlp.as_int(items[0]))
        except rlp.RlpError as error:
            raise ShhError(f"batch response: {error}") from None


def encode_pow(min_pow: float) -> bytes:
    """Packet 2."""
    return rlp.encode(float_to_bits(min_pow))


def decode_pow(payload: bytes) -> float:
    """From packet 2."""
    return _pow_of(_decode(payload))


def encode_bloom(bloom: bytes | None) -> bytes:
    """Packet 3. Everything is written as 64 bytes of ones: not all programs take the empty string here."""
    return rlp.encode(FULL_BLOOM if bloom is None else bloom)


def decode_bloom(payload: bytes) -> bytes | None:
    """From packet 3; None for everything."""
    return _bloom_of(_decode(payload))


def encode_acknowledgement(batch: bytes) -> bytes:
    """Packet 11."""
    return rlp.encode(batch)


def decode_acknowledgement(payload: bytes) -> bytes:
    """From packet 11: the hash of the batch."""
    item = _decode(payload)
    if not isinstance(item, bytes) or len(item) != HASH_SIZE:
        raise ShhError(f"an acknowledgement is a hash of {HASH_SIZE} bytes")
    return item


def float_to_bits(value: float) -> int:
    """The bits of the float64 as an integer. ValueError for what no proof of work can be."""
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{value} is no proof of work")
    return int.from_bytes(_FLOAT.pack(value), "big")


def _decode(payload: bytes, most: int = MAX_CONTROL) -> rlp.Item:
    if len(payload) > most:
        raise ShhError(f"the packet has {len(payload)} bytes, expected at most {most}")
    try:
        return rlp.decode(payload)
    except rlp.RlpError as error:
        raise ShhError(f"not RLP: {error}") from None


def _pow_of(item: rlp.Item) -> float:
    try:
        value: float = _FLOAT.unpack(_UINT.pack(rlp.as_int(item)))[0]
    except rlp.RlpError as error:
        raise ShhError(f"PoW requirement: {error}") from None
    if not math.isfinite(value) or value < 0:
        raise ShhError(f"the PoW requirement is {value}")
    return value


def _bloom_of(item: rlp.Item) -> bytes | None:
    if not isinstance(item, bytes) or len(item) not in (0, BLOOM_SIZE):
        raise ShhError(f"a bloom filter has {BLOOM_SIZE} bytes or none")
    return None if item in (b"", FULL_BLOOM) else item


def _fault_of(item: rlp.Item) -> BatchFault:
    items = rlp.as_list(item)
    if len(items) < 3:
        raise ShhError(f"an envelope error has 3 items, found {len(items)}")
    text = rlp.as_bytes(items[2]).decode("utf-8", "replace")
    return BatchFault(rlp.as_bytes(items[0], HASH_SIZE), rlp.as_int(items[1]), text)
