"""Which of a day's topics a bloom filter asks for, fast enough to be asked of every topic of the day.

A topic sets three bits of 512 (EIP-627). Programs before geth 1.9 assigned the byte instead of or-ing into it, so of
two bits in one byte only the later is left. What such a program sends matches a topic if the bits that it would have
set are there; those are a subset of the right ones, so this one test serves filters from either.
"""

from __future__ import annotations

from collections.abc import Iterable

from offchain.mailserver.archive.base import BLOOM_SIZE, TOPIC_SIZE

FULL = (1 << 8 * BLOOM_SIZE) - 1


def bit_places(topic: bytes) -> tuple[int, int, int]:
    """The places of the bits that a filter must have for the topic, from each byte's lowest on; some may repeat."""
    in_byte: dict[int, int] = {}
    for j in range(3):
        index = topic[j] + (256 if topic[3] & (1 << j) else 0)
        in_byte[index // 8] = index
    places = [*in_byte.values()]
    return places[0], places[-1], places[len(places) // 2]


def needed_bits(topic: bytes) -> int:
    """The bits that a filter must have for the topic, as an integer in big-endian order of the filter's bytes."""
    return sum(1 << (8 * (BLOOM_SIZE - 1 - at // 8) + at % 8) for at in set(bit_places(topic)))


REMEMBERED_ANSWERS = 32
"""Filters whose topics are remembered: an answer of many pages asks with one filter again and again."""


class TopicSet:
    """The distinct topics of a day and the bits that each needs."""

    def __init__(self, topics: Iterable[bytes], capacity: int) -> None:
        self._bits: dict[bytes, int] = {}
        self._answers: dict[int, list[bytes]] = {}
        self._capacity = capacity
        self.overflown = False
        self.add(topics)

    def add(self, topics: Iterable[bytes]) -> None:
        """Take in topics. Beyond the capacity the set is given up: see `overflown`."""
        if self.overflown:
            return
        for topic in topics:
            if topic not in self._bits:
                self._bits[topic] = needed_bits(topic)
                self._answers = {}
        if len(self._bits) > self._capacity:
            self._bits = {}
            self.overflown = True

    def matching(self, bloom: int) -> list[bytes]:
        """The topics that the filter lets through."""
        answers = self._answers  # as it is now: a topic added meanwhile begins another
        answer = answers.get(bloom)
        if answer is None:
            missing = FULL ^ bloom
            answer = [topic for topic, bits in list(self._bits.items()) if not bits & missing]
            if len(answers) >= REMEMBERED_ANSWERS:
                answers.clear()
            answers[bloom] = answer
        return answer


def topic_in(raw: bytes | memoryview) -> bytes:
    """The topic inside an envelope's RLP [expiry, ttl, topic, data, nonce], which is known to be one."""
    first = raw[0]
    at = first - 0xF6 if first > 0xF7 else 1
    for _ in range(2):  # expiry and ttl, both of at most 55 bytes
        at += raw[at] - 0x7F if raw[at] >= 0x80 else 1
    return bytes(raw[at + 1 : at + 1 + TOPIC_SIZE])
