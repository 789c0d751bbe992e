"""discv5 packets: masking, headers, authdata (https://github.com/ethereum/devp2p/blob/master/discv5/discv5-wire.md).

    packet        = masking-iv || masked-header || message          63 to 1280 bytes
    masked-header = aesctr(dest-id[:16], masking-iv, static-header || authdata)
    static-header = protocol-id || version || flag || nonce || authdata-size
    authdata      = src-id                                          flag 0, an ordinary message
                  | id-nonce || enr-seq                             flag 1, WHOAREYOU; no message follows
                  | src-id || sig-size || eph-key-size || id-signature || eph-pubkey || record    flag 2, handshake

What a message is encrypted with and what a WHOAREYOU is signed over is `masking-iv || static-header || authdata`,
unmasked: here called the header.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TypeAlias

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from offchain.enr import MAX_SIZE as MAX_RECORD_SIZE
from offchain.errors import DecodeError
from offchain.types import NodeId

MIN_SIZE = 63
MAX_SIZE = 1280
IV_SIZE = 16
NONCE_SIZE = 12
ID_NONCE_SIZE = 16
ID_SIZE = 32
SIGNATURE_SIZE = 64
EPHEMERAL_SIZE = 33
TAG_SIZE = 16
VERSION = 1
PROTOCOL_ID = b"discv5"

_STATIC_HEADER = struct.Struct(">6sHB12sH")
_STATIC_SIZE = _STATIC_HEADER.size
_WHOAREYOU = struct.Struct(">16sQ")
_SIZES = bytes((SIGNATURE_SIZE, EPHEMERAL_SIZE))
_HANDSHAKE_SIZE = ID_SIZE + len(_SIZES) + SIGNATURE_SIZE + EPHEMERAL_SIZE
_ORDINARY, _CHALLENGE, _HANDSHAKE = 0, 1, 2
_FIRST_BLOCKS = 4
_BYTES = [bytes((value,)) for value in range(256)]

MAX_MESSAGE_SIZE = MAX_SIZE - IV_SIZE - _STATIC_SIZE - ID_SIZE - TAG_SIZE
"""Bytes of the longest message that fits into an ordinary packet."""

MAX_FIRST_MESSAGE_SIZE = MAX_SIZE - IV_SIZE - _STATIC_SIZE - _HANDSHAKE_SIZE - MAX_RECORD_SIZE - TAG_SIZE
"""Bytes of the longest message that fits into a handshake packet with any record."""


class PacketError(DecodeError):
    """The datagram is not a discv5 packet. Drop it; never answer it."""


@dataclass(frozen=True, slots=True)
class Ordinary:
    """A message under session keys, or random bytes that ask for a handshake."""

    source: NodeId
    nonce: bytes
    ciphertext: bytes
    header: bytes


@dataclass(frozen=True, slots=True)
class WhoAreYou:
    """The packet with this nonce could not be decrypted: prove who you are."""

    nonce: bytes
    id_nonce: bytes
    enr_seq: int
    """Of the record that the sender has of the receiver; 0 if none."""

    header: bytes
    """What is called challenge-data."""


@dataclass(frozen=True, slots=True)
class Handshake:
    """The proof, and the first message under new keys."""

    source: NodeId
    nonce: bytes
    signature: bytes
    ephemeral: bytes
    record: bytes
    """RLP, or empty."""

    ciphertext: bytes
    header: bytes


Packet: TypeAlias = Ordinary | WhoAreYou | Handshake


class Mask:
    """The keystream that hides headers from those who don't know the receiver's id.

    AES-CTR from one cached ECB context: a new CTR context for each packet would cost twice as much.
    """

    __slots__ = ("_encrypt",)

    def __init__(self, node_id: bytes) -> None:
        # Counter mode built by hand below; ECB is only its block cipher.
        self._encrypt = Cipher(AES(node_id[:16]), ECB()).encryptor().update

    def apply(self, iv: bytes, data: bytes, block: int = 0) -> bytes:
        """Mask or unmask data that begins at this 16-byte block of the stream."""
        size = len(data)
        count = (size + 15) // 16
        last = iv[15] + block
        if last + count <= 256:
            prefix = iv[:15]
            counters = b"".join([prefix + each for each in _BYTES[last : last + count]])
        else:
            start = int.from_bytes(iv, "big") + block
            counters = b"".join([((start + n) % (1 << 128)).to_bytes(16, "big") for n in range(count)])
        stream = self._encrypt(counters)
        masked = int.from_bytes(data, "big") ^ int.from_bytes(stream[:size], "big")
        return masked.to_bytes(size, "big")


def decode(datagram: bytes, mask: Mask, protocol_id: bytes = PROTOCOL_ID) -> Packet:
    """The packet in a datagram, unmasked with the receiver's mask; PacketError for anything else."""
    if not MIN_SIZE <= len(datagram) <= MAX_SIZE:
        raise PacketError(f"size is {len(datagram)}, expected {MIN_SIZE} to {MAX_SIZE}")
    iv, rest = datagram[:IV_SIZE], datagram[IV_SIZE:]
    first = mask.apply(iv, rest[: _FIRST_BLOCKS * 16])
    protocol, version, flag, nonce, authdata_size = _STATIC_HEADER.unpack_from(first)
    if protocol != protocol_id or version != VERSION:
        raise PacketError(f"protocol is {protocol!r} version {version}")
    end = _STATIC_SIZE + authdata_size
    if end > len(rest):
        raise PacketError(f"authdata is {authdata_size} bytes, past the end of the packet")
    plain = first[:end]
    if end > len(first):
        plain += mask.apply(iv, rest[len(first) : end], _FIRST_BLOCKS)
    authdata, header, message = plain[_STATIC_SIZE:], iv + plain, rest[end:]
    if flag == _ORDINARY:
        if authdata_size != ID_SIZE:
            raise PacketError(f"authdata of a message is {authdata_size} bytes, expected {ID_SIZE}")
        if len(message) < TAG_SIZE:
            raise PacketError(f"the message is {len(message)} bytes, expected at least {TAG_SIZE}")
        return Ordinary(NodeId(authdata), nonce, message, header)
    if flag == _CHALLENGE:
        if authdata_size != _WHOAREYOU.size or message:
            raise PacketError(f"WHOAREYOU has {authdata_size} bytes of authdata and {len(message)} after it")
        id_nonce, enr_seq = _WHOAREYOU.unpack(authdata)
        return WhoAreYou(nonce, id_nonce, enr_seq, header)
    if flag == _HANDSHAKE:
        return _decode_handshake(nonce, authdata, message, header)
    raise PacketError(f"flag is {flag}")


def _decode_handshake(nonce: bytes, authdata: bytes, message: bytes, header: bytes) -> Handshake:
    if not _HANDSHAKE_SIZE <= len(authdata) <= _HANDSHAKE_SIZE + MAX_RECORD_SIZE:
        raise PacketError(f"authdata of a handshake is {len(authdata)} bytes")
    if authdata[ID_SIZE : ID_SIZE + 2] != _SIZES:
        raise PacketError(f"signature and key have sizes {tuple(authdata[ID_SIZE : ID_SIZE + 2])}")
    if len(message) < TAG_SIZE:
        raise PacketError(f"the message of a handshake is {len(message)} bytes")
    signature_at = ID_SIZE + 2
    ephemeral_at = signature_at + SIGNATURE_SIZE
    return Handshake(
        source=NodeId(authdata[:ID_SIZE]),
        nonce=nonce,
        signature=authdata[signature_at:ephemeral_at],
        ephemeral=authdata[ephemeral_at:_HANDSHAKE_SIZE],
        record=authdata[_HANDSHAKE_SIZE:],
        ciphertext=message,
        header=header,
    )


def ordinary_header(iv: bytes, nonce: bytes, source: bytes, protocol_id: bytes = PROTOCOL_ID) -> bytes:
    """The header of a message."""
    return iv + _STATIC_HEADER.pack(protocol_id, VERSION, _ORDINARY, nonce, ID_SIZE) + source


def whoareyou_header(iv: bytes, nonce: bytes, id_nonce: bytes, enr_seq: int, protocol_id: bytes = PROTOCOL_ID) -> bytes:
    """The header of a WHOAREYOU in answer to the packet with this nonce."""
    static = _STATIC_HEADER.pack(protocol_id, VERSION, _CHALLENGE, nonce, _WHOAREYOU.size)
    return iv + static + _WHOAREYOU.pack(id_nonce, enr_seq)


def handshake_header(
    iv: bytes,
    nonce: bytes,
    source: bytes,
    signature: bytes,
    ephemeral: bytes,
    record: bytes = b"",
    protocol_id: bytes = PROTOCOL_ID,
) -> bytes:
    """The header of a handshake; `record` is RLP, or empty."""
    size = _HANDSHAKE_SIZE + len(record)
    static = _STATIC_HEADER.pack(protocol_id, VERSION, _HANDSHAKE, nonce, size)
    return b"".join((iv, static, source, _SIZES, signature, ephemeral, record))


def encode(mask: Mask, header: bytes, ciphertext: bytes = b"") -> bytes:
    """The datagram, masked for its receiver."""
    iv = header[:IV_SIZE]
    return iv + mask.apply(iv, header[IV_SIZE:]) + ciphertext
