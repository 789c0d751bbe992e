"""How much like the cached addresses an address is: the score of DISC-NG (equation 3).

A binary tree with a vertex for each prefix of a cached address, counting the ads below it. With p_i the count at the
address's prefix of i bits, the address gets a point for every i from 1 to its length for which

    p_i > p_0 / 2^i

that is, where its part of the tree holds more than its share. Where there is no vertex, there are no more points. The
score is points / length. IPv4 and IPv6 are a tree each.

Vertices also carry lower bounds of waiting times: a time until which no address below may be told less. A bound is
kept at the deepest vertex that the address has; a vertex that comes later takes over its parent's, and one that goes
leaves it to its parent. So whatever comes and goes, an address's bound never falls but with time.
"""

from __future__ import annotations

from functools import lru_cache

from offchain.types import parse_ip


@lru_cache(maxsize=16_384)
def bits_of(ip: str) -> tuple[int, int]:
    """(number of bits, value) of the text of an address."""
    address = parse_ip(ip)
    return address.max_prefixlen, int(address)


class IpTree:
    """The addresses of what is cached. A vertex is named by its prefix with a 1 before it."""

    def __init__(self) -> None:
        self._counts: dict[int, dict[int, int]] = {32: {}, 128: {}}
        self._bounds: dict[int, dict[int, float]] = {32: {}, 128: {}}

    def add(self, ip: str) -> None:
        """Count an address once more."""
        bits, value = bits_of(ip)
        counts, bounds = self._counts[bits], self._bounds[bits]
        inherited = 0.0
        for depth in range(bits + 1):
            vertex = 1 << depth | value >> (bits - depth)
            count = counts.get(vertex, 0)
            counts[vertex] = count + 1
            if bounds:
                if count or not depth:
                    inherited = bounds.get(vertex, 0.0)
                elif inherited:
                    bounds[vertex] = inherited

    def remove(self, ip: str) -> None:
        """Count an address once less. KeyError if it is not there."""
        bits, value = bits_of(ip)
        counts, bounds = self._counts[bits], self._bounds[bits]
        for depth in range(bits, -1, -1):
            vertex = 1 << depth | value >> (bits - depth)
            count = counts[vertex] - 1
            if count:
                counts[vertex] = count
                continue
            del counts[vertex]
            if depth and (bound := bounds.pop(vertex, 0.0)):
                bounds[vertex >> 1] = max(bounds.get(vertex >> 1, 0.0), bound)

    def points(self, ip: str) -> int:
        """Levels at which the address's part of the tree holds more than its share."""
        bits, value = bits_of(ip)
        counts = self._counts[bits]
        all_of_them = counts.get(1, 0)
        points = 0
        for depth in range(1, bits + 1):
            count = counts.get(1 << depth | value >> (bits - depth))
            if not count:
                break
            if count << depth > all_of_them:
                points += 1
        return points

    def score(self, ip: str) -> float:
        """0 for an address unlike all others, up to 1."""
        return self.points(ip) / bits_of(ip)[0]

    def bound(self, ip: str) -> float:
        """The time until which addresses like this one are bound; 0 if they are not."""
        bits, value = bits_of(ip)
        return self._bounds[bits].get(self._deepest(bits, value), 0.0)

    def raise_bound(self, ip: str, until: float) -> None:
        """Bind the address, and those like it, until then at least."""
        bits, value = bits_of(ip)
        vertex = self._deepest(bits, value)
        self._bounds[bits][vertex] = max(self._bounds[bits].get(vertex, 0.0), until)

    def expire(self, now: float) -> None:
        """Forget the bounds that are over."""
        for bits, bounds in self._bounds.items():
            self._bounds[bits] = {vertex: until for vertex, until in bounds.items() if until > now}

    def __len__(self) -> int:
        """Vertices."""
        return sum(map(len, self._counts.values()))

    @property
    def bounds(self) -> int:
        """Bounds kept."""
        return sum(map(len, self._bounds.values()))

    def _deepest(self, bits: int, value: int) -> int:
        counts = self._counts[bits]
        low, high = 0, bits  # a vertex exists exactly down to some depth
        while low < high:
            middle = (low + high + 1) // 2
            if 1 << middle | value >> (bits - middle) in counts:
                low = middle
            else:
                high = middle - 1
        return 1 << low | value >> (bits - low)
