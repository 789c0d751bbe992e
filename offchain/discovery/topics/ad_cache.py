"""The ads that a registrar keeps: at most `capacity`, each for the same time, at most one for each (node, topic).

Because all live equally long, the order of admission is the order of expiry.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from random import Random

from offchain.discovery.address import Scope, UdpAddress, scope_of_text, table_subnet
from offchain.discovery.topics.admission import Admission
from offchain.enr import Enr
from offchain.types import NodeId, Topic


@dataclass(slots=True)
class CachedAd:
    """A node that is advertised."""

    topic: Topic
    enr: Enr
    address: UdpAddress
    expires: float


class AdCache:
    """The ads. It tells the admission strategy what comes and goes."""

    def __init__(self, admission: Admission, rng: Random, *, lan: bool) -> None:
        """With `lan`, private and loopback addresses do not count against each other."""
        self._admission = admission
        self._rng = rng
        self._lan = lan
        self._ads: OrderedDict[tuple[NodeId, Topic], CachedAd] = OrderedDict()
        self._topics: dict[Topic, dict[Hashable, dict[NodeId, CachedAd]]] = {}
        """By topic and subnet."""

    def __len__(self) -> int:
        return len(self._ads)

    def __iter__(self) -> Iterator[CachedAd]:
        return iter(self._ads.values())

    @property
    def is_full(self) -> bool:
        """Whether an ad must go before another comes."""
        return len(self._ads) >= self._admission.capacity

    @property
    def next_expiry(self) -> float:
        """When the first ad goes; infinite if there is none."""
        return next(iter(self._ads.values())).expires if self._ads else float("inf")

    def get(self, node_id: NodeId, topic: Topic) -> CachedAd | None:
        """The ad of a node for a topic."""
        return self._ads.get((node_id, topic))

    def counted_ip(self, ip: str) -> str | None:
        """The address as the strategy is told of it: None where it is of no account."""
        return None if self._lan and scope_of_text(ip) is not Scope.PUBLIC else ip

    def admit(self, topic: Topic, enr: Enr, address: UdpAddress, now: float) -> CachedAd:
        """Keep an ad from now on, in place of the one that the node had for the topic. ValueError if it is full."""
        key = (enr.node_id, topic)
        if key in self._ads:
            self._remove(key)
        elif self.is_full:
            raise ValueError("the ad cache is full")
        ad = CachedAd(topic, enr, address, now + self._admission.lifetime)
        self._ads[key] = ad
        self._topics.setdefault(topic, {}).setdefault(self._subnet(address), {})[enr.node_id] = ad
        self._admission.added(topic, self.counted_ip(address[0]))
        return ad

    def expire(self, now: float) -> None:
        """Drop what has lived long enough."""
        while self._ads:
            key, ad = next(iter(self._ads.items()))
            if ad.expires > now:
                break
            self._remove(key)

    def draw(self, topic: Topic, count: int) -> list[CachedAd]:
        """Ads of a topic at random: first one from each subnet (/24 or /48), then a second, and so on.

        So whoever has one subnet has one part in as many as there are, however many ads he has there.
        """
        rng = self._rng
        subnets = list(self._topics.get(topic, {}).values())
        if len(subnets) > count:
            subnets = rng.sample(subnets, count)
        else:
            rng.shuffle(subnets)
        groups = [list(subnet.values()) for subnet in subnets]
        for group in groups:
            if len(group) > 1:
                rng.shuffle(group)
        drawn: list[CachedAd] = []
        while groups and len(drawn) < count:
            drawn += [group.pop() for group in groups]
            groups = [group for group in groups if group]
        return drawn[:count]

    def sizes(self) -> dict[str, int]:
        """How much is held."""
        return {"ads": len(self._ads), **self._admission.sizes()}

    def _remove(self, key: tuple[NodeId, Topic]) -> None:
        ad = self._ads.pop(key)
        in_topic = self._topics[ad.topic]
        subnet = self._subnet(ad.address)
        del in_topic[subnet][ad.enr.node_id]
        if not in_topic[subnet]:
            del in_topic[subnet]
        if not in_topic:
            del self._topics[ad.topic]
        self._admission.removed(ad.topic, self.counted_ip(ad.address[0]))

    def _subnet(self, address: UdpAddress) -> Hashable:
        ip = address[0]
        return ip if self.counted_ip(ip) is None else table_subnet(ip)
