"""The RLPx handshake: two packets, after which both ends share secrets (devp2p rlpx.md, EIP-8).

    auth = size (2) || ECIES(to recipient, rlp[sig65, initiator-pubkey64, nonce32, 4] || padding, authdata = size)
    ack  = size (2) || ECIES(to initiator, rlp[ephemeral-pubkey64, nonce32, 4] || padding, authdata = size)

    sig65  = by the initiator's ephemeral key, over static-shared X xor nonce
    e      = X of ECDH(ephemeral keys)
    shared = K(e || K(recipient nonce || initiator nonce));  aes = K(e || shared);  mac = K(e || aes);  K = keccak256
    initiator's egress MAC  = K(mac xor recipient nonce || auth ...), ingress = K(mac xor initiator nonce || ack ...)

Before EIP-8 (v4) the packets had no size and fixed bodies:

    auth body = sig65 || K(ephemeral-pubkey64) || initiator-pubkey64 || nonce32 || 0     (307 bytes on the wire)
    ack body  = ephemeral-pubkey64 || nonce32 || 0                                       (210 bytes on the wire)

Decoding is lenient as EIP-8 asks: bytes may follow the list, more items may follow in it, any version is accepted.
We send the EIP-8 form, and answer a v4 auth with a v4 ack.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Protocol

from sha3 import keccak_256

from offchain import rlp
from offchain.errors import DecodeError
from offchain.hashing import keccak256
from offchain.keys import InvalidKey, PrivateKey, PublicKey
from offchain.rlpx import ecies

VERSION = 4
NONCE_SIZE = 32
SIGNATURE_SIZE = 65
PUBLIC_SIZE = 64
SIZE_PREFIX = 2
PADDING = range(100, 251)
"""Random bytes after the list, so that packets have no fixed size."""

V4_AUTH_SIZE = SIGNATURE_SIZE + 32 + PUBLIC_SIZE + NONCE_SIZE + 1 + ecies.OVERHEAD
V4_ACK_SIZE = PUBLIC_SIZE + NONCE_SIZE + 1 + ecies.OVERHEAD
MAX_SIZE = 2048
"""Larger packets are refused: today's have at most 600 bytes."""


class HandshakeError(DecodeError):
    """The bytes are not a handshake packet for this key."""


class Keccak(Protocol):
    """A running keccak-256."""

    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...
    def copy(self) -> Keccak: ...


@dataclass(frozen=True, slots=True)
class Auth:
    """What the initiator says first."""

    initiator: PublicKey
    """Claimed; the first frame with a right MAC proves it."""

    ephemeral: PublicKey
    nonce: bytes
    version: int = VERSION
    plain: bool = False
    """It came in the form before EIP-8."""


@dataclass(frozen=True, slots=True)
class Ack:
    """What the recipient answers."""

    ephemeral: PublicKey
    nonce: bytes
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Secrets:
    """What both ends hold after the handshake."""

    aes: bytes
    mac: bytes
    egress: Keccak
    ingress: Keccak


# AUTH


def encode_auth(
    key: PrivateKey,
    recipient: PublicKey,
    ephemeral: PrivateKey,
    nonce: bytes,
    rng: random.Random,
    *,
    padding: bytes = b"",
) -> bytes:
    """The auth packet in the EIP-8 form. `rng` must be a cryptographic source outside of tests."""
    signature = ephemeral.sign_recoverable(_xor(key.ecdh(recipient), nonce))
    body = rlp.encode([signature, key.public.to_bytes(), nonce, VERSION])
    return _seal(recipient, body + (padding or _padding(rng)), rng)


def decode_auth(key: PrivateKey, packet: bytes) -> Auth:
    """The auth that a whole packet with its size holds."""
    items, version = _open_list(key, packet, 3)
    signature = _bytes(items[0], SIGNATURE_SIZE)
    initiator = _public(_bytes(items[1], PUBLIC_SIZE))
    nonce = _bytes(items[2], NONCE_SIZE)
    return Auth(initiator, _ephemeral(key, initiator, nonce, signature), nonce, version)


def decode_auth_v4(key: PrivateKey, packet: bytes) -> Auth:
    """The auth that 307 bytes of the form before EIP-8 hold."""
    body = _decrypt(key, packet[:V4_AUTH_SIZE], b"")
    if len(body) != V4_AUTH_SIZE - ecies.OVERHEAD:
        raise HandshakeError(f"a v4 auth has {V4_AUTH_SIZE} bytes, found {len(packet)}")
    signature, hashed, public, nonce = body[:65], body[65:97], body[97:161], body[161:193]
    initiator = _public(public)
    ephemeral = _ephemeral(key, initiator, nonce, signature)
    if keccak256(ephemeral.to_bytes()) != hashed:
        raise HandshakeError("the hash is not that of the key that signed")
    return Auth(initiator, ephemeral, nonce, plain=True)


# ACK


def encode_ack(
    initiator: PublicKey, ephemeral: PrivateKey, nonce: bytes, rng: random.Random, *, padding: bytes = b""
) -> bytes:
    """The ack packet in the EIP-8 form."""
    body = rlp.encode([ephemeral.public.to_bytes(), nonce, VERSION])
    return _seal(initiator, body + (padding or _padding(rng)), rng)


def encode_ack_v4(initiator: PublicKey, ephemeral: PrivateKey, nonce: bytes, rng: random.Random) -> bytes:
    """The ack packet in the form before EIP-8."""
    return _encrypt(initiator, ephemeral.public.to_bytes() + nonce + b"\0", b"", rng)


def decode_ack(key: PrivateKey, packet: bytes) -> Ack:
    """The ack that a whole packet with its size holds."""
    items, version = _open_list(key, packet, 2)
    return Ack(_public(_bytes(items[0], PUBLIC_SIZE)), _bytes(items[1], NONCE_SIZE), version)


def decode_ack_v4(key: PrivateKey, packet: bytes) -> Ack:
    """The ack that 210 bytes of the form before EIP-8 hold."""
    body = _decrypt(key, packet[:V4_ACK_SIZE], b"")
    if len(body) != V4_ACK_SIZE - ecies.OVERHEAD:
        raise HandshakeError(f"a v4 ack has {V4_ACK_SIZE} bytes, found {len(packet)}")
    return Ack(_public(body[:PUBLIC_SIZE]), body[PUBLIC_SIZE:96])


# BOTH


def packet_size(start: bytes) -> int | None:
    """How long the EIP-8 packet is that starts so, its size included; None while fewer than two bytes are there."""
    if len(start) < SIZE_PREFIX:
        return None
    size = SIZE_PREFIX + int.from_bytes(start[:SIZE_PREFIX], "big")
    if not SIZE_PREFIX + ecies.OVERHEAD <= size <= MAX_SIZE:
        raise HandshakeError(f"the packet's size is {size}, expected {SIZE_PREFIX + ecies.OVERHEAD} to {MAX_SIZE}")
    return size


def derive(
    *,
    initiator: bool,
    ephemeral: PrivateKey,
    remote_ephemeral: PublicKey,
    nonce: bytes,
    remote_nonce: bytes,
    auth: bytes,
    ack: bytes,
) -> Secrets:
    """The secrets, for the end that `initiator` says. `auth` and `ack` are whole packets as they were on the wire."""
    shared_point = ephemeral.ecdh(remote_ephemeral)
    nonces = remote_nonce + nonce if initiator else nonce + remote_nonce
    shared = keccak256(shared_point + keccak256(nonces))
    aes = keccak256(shared_point + shared)
    mac = keccak256(shared_point + aes)
    sent, received = (auth, ack) if initiator else (ack, auth)
    egress = keccak_256(_xor(mac, remote_nonce) + sent)
    ingress = keccak_256(_xor(mac, nonce) + received)
    return Secrets(aes, mac, egress, ingress)


def _seal(recipient: PublicKey, body: bytes, rng: random.Random) -> bytes:
    size = (len(body) + ecies.OVERHEAD).to_bytes(SIZE_PREFIX, "big")
    return size + _encrypt(recipient, body, size, rng)


def _encrypt(recipient: PublicKey, body: bytes, authdata: bytes, rng: random.Random) -> bytes:
    return ecies.encrypt(recipient, body, authdata, ephemeral=random_key(rng), iv=rng.randbytes(ecies.IV_SIZE))


def _open_list(key: PrivateKey, packet: bytes, count: int) -> tuple[list[rlp.Item], int]:
    """The list in an EIP-8 packet, of at least `count` items, and the version that may follow them."""
    size = packet_size(packet)
    if size is None or len(packet) != size:
        raise HandshakeError(f"the packet has {len(packet)} bytes, its size says {size}")
    body = _decrypt(key, packet[SIZE_PREFIX:], packet[:SIZE_PREFIX])
    try:
        item, _ = rlp.decode_prefix(body)
        items = rlp.as_list(item)
    except rlp.RlpError as error:
        raise HandshakeError(f"the body is not a list: {error}") from None
    if len(items) < count:
        raise HandshakeError(f"the list has {len(items)} items, expected at least {count}")
    version = items[count] if len(items) > count else b""
    return items, int.from_bytes(version, "big") if isinstance(version, bytes) and len(version) <= 8 else VERSION


def _decrypt(key: PrivateKey, message: bytes, authdata: bytes) -> bytes:
    try:
        return ecies.decrypt(key, message, authdata)
    except ecies.EciesError as error:
        raise HandshakeError(f"the packet cannot be decrypted: {error}") from None


def _ephemeral(key: PrivateKey, initiator: PublicKey, nonce: bytes, signature: bytes) -> PublicKey:
    try:
        return PublicKey.recover(signature, _xor(key.ecdh(initiator), nonce))
    except InvalidKey as error:
        raise HandshakeError(f"the signature is not one: {error}") from None


def _bytes(item: rlp.Item, size: int) -> bytes:
    try:
        return rlp.as_bytes(item, size)
    except rlp.RlpError as error:
        raise HandshakeError(str(error)) from None


def _public(data: bytes) -> PublicKey:
    try:
        return PublicKey.from_bytes(data)
    except InvalidKey as error:
        raise HandshakeError(str(error)) from None


def _padding(rng: random.Random) -> bytes:
    return rng.randbytes(rng.randrange(PADDING.start, PADDING.stop))


def random_key(rng: random.Random) -> PrivateKey:
    """A private key drawn from `rng`."""
    while True:
        try:
            return PrivateKey(rng.randbytes(32))
        except InvalidKey:
            continue


def _xor(left: bytes, right: bytes) -> bytes:
    return (int.from_bytes(left, "big") ^ int.from_bytes(right, "big")).to_bytes(len(left), "big")
