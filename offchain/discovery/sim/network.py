"""One topic, a few servers: how soon do clients find one?

Nodes join one after the other within the first seconds, knowing a few that were there before; some are servers. Or, in
a `settled` network, all have been there for long, but the servers have only just begun to advertise. After a while
clients come, each knowing one node, and look for servers by topic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from offchain.discovery.node import Node
from offchain.discovery.sim.hostile import Ring
from offchain.discovery.sim.space import converge
from offchain.discovery.sim.world import Host, Links, World
from offchain.discovery.topics.admission import Admission, SharedAdmission
from offchain.discovery.topics.discoverer import Discoverer
from offchain.types import MAILSERVER, topic_of

TOPIC = topic_of(MAILSERVER)
JOIN_TIME = 5.0
"""Seconds in which the nodes come up."""

SETTLED = 5.0
"""Seconds after which clients make the search that is judged."""

WALKS = 1_800.0
"""Within which each node of a settled network walks again."""

PATIENCE = 60.0
"""Seconds that clients have to find a server."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """How many of what. Times are seconds."""

    nodes: int
    """Servers included, clients not."""

    servers: int
    clients: int
    before: float
    """Time for the network before clients come."""

    links: Links = field(default_factory=Links)
    full: bool = False
    hostile: float = 0.0
    """Part of the nodes that work together to hide the servers (`hostile`)."""

    nat: float = 0.0
    """Part of the nodes that are behind NAT; servers are not, clients all are if it is not zero."""

    settled: bool = False
    admission: Callable[[], Admission] = SharedAdmission


@dataclass(slots=True)
class Outcome:
    """What came of it."""

    first_server: list[float] = field(default_factory=list)
    """For each client that found one: after how many seconds a server was found by topic, and had answered."""

    not_found: int = 0
    searches: int = 0
    """Single searches by clients that had been there for some seconds."""

    eclipsed: int = 0
    """Of these, those that found no honest server."""

    asked: list[int] = field(default_factory=list)
    """Registrars asked by each search."""

    found: list[int] = field(default_factory=list)
    """Honest servers found by each search."""

    table: list[int] = field(default_factory=list)
    """Live nodes in each node's table when the clients come."""

    advertised: int = 0
    """Servers that one registrar at least advertises when the clients come."""

    ads: int = 0
    """All their ads at that time."""

    ads_pending: int = 0
    """Registrars that they have asked and that let them wait."""

    messages: int = 0
    """Packets sent by all."""

    topic_requests: int = 0
    """REGTOPIC and TOPICQUERY that were sent by nodes and clients, first attempts only."""

    trace: str = ""
    """Hash of every delivery: time, from, to."""


def run(scenario: Scenario, seed: int, progress: Callable[[str], None] = lambda text: None) -> Outcome:
    """Let it happen."""
    world = World(scenario.links, seed, full=scenario.full, expected=scenario.nodes)
    rng = Random(seed + 1)
    ring = Ring(Random(seed + 2))
    members: list[Host] = []

    def come(serves: bool) -> None:
        hostile = not serves and len(members) > 0 and rng.random() < scenario.hostile
        nat = not serves and len(members) > 3 and rng.random() < scenario.nat
        known = [] if scenario.settled else [each.node for each in rng.sample(members, min(len(members), 3))]
        kinds = (MAILSERVER,) if serves or hostile else ()
        before = ring.corrupt if hostile else _leave
        members.append(world.join(known, kinds=kinds, nat=nat, admission=scenario.admission(), before=before))

    for number in range(scenario.nodes):
        serves = number * scenario.servers // scenario.nodes != (number + 1) * scenario.servers // scenario.nodes
        at = 0.0 if scenario.settled else JOIN_TIME * number / scenario.nodes
        world.at(at, lambda serves=serves: come(serves))  # type: ignore[misc]
    if scenario.settled:
        world.run(0.0)
        converge([host.node for host in members], rng, world.now, WALKS)
        for host in members:
            world.pump(host)
    passed = 0.0
    while passed < scenario.before:
        passed = min(passed + 5.0, scenario.before)
        world.run(passed)
        progress(f"{passed:.0f} s, {len(members)} nodes, {world.packets} packets")
    outcome = Outcome(table=[host.node.contacts.table.live_count for host in members])
    for host in members:
        if host.node.id not in ring.ids and (advertiser := host.node.directory.advertisers.get(TOPIC)):
            outcome.advertised += advertiser.active > 0
            outcome.ads += advertiser.active
            outcome.ads_pending += advertiser.pending
    boot = [host.node for host in members if host.node.id not in ring.ids and not host.nat]
    _clients(world, scenario, rng.sample(boot, 1), ring, outcome)
    outcome.messages = world.packets
    outcome.trace = world.trace
    outcome.topic_requests = sum(
        node.counts["registrations_sent"] + node.counts["topic_queries_sent"] for node in world.nodes
    )
    return outcome


def _leave(node: Node) -> None:
    """An honest node."""


def _clients(world: World, scenario: Scenario, boot: list[Node], ring: Ring, outcome: Outcome) -> None:
    servers = {node.id for node in world.nodes if node.record.kinds} - ring.ids
    start = world.now
    clients: list[Host] = []
    for _ in range(scenario.clients):
        client = world.join(boot, nat=scenario.nat > 0)
        client.node.directory.want(TOPIC, world.now)
        world.pump(client)
        clients.append(client)
    waiting = list(clients)

    def look() -> bool:
        for client in list(waiting):
            verified = client.node.contacts.verified_records(client.node.directory.found(TOPIC))
            if any(enr.node_id in servers for enr in verified):
                outcome.first_server.append(world.now - start)
                waiting.remove(client)
        return not waiting

    def judge(search: Discoverer) -> None:
        outcome.searches += 1
        outcome.eclipsed += servers.isdisjoint(search.found)
        outcome.found.append(len(servers & search.found.keys()))
        outcome.asked.append(search.asked)

    world.run(start + PATIENCE, look)
    outcome.not_found = len(waiting)
    world.run(max(world.now, start + SETTLED))
    for client in clients:
        client.node.directory.search(TOPIC, world.now, lambda found, _: judge(found))
        world.pump(client)
    world.run(world.now + PATIENCE, lambda: outcome.searches == len(clients))
