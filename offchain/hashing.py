"""keccak256, the hash of Ethereum, as one fast function."""

from __future__ import annotations

from sha3 import keccak_256 as _keccak_256


def keccak256(data: bytes) -> bytes:
    """The 32-byte Keccak-256 digest (the original padding, not SHA3-256)."""
    digest: bytes = _keccak_256(data).digest()
    return digest
