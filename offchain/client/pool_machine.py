"""Which nodes a client is connected to: decided without sockets, clocks or tasks.

    candidate --connect--> connecting --connected--> ready
        ^                      |                       |
        |                      +--failed-------lost----+
        |                      v
        +---retry------- failed / graylisted

Every state is left at once when the node's trust ends. A node fails twice before it is graylisted; one that broke the
protocol is graylisted at once. Delays double with every failure in a row, and are forgotten after a success; without
one, a failure is forgotten every hour. What is remembered of a node outlives its leaving the pool, and restarts.

Three promises, which the tests hold against every sequence of calls: a node that is neither trusted nor the user's own
is never ready; when its trust ends its connection is closed by the same call; connections never outnumber the target.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum

from offchain.client.health import Health, forgiven
from offchain.contact import Contact, Source
from offchain.types import Kind, NodeId, TrustView

MAX_KNOWN = 1_000
"""Nodes kept in mind. Beyond it the ones that failed most make room; nodes in use and the user's own never do."""

FIRST_RETRY = 1.0
"""Seconds until a node that failed once is tried again; doubled for the second time."""

FAILURES_BEFORE_GRAYLIST = 3
"""The failure in a row that graylists a node."""

LONGEST_GRAYLIST = 3_600.0

AFTER_RESTART = 2.0
"""Seconds that others have after a restart before a node that failed earlier is tried for want of another."""

SETTLED = 60.0
"""Seconds after which a connection counts as a success when it is lost."""


class State(Enum):
    """Where a node is in its life in the pool."""

    CANDIDATE = "candidate"
    """Known and trusted; may be connected to."""
    CONNECTING = "connecting"
    READY = "ready"
    """Connected; may be picked."""
    FAILED = "failed"
    """Could not be reached, or was lost; will be tried again soon."""
    GRAYLISTED = "graylisted"
    """Failed repeatedly or broke the protocol; avoided for longer."""


class What(Enum):
    """What happened to a node."""

    ADMITTED = "admitted"
    """Trusted, and taken in."""
    DISCARDED = "discarded"
    """Not trusted, and not taken in."""
    CONNECTING = "connecting"
    READY = "ready"
    FAILED = "failed"
    GRAYLISTED = "graylisted"
    LOST = "lost"
    """A connection ended that nobody here closed."""
    DROPPED = "dropped"
    """Its trust ended; its connection, if there was one, is closed with it."""
    RELEASED = "released"
    """Closed because fewer connections are wanted, or one of the user's own nodes takes its place."""


@dataclass(frozen=True, slots=True)
class PoolEvent:
    """Something that happened to a node, for people and programs."""

    time: float
    """As handed to the machine; the shell makes it Unix time."""
    node_id: NodeId
    what: What
    reason: str
    """A sentence."""
    address: str | None = None
    """Where the node is called, if known."""
    own: bool = False
    """Whether the user added it by hand."""
    connected: bool = False
    """Whether it had a connection when this happened."""
    block: int | None = None
    """The block that ended its trust."""
    reaction: float | None = None
    """Seconds from seeing that block (or the user's decision) to its connection being closed."""


@dataclass(frozen=True, slots=True)
class Connect:
    """Connect to a node; answer with `connected` or `failed` and this number."""

    connection: int
    contact: Contact


@dataclass(frozen=True, slots=True)
class Close:
    """Close a connection, or give up making it. No answer is expected; a late one is ignored."""

    connection: int
    node_id: NodeId
    reason: str


Action = Connect | Close


@dataclass(frozen=True, slots=True)
class PoolNode:
    """A node as it stands, for status displays."""

    contact: Contact
    state: State
    since: float
    """When it came into this state."""
    failures: int
    """In a row."""
    own: bool
    reason: str
    """Why it failed last, or an empty string."""
    retry_at: float | None
    """When a failed or graylisted node may be tried again."""


@dataclass(slots=True)
class _Node:
    contact: Contact
    state: State
    since: float
    connection: int | None = None
    failures: int = 0
    failed_at: float = 0.0
    retry_at: float = 0.0
    misbehaved: bool = False
    reason: str = ""


class PoolMachine:
    """Decides whom to connect to, whom to use and whom to leave.

    After every call, carry out `take_actions()`, show `take_events()`, and call `tick` at `next_deadline()`.
    """

    def __init__(self, kind: Kind, trust: TrustView, rng: random.Random, *, target: int, graylist: float) -> None:
        self._kind = kind
        self._trust = trust
        self._rng = rng
        self._target = target
        self._graylist = graylist
        self._nodes: dict[NodeId, _Node] = {}
        self._connections: dict[int, NodeId] = {}
        self._remembered: dict[NodeId, Health] = {}
        self._own: frozenset[NodeId] = frozenset()
        self._next_connection = 1
        self._actions: list[Action] = []
        self._events: list[PoolEvent] = []

    # What is asked of it

    @property
    def target(self) -> int:
        """How many connections are wanted."""
        return self._target

    def take_actions(self) -> list[Action]:
        """What to do now, in this order."""
        actions, self._actions = self._actions, []
        return actions

    def take_events(self) -> list[PoolEvent]:
        """What happened since the last time."""
        events, self._events = self._events, []
        return events

    def next_deadline(self) -> float | None:
        """When to call `tick`; None if nothing is waiting for time to pass."""
        if self._free_places() <= 0:
            return None
        nothing_ready = self._nothing_ready()
        return min((self._retry_at(node, nothing_ready) for node in self._waiting()), default=None)

    def pick(self, exclude: Collection[NodeId] = ()) -> NodeId | None:
        """A ready node, each with the same chance; None if there is none."""
        ready = [
            node_id
            for node_id, node in self._nodes.items()
            if node.state is State.READY and node_id not in exclude and self.accepts(node_id)
        ]
        return self._rng.choice(ready) if ready else None

    def accepts(self, node_id: NodeId) -> bool:
        """Whether a node may be in the pool: it is the user's own, or trusted."""
        return node_id in self._own or self._trust.is_trusted(self._kind, node_id)

    def connection_of(self, node_id: NodeId) -> int | None:
        """The number of a node's connection, made or in the making."""
        node = self._nodes.get(node_id)
        return None if node is None else node.connection

    def nodes(self) -> list[PoolNode]:
        """Every node known, as it stands."""
        return [
            PoolNode(
                contact=node.contact,
                state=node.state,
                since=node.since,
                failures=node.failures,
                own=node_id in self._own,
                reason=node.reason,
                retry_at=node.retry_at if node.state in (State.FAILED, State.GRAYLISTED) else None,
            )
            for node_id, node in self._nodes.items()
        ]

    def count(self, state: State) -> int:
        """How many nodes are in a state."""
        return sum(node.state is state for node in self._nodes.values())

    def health(self) -> list[Health]:
        """Every node that failed and has not been forgiven, for `remember` after a restart."""
        known = (self._health_of(node_id, node) for node_id, node in self._nodes.items() if node.failures)
        return [*self._remembered.values(), *known]

    def remember(self, healths: Iterable[Health], now: float) -> None:
        """Take in what `health` said before a restart. A time beyond the longest delay is a clock's mistake."""
        for each in healths:
            failed_at = min(each.failed_at, now)
            if not forgiven(each.failures, failed_at, now):
                continue
            retry_at = min(each.retry_at, failed_at + 1.2 * LONGEST_GRAYLIST)
            self._keep_in_mind(replace(each, failed_at=failed_at, retry_at=retry_at))

    # Who there is

    def offer(self, contact: Contact, now: float) -> bool:
        """Take a node in if it is accepted and new, or note its newer address; whether it is in the pool now."""
        node_id = contact.node_id
        if not self.accepts(node_id):
            self._event(now, contact, What.DISCARDED, self._trust.why(self._kind, node_id))
            return False
        known = self._nodes.get(node_id)
        if known is not None:
            self._note_newer(known, contact, now)
            self._refill(now)
            return True
        if len(self._nodes) >= MAX_KNOWN and not self._make_room():
            return False
        node = self._nodes[node_id] = _Node(contact, State.CANDIDATE, now)
        if (health := self._remembered.pop(node_id, None)) is not None:
            self._recall(node, health, now)
        why = "added by you" if node_id in self._own else self._trust.why(self._kind, node_id)
        self._event(now, contact, What.ADMITTED, why)
        self._refill(now)
        return True

    def set_own(self, contacts: Iterable[Contact], now: float) -> None:
        """Name the user's own nodes, in place of those named before. They need no trust, and go before all others."""
        contacts = [replace(contact, source=Source.OWN) for contact in contacts]
        before, self._own = self._own, frozenset(contact.node_id for contact in contacts)
        for node_id in before - self._own:
            if node_id in self._nodes and not self.accepts(node_id):
                self._drop(node_id, "no longer one of your own nodes", now)
        for contact in contacts:
            self.offer(contact, now)
        self._refill(now)

    def set_target(self, target: int, now: float) -> None:
        """Change how many connections are wanted; 0 closes all."""
        self._target = target
        while self._free_places() < 0:
            self._release(self._rng.choice(self._least_needed()), now)
        self._refill(now)

    # What trust says

    def trust_changed(
        self,
        node_id: NodeId,
        trusted: bool,
        reason: str,
        now: float,
        *,
        block: int | None = None,
        reaction: float | None = None,
    ) -> None:
        """Drop a node whose trust ended. One that is trusted now comes back when it is offered."""
        if not trusted and node_id in self._nodes and node_id not in self._own:
            self._drop(node_id, reason, now, block=block, reaction=reaction)
            self._refill(now)

    def recheck(self, now: float) -> None:
        """Look every node up again, and drop those that are not accepted: after changes may have been missed."""
        for node_id in [node_id for node_id in self._nodes if not self.accepts(node_id)]:
            self._drop(node_id, self._trust.why(self._kind, node_id), now)
        self._refill(now)

    # What connections do

    def connected(self, connection: int, now: float) -> bool:
        """A connection was made. False if it is not wanted any more: close it."""
        node_id = self._connections.get(connection)
        if node_id is None:
            return False
        if not self.accepts(node_id):
            self._drop(node_id, self._trust.why(self._kind, node_id), now)
            self._refill(now)
            return False
        node = self._nodes[node_id]
        took = now - node.since
        node.state, node.since, node.reason = State.READY, now, ""
        self._event(now, node.contact, What.READY, f"connected in {took * 1000:.0f} ms", connected=True)
        return True

    def failed(self, connection: int, reason: str, now: float) -> None:
        """A connection could not be made, or was lost."""
        node_id = self._connections.pop(connection, None)
        if node_id is None:
            return
        node = self._nodes[node_id]
        node.connection = None
        if node.state is State.READY:
            self._event(now, node.contact, What.LOST, reason, connected=True)
            if now - node.since >= SETTLED:
                node.failures = 0
        self._set_back(node, reason, now)
        self._refill(now)

    def report_failure(self, node_id: NodeId, reason: str, now: float, *, misbehaved: bool = False) -> None:
        """A ready node did not do what it was asked, or broke the protocol: close its connection and avoid it."""
        node = self._nodes.get(node_id)
        if node is None or node.state is not State.READY:
            return
        self._close(node, reason)
        self._set_back(node, reason, now, misbehaved=misbehaved)
        self._refill(now)

    def report_success(self, node_id: NodeId) -> None:
        """A node did what it was asked: its failures are forgotten."""
        node = self._nodes.get(node_id)
        if node is not None:
            node.failures, node.misbehaved = 0, False

    def tick(self, now: float) -> None:
        """Let time pass: nodes whose delay is over are candidates again."""
        nothing_ready = self._nothing_ready()
        for node in self._waiting():
            if self._retry_at(node, nothing_ready) <= now:
                node.state, node.since = State.CANDIDATE, now
        self._refill(now)

    def retry_now(self, now: float) -> None:
        """Try everybody who was merely unreachable again at once: the network came back, or the user asks."""
        for node in self._waiting():
            if not node.misbehaved:
                node.state, node.since, node.failures = State.CANDIDATE, now, 0
        self._refill(now)

    # Inside

    def _waiting(self) -> Iterator[_Node]:
        return (node for node in self._nodes.values() if node.state in (State.FAILED, State.GRAYLISTED))

    def _nothing_ready(self) -> bool:
        return not any(node.state is State.READY for node in self._nodes.values())

    def _retry_at(self, node: _Node, nothing_ready: bool) -> float:
        """A machine that was offline for hours finds its nodes again soon: an hour's delay is for when others serve."""
        if nothing_ready and not node.misbehaved:
            return min(node.retry_at, node.since + self._graylist)
        return node.retry_at

    def _free_places(self) -> int:
        return self._target - len(self._connections)

    def _least_needed(self) -> list[NodeId]:
        """The connections to give up first: others' before the user's own, unfinished before made ones."""
        groups: dict[tuple[bool, bool], list[NodeId]] = {}
        for node_id in self._connections.values():
            key = (node_id in self._own, self._nodes[node_id].state is State.READY)
            groups.setdefault(key, []).append(node_id)
        return groups[min(groups)]

    def _refill(self, now: float) -> None:
        while candidates := [node_id for node_id, node in self._nodes.items() if node.state is State.CANDIDATE]:
            own = [node_id for node_id in candidates if node_id in self._own]
            if self._free_places() <= 0:
                if not own or self._target <= 0 or (leaving := self._rng.choice(self._least_needed())) in self._own:
                    return
                self._release(leaving, now)
            node_id = self._rng.choice(own or candidates)
            if not self.accepts(node_id):
                self._drop(node_id, self._trust.why(self._kind, node_id), now)
                continue
            node = self._nodes[node_id]
            node.connection, self._next_connection = self._next_connection, self._next_connection + 1
            self._connections[node.connection] = node_id
            node.state, node.since = State.CONNECTING, now
            self._actions.append(Connect(node.connection, node.contact))
            self._event(now, node.contact, What.CONNECTING, f"connecting to {node.contact.address}")

    def _health_of(self, node_id: NodeId, node: _Node) -> Health:
        return Health(node_id, node.failures, node.misbehaved, node.reason, node.failed_at, node.retry_at)

    def _keep_in_mind(self, health: Health) -> None:
        """Remember a node that is not in the pool; beyond the bound, the one that failed longest ago is forgotten."""
        self._remembered[health.node_id] = health
        if len(self._remembered) > MAX_KNOWN:
            del self._remembered[min(self._remembered, key=lambda each: self._remembered[each].failed_at)]

    def _recall(self, node: _Node, health: Health, now: float) -> None:
        """A node that failed earlier comes into the pool: it waits as long as it would have had to."""
        node.failures = forgiven(health.failures, health.failed_at, now)
        node.failed_at, node.reason = health.failed_at, health.reason
        node.misbehaved = health.misbehaved and node.failures > 0
        if now < health.retry_at:
            graylisted = node.misbehaved or node.failures >= FAILURES_BEFORE_GRAYLIST
            node.state, node.retry_at = State.GRAYLISTED if graylisted else State.FAILED, health.retry_at
            node.since = min(now, now + AFTER_RESTART - self._graylist)

    def _leave(self, node_id: NodeId) -> None:
        node = self._nodes.pop(node_id)
        if node.failures:
            self._keep_in_mind(self._health_of(node_id, node))

    def _set_back(self, node: _Node, reason: str, now: float, *, misbehaved: bool = False) -> None:
        node.failures = forgiven(node.failures, node.failed_at, now) + 1
        node.failed_at = now
        node.misbehaved = misbehaved
        graylisted = misbehaved or node.failures >= FAILURES_BEFORE_GRAYLIST
        if graylisted:
            doublings = max(0, node.failures - FAILURES_BEFORE_GRAYLIST)
            delay = min(self._graylist * 2.0 ** min(doublings, 20), LONGEST_GRAYLIST)
        else:
            delay = FIRST_RETRY * 2.0 ** (node.failures - 1)
        delay *= self._rng.uniform(0.8, 1.2)  # so that a thousand clients of a node that restarts don't come at once
        node.state = State.GRAYLISTED if graylisted else State.FAILED
        node.since, node.retry_at, node.reason = now, now + delay, reason
        what = What.GRAYLISTED if graylisted else What.FAILED
        self._event(now, node.contact, what, f"{reason}; next try in {delay:.0f} s")

    def _drop(
        self, node_id: NodeId, reason: str, now: float, *, block: int | None = None, reaction: float | None = None
    ) -> None:
        node = self._nodes[node_id]
        connected = node.connection is not None
        self._close(node, reason)
        self._leave(node_id)
        self._event(now, node.contact, What.DROPPED, reason, connected=connected, block=block, reaction=reaction)

    def _release(self, node_id: NodeId, now: float) -> None:
        node = self._nodes[node_id]
        reason = "its place is needed"
        self._close(node, reason)
        node.state, node.since = State.CANDIDATE, now
        self._event(now, node.contact, What.RELEASED, reason, connected=True)

    def _close(self, node: _Node, reason: str) -> None:
        if node.connection is not None:
            self._actions.append(Close(node.connection, node.contact.node_id, reason))
            del self._connections[node.connection]
            node.connection = None

    def _note_newer(self, node: _Node, contact: Contact, now: float) -> None:
        if contact.seq < node.contact.seq:
            return  # the record may be older than the one we hold
        moved = contact.address != node.contact.address
        node.contact = replace(contact, source=Source.OWN) if contact.node_id in self._own else contact
        if moved and node.state in (State.FAILED, State.GRAYLISTED) and not node.misbehaved:
            node.state, node.since = State.CANDIDATE, now

    def _make_room(self) -> bool:
        idle = [
            node_id for node_id, node in self._nodes.items() if node.connection is None and node_id not in self._own
        ]
        if not idle:
            return False
        self._leave(max(idle, key=lambda node_id: self._nodes[node_id].failures))
        return True

    def _event(
        self,
        now: float,
        contact: Contact,
        what: What,
        reason: str,
        *,
        connected: bool = False,
        block: int | None = None,
        reaction: float | None = None,
    ) -> None:
        own = contact.node_id in self._own
        self._events.append(
            PoolEvent(now, contact.node_id, what, reason, contact.address, own, connected, block, reaction)
        )
