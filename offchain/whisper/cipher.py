"""What an envelope's data hides (Whisper v6, as go-ethereum and status-go make it).

plaintext = flags || size || payload || padding [|| sig65]
flags     = bits 0-1: bytes of the size field, bit 2: signed
size      = of the payload, little endian
padding   = to a multiple of 256, the signature included; other lengths are read too
sig65     = over keccak256 of everything before it, v in {0, 1}; 27 and 28 are read too

to a shared key: AES-256-GCM ciphertext || tag (16) || nonce (12)
to a public key: ECIES without authdata
key of a password: PBKDF2-HMAC-SHA256, empty salt, 65,356 rounds, 32 bytes
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from offchain.errors import DecodeError
from offchain.hashing import keccak256
from offchain.keys import InvalidKey, PrivateKey, PublicKey
from offchain.rlpx import ecies

KEY_SIZE = 32
NONCE_SIZE = 12
TAG_SIZE = 16
SIGNATURE_SIZE = 65
BLOCK = 256
"""Plaintexts are padded to a multiple of it."""

MAX_PAYLOAD = (1 << 24) - 1
"""The largest payload three bytes of size can tell."""

PASSWORD_ROUNDS = 65_356
_SIZE_MASK = 3
_SIGNED = 4


class CipherError(DecodeError):
    """The data cannot be opened with this key, or does not hold a message."""


@dataclass(frozen=True, slots=True)
class Message:
    """What was in an envelope."""

    payload: bytes = field(repr=False)
    signer: PublicKey | None = None
    """Who signed it; None if nobody did."""

    padding: bytes = field(default=b"", repr=False)


def seal_sym(
    key: bytes,
    payload: bytes,
    sign_with: PrivateKey | None = None,
    *,
    padding: bytes | None = None,
    nonce: bytes | None = None,
) -> bytes:
    """Data that whoever has the 32-byte key can open. `nonce` is for repeating a recorded message, never otherwise."""
    nonce = os.urandom(NONCE_SIZE) if nonce is None else nonce
    return AESGCM(_key(key)).encrypt(nonce, pack(payload, sign_with, padding), None) + nonce


def open_sym(key: bytes, data: bytes) -> Message:
    """The message in data sealed with the 32-byte key; CipherError if there is none."""
    if len(data) < NONCE_SIZE + TAG_SIZE:
        raise CipherError(f"size is {len(data)}, expected at least {NONCE_SIZE + TAG_SIZE}")
    try:
        plaintext = AESGCM(_key(key)).decrypt(data[-NONCE_SIZE:], data[:-NONCE_SIZE], None)
    except InvalidTag:
        raise CipherError("not sealed with this key") from None
    return unpack(plaintext)


def seal_asym(
    recipient: PublicKey, payload: bytes, sign_with: PrivateKey | None = None, *, padding: bytes | None = None
) -> bytes:
    """Data that only the holder of the recipient's private key can open."""
    return ecies.encrypt(recipient, pack(payload, sign_with, padding))


def open_asym(key: PrivateKey, data: bytes) -> Message:
    """The message in data sealed to this key; CipherError if there is none."""
    try:
        plaintext = ecies.decrypt(key, data)
    except ecies.EciesError as error:
        raise CipherError(f"not sealed to this key: {error}") from None
    return unpack(plaintext)


def pack(payload: bytes, sign_with: PrivateKey | None = None, padding: bytes | None = None) -> bytes:
    """The plaintext. Without `padding`, random bytes fill it up to a multiple of 256, at least one."""
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(f"a payload of {len(payload)} bytes is more than {MAX_PAYLOAD}")
    size_bytes = max(1, (len(payload).bit_length() + 7) // 8)
    flags = size_bytes | (_SIGNED if sign_with else 0)
    content = bytes((flags,)) + len(payload).to_bytes(size_bytes, "little") + payload
    if padding is None:
        padding = os.urandom(BLOCK - (len(content) + (SIGNATURE_SIZE if sign_with else 0)) % BLOCK)
    content += padding
    return content + sign_with.sign_recoverable(keccak256(content)) if sign_with else content


def unpack(plaintext: bytes) -> Message:
    """The message in a plaintext; CipherError if there is none."""
    if not plaintext:
        raise CipherError("the plaintext is empty")
    flags = plaintext[0]
    end = len(plaintext)
    signer = None
    if flags & _SIGNED:
        end -= SIGNATURE_SIZE
        if end < 1:
            raise CipherError(f"{len(plaintext)} bytes hold no signature")
        try:
            signer = PublicKey.recover(plaintext[end:], keccak256(plaintext[:end]))
        except InvalidKey as error:
            raise CipherError(f"the signature is not one: {error}") from None
    start = 1 + (flags & _SIZE_MASK)
    size = int.from_bytes(plaintext[1:start], "little")
    if start + size > end:
        raise CipherError(f"a payload of {size} bytes does not fit into {end}")
    return Message(plaintext[start : start + size], signer, plaintext[start + size : end])


def key_from_password(password: str) -> bytes:
    """The 32-byte key of a password. Takes tens of milliseconds, on purpose."""
    return hashlib.pbkdf2_hmac("sha256", password.encode(), b"", PASSWORD_ROUNDS, KEY_SIZE)


def _key(key: bytes) -> bytes:
    if len(key) != KEY_SIZE:
        raise ValueError(f"a symmetric key has {KEY_SIZE} bytes, found {len(key)}")
    return key
