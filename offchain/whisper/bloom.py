"""Bloom filters over topics (EIP-627, Whisper v6): 512 bits, three for each topic.

    bit j of a topic (j = 0, 1, 2) = topic[j], plus 256 if bit j of topic[3] is set
    a bit's place = byte bit // 8, mask 1 << bit % 8

go-ethereum and status-go ASSIGN the mask to the byte where they should `or` it in, so of two bits in one byte only the
last survives. We make correct filters, which contain theirs, and look only for the bits that theirs keep.
"""

from __future__ import annotations

from functools import lru_cache

from offchain.errors import DecodeError

BLOOM_SIZE = 64
TOPIC_SIZE = 4
FULL_BLOOM = b"\xff" * BLOOM_SIZE
"""Matches every topic."""

EMPTY_BLOOM = bytes(BLOOM_SIZE)
"""Matches none."""


class BloomError(DecodeError):
    """The bytes are not a bloom filter or a topic."""


def topic_bloom(topic: bytes) -> bytes:
    """The filter that matches one topic."""
    bloom = bytearray(BLOOM_SIZE)
    for bit in _bits(topic):
        bloom[bit // 8] |= 1 << bit % 8
    return bytes(bloom)


def merge(*blooms: bytes) -> bytes:
    """The filter that matches what any of them matches."""
    merged = 0
    for each in blooms:
        merged |= int.from_bytes(_checked(each), "big")
    return merged.to_bytes(BLOOM_SIZE, "big")


def contains(bloom: bytes, other: bytes) -> bool:
    """Whether every bit of `other` is in `bloom`."""
    theirs = int.from_bytes(_checked(other), "big")
    return int.from_bytes(_checked(bloom), "big") & theirs == theirs


def envelope_matches(bloom: bytes, topic: bytes) -> bool:
    """Whether an envelope of that topic passes the filter, whichever program made the filter."""
    if len(bloom) != BLOOM_SIZE:
        raise BloomError(f"a bloom filter has {BLOOM_SIZE} bytes, found {len(bloom)}")
    return all(bloom[index] & mask for index, mask in _surviving(topic))


@lru_cache(maxsize=8_192)
def _surviving(topic: bytes) -> tuple[tuple[int, int], ...]:
    """The bytes and masks that remain of a topic where masks are assigned."""
    masks = {}
    for bit in _bits(topic):
        masks[bit // 8] = 1 << bit % 8
    return tuple(masks.items())


def _bits(topic: bytes) -> tuple[int, int, int]:
    if len(topic) != TOPIC_SIZE:
        raise BloomError(f"a topic has {TOPIC_SIZE} bytes, found {len(topic)}")
    high = topic[3]
    return (
        topic[0] + (256 if high & 1 else 0),
        topic[1] + (256 if high & 2 else 0),
        topic[2] + (256 if high & 4 else 0),
    )


def _checked(bloom: bytes) -> bytes:
    if len(bloom) != BLOOM_SIZE:
        raise BloomError(f"a bloom filter has {BLOOM_SIZE} bytes, found {len(bloom)}")
    return bloom
