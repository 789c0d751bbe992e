"""Helpers for tests of offchain.discovery: deterministic keys and records, and a network in memory with a clock."""

from __future__ import annotations

import heapq
import itertools
import json
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from offchain.config import DiscoveryConfig
from offchain.discovery.address import UdpAddress
from offchain.discovery.limits import InboundLimiter, Limits
from offchain.discovery.node import Node
from offchain.discovery.packet import PROTOCOL_ID
from offchain.discovery.table import log_distance
from offchain.discovery.wire import Received, Remote, Wire
from offchain.enr import Enr
from offchain.hashing import keccak256
from offchain.keys import PrivateKey
from offchain.types import NodeId

VECTORS = Path(__file__).parent.parent / "vectors"
NO_LIMITS = Limits(packets=None, requests=None, challenges=None, all_challenges=None)


def vectors(name: str) -> Any:
    """A file of tests/vectors."""
    return json.loads((VECTORS / f"{name}.json").read_text())


@cache
def key(number: int) -> PrivateKey:
    """The private key of that number: the same in every run."""
    return PrivateKey(keccak256(b"discovery key %d" % number))


@cache
def record(number: int, ip: str = "127.0.0.1", port: int = 0, seq: int = 1, kinds: tuple[str, ...] = ()) -> Enr:
    """A record of that key."""
    return Enr.create(key(number), seq, ip=ip, udp=port or 20_000 + number, kinds=kinds)


@cache
def numbers_at(local: NodeId, distance: int, count: int, start: int = 10_000) -> tuple[int, ...]:
    """Numbers of keys whose node ids are at a log distance from an id."""
    found = (n for n in itertools.count(start) if log_distance(local, key(n).public.node_id) == distance)
    return tuple(itertools.islice(found, count))


class Network:
    """Machines joined in memory. It can lose, delay, reorder and repeat; the same seed gives the same trace."""

    def __init__(self, seed: int = 0, *, delay: float = 0.01, jitter: float = 0.0) -> None:
        self.now = 100.0
        self.rng = Random(seed)
        self.delay = delay
        self.jitter = jitter
        self.loss = 0.0
        self.repeat = 0.0
        self.drop: Callable[[bytes, UdpAddress, UdpAddress], bool] = lambda data, source, target: False
        self.machines: dict[UdpAddress, Any] = {}
        self.log: list[tuple[bytes, UdpAddress, UdpAddress]] = []
        """Everything sent, lost or not: (datagram, source, target)."""

        self.received: dict[UdpAddress, list[Received]] = defaultdict(list)
        self._flying: list[tuple[float, int, bytes, UdpAddress, UdpAddress]] = []
        self._count = itertools.count()

    def join(self, machine: Any, address: UdpAddress) -> None:
        """A machine that is reached at an address."""
        self.machines[address] = machine

    def leave(self, address: UdpAddress) -> None:
        """Nobody is at the address any more."""
        del self.machines[address]

    def send(self, data: bytes, source: UdpAddress, target: UdpAddress) -> None:
        """Put a datagram on its way: it is for the network to say whether and when it arrives."""
        self.log.append((data, source, target))
        if self.drop(data, source, target):
            return
        for _ in range(1 + (self.rng.random() < self.repeat)):
            if self.rng.random() < self.loss:
                continue
            at = self.now + self.delay + self.rng.random() * self.jitter
            heapq.heappush(self._flying, (at, next(self._count), data, source, target))

    def pump(self) -> None:
        """Collect what machines want to send."""
        for address, machine in self.machines.items():
            self._collect(machine, address)

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass, until something is true; whether it was."""
        end = self.now + seconds
        self.pump()
        while not until():
            at = min(
                self._flying[0][0] if self._flying else end,
                *(getattr(machine, "next_deadline", lambda: end)() for machine in self.machines.values()),
                end,
            )
            if at >= end:
                self.now = end
                break
            self.now = max(self.now, at)
            self._step()
        return until()

    def _step(self) -> None:
        while self._flying and self._flying[0][0] <= self.now:
            _, _, data, source, target = heapq.heappop(self._flying)
            machine = self.machines.get(target)
            if machine is None:
                continue
            received = machine.receive_datagram(data, source, self.now)
            if received is not None:
                self.received[target].append(received)
            self._collect(machine, target)
        for address, machine in self.machines.items():
            if hasattr(machine, "next_deadline") and machine.next_deadline() <= self.now:
                machine.handle_timeouts(self.now)
                self._collect(machine, address)

    def _collect(self, machine: Any, address: UdpAddress) -> None:
        for data, target in machine.datagrams_to_send():
            self.send(data, address, target)


class WirePeer:
    """A `Wire` at an address, with a record that names it."""

    def __init__(
        self,
        network: Network,
        number: int,
        *,
        limits: Limits = NO_LIMITS,
        known: Callable[[NodeId], Enr | None] = lambda node_id: None,
        protocol_id: bytes = PROTOCOL_ID,
        sessions: int = 2_000,
    ) -> None:
        self.key = key(number)
        self.node_id = self.key.public.node_id
        self.address: UdpAddress = ("127.0.0.1", 20_000 + number)
        self.record = record(number)
        self.remote = Remote(self.node_id, self.key.public, self.address)
        self.network = network
        self.wire = Wire(
            self.key,
            self.record,
            Random(number),
            InboundLimiter(limits, lan=True),
            known,
            protocol_id=protocol_id,
            sessions=sessions,
        )
        network.join(self.wire, self.address)

    @property
    def inbox(self) -> list[bytes]:
        """The messages received so far."""
        return [received.message for received in self.network.received[self.address]]

    def ask(self, other: WirePeer, message: bytes, *, again: bool = False) -> bytes | None:
        """Send a request."""
        return self.wire.send_request(other.remote, message, self.network.now, again=again)

    def answer(self, other: WirePeer, message: bytes) -> None:
        """Send an answer."""
        self.wire.send_response(other.node_id, other.address, message, self.network.now)


def node(
    network: Network,
    number: int,
    *,
    ip: str = "127.0.0.1",
    boot: tuple[Node, ...] = (),
    kinds: tuple[str, ...] = (),
    limits: Limits | None = None,
    lan: bool = True,
    advertise: bool = True,
    seeds: tuple[Enr, ...] = (),
    **config: Any,
) -> Node:
    """A started node at an address of the network."""
    settings = DiscoveryConfig(
        host=ip, bootnodes=tuple(each.record.text for each in boot), kinds=kinds, lan=lan, **config
    )
    machine = Node(key(number), settings, Random(number), limits=limits)
    machine.start([ip] if advertise else [], 20_000 + number, network.now, seeds)
    network.join(machine, (ip, 20_000 + number))
    return machine
