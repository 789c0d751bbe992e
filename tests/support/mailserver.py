"""Envelopes for the archive's tests: real RLP, but with a hash and a time that the test chooses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from offchain import rlp

DAY = 86_400
MARCH = 20_513 * DAY
"""Midnight, 1 March 2026."""


@dataclass(frozen=True)
class Sample:
    """What the archive needs to know of an envelope."""

    raw: bytes
    hash: bytes
    topic: bytes
    sent: int

    @property
    def position(self) -> bytes:
        return self.sent.to_bytes(4, "big") + self.hash


def sample(sent: int, number: int, topic: bytes = b"abcd", size: int = 20) -> Sample:
    """An envelope whose hash begins with its number."""
    raw = rlp.encode([sent + 50, 50, topic, number.to_bytes(4, "big").ljust(size, b"."), 7])
    return Sample(raw, number.to_bytes(4, "big") + bytes(28), topic, sent)


def raws(samples: Iterable[Sample]) -> list[bytes]:
    """Their RLP in the archive's order."""
    return [each.raw for each in sorted(samples, key=lambda each: each.position)]


def bloom(*topics: bytes) -> bytes:
    """The filter of some topics, straight from EIP-627."""
    bits = bytearray(64)
    for topic in topics:
        for j in range(3):
            index = topic[j] + (256 if topic[3] >> j & 1 else 0)
            bits[index // 8] |= 1 << index % 8
    return bytes(bits)


def old_bloom(topic: bytes) -> bytes:
    """The filter that programs before geth 1.9 made: they assigned bytes instead of or-ing bits into them."""
    bits = bytearray(64)
    for j in range(3):
        index = topic[j] + (256 if topic[3] >> j & 1 else 0)
        bits[index // 8] = 1 << index % 8
    return bytes(bits)


async def until(condition: Callable[[], object], turns: int = 100_000) -> None:
    """Let the other tasks run until the condition holds."""
    for _ in range(turns):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("the condition never held")
