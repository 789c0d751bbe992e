"""Our own address, as others see it.

Every PONG says from where our PING came. An address is believed when at least ten nodes say so, at most three of them
in one /24 (or /64), and twice as many as say anything else; each family apart. Whoever wants to give us a wrong address
needs that many nodes that we chose to ping.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass

from offchain.discovery.address import UdpAddress, bucket_subnet
from offchain.types import NodeId

MIN_VOTERS = 10
MAX_PER_SUBNET = 3
MARGIN = 2
VOTE_LIFETIME = 600.0
MAX_VOTES = 500
"""Votes kept for each family; the oldest goes when there are more."""


@dataclass(frozen=True, slots=True)
class _Vote:
    endpoint: UdpAddress
    subnet: bytes
    expires: float


class EndpointVote:
    """The votes of one family."""

    def __init__(self, *, min_voters: int = MIN_VOTERS, per_subnet: int = MAX_PER_SUBNET) -> None:
        self._min_voters = min_voters
        self._per_subnet = per_subnet
        self._votes: OrderedDict[NodeId, _Vote] = OrderedDict()

    def cast(self, voter: NodeId, voter_ip: str, endpoint: UdpAddress, now: float) -> bool:
        """A node that we pinged sees us there. Its last word counts. Whether that is news."""
        before = self._votes.pop(voter, None)
        self._votes[voter] = _Vote(endpoint, bucket_subnet(voter_ip), now + VOTE_LIFETIME)
        if len(self._votes) > MAX_VOTES:
            self._votes.popitem(last=False)
        return before is None or before.endpoint != endpoint

    def winner(self, now: float) -> UdpAddress | None:
        """The address that enough nodes agree on; None if there is none."""
        while self._votes and next(iter(self._votes.values())).expires <= now:
            self._votes.popitem(last=False)
        per_subnet: Counter[tuple[UdpAddress, bytes]] = Counter(
            (vote.endpoint, vote.subnet) for vote in self._votes.values()
        )
        tally: Counter[UdpAddress] = Counter()
        for (endpoint, _), count in per_subnet.items():
            tally[endpoint] += min(count, self._per_subnet)
        ranked = tally.most_common(2)
        if not ranked or ranked[0][1] < self._min_voters:
            return None
        if len(ranked) > 1 and ranked[0][1] < MARGIN * ranked[1][1]:
            return None
        return ranked[0][0]

    def __len__(self) -> int:
        return len(self._votes)
