"""The registry's log commitment, recomputed from raw logs.

    version' = version + 1
    hash'    = first 28 bytes of keccak256(hash (28 bytes) || topics of the log || data of the log)

One storage slot of the registry holds it: hash in the high 224 bits, version in the low 32. Sources:
interfaces/INodeRegistry.sol, contracts/CommittedLog.sol; for the slots of verdicts, contracts/curation/VerdictBook.sol.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from offchain.chain.events import PlainLog
from offchain.chain.native import native
from offchain.errors import DecodeError
from offchain.hashing import keccak256
from offchain.types import KindId, ProviderId

COMMITMENT_SLOT = bytes(32)
"""The commitment is the registry's first slot."""

HASH_SIZE = 28


class MissingEventError(DecodeError):
    """The registry's versions do not follow each other: an event was left out, repeated or moved."""


class Commitment(NamedTuple):
    """How many events there were, and the hash over them."""

    version: int = 0
    hash: bytes = bytes(HASH_SIZE)

    @property
    def word(self) -> bytes:
        """As the storage slot holds it."""
        return self.hash + self.version.to_bytes(4, "big")

    @classmethod
    def from_word(cls, word: bytes) -> Commitment:
        """From the 32 bytes of the storage slot."""
        return cls(int.from_bytes(word[HASH_SIZE:], "big"), word[:HASH_SIZE])

    def __str__(self) -> str:
        return f"version {self.version} ({self.hash[:4].hex()})"


def advance_all(commitment: Commitment, logs: Iterable[PlainLog]) -> Commitment:
    """The commitment after more logs of the registry; MissingEventError if a version is not the next one."""
    logs = list(logs)
    starts = [32 * log.topic_count for log in logs]
    after = Commitment(*chain(commitment.version, commitment.hash, [log.payload for log in logs], starts))
    if (count := after.version - commitment.version) < len(logs):
        found = int.from_bytes(logs[count].payload[starts[count] : starts[count] + 32], "big")
        block, expected = logs[count].block, after.version + 1
        raise MissingEventError(f"block {block} has the registry's version {found}, expected {expected}")
    return after


def chain_in_python(version: int, digest: bytes, payloads: list[bytes], starts: list[int]) -> tuple[int, bytes]:
    """Fold payloads, each with its data at a start, up to one that does not say the next version."""
    for payload, start in zip(payloads, starts, strict=True):
        if payload[start : start + 32] != (version + 1).to_bytes(32, "big"):
            break
        version += 1
        digest = keccak256(digest + payload)[:HASH_SIZE]
    return version, digest


chain = chain_in_python if native is None else native.chain


def verdict_slot(provider: ProviderId, kind: KindId) -> bytes:
    """Where a curator stores its verdict on a provider for a kind."""
    of_provider = keccak256(provider.to_bytes(32, "big") + bytes(32))
    return keccak256(kind.to_bytes(32, "big") + of_provider)
