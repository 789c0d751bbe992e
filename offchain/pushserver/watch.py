"""Which grants an envelope concerns, and when to push: decided without sockets, clocks or tasks.

A device that is connected is not pushed to. Of several envelopes within `PAUSE` seconds the device hears once, with
their number. A push that fails is tried again, later and later, and given up in the end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from offchain.pushserver.grant import Grant
from offchain.types import NodeId

PAUSE = 10.0
"""Seconds between pushes to a device."""

MAX_SEEN = 200_000
"""Envelopes remembered, so that each counts once."""

MAX_TOLD = 100
"""Envelopes of one push that are remembered over a restart; of more, a device may hear once more."""

RETRIES = 6
FIRST_RETRY = 5.0
"""Seconds; doubles."""

IN_FLIGHT = 32
"""Pushes under way at a time."""

Device = tuple[NodeId, str]
"""A client and one of its endpoints."""

Told = tuple[bytes, int]
"""An envelope's hash, and when it was sent."""


@dataclass(frozen=True, slots=True)
class Push:
    """Tell a device that mail has come."""

    client: NodeId
    grant: Grant
    topic: bytes
    """Of the newest of them."""
    count: int
    envelopes: tuple[Told, ...] = ()
    """Which they are, `MAX_TOLD` at most."""


@dataclass(slots=True)
class _Waiting:
    topic: bytes
    count: int
    at: float
    first: int
    """When the first of its envelopes was sent."""
    envelopes: tuple[Told, ...]
    failures: int = 0


class Watch:
    """The decisions of a push server."""

    def __init__(self, told: Iterable[tuple[Device, bytes]] = ()) -> None:
        """`told`: which device heard of which envelope before a restart."""
        self._told = frozenset(told)
        self._grants: dict[Device, Grant] = {}
        self._by_topic: defaultdict[bytes, set[Device]] = defaultdict(set)
        self._present: set[NodeId] = set()
        self._seen: dict[bytes, None] = {}
        self._waiting: dict[Device, _Waiting] = {}
        self._last: dict[Device, float] = {}
        self._flying: dict[Device, _Waiting] = {}

    @property
    def topics(self) -> Collection[bytes]:
        """What to watch."""
        return self._by_topic.keys()

    @property
    def devices(self) -> int:
        """How many may be pushed to."""
        return len(self._grants)

    def pending_since(self, now: float) -> int:
        """Before when no envelope was sent that somebody is still to be told of."""
        waiting = (each.first for kept in (self._waiting, self._flying) for each in kept.values())
        return min(waiting, default=int(now))

    def expire(self, now: float) -> None:
        """Forget grants that have expired."""
        for device in [device for device, grant in self._grants.items() if now >= grant.expires]:
            self.gone(device)

    def granted(self, client: NodeId, grant: Grant) -> None:
        """A grant is in force, in place of an earlier one for its endpoint."""
        device = (client, grant.endpoint)
        self.gone(device)
        if grant.topics:
            self._grants[device] = grant
            for topic in grant.topics:
                self._by_topic[topic].add(device)

    def gone(self, device: Device) -> None:
        """A device is not to be pushed to any more."""
        grant = self._grants.pop(device, None)
        for topic in grant.topics if grant else ():
            self._by_topic[topic].discard(device)
            if not self._by_topic[topic]:
                del self._by_topic[topic]
        for each in (self._waiting, self._last, self._flying):
            each.pop(device, None)

    def came(self, client: NodeId) -> None:
        """A client is connected: it reads its mail itself."""
        self._present.add(client)
        for device in [device for device in self._waiting if device[0] == client]:
            del self._waiting[device]

    def left(self, client: NodeId) -> None:
        """A client is away."""
        self._present.discard(client)

    def envelope(self, envelope_hash: bytes, topic: bytes, sent: int, now: float) -> None:
        """An envelope is at a trusted mail server."""
        if envelope_hash in self._seen:
            return
        self._seen[envelope_hash] = None
        if len(self._seen) > MAX_SEEN:
            del self._seen[next(iter(self._seen))]
        for device in self._by_topic.get(topic, ()):
            grant = self._grants[device]
            if device[0] in self._present or sent < grant.issued or now >= grant.expires:
                continue
            if (device, envelope_hash) in self._told:
                continue
            waiting = self._waiting.get(device)
            if waiting is None:
                at = max(now, self._last.get(device, now - PAUSE) + PAUSE)
                self._waiting[device] = _Waiting(topic, 1, at, sent, ((envelope_hash, sent),))
            else:
                waiting.topic = topic
                waiting.count += 1
                waiting.first = min(waiting.first, sent)
                if len(waiting.envelopes) < MAX_TOLD:
                    waiting.envelopes += ((envelope_hash, sent),)

    def due(self, now: float) -> list[Push]:
        """What to push now. Say `pushed`, `failed` or `gone` of each."""
        pushes = []
        for device, waiting in list(self._waiting.items()):
            if len(self._flying) >= IN_FLIGHT:
                break
            grant = self._grants[device]
            if now >= grant.expires:
                self.gone(device)
            elif waiting.at <= now and device not in self._flying:
                self._flying[device] = self._waiting.pop(device)
                pushes.append(Push(device[0], grant, waiting.topic, waiting.count, waiting.envelopes))
        return pushes

    def pushed(self, device: Device, now: float) -> None:
        """The push service took it."""
        if self._flying.pop(device, None) is not None:
            self._last[device] = now

    def failed(self, device: Device, now: float, retry_after: float = 0.0) -> bool:
        """It did not; whether it is tried again. `retry_after` is what the push service asked for."""
        flown = self._flying.pop(device, None)
        if flown is None or flown.failures + 1 >= RETRIES:
            return False
        pause = max(FIRST_RETRY * 2.0**flown.failures, min(retry_after, 3_600.0))
        newer = self._waiting.get(device)
        count, topic, envelopes = flown.count, flown.topic, flown.envelopes
        if newer:
            count, topic, envelopes = count + newer.count, newer.topic, (envelopes + newer.envelopes)[:MAX_TOLD]
        self._waiting[device] = _Waiting(topic, count, now + pause, flown.first, envelopes, flown.failures + 1)
        return True
