"""A virtual clock, and a network on which nodes meet: latency, loss, partitions, NAT.

Every node is a `discovery.node.Node`, as a real one. In full fidelity they exchange real packets; in fast fidelity they
exchange messages by reference (`fast_wire`), with the same number of round trips. Time is virtual. What happens is
decided by the seed alone; `trace` is a hash of every delivery in its order.
"""

from __future__ import annotations

import hashlib
import heapq
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random

from offchain import enr as records
from offchain.config import DiscoveryConfig
from offchain.discovery import message as messages
from offchain.discovery import requests
from offchain.discovery.address import UdpAddress
from offchain.discovery.limits import Limits
from offchain.discovery.node import Node
from offchain.discovery.sim.fast_wire import REFERENCES, FastPacket, FastWire
from offchain.discovery.topics.admission import Admission
from offchain.enr import Enr
from offchain.hashing import keccak256
from offchain.keys import PrivateKey
from offchain.types import Kind, NodeId

PORT = 30_303
NAT_LIFETIME = 120.0
"""Seconds after a node behind NAT has sent to an address in which it can be reached from there."""

_NO_LIMITS = Limits(packets=None, requests=None, challenges=None, all_challenges=None)
_FIRST_IP = 11 << 24
_DELIVERY = struct.Struct("<dII")


@dataclass(frozen=True, slots=True)
class Split:
    """From `begin` to `end`, the hosts of odd and of even numbers do not reach each other."""

    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class Links:
    """What the network is like. Times are seconds."""

    latency: float = 0.1
    """One way; up to half as much again at random."""

    loss: float = 0.0
    """Part of the packets that is lost."""

    splits: tuple[Split, ...] = ()


class Host:
    """A node and where it is."""

    __slots__ = ("address", "nat", "node", "number", "opened", "received", "wake", "wire")

    def __init__(self, number: int, address: UdpAddress, nat: bool) -> None:
        self.number = number
        self.address = address
        self.nat = nat
        self.opened: dict[UdpAddress, float] = {}
        """Behind NAT: until when each address is let in."""

        self.wake = float("inf")
        self.received = 0
        """Packets."""

        self.node: Node
        self.wire: FastWire | None = None


class World:
    """The clock, the network, and who is on it."""

    def __init__(self, links: Links, seed: int, *, full: bool = False, expected: int = 0) -> None:
        """`expected`: about how many nodes there will be."""
        self.now = 0.0
        self.hosts: dict[UdpAddress, Host] = {}
        self.packets = 0
        """Sent by all."""

        self._links = links
        self._full = full
        self._rng = Random(seed)
        self._events: list[tuple[float, int, Host | None, Callable[[], None] | FastPacket | bytes | None, Host | None]]
        self._events = []
        self._count = 0
        self._trace = hashlib.sha256()
        if expected > 1_000:
            records.remember(4 * expected)
            requests.remember(4 * expected)

    @property
    def trace(self) -> str:
        """Hash of every delivery so far: time, from, to."""
        return self._trace.hexdigest()

    @property
    def nodes(self) -> list[Node]:
        """All nodes, in the order in which they came."""
        return [host.node for host in self.hosts.values()]

    # Time

    def at(self, when: float, what: Callable[[], None]) -> None:
        """Have something happen."""
        self._push(when, None, what, None)

    def run(self, until: float, done: Callable[[], bool] = lambda: False) -> None:
        """Let time pass."""
        events, pop = self._events, heapq.heappop
        while events and events[0][0] <= until and not done():
            when, _, host, what, source = pop(events)
            self.now = when
            if host is None:
                assert callable(what)
                what()
            elif source is not None:
                assert what is not None
                assert not callable(what)
                self._deliver(what, source, host)
            elif host.wake == when:
                host.wake = float("inf")
                host.node.handle_timeouts(when)
                self.pump(host)
        if not done():
            self.now = until

    # Who is there

    def join(
        self,
        boot: Iterable[Node] = (),
        *,
        kinds: tuple[Kind, ...] = (),
        ip: str | None = None,
        nat: bool = False,
        admission: Admission | None = None,
        before: Callable[[Node], None] = lambda node: None,
    ) -> Host:
        """A new node, at an address in a /24 of its own or as told. `before` is called before it starts."""
        number = len(self.hosts)
        address = (ip or self._own_subnet(number), PORT + (0 if ip is None else number % 30_000))
        host = Host(number, address, nat)
        config = DiscoveryConfig(bootnodes=tuple(each.record.text for each in boot), kinds=kinds)
        host.node = Node(
            PrivateKey(keccak256(b"simulated node %d" % number)),
            config,
            Random(self._rng.random()),
            limits=_NO_LIMITS,
            wire=None if self._full else lambda record, known: self._fast(host, record, known),
            codec=messages if self._full else REFERENCES,
            admission=admission,
        )
        before(host.node)
        self.hosts[address] = host
        host.node.start([address[0]], address[1], self.now)
        self.pump(host)
        return host

    def pump(self, host: Host) -> None:
        """Carry out what a node decided. Call after every call into it."""
        node, wire = host.node, host.wire
        if wire is None:
            for datagram, target in node.datagrams_to_send():
                self._send(datagram, host, target)
        elif wire.out:
            out = wire.out
            wire.out = []
            for packet, target in out:
                self._send(packet, host, target)
        while node.next_event() is not None:
            pass
        due = node.next_deadline()
        if due < host.wake:
            host.wake = max(due, self.now)
            self._push(host.wake, host, None, None)

    # Inside

    def _own_subnet(self, number: int) -> str:
        ip = _FIRST_IP + (self._rng.randrange(80 << 8) << 16 | number << 2 & 0xFFFF | number >> 14)
        return ".".join(str(ip >> shift & 255) for shift in (24, 16, 8, 0))

    def _fast(self, host: Host, record: Enr, known: Callable[[NodeId], Enr | None]) -> FastWire:
        host.wire = FastWire(record, known)
        return host.wire

    def _push(
        self,
        when: float,
        host: Host | None,
        what: Callable[[], None] | FastPacket | bytes | None,
        source: Host | None,
    ) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, self._count, host, what, source))

    def _send(self, packet: FastPacket | bytes, source: Host, target: UdpAddress) -> None:
        self.packets += 1
        links = self._links
        if source.nat:
            source.opened[target] = self.now + NAT_LIFETIME
        host = self.hosts.get(target)
        if host is None or (links.loss and self._rng.random() < links.loss):
            return
        delay = links.latency * (1 + self._rng.random() / 2)
        self._push(self.now + delay, host, packet, source)

    def _deliver(self, packet: FastPacket | bytes, source: Host, host: Host) -> None:
        now = self.now
        if (host.nat or self._links.splits) and not self._passes(source, host):
            return
        host.received += 1
        self._trace.update(_DELIVERY.pack(now, source.number, host.number))
        if isinstance(packet, bytes):
            host.node.receive_datagram(packet, source.address, now)
        elif host.wire is not None:
            received = host.wire.receive(packet, source.address, now)
            if received is not None:
                host.node.receive_message(received, now)
        self.pump(host)

    def _passes(self, source: Host, host: Host) -> bool:
        if host.nat and host.opened.get(source.address, 0.0) < self.now:
            return False
        apart = (source.number ^ host.number) & 1
        return not (apart and any(split.begin <= self.now < split.end for split in self._links.splits))
