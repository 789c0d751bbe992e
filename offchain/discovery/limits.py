"""Inbound rate limits: token buckets in maps that cannot grow.

A packet is counted against its address (IPv4, or /64 of IPv6) before any cryptography; a WHOAREYOU against the address
and against all together, because it is what a stranger, or a spoofed source, can make us send; a request against its
address before it is answered.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from offchain.discovery.address import Scope, UdpAddress, bucket_subnet, scope_of_text


@dataclass(frozen=True, slots=True)
class Rate:
    """So many a second, and so many at once."""

    per_second: float
    burst: float


@dataclass(frozen=True, slots=True)
class Limits:
    """What is taken from others. None is no limit."""

    packets: Rate | None = Rate(1_000, 2_000)
    """Packets from an address."""

    requests: Rate | None = Rate(200, 400)
    """Requests answered to an address."""

    challenges: Rate | None = Rate(20, 40)
    """WHOAREYOU sent to an address."""

    all_challenges: Rate | None = Rate(500, 500)
    """WHOAREYOU sent in all. With the lifetime of a challenge, this bounds how many are open."""

    addresses: int = 4_096
    """Addresses remembered by each limit; the one not heard of for longest is forgotten."""


class RateLimiter:
    """One token bucket for each key, for at most `capacity` keys.

    When full, the key that was used longest ago is forgotten, and would start afresh with a full bucket: spoofed
    addresses can buy a burst each, but no memory. The limit on all together is what holds then.
    """

    def __init__(self, rate: Rate | None, capacity: int) -> None:
        self._rate = rate
        self._capacity = capacity
        self._buckets: dict[Hashable, tuple[float, float]] = {}

    def allow(self, key: Hashable, now: float) -> bool:
        """Take one token, if there is one."""
        if self._rate is None:
            return True
        bucket = self._buckets.pop(key, None)
        if bucket is None:
            tokens = self._rate.burst
            if len(self._buckets) >= self._capacity:
                del self._buckets[next(iter(self._buckets))]
        else:
            tokens = min(self._rate.burst, bucket[0] + (now - bucket[1]) * self._rate.per_second)
        allowed = tokens >= 1
        self._buckets[key] = (tokens - 1 if allowed else tokens, now)
        return allowed

    def __len__(self) -> int:
        return len(self._buckets)


class InboundLimiter:
    """The limits of one node."""

    def __init__(self, limits: Limits, *, lan: bool) -> None:
        self._lan = lan
        self._packets = RateLimiter(limits.packets, limits.addresses)
        self._requests = RateLimiter(limits.requests, limits.addresses)
        self._challenges = RateLimiter(limits.challenges, limits.addresses)
        self._all_challenges = RateLimiter(limits.all_challenges, 1)

    def packet(self, source: UdpAddress, now: float) -> bool:
        """Whether a packet may be looked at."""
        return self._packets.allow(self._key(source), now)

    def request(self, source: UdpAddress, now: float) -> bool:
        """Whether a request may be answered."""
        return self._requests.allow(self._key(source), now)

    def challenge(self, source: UdpAddress, now: float) -> bool:
        """Whether a WHOAREYOU may be sent."""
        return self._challenges.allow(self._key(source), now) and self._all_challenges.allow(None, now)

    def __len__(self) -> int:
        """Addresses remembered."""
        return len(self._packets) + len(self._requests) + len(self._challenges)

    def _key(self, source: UdpAddress) -> Hashable:
        """Many nodes share an address on one machine; elsewhere an address is one neighbour."""
        ip = source[0]
        if self._lan and scope_of_text(ip) is not Scope.PUBLIC:
            return source
        return bucket_subnet(ip) if ":" in ip else ip
