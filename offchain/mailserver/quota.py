"""How much a peer may ask: requests a minute by node and by address, and no request twice.

A node id costs nothing, so a peer's address is counted too, more generously: many people may share one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

from offchain.types import network_of

REMEMBERED = 20_000
"""Nodes, and addresses, whose use is remembered; the one that asked longest ago is forgotten first."""

REMEMBERED_REQUESTS = 200_000
"""Ids of requests remembered until they cannot be repeated."""


class Bucket:
    """So many at once, refilled by so many a second. A clock that is set back refills nothing."""

    __slots__ = ("_burst", "_left", "_rate", "_since")

    def __init__(self, burst: float, rate: float, now: float) -> None:
        self._burst = burst
        self._rate = rate
        self._left = burst
        self._since = now

    def wait(self, now: float) -> float:
        """Seconds until one more is within the bound; 0 if it is now."""
        self._left = min(self._burst, self._left + max(0.0, now - self._since) * self._rate)
        self._since = now
        return 0.0 if self._left >= 1 else (1 - self._left) / self._rate

    def take(self) -> None:
        """Use one up."""
        self._left -= 1


class Buckets:
    """A bucket for each of many keys, as many as are remembered."""

    def __init__(self, per_minute: float, burst: float, remembered: int = REMEMBERED) -> None:
        self._rate = per_minute / 60
        self._burst = max(burst, 1.0)
        self._remembered = remembered
        self._buckets: OrderedDict[Hashable, Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def of(self, key: Hashable, now: float) -> Bucket:
        """The key's bucket; a full one if it is new or was forgotten."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(self._burst, self._rate, now)
            if len(self._buckets) > self._remembered:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
        return bucket


@dataclass(frozen=True, slots=True)
class Limits:
    """History requests a minute, and how many of them at once."""

    per_node: float
    per_address: float
    burst_share: float = 0.5
    """The burst, as a share of a minute's requests."""


class Quotas:
    """Whether a peer may ask now."""

    def __init__(self, limits: Limits) -> None:
        self._nodes = Buckets(limits.per_node, limits.per_node * limits.burst_share)
        self._addresses = Buckets(limits.per_address, limits.per_address * limits.burst_share)

    def wait(self, node: bytes, host: str, now: float) -> float:
        """0 if the peer may make a request now, which is counted; otherwise the seconds until it may."""
        buckets = self._nodes.of(node, now), self._addresses.of(network_of(host), now)
        seconds = max(bucket.wait(now) for bucket in buckets)
        if seconds == 0:
            for bucket in buckets:
                bucket.take()
        return seconds


class RequestMemory:
    """The ids of the requests that came, each for as long as it could be sent again."""

    def __init__(self, capacity: int = REMEMBERED_REQUESTS) -> None:
        self._capacity = capacity
        self._valid_until: dict[bytes, float] = {}

    def __len__(self) -> int:
        return len(self._valid_until)

    def is_new(self, request_id: bytes, valid_until: float, now: float) -> bool:
        """Whether the request comes for the first time; it is remembered."""
        if self._valid_until.get(request_id, now) > now:
            return False
        if len(self._valid_until) >= self._capacity:
            self._forget(now)
        self._valid_until[request_id] = valid_until
        return True

    def _forget(self, now: float) -> None:
        """What is over; if that is little, the older half of the rest as well."""
        self._valid_until = {key: until for key, until in self._valid_until.items() if until > now}
        if len(self._valid_until) > self._capacity * 3 // 4:
            for key in list(self._valid_until)[: self._capacity // 2]:
                del self._valid_until[key]
