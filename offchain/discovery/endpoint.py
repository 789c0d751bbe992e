"""Our own address, as others see it.

Every PONG says from where our PING came. An address is believed when at least ten nodes say so, at most three of them
in one /24 (or /64), and twice as many as say anything else; each family apart. Whoever wants to give us a wrong address
needs that many nodes that we chose to ping.

What others see need not be where they can reach us: a router may let in only whom we called. So an address that was
voted for is published on probation, and withdrawn if nobody begins a session with us there.
"""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from dataclasses import dataclass

from offchain.discovery.address import UdpAddress, bucket_subnet
from offchain.rlp import Item, int_to_bytes
from offchain.types import NodeId, parse_ip

logger = logging.getLogger("offchain.discovery")

MIN_VOTERS = 10
MAX_PER_SUBNET = 3
MARGIN = 2
VOTE_LIFETIME = 600.0
LISTEN = 300.0
"""Seconds for which an address is published on probation."""

RETRY = 6 * 3_600.0
"""Seconds after a withdrawal until the address is tried again."""

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


class OwnAddress:
    """The address of one family in our record, while others decide it."""

    def __init__(self, version: int) -> None:
        """`version` is 4 or 6."""
        self._version = version
        self._names = ("ip", "udp") if version == 4 else ("ip6", "udp6")
        self._votes = EndpointVote()
        self._published: UdpAddress | None = None
        self._heard = float("-inf")
        self._probation = float("inf")
        self._refused: UdpAddress | None = None
        self._retry = float("inf")

    def seen(self, voter: NodeId, voter_ip: str, endpoint: UdpAddress, now: float) -> dict[str, Item | None]:
        """A node that we pinged at an address of this family sees us there. What changes in our record."""
        if (":" in endpoint[0]) != (self._version == 6) or (":" in voter_ip) != (self._version == 6):
            return {}
        return self._elect(now) if self._votes.cast(voter, voter_ip, endpoint, now) else {}

    def called(self, now: float) -> None:
        """A node began a session with us over this family."""
        self._heard = now
        self._probation = float("inf")

    def handle_timeouts(self, now: float) -> dict[str, Item | None]:
        """What changes in our record: nothing, an address withdrawn, or one that is tried again."""
        if now >= self._probation:
            logger.warning(
                "nobody called at %s port %d in %d s: the record names no address for %d h; a router may let in nobody",
                *(self._published or ("", 0)),
                LISTEN,
                RETRY / 3_600,
            )
            self._probation = float("inf")
            self._refused, self._published = self._published, None
            self._retry = now + RETRY
            return dict.fromkeys(self._names)
        if now >= self._retry:
            self._retry, self._refused = float("inf"), None
            return self._elect(now)
        return {}

    def next_deadline(self) -> float:
        """When `handle_timeouts` is due."""
        return min(self._probation, self._retry)

    def __len__(self) -> int:
        """Votes held."""
        return len(self._votes)

    def _elect(self, now: float) -> dict[str, Item | None]:
        winner = self._votes.winner(now)
        if winner is None or winner in (self._published, self._refused):
            return {}
        logger.info("others see this node at %s port %d", *winner)
        self._published = winner
        # Who called in the last minutes called there already.
        self._probation = float("inf") if now - self._heard < LISTEN else now + LISTEN
        return dict(zip(self._names, (parse_ip(winner[0]).packed, int_to_bytes(winner[1])), strict=True))
