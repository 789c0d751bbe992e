"""Many nodes on a network in memory: how soon do clients find a server by topic?

Every node is a `discovery.node.Node`, as a real one. In full fidelity they exchange real packets; in fast fidelity they
exchange messages by reference (`fast_wire`), with the same number of round trips. Time is virtual.

Nodes join one after the other within the first seconds, knowing a few that were there before; some are servers. After a
while clients come, each knowing one node, and look for servers by topic.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import TypeAlias

from offchain.config import DiscoveryConfig
from offchain.discovery.address import UdpAddress
from offchain.discovery.limits import Limits
from offchain.discovery.node import Node
from offchain.discovery.sim.fast_wire import FastPacket, FastWire
from offchain.discovery.sim.hostile import Ring
from offchain.discovery.topics.discoverer import Discoverer
from offchain.enr import Enr
from offchain.hashing import keccak256
from offchain.keys import PrivateKey
from offchain.types import MAILSERVER, NodeId, topic_of

TOPIC = topic_of(MAILSERVER)
JOIN_TIME = 5.0
"""Seconds in which the nodes come up."""

SETTLED = 5.0
"""Seconds after which clients make the search that is judged."""

PATIENCE = 60.0
"""Seconds that clients have to find a server."""

_NO_LIMITS = Limits(packets=None, requests=None, challenges=None, all_challenges=None)
_PORT = 30_303
_FIRST_IP = 11 << 24

Datagram: TypeAlias = bytes | FastPacket


@dataclass(frozen=True, slots=True)
class Scenario:
    """How many of what. Times are seconds."""

    nodes: int
    """Servers included, clients not."""

    servers: int
    clients: int
    before: float
    """Time for the network before clients come."""

    latency: float = 0.1
    """One way; up to half as much again at random."""

    loss: float = 0.0
    full: bool = False
    hostile: float = 0.0
    """Part of the nodes that work together to hide the servers (`hostile`)."""


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

    messages: int = 0
    """Packets sent by all."""

    topic_requests: int = 0
    """REGTOPIC and TOPICQUERY that were sent by nodes and clients, first attempts only."""

    trace: str = ""
    """Hash of every delivery: time, from, to."""


class World:
    """The virtual clock and network."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.now = 0.0
        self.outcome = Outcome()
        self.nodes: dict[UdpAddress, Node] = {}
        self._scenario = scenario
        self._rng = Random(seed)
        self.ring = Ring(Random(seed + 2))
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._wakes: dict[UdpAddress, float] = {}
        self._wires: dict[UdpAddress, FastWire] = {}
        self._trace = hashlib.sha256()

    def at(self, when: float, what: Callable[[], None]) -> None:
        """Have something happen."""
        self._count += 1
        heapq.heappush(self._events, (when, self._count, what))

    def run(self, until: float, done: Callable[[], bool] = lambda: False) -> None:
        """Let time pass."""
        while self._events and self._events[0][0] <= until and not done():
            self.now, _, what = heapq.heappop(self._events)
            what()
        if not done():
            self.now = until

    def join(self, boot: list[Node], *, serves: bool, hostile: bool = False) -> Node:
        """A new node at an address of its own, in a /24 of its own. One that is hostile advertises itself, too."""
        number = len(self.nodes)
        ip = _FIRST_IP + (self._rng.randrange(80 << 8) << 16 | number << 2 & 0xFFFF | number >> 14)
        address = (".".join(str(ip >> shift & 255) for shift in (24, 16, 8, 0)), _PORT)
        key = PrivateKey(keccak256(b"simulated node %d" % number))
        config = DiscoveryConfig(
            bootnodes=tuple(each.record.text for each in boot), kinds=(MAILSERVER,) if serves or hostile else ()
        )
        node = Node(
            key,
            config,
            Random(self._rng.random()),
            limits=_NO_LIMITS,
            wire=None if self._scenario.full else lambda record, known: self._fast(address, record, known),
        )
        if hostile:
            self.ring.corrupt(node)
        self.nodes[address] = node
        node.start([address[0]], _PORT, self.now)
        self.pump(address)
        return node

    def pump(self, address: UdpAddress) -> None:
        """Carry out what a node decided. Call after every call into it."""
        node = self.nodes[address]
        datagrams = node.datagrams_to_send() if self._scenario.full else self._wires[address].packets_to_send()
        for datagram, target in datagrams:
            self._send(datagram, address, target)
        while node.next_event() is not None:
            pass
        self._arm(address)

    def finish(self) -> Outcome:
        """The outcome, with counts."""
        self.outcome.trace = self._trace.hexdigest()
        self.outcome.topic_requests = sum(
            node.counts["registrations_sent"] + node.counts["topic_queries_sent"] for node in self.nodes.values()
        )
        return self.outcome

    def _fast(self, address: UdpAddress, record: Enr, known: Callable[[NodeId], Enr | None]) -> FastWire:
        wire = self._wires[address] = FastWire(record.node_id, record, known)
        return wire

    def _send(self, datagram: Datagram, source: UdpAddress, target: UdpAddress) -> None:
        self.outcome.messages += 1
        if target not in self.nodes or self._rng.random() < self._scenario.loss:
            return
        delay = self._scenario.latency * (1 + self._rng.random() / 2)
        self.at(self.now + delay, lambda: self._deliver(datagram, source, target))

    def _deliver(self, datagram: Datagram, source: UdpAddress, target: UdpAddress) -> None:
        self._trace.update(f"{self.now:.9f} {source[0]} {target[0]}\n".encode())
        node = self.nodes[target]
        if isinstance(datagram, bytes):
            node.receive_datagram(datagram, source, self.now)
        else:
            received = self._wires[target].receive(datagram, source, self.now)
            if received is not None:
                node.receive_message(received, self.now)
        self.pump(target)

    def _arm(self, address: UdpAddress) -> None:
        """One wake-up for each node, moved only when something is due earlier."""
        due = max(self.nodes[address].next_deadline(), self.now)
        armed = self._wakes.get(address)
        if armed is None or due < armed:
            self._wakes[address] = due
            self.at(due, lambda: self._wake(address, due))

    def _wake(self, address: UdpAddress, due: float) -> None:
        if self._wakes.get(address) != due:
            return
        del self._wakes[address]
        self.nodes[address].handle_timeouts(self.now)
        self.pump(address)


def run(scenario: Scenario, seed: int, progress: Callable[[str], None] = lambda text: None) -> Outcome:
    """Let it happen."""
    world = World(scenario, seed)
    rng = Random(seed + 1)
    members: list[Node] = []

    def come(serves: bool) -> None:
        hostile = not serves and len(members) > 0 and rng.random() < scenario.hostile
        members.append(world.join(rng.sample(members, min(len(members), 3)), serves=serves, hostile=hostile))

    for number in range(scenario.nodes):
        serves = number * scenario.servers // scenario.nodes != (number + 1) * scenario.servers // scenario.nodes
        world.at(JOIN_TIME * number / scenario.nodes, lambda serves=serves: come(serves))  # type: ignore[misc]
    passed = 0.0
    while passed < scenario.before:
        passed = min(passed + 5.0, scenario.before)
        world.run(passed)
        progress(f"{passed:.0f} s, {len(members)} nodes, {world.outcome.messages} packets")
    honest = [node for node in members if node.id not in world.ring.ids]
    _clients(world, scenario, rng.sample(honest, 1))
    return world.finish()


def _clients(world: World, scenario: Scenario, boot: list[Node]) -> None:
    servers = {node.id for node in world.nodes.values() if node.record.kinds} - world.ring.ids
    start = world.now
    clients: list[UdpAddress] = []
    waiting: dict[UdpAddress, Node] = {}
    for _ in range(scenario.clients):
        client = world.join(boot, serves=False)
        address = (str(client.record.ip), _PORT)
        client.directory.want(TOPIC, world.now)
        world.pump(address)
        waiting[address] = client
        clients.append(address)

    def look() -> bool:
        for address, client in list(waiting.items()):
            verified = client.contacts.verified_records(client.directory.found(TOPIC))
            if any(enr.node_id in servers for enr in verified):
                world.outcome.first_server.append(world.now - start)
                del waiting[address]
        return not waiting

    def judge(search: Discoverer) -> None:
        world.outcome.searches += 1
        world.outcome.eclipsed += servers.isdisjoint(search.found)

    world.run(start + PATIENCE, look)
    world.outcome.not_found = len(waiting)
    world.run(max(world.now, start + SETTLED))
    for address in clients:
        world.nodes[address].directory.search(TOPIC, world.now, lambda found, _: judge(found))
        world.pump(address)
    world.run(world.now + PATIENCE, lambda: world.outcome.searches == len(clients))
