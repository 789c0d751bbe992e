"""The fingerprint of a set of envelopes, which says whether two servers have the same.

    fingerprint = SHA-256( sum of the ids mod 2^256, 32 bytes little endian || count, 8 bytes little endian )[:16]

Sums and counts add up, so a range's come from those of its parts, and one envelope more changes them by one addition.
The construction is that of negentropy (hoytech/negentropy, "fingerprints"). A plain XOR of hashes, as nwaku's store
sync had it, can be forged by solving linear equations. A sum can be forged too, but only with some 2^(2 * sqrt(256))
envelopes made for the purpose (Wagner's generalised birthday problem), each with its proof of work; whoever did that
would hide envelopes from reconciliation between servers, and from nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

SIZE = 16
_MASK = (1 << 256) - 1


@dataclass(frozen=True, slots=True)
class Total:
    """What a set comes to."""

    count: int = 0
    sum: int = 0
    """Of the ids as little-endian integers, mod 2^256."""

    def plus(self, other: Total) -> Total:
        """The total of two sets that have nothing in common."""
        return Total(self.count + other.count, (self.sum + other.sum) & _MASK)

    @property
    def fingerprint(self) -> bytes:
        """16 bytes."""
        together = self.sum.to_bytes(32, "little") + self.count.to_bytes(8, "little")
        return hashlib.sha256(together).digest()[:SIZE]


def total(positions: Iterable[bytes]) -> Total:
    """The total of the envelopes at these positions (sent u32 || hash 32): their ids are the hashes."""
    count = 0
    summed = 0
    for each in positions:
        count += 1
        summed += int.from_bytes(each[4:], "little")
    return Total(count, summed & _MASK)
