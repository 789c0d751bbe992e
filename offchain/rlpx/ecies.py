"""ECIES as RLPx and Whisper use it: encryption to a secp256k1 public key (devp2p rlpx.md, "ECIES Encryption").

r random, R = r*G;  S = X coordinate of r*K
kE || kM = concat-KDF(SHA-256, S, 32), counter from 1
c   = AES-128-CTR(kE, iv, m)
tag = HMAC-SHA256(SHA-256(kM), iv || c || authdata)
wire = 04 || R (64) || iv (16) || c || tag (32)
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from offchain.errors import DecodeError
from offchain.keys import InvalidKey, PrivateKey, PublicKey

IV_SIZE = 16
TAG_SIZE = 32
POINT_SIZE = 65
OVERHEAD = POINT_SIZE + IV_SIZE + TAG_SIZE
"""113 bytes that encryption adds."""


class EciesError(DecodeError):
    """The bytes are not encrypted to this key, or were changed on the way."""


def encrypt(
    recipient: PublicKey,
    plaintext: bytes,
    authdata: bytes = b"",
    *,
    ephemeral: PrivateKey | None = None,
    iv: bytes | None = None,
) -> bytes:
    """The plaintext, readable with the recipient's private key only. `authdata` is covered by the tag but not sent.

    `ephemeral` and `iv` are for repeating a recorded exchange; they must never be used twice.
    """
    ephemeral = ephemeral or PrivateKey.generate()
    iv = secrets.token_bytes(IV_SIZE) if iv is None else iv
    cipher_key, mac_key = _derive(ephemeral.ecdh(recipient))
    masked = iv + Cipher(algorithms.AES(cipher_key), modes.CTR(iv)).encryptor().update(plaintext)
    tag = hmac.digest(mac_key, masked + authdata, "sha256")
    return b"\x04" + ephemeral.public.to_bytes() + masked + tag


def decrypt(key: PrivateKey, message: bytes, authdata: bytes = b"") -> bytes:
    """The plaintext of a message to this key; EciesError if there is none."""
    if len(message) < OVERHEAD:
        raise EciesError(f"size is {len(message)}, expected at least {OVERHEAD}")
    if message[0] != 0x04:
        raise EciesError(f"first byte is {message[0]:#x}, expected 0x4")
    try:
        point = PublicKey.from_bytes(message[1:POINT_SIZE])
    except InvalidKey as error:
        raise EciesError(f"the ephemeral key is not a point: {error}") from None
    cipher_key, mac_key = _derive(key.ecdh(point))
    masked = message[POINT_SIZE:-TAG_SIZE]
    tag = hmac.digest(mac_key, masked + authdata, "sha256")
    if not hmac.compare_digest(tag, message[-TAG_SIZE:]):
        raise EciesError("the tag does not match")
    return Cipher(algorithms.AES(cipher_key), modes.CTR(masked[:IV_SIZE])).decryptor().update(masked[IV_SIZE:])


def _derive(shared: bytes) -> tuple[bytes, bytes]:
    """The AES key and the HMAC key from the ECDH secret. 32 bytes of output are one round of the KDF."""
    derived = hashlib.sha256(b"\0\0\0\1" + shared).digest()
    return derived[:16], hashlib.sha256(derived[16:]).digest()
