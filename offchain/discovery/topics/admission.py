"""Who may be advertised, and after how long a wait: local policy, so a strategy with two implementations.

    SpecifiedAdmission   the specification's formula: a sum over topic, address and a constant, times a factor that
                         grows as the cache fills
    SharedAdmission      ours, the default: nobody waits while nothing is scarce, and no neighbourhood of addresses can
                         have more than its share; docs/decisions/0020-admission.md explains and proves it

Both make waiting times of up to three terms (topic, address, everybody) and keep a lower bound for each: what was told
to one who asked is remembered for the topic, the addresses and everybody, never for the one. So asking more often gains
nothing: with w the waiting time of a (topic, address) of whom w(t1) was told,

    w(t2) >= min(w(t1), E) - (t2 - t1)

whatever was admitted or expired in between. Times are seconds, infinite where there is no room at all.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Protocol

from offchain.discovery.topics.ip_tree import IpTree, bits_of
from offchain.types import Topic

LIFETIME = 900.0
"""E: how long an ad is kept."""

CAPACITY = 1_000
"""C: ads kept in all."""


class Admission(Protocol):
    """Counts what is cached, and says how long a newcomer waits. An address is None where it is of no account (LAN)."""

    lifetime: float
    capacity: int

    def added(self, topic: Topic, ip: str | None) -> None:
        """An ad was admitted."""
        ...

    def removed(self, topic: Topic, ip: str | None) -> None:
        """An ad expired."""
        ...

    def wait(self, topic: Topic, ip: str | None, now: float) -> float:
        """How long somebody who comes now waits."""
        ...

    def told(self, topic: Topic, ip: str | None, now: float) -> None:
        """Somebody is told to wait: nobody like him is told less from here on than what is left of it."""
        ...

    def expire(self, now: float) -> None:
        """Forget the bounds that are over."""
        ...

    def sizes(self) -> dict[str, int]:
        """How much is held."""
        ...


class _Bounds:
    """Times until which names are bound. A name here stands for all that share its first two bytes or its prefix."""

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until: dict[int, float] = {}

    def left(self, name: int, now: float) -> float:
        return max(self._until.get(name, 0.0) - now, 0.0)

    def raise_to(self, name: int, until: float) -> None:
        if until > self._until.get(name, 0.0):
            self._until[name] = until

    def expire(self, now: float) -> None:
        self._until = {name: until for name, until in self._until.items() if until > now}

    def __len__(self) -> int:
        return len(self._until)


_EVERYBODY = 0


def _slot(topic: Topic) -> int:
    """Bounds of topics are kept in 65,536 slots: a bounded number, however many topics are made up."""
    return int.from_bytes(topic[:2], "big")


class SpecifiedAdmission:
    """The specification's:  w = E / (1 - c/C)^Pocc * (c(topic)/c + score(address) + G).

    The three terms are added, so each one's bound falls by a third of a second a second: their sum then falls by one.
    """

    def __init__(
        self, capacity: int = CAPACITY, lifetime: float = LIFETIME, *, exponent: float = 10.0, base: float = 1e-7
    ) -> None:
        self.capacity = capacity
        self.lifetime = lifetime
        self._exponent = exponent
        self._base = base
        self._count = 0
        self._topics: Counter[Topic] = Counter()
        self._tree = IpTree()
        self._topic_bounds = _Bounds()
        self._base_bound = _Bounds()

    def added(self, topic: Topic, ip: str | None) -> None:
        """An ad was admitted."""
        self._count += 1
        self._topics[topic] += 1
        if ip is not None:
            self._tree.add(ip)

    def removed(self, topic: Topic, ip: str | None) -> None:
        """An ad expired."""
        self._count -= 1
        self._topics[topic] -= 1
        if not self._topics[topic]:
            del self._topics[topic]
        if ip is not None:
            self._tree.remove(ip)

    def formula(self, count: int, in_topic: int, score: float) -> float:
        """w, without bounds."""
        return sum(self._terms(count, in_topic, score))

    def wait(self, topic: Topic, ip: str | None, now: float) -> float:
        """The sum of the terms, each at least its bound."""
        by_topic, by_address, base = self._current(topic, ip)
        bound = 0.0 if ip is None else max(self._tree.bound(ip) - now, 0.0)
        return (
            max(by_topic, self._topic_bounds.left(_slot(topic), now) / 3)
            + max(by_address, bound / 3)
            + max(base, self._base_bound.left(_EVERYBODY, now) / 3)
        )

    def told(self, topic: Topic, ip: str | None, now: float) -> None:
        """Keep the bounds."""
        by_topic, by_address, base = (3 * min(term, self.lifetime) for term in self._current(topic, ip))
        if by_topic:
            self._topic_bounds.raise_to(_slot(topic), now + by_topic)
        if ip is not None and by_address:
            self._tree.raise_bound(ip, now + by_address)
        self._base_bound.raise_to(_EVERYBODY, now + base)

    def expire(self, now: float) -> None:
        """Forget the bounds that are over."""
        self._topic_bounds.expire(now)
        self._tree.expire(now)

    def sizes(self) -> dict[str, int]:
        """How much is held."""
        return {
            "ad_topics": len(self._topics),
            "ad_prefixes": len(self._tree),
            "ad_bounds": len(self._topic_bounds) + self._tree.bounds,
        }

    def _current(self, topic: Topic, ip: str | None) -> tuple[float, float, float]:
        return self._terms(self._count, self._topics.get(topic, 0), 0.0 if ip is None else self._tree.score(ip))

    def _terms(self, count: int, in_topic: int, score: float) -> tuple[float, float, float]:
        if count >= self.capacity:
            return math.inf, math.inf, math.inf
        factor = self.lifetime / (1 - count / self.capacity) ** self._exponent
        return factor * (in_topic / count if count else 0.0), factor * score, factor * self._base


SHARES = {32: ((8, 4), (16, 8), (24, 32), (32, 128)), 128: ((24, 4), (32, 8), (48, 32), (64, 128))}
"""(bits, n): ads with addresses that share so many bits are at most one n-th of the cache."""

MIN_SHARE = 4
"""A share is never fewer ads than this."""

BASE = 0.05
"""The part of a popular topic's wait that everybody waits, whatever the topic."""


def scarcity(used: int, room: int) -> float:
    """x^6 / (1 - x)^4 of the part that is used: a thousandth at x = 0.26, 1 at 0.57, infinite at 1."""
    if used >= room:
        return math.inf
    part = used / room
    return float(part**6 / (1 - part) ** 4)


class SharedAdmission:
    """Ours:  w = E * max( S(c/C) * max(c(topic)/c, BASE), S(n/N) of each neighbourhood of the address ).

    S is `scarcity`; a neighbourhood is the addresses that share a prefix (`SHARES`), n the ads of it, N its share.
    """

    def __init__(self, capacity: int = CAPACITY, lifetime: float = LIFETIME) -> None:
        self.capacity = capacity
        self.lifetime = lifetime
        self._count = 0
        self._topics: Counter[Topic] = Counter()
        self._prefixes: Counter[int] = Counter()
        self._room = {
            bits: [(bits - length, 1 << length, max(capacity // part, MIN_SHARE)) for length, part in shares]
            for bits, shares in SHARES.items()
        }
        self._topic_bounds = _Bounds()
        self._prefix_bounds = _Bounds()
        self._base_bound = _Bounds()

    def added(self, topic: Topic, ip: str | None) -> None:
        """An ad was admitted."""
        self._count += 1
        self._topics[topic] += 1
        for prefix, _ in self._neighbourhoods(ip):
            self._prefixes[prefix] += 1

    def removed(self, topic: Topic, ip: str | None) -> None:
        """An ad expired."""
        self._count -= 1
        self._topics[topic] -= 1
        if not self._topics[topic]:
            del self._topics[topic]
        for prefix, _ in self._neighbourhoods(ip):
            self._prefixes[prefix] -= 1
            if not self._prefixes[prefix]:
                del self._prefixes[prefix]

    def wait(self, topic: Topic, ip: str | None, now: float) -> float:
        """The longest of the terms and their bounds."""
        scarce = self._scarce()
        wait = max(
            scarce * max(self._popularity(topic), BASE),
            self._topic_bounds.left(_slot(topic), now),
            self._base_bound.left(_EVERYBODY, now),
        )
        for prefix, room in self._neighbourhoods(ip):
            used = self._prefixes.get(prefix, 0)
            if used:
                wait = max(wait, self.lifetime * scarcity(used, room))
            wait = max(wait, self._prefix_bounds.left(prefix, now))
        return wait

    def told(self, topic: Topic, ip: str | None, now: float) -> None:
        """Keep the bounds."""
        scarce = self._scarce()
        longest = self.lifetime
        if scarce:
            self._base_bound.raise_to(_EVERYBODY, now + min(scarce * BASE, longest))
        if popularity := self._popularity(topic):
            self._topic_bounds.raise_to(_slot(topic), now + min(scarce * popularity, longest))
        for prefix, room in self._neighbourhoods(ip):
            used = self._prefixes.get(prefix, 0)
            if used:
                self._prefix_bounds.raise_to(prefix, now + min(longest * scarcity(used, room), longest))

    def expire(self, now: float) -> None:
        """Forget the bounds that are over."""
        self._topic_bounds.expire(now)
        self._prefix_bounds.expire(now)

    def sizes(self) -> dict[str, int]:
        """How much is held."""
        return {
            "ad_topics": len(self._topics),
            "ad_prefixes": len(self._prefixes),
            "ad_bounds": len(self._topic_bounds) + len(self._prefix_bounds),
        }

    def _scarce(self) -> float:
        return self.lifetime * scarcity(self._count, self.capacity)

    def _popularity(self, topic: Topic) -> float:
        return self._topics.get(topic, 0) / self._count if self._count else 0.0

    def _neighbourhoods(self, ip: str | None) -> list[tuple[int, int]]:
        """(name, room) of each. IPv4 prefixes have names below 2^33, those of IPv6 are kept apart above 2^128."""
        if ip is None:
            return []
        bits, value = bits_of(ip)
        family = 0 if bits == 32 else 1 << 128
        return [(family | lead | value >> shift, room) for shift, lead, room in self._room[bits]]
