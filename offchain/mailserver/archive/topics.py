"""Which of a day's topics a bloom filter asks for, fast enough to be asked of every topic of the day.

A topic sets three bits of 512 (EIP-627). Programs before geth 1.9 assigned the byte instead of or-ing into it, so of
two bits in one byte only the later is left. What such a program sends matches a topic if the bits that it would have
set are there; those are a subset of the right ones, so this one test serves filters from either.
"""

from __future__ import annotations

from collections import defaultdict
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
    """The distinct topics of a day, and for each bit of a filter which of them need it, as the bits of an integer.

    One may add while others ask.
    """

    def __init__(self, topics: Iterable[bytes], capacity: int) -> None:
        self._topics: list[bytes] = []
        self._known: set[bytes] = set()
        self._needing: tuple[int, list[int]] = 0, [0] * 8 * BLOOM_SIZE
        """How many topics, and by place of a bit those that need it: the lowest bit is the first topic."""
        self._answers: dict[int, list[bytes]] = {}
        self._capacity = capacity
        self.overflown = False
        self.add(topics)

    def add(self, topics: Iterable[bytes]) -> None:
        """Take in topics. Beyond the capacity the set is given up: see `overflown`."""
        fresh = [] if self.overflown else [topic for topic in dict.fromkeys(topics) if topic not in self._known]
        if not fresh:
            return
        count, needing = len(self._topics) + len(fresh), list(self._needing[1])
        places: defaultdict[int, bytearray] = defaultdict(lambda: bytearray(count // 8 + 1))
        for number, topic in enumerate(fresh, len(self._topics)):
            for place in bit_places(topic):
                places[place][number // 8] |= 1 << number % 8
        for place, numbers in places.items():
            needing[place] |= int.from_bytes(numbers, "little")
        self._topics += fresh
        self._known.update(fresh)
        self._needing = count, needing  # both at once, for those who ask meanwhile
        self._answers = {}
        if count > self._capacity:
            self.overflown = True
            self._topics, self._known, self._needing = [], set(), (0, [])

    def matching(self, bloom: int) -> list[bytes]:
        """The topics that the filter lets through."""
        answers = self._answers  # as it is now: a topic added meanwhile begins another
        answer = answers.get(bloom)
        if answer is None:
            (count, needing), topics = self._needing, self._topics
            bits = bloom.to_bytes(BLOOM_SIZE, "big")
            kept_out = 0
            for place, numbers in enumerate(needing):
                if numbers and not bits[place // 8] >> place % 8 & 1:
                    kept_out |= numbers
            let_through = bin((1 << count) - 1 ^ kept_out)[:1:-1]
            answer, at = [], let_through.find("1")
            while at >= 0:
                answer.append(topics[at])
                at = let_through.find("1", at + 1)
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
