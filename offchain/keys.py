"""secp256k1 identities: one key is a node's discovery id, its registry entry and its RLPx identity.

node id  = keccak256(x || y)                       (EIP-778 "v4" identity scheme)
address  = node id[12:]                            (Ethereum)
sig64    = r || s, low s                           (discv5, ENR)
sig65    = r || s || v, v in {0, 1}                (RLPx, Whisper, possession proofs add 27)
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import coincurve

from offchain.errors import ConfigError, DecodeError
from offchain.hashing import keccak256
from offchain.types import NodeAddress, NodeId, node_address

SECRET_SIZE = 32
PUBLIC_SIZE = 64
COMPRESSED_SIZE = 33
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


class InvalidKey(DecodeError):
    """Bytes are not a key or signature on secp256k1."""


class PublicKey:
    """A point on secp256k1. Compares by value; can be a dict key."""

    __slots__ = ("_bytes", "_node_id", "_point")

    def __init__(self, point: coincurve.PublicKey) -> None:
        self._point = point
        self._bytes = point.format(compressed=False)[1:]
        self._node_id: NodeId | None = None

    @classmethod
    def from_bytes(cls, data: bytes) -> PublicKey:
        """From 64 bytes (x || y), 65 bytes (04 || x || y) or 33 bytes (compressed). InvalidKey if off the curve."""
        if len(data) == PUBLIC_SIZE + 1 and data[0] != 0x04:  # libsecp256k1 also reads SEC 1's hybrid form, 06 or 07
            raise InvalidKey(f"65 bytes of a public key begin with {data[0]:#04x}, expected 0x04")
        try:
            return cls(coincurve.PublicKey(b"\x04" + data if len(data) == PUBLIC_SIZE else data))
        except ValueError as error:
            raise InvalidKey(f"{len(data)} bytes are not a public key: {error}") from None

    @classmethod
    def recover(cls, sig65: bytes, digest: bytes) -> PublicKey:
        """The signer of a 32-byte digest, from r || s || v with v in {0, 1, 27, 28}."""
        if len(sig65) != 65:
            raise InvalidKey(f"a signature has 65 bytes, found {len(sig65)}")
        v = sig65[64] - 27 if sig65[64] >= 27 else sig65[64]
        if v > 3:
            raise InvalidKey(f"recovery id is {sig65[64]}")
        try:
            return cls(coincurve.PublicKey.from_signature_and_message(sig65[:64] + bytes((v,)), digest, hasher=None))
        except Exception as error:  # coincurve raises ValueError or plain Exception by cause
            raise InvalidKey(f"no public key can be recovered: {error}") from None

    def to_bytes(self) -> bytes:
        """64 bytes, x || y: as enodes, RLPx and Whisper write it."""
        return self._bytes

    @property
    def compressed(self) -> bytes:
        """33 bytes: as ENRs and discv5 write it."""
        return self._point.format(compressed=True)

    @property
    def node_id(self) -> NodeId:
        """keccak256 of the 64 bytes."""
        if self._node_id is None:
            self._node_id = NodeId(keccak256(self._bytes))
        return self._node_id

    @property
    def address(self) -> NodeAddress:
        """The key's Ethereum address."""
        return node_address(self.node_id)

    def verify(self, sig64: bytes, digest: bytes) -> bool:
        """Whether r || s is this key's signature of the 32-byte digest. High s is refused."""
        if len(sig64) != 64:
            return False
        r, s = int.from_bytes(sig64[:32], "big"), int.from_bytes(sig64[32:], "big")
        if not 0 < r < _ORDER or not 0 < s <= _ORDER // 2:
            return False
        return self._point.verify(_der(sig64), digest, hasher=None)

    def multiply(self, secret: PrivateKey) -> PublicKey:
        """The ECDH point with a private key."""
        return PublicKey(self._point.multiply(secret.to_bytes()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and self._bytes == other._bytes

    def __hash__(self) -> int:
        return hash(self._bytes)

    def __repr__(self) -> str:
        return f"PublicKey({self._bytes[:4].hex()}..)"


class PrivateKey:
    """A secret number below the order of secp256k1. Its repr does not show it."""

    __slots__ = ("_key", "_public")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_SIZE or not 0 < int.from_bytes(secret, "big") < _ORDER:
            raise InvalidKey("a private key is 32 bytes, above zero and below the order of secp256k1")
        self._key = coincurve.PrivateKey(secret)
        self._public: PublicKey | None = None

    @classmethod
    def generate(cls) -> PrivateKey:
        """A new key from the system's randomness."""
        while True:
            try:
                return cls(secrets.token_bytes(SECRET_SIZE))
            except InvalidKey:
                continue

    @classmethod
    def load(cls, path: Path) -> PrivateKey:
        """From a file of 64 hex digits. ConfigError says what is wrong with the file."""
        try:
            text = path.read_text("ascii").strip()
        except FileNotFoundError:
            raise ConfigError(f"there is no key file {path}; make one with: waypost node key --out {path}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"the key file {path} cannot be read: {error}") from None
        try:
            return cls(bytes.fromhex(text.removeprefix("0x")))
        except ValueError:
            raise ConfigError(f"the key file {path} does not hold 64 hex digits of a private key") from None

    def save(self, path: Path) -> None:
        """To a new file that only its owner can read. ConfigError if it exists: keys are never overwritten."""
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise ConfigError(f"{path} exists; a key file is never overwritten") from None
        with os.fdopen(descriptor, "w") as file:
            file.write(self.to_bytes().hex() + "\n")

    def to_bytes(self) -> bytes:
        """The 32 secret bytes."""
        return self._key.secret

    @property
    def public(self) -> PublicKey:
        """The point that belongs to it."""
        if self._public is None:
            self._public = PublicKey(self._key.public_key)
        return self._public

    def sign(self, digest: bytes) -> bytes:
        """r || s over a 32-byte digest, deterministic (RFC 6979), low s."""
        return self.sign_recoverable(digest)[:64]

    def sign_recoverable(self, digest: bytes) -> bytes:
        """r || s || v over a 32-byte digest, v in {0, 1}."""
        return self._key.sign_recoverable(digest, hasher=None)

    def ecdh(self, public: PublicKey) -> bytes:
        """The 32-byte X coordinate of the ECDH point, unhashed (RLPx)."""
        return public.multiply(self).to_bytes()[:32]

    def ecdh_compressed(self, public: PublicKey) -> bytes:
        """The 33-byte compressed ECDH point, unhashed (discv5)."""
        return public.multiply(self).compressed

    def __repr__(self) -> str:
        return f"PrivateKey(of {self.public!r})"


def _der(sig64: bytes) -> bytes:
    """r || s in the DER form that libsecp256k1's plain verification takes."""
    parts = b""
    for number in (sig64[:32], sig64[32:]):
        body = number.lstrip(b"\0")
        if body[0] & 0x80:
            body = b"\0" + body
        parts += b"\x02" + bytes((len(body),)) + body
    return b"\x30" + bytes((len(parts),)) + parts
