"""A large network for an hour: everybody advertises one topic and looks for its others. The workload of DISC-NG.

(Preprint, EuroS&P 2024, section 6.) Each node draws a topic by Zipf's law (exponent 1.0), advertises it for the whole
time and makes one search for it at a random moment of its own. A part of the nodes is hostile (`hostile`): they know
each other, answer with each other only, and advertise at `zeal` times as many registrars as honest nodes.

    addresses    two thirds in 60 networks (/16) of hosting companies, the rest anywhere; honest nodes have one each, of
                 hostile nodes `per_ip` share one
    tables       full from the beginning (`space.converge`), as joining is not what is measured here
    advertising  everybody begins within the first minute
    searches     one a node, from the sixteenth minute on: the first ads have expired by then
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from itertools import accumulate
from random import Random
from typing import Any

from offchain.discovery.node import Node
from offchain.discovery.sim.hostile import Ring
from offchain.discovery.sim.space import Space, converge
from offchain.discovery.sim.world import Host, Links, World
from offchain.discovery.topics.admission import Admission, SharedAdmission
from offchain.discovery.topics.advertiser import K_REGISTER, Advertiser, State
from offchain.discovery.topics.discoverer import Discoverer
from offchain.discovery.topics.registrar import Confirmation
from offchain.discovery.topics.service_table import BUCKET_SIZE, BUCKETS, ServiceTable
from offchain.hashing import keccak256
from offchain.types import NodeId, Topic

START = 60.0
FIRST_SEARCH = 960.0
LAST_SEARCH = 30.0
"""Before the end."""

_WALKS = 1_800.0


@dataclass(frozen=True, slots=True)
class Workload:
    """How many of what."""

    nodes: int
    seconds: float = 3_600.0
    topics: int = 300
    exponent: float = 1.0
    hostile: float = 0.0
    """Part of the nodes."""

    zeal: int = 10
    """How many times as many registrars a hostile node seeks as an honest one."""

    per_ip: int = 5
    capacity: int = 500
    """Ads that a registrar keeps."""

    pace: float = 1.0
    """Checks of the table are so many times as far apart as usual."""

    links: Links = field(default_factory=Links)
    first_search: float = FIRST_SEARCH
    full: bool = False


@dataclass(frozen=True, slots=True)
class Search:
    """One search by an honest node for its topic."""

    rank: int
    """Of the topic; 0 is the most popular."""

    honest: int
    """Other honest advertisers that there are."""

    found_honest: int
    found_hostile: int
    asked: int
    seconds: float


@dataclass(slots=True)
class Outcome:
    """What came of it."""

    searches: list[Search] = field(default_factory=list)
    waits: dict[int, list[float]] = field(default_factory=dict)
    """By rank of the topic: seconds from asking an honest registrar first to being admitted, of honest advertisers."""

    given_up: int = 0
    """Registrations of honest advertisers at honest registrars that were dropped."""

    messages: list[int] = field(default_factory=list)
    """Packets received by each node."""

    packets: int = 0
    ads: int = 0
    """In honest caches at the end."""

    hostile_ads: int = 0
    fullest: int = 0
    """Ads in the fullest honest cache."""

    trace: str = ""

    @property
    def eclipsed(self) -> int:
        """Searches that could have found an honest server and found none."""
        return sum(search.honest > 0 and not search.found_honest for search in self.searches)

    @property
    def possible(self) -> int:
        """Searches for which there was an honest server."""
        return sum(search.honest > 0 for search in self.searches)


def topic_of_rank(rank: int) -> Topic:
    """The topic."""
    return Topic(keccak256(b"simulated topic %d" % rank))


def run(workload: Workload, seed: int, progress: Callable[[str], None] = lambda text: None) -> Outcome:
    """Let the hour pass."""
    return _Hour(workload, seed, progress).run()


class _Hour:
    def __init__(self, workload: Workload, seed: int, progress: Callable[[str], None]) -> None:
        self._workload = workload
        self._progress = progress
        self._rng = Random(seed)
        self._ring = Ring(Random(seed + 1))
        self._world = World(workload.links, seed + 2, full=workload.full, expected=workload.nodes)
        self._hosting = [self._rng.randrange(11, 223) << 8 | self._rng.randrange(256) for _ in range(60)]
        self._ranks: dict[NodeId, int] = {}
        self._honest: Counter[int] = Counter()
        """Honest advertisers by rank."""

        self._outcome = Outcome()

    def run(self) -> Outcome:
        workload, world = self._workload, self._world
        hosts = self._populate()
        nodes = [host.node for host in hosts]
        self._progress(f"{len(nodes)} nodes made")
        converge(nodes, self._rng, world.now, _WALKS)
        self._progress("tables filled")
        space = Space(nodes)
        for host in hosts:
            world.at(self._rng.random() * START, self._beginning(host, space))
            if host.node.id not in self._ring.ids:
                begin, end = workload.first_search, workload.seconds - LAST_SEARCH
                world.at(begin + self._rng.random() * (end - begin), self._searching(host))
        passed = 0.0
        while passed < workload.seconds:
            passed = min(passed + 30.0, workload.seconds)
            world.run(passed)
            self._progress(f"{passed:.0f} s, {world.packets} packets, {len(self._outcome.searches)} searches")
        return self._result(hosts)

    def _populate(self) -> list[Host]:
        workload, rng = self._workload, self._rng
        weights = list(accumulate(1 / rank**workload.exponent for rank in range(1, workload.topics + 1)))
        hostile = set(rng.sample(range(workload.nodes), round(workload.hostile * workload.nodes)))
        used: set[str] = set()
        shared: list[str] = []
        hosts: list[Host] = []
        for number in range(workload.nodes):
            if number not in hostile:
                ip = self._ip(used)
            else:
                shared = shared[1:] or [self._ip(used)] * workload.per_ip
                ip = shared[0]
            admission: Admission = SharedAdmission(workload.capacity)
            before = self._ring.corrupt if number in hostile else _leave
            host = self._world.join(ip=ip, admission=admission, before=before)
            host.node.contacts.table.pace = workload.pace
            rank = rng.choices(range(workload.topics), cum_weights=weights)[0]
            self._ranks[host.node.id] = rank
            self._honest[rank] += number not in hostile
            hosts.append(host)
        return hosts

    def _ip(self, used: set[str]) -> str:
        while True:
            if self._rng.random() < 2 / 3:
                value = self._rng.choice(self._hosting) << 16 | self._rng.getrandbits(16)
            else:
                value = self._rng.randrange(11 << 24, 223 << 24)
            ip = str(IPv4Address(value))
            if IPv4Address(value).is_global and ip not in used:
                used.add(ip)
                return ip

    def _beginning(self, host: Host, space: Space) -> Callable[[], None]:
        node = host.node
        topic = topic_of_rank(self._ranks[node.id])

        def begin() -> None:
            if node.id in self._ring.ids:
                node.directory.advertise(
                    topic, lambda table, *rest, **more: self._zealous(table, node, space, rest, more)
                )
            else:
                node.directory.advertise(topic, self._measured)
            node.handle_timeouts(self._world.now)
            self._world.pump(host)

        return begin

    def _zealous(
        self, table: ServiceTable, node: Node, space: Space, rest: tuple[Any, ...], more: dict[str, Any]
    ) -> Advertiser:
        """Knows everybody, and seeks many."""
        registrars = K_REGISTER * self._workload.zeal
        table = ServiceTable(
            table.topic, node.id, rest[0], self._ring.rng, lan=False, room=max(registrars, BUCKET_SIZE)
        )
        for distance in BUCKETS:
            for other in space.sample(table.topic, distance, 2 * registrars, self._ring.rng):
                remote = node.requests.remote(other.record)
                if remote is not None and other.id not in self._ring.ids:
                    table.add(other.record, remote.address, self._world.now)
        return Advertiser(table, *rest, **more, registrars=registrars)

    def _measured(self, table: ServiceTable, *rest: Any, **more: Any) -> Advertiser:
        return _Measured(table, *rest, **more, ring=self._ring, outcome=self._outcome, rank=self._rank_of(table.topic))

    def _rank_of(self, topic: Topic) -> int:
        return next(rank for rank in range(self._workload.topics) if topic_of_rank(rank) == topic)

    def _searching(self, host: Host) -> Callable[[], None]:
        rank = self._ranks[host.node.id]

        def begin() -> None:
            start = self._world.now
            host.node.directory.search(
                topic_of_rank(rank), start, lambda search, then: self._judge(host, search, then - start)
            )
            self._world.pump(host)

        return begin

    def _judge(self, host: Host, search: Discoverer, seconds: float) -> None:
        rank = self._ranks[host.node.id]
        found = search.found.keys() - {host.node.id}
        hostile = len(found & self._ring.ids)
        self._outcome.searches.append(
            Search(rank, self._honest[rank] - 1, len(found) - hostile, hostile, search.asked, seconds)
        )

    def _result(self, hosts: list[Host]) -> Outcome:
        outcome = self._outcome
        outcome.packets = self._world.packets
        outcome.trace = self._world.trace
        for host in hosts:
            outcome.messages.append(host.received)
            if host.node.id in self._ring.ids:
                continue
            ads = host.node.directory.registrar.ads
            ads.expire(self._world.now)
            outcome.ads += len(ads)
            outcome.fullest = max(outcome.fullest, len(ads))
            outcome.hostile_ads += sum(ad.enr.node_id in self._ring.ids for ad in ads)
        return outcome


class _Measured(Advertiser):
    """Takes down how long honest registrars let it wait."""

    def __init__(self, *arguments: Any, ring: Ring, outcome: Outcome, rank: int, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._ring = ring
        self._outcome = outcome
        self._waits = outcome.waits.setdefault(rank, [])

    def answered(self, node_id: NodeId, answer: Confirmation, now: float) -> None:
        registration = self._registrations.get(node_id)
        super().answered(node_id, answer, now)
        if registration is None or node_id in self._ring.ids:
            return
        if registration.state is State.ACTIVE:
            self._waits.append(now - registration.since)
        elif node_id not in self._registrations:
            self._outcome.given_up += 1


def _leave(node: Node) -> None:
    """An honest node."""
