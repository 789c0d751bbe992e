"""The registrar: advertises others, when they have waited long enough.

An advertiser asks (REGTOPIC); it is admitted, or gets a ticket and a time to wait, and comes back with the ticket when
the time is over, not much later. Its waiting time is worked out anew each time, from what is cached then; what it has
waited since it first asked is taken off. Nothing is remembered of who waits: it is all in the tickets. Only of tickets
that were used the answer is kept for as long as they are good, so that a packet that comes twice is answered alike, and
a ticket serves once.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass
from random import Random

from offchain.discovery.address import UdpAddress, may_name, udp_address
from offchain.discovery.topics.ad_cache import AdCache
from offchain.discovery.topics.admission import Admission
from offchain.discovery.topics.ticket import WINDOW, Ad, Sealer, Ticket
from offchain.enr import Enr, EnrError
from offchain.types import NodeId, Topic

MAX_RETURNED = 10
"""F_return: ads in an answer to TOPICQUERY."""

SHORTEST_WAIT = 0.05
"""Who would wait less is admitted."""

RENEWAL = 0.1
"""The last part of an ad's life in which its node may ask anew."""

MAX_USED = 4_096
"""Used tickets whose answers are kept; the oldest is forgotten."""

EXPIRE_INTERVAL = 10.0


@dataclass(frozen=True, slots=True)
class Confirmation:
    """Admitted for `seconds` if the ticket is empty; else wait `seconds`, and come back with it."""

    ticket: bytes
    seconds: float


class Registrar:
    """One node's."""

    def __init__(self, admission: Admission, rng: Random, *, lan: bool, ipv6: bool = False) -> None:
        """`lan`: private and loopback addresses are used; `ipv6`: so are addresses of IPv6."""
        self.ads = AdCache(admission, rng, lan=lan)
        self.counts: Counter[str] = Counter()
        self._admission = admission
        self._lan = lan
        self._ipv6 = ipv6
        self._sealer = Sealer(rng)
        self._used: OrderedDict[bytes, tuple[float, Confirmation]] = OrderedDict()
        self._next_expire = 0.0

    def register(
        self, node_id: NodeId, source: UdpAddress, topic: Topic, record: bytes, ticket: bytes, newest: int, now: float
    ) -> Confirmation | None:
        """Answer REGTOPIC from a node with whom we have a session; None if it deserves no answer.

        `newest` is the number of the newest record that we have of the node.
        """
        enr = self._checked(node_id, source, record, newest)
        if enr is None:
            self.counts["registrations_refused"] += 1
            return None
        self._expire(now)
        if (answer := self._used.get(ticket)) is not None:
            self.counts["tickets_repeated"] += 1
            return answer[1] if self._sealer.open(ticket, Ad(topic, record, node_id, source[0])) else None
        known = self.ads.get(node_id, topic)
        if known is not None and known.address[0] == source[0]:
            if enr.seq > known.enr.seq:
                known.enr = enr
            left = known.expires - now
            if left > RENEWAL * self._admission.lifetime:
                return Confirmation(b"", left)
        return self._decide(Ad(topic, record, node_id, source[0]), enr, source, ticket, now)

    def advertisers(self, topic: Topic, source: UdpAddress, now: float) -> list[Enr]:
        """Answer TOPICQUERY: nodes that are advertised and that the one who asks may be told of."""
        self.ads.expire(now)
        return [ad.enr for ad in self.ads.draw(topic, MAX_RETURNED) if may_name(source[0], ad.address[0])]

    def own_answer(self, topic: Topic, now: float) -> list[Enr]:
        """What this node would answer itself."""
        self.ads.expire(now)
        return [ad.enr for ad in self.ads.draw(topic, MAX_RETURNED)]

    def sizes(self) -> dict[str, int]:
        """How much is held: each of these is bounded."""
        return {**self.ads.sizes(), "used_tickets": len(self._used)}

    def _checked(self, node_id: NodeId, source: UdpAddress, record: bytes, newest: int) -> Enr | None:
        """The record, if it is the sender's own, newest, and names the address from which it is sent."""
        try:
            enr = Enr.decode(record)
        except EnrError:
            return None
        if enr.node_id != node_id or enr.seq < newest:
            return None
        address = udp_address(enr, ipv6=self._ipv6, lan=self._lan)
        if address is None:
            return None
        if address[0] == source[0]:
            return enr
        own = enr.ip6 if ":" in source[0] else enr.ip
        return enr if own is not None and str(own) == source[0] else None

    def _decide(self, ad: Ad, enr: Enr, source: UdpAddress, ticket: bytes, now: float) -> Confirmation:
        opened = self._sealer.open(ticket, ad) if ticket else None
        good = opened is not None and opened.is_good(now)
        if ticket and not good:
            self.counts["tickets_refused"] += 1
        asked = opened.asked if opened is not None and good else now
        ip = self.ads.counted_ip(source[0])
        left = self._admission.wait(ad.topic, ip, now) - (now - asked)
        renews = self.ads.get(ad.node_id, ad.topic) is not None
        if left <= SHORTEST_WAIT and (renews or not self.ads.is_full):
            self.ads.admit(ad.topic, enr, source, now)
            self.counts["ads_admitted"] += 1
            answer = Confirmation(b"", self._admission.lifetime)
        else:
            if self.ads.is_full:
                left = max(left, self.ads.next_expiry - now)
            wait = min(max(left, SHORTEST_WAIT), self._admission.lifetime)
            self._admission.told(ad.topic, ip, now)
            self.counts["tickets_given"] += 1
            answer = Confirmation(self._sealer.seal(Ticket(asked, now, wait), ad, now), wait)
        if good:
            self._used[ticket] = (now + WINDOW, answer)
            if len(self._used) > MAX_USED:
                self._used.popitem(last=False)
        return answer

    def _expire(self, now: float) -> None:
        self.ads.expire(now)
        while self._used and next(iter(self._used.values()))[0] <= now:
            self._used.popitem(last=False)
        if now >= self._next_expire:
            self._next_expire = now + EXPIRE_INTERVAL
            self._admission.expire(now)
