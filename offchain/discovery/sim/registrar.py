"""One registrar under load: who gets in, and how long honest advertisers wait.

The workload of ethereum/devp2p, discv5/admission_parameter_rationale.md: for a day, honest advertisers turn up at a
rate of 0.05 a second and hostile ones at 0.2, and all of them stay, come back with their tickets, and begin anew when
an ad of theirs ends. So demand grows far beyond what a cache of 1,000 holds.

    cache    the attacker has one /24 (or as told) and 3,000 topics; honest advertisers have 100 topics
    target   the attacker has one topic, and so has half of the honest advertisers
    none     no attacker

Honest addresses: that analysis took a list of real nodes; ours are drawn, two thirds in 60 networks (/16) of hosting
companies, the rest anywhere. Tickets are taken as kept faithfully: when an advertiser first asked is simply remembered.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import deque
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from random import Random

from offchain.discovery.topics.admission import Admission
from offchain.discovery.topics.registrar import SHORTEST_WAIT
from offchain.types import Topic

SAMPLE_INTERVAL = 600.0
HONEST_TOPICS = 100
ATTACK_TOPICS = 3_000


@dataclass(frozen=True, slots=True)
class Load:
    """Who turns up. Rates are a second."""

    attack: str = "cache"
    """cache, target or none."""

    hours: float = 24.0
    honest_rate: float = 0.05
    attack_rate: float = 0.2
    attack_bits: int = 24
    """Bits that the attacker's addresses share."""

    target_share: float = 0.5
    """Of honest advertisers, the part with topic 0, in the attack on a target."""


@dataclass(slots=True)
class _Advertiser:
    topic: Topic
    ip: str
    honest: bool
    asked: float = 0.0


@dataclass(slots=True)
class Outcome:
    """What came of it. Shares are of the ads in the cache, averaged over the time; delays are seconds."""

    hostile_share: float = 0.0
    target_hostile_share: float = 0.0
    """Of the ads for topic 0."""

    use: float = 0.0
    """Of the capacity."""

    honest_delays: list[float] = field(default_factory=list, repr=False)
    """Of honest advertisers that were admitted, and of those still waiting at the end what they waited so far."""

    target_delays: list[float] = field(default_factory=list, repr=False)
    attempts: int = 0
    trace: str = ""
    """Hash of everything that happened, in order."""


def percentile(values: list[float], part: float) -> float:
    """The value that so large a part of the values does not exceed; 0 if there are none."""
    ordered = sorted(values)
    return ordered[min(int(part * len(ordered)), len(ordered) - 1)] if ordered else 0.0


def run(admission: Admission, load: Load, seed: int) -> Outcome:
    """Let the day pass."""
    return _Day(admission, load, seed).run()


class _Day:
    def __init__(self, admission: Admission, load: Load, seed: int) -> None:
        self._admission = admission
        self._load = load
        self._rng = Random(seed)
        self._hosts = [self._rng.randrange(11, 223) << 8 | self._rng.randrange(256) for _ in range(60)]
        self._subnet = self._rng.getrandbits(32) >> (32 - load.attack_bits) << (32 - load.attack_bits)
        self._events: list[tuple[float, int, _Advertiser]] = []
        self._count = 0
        self._cached: deque[tuple[float, _Advertiser]] = deque()
        self._hostile = [0, 0]
        """Hostile ads: in all, and for topic 0."""

        self._target = 0
        self._samples: list[tuple[int, int, int, int]] = []
        self._trace = hashlib.sha256()
        self._outcome = Outcome()

    def run(self) -> Outcome:
        end = self._load.hours * 3_600
        self._arrivals(end)
        next_sample = SAMPLE_INTERVAL
        while self._events and self._events[0][0] < end:
            now, _, advertiser = heapq.heappop(self._events)
            while next_sample <= now:
                self._expire(next_sample)
                self._admission.expire(next_sample)
                self._samples.append((len(self._cached), self._hostile[0], self._target, self._hostile[1]))
                next_sample += SAMPLE_INTERVAL
            self._attempt(advertiser, now)
        for _, _, advertiser in self._events:
            if advertiser.asked:
                self._delay(advertiser, end)
        return self._result()

    def _arrivals(self, end: float) -> None:
        for honest, rate in ((True, self._load.honest_rate), (False, self._load.attack_rate)):
            if not honest and self._load.attack == "none":
                continue
            at = self._rng.expovariate(rate)
            while at < end:
                self._push(at, _Advertiser(self._topic(honest), self._ip(honest), honest))
                at += self._rng.expovariate(rate)

    def _topic(self, honest: bool) -> Topic:
        if honest:
            aimed = self._load.attack != "cache" and self._rng.random() < self._load.target_share
            number = 0 if aimed else self._rng.randrange(1, HONEST_TOPICS)
        else:
            number = 0 if self._load.attack == "target" else 10_000 + self._rng.randrange(ATTACK_TOPICS)
        return Topic(number.to_bytes(2, "big") + bytes(30))

    def _ip(self, honest: bool) -> str:
        if not honest:
            return str(IPv4Address(self._subnet | self._rng.getrandbits(32 - self._load.attack_bits)))
        if self._rng.random() < 2 / 3:
            return str(IPv4Address(self._rng.choice(self._hosts) << 16 | self._rng.getrandbits(16)))
        return str(IPv4Address(self._rng.randrange(11 << 24, 223 << 24)))

    def _push(self, at: float, advertiser: _Advertiser) -> None:
        self._count += 1
        heapq.heappush(self._events, (at, self._count, advertiser))

    def _attempt(self, advertiser: _Advertiser, now: float) -> None:
        self._expire(now)
        if not advertiser.asked:
            advertiser.asked = now
        self._outcome.attempts += 1
        admission = self._admission
        left = admission.wait(advertiser.topic, advertiser.ip, now) - (now - advertiser.asked)
        full = len(self._cached) >= admission.capacity
        if left <= SHORTEST_WAIT and not full:
            self._admit(advertiser, now)
            return
        if full:
            left = max(left, self._cached[0][0] - now)
        admission.told(advertiser.topic, advertiser.ip, now)
        self._push(now + min(max(left, SHORTEST_WAIT), admission.lifetime), advertiser)

    def _admit(self, advertiser: _Advertiser, now: float) -> None:
        self._delay(advertiser, now)
        self._trace.update(f"{now:.6f} {advertiser.ip} {advertiser.topic[:2].hex()}\n".encode())
        advertiser.asked = 0.0
        self._admission.added(advertiser.topic, advertiser.ip)
        self._tally(advertiser, 1)
        self._cached.append((now + self._admission.lifetime, advertiser))
        self._push(now + self._admission.lifetime, advertiser)

    def _expire(self, now: float) -> None:
        while self._cached and self._cached[0][0] <= now:
            _, advertiser = self._cached.popleft()
            self._admission.removed(advertiser.topic, advertiser.ip)
            self._tally(advertiser, -1)

    def _tally(self, advertiser: _Advertiser, change: int) -> None:
        targeted = advertiser.topic[:2] == b"\0\0"
        self._target += change * targeted
        if not advertiser.honest:
            self._hostile[0] += change
            self._hostile[1] += change * targeted

    def _delay(self, advertiser: _Advertiser, now: float) -> None:
        if advertiser.honest:
            self._outcome.honest_delays.append(now - advertiser.asked)
            if advertiser.topic[:2] == b"\0\0":
                self._outcome.target_delays.append(now - advertiser.asked)

    def _result(self) -> Outcome:
        outcome, samples = self._outcome, self._samples or [(0, 0, 0, 0)]
        cached, hostile, target, target_hostile = (sum(column) for column in zip(*samples, strict=True))
        outcome.hostile_share = hostile / max(cached, 1)
        outcome.target_hostile_share = target_hostile / max(target, 1)
        outcome.use = cached / len(samples) / self._admission.capacity
        outcome.trace = self._trace.hexdigest()
        return outcome
