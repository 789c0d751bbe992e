"""The pool: connections to trusted nodes. `pool_machine` decides; this has the tasks, the clock and the connections."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import replace
from typing import Generic, Protocol, TypeVar

from offchain.client import health
from offchain.client.broadcast import Broadcast
from offchain.client.health import Health
from offchain.client.pool_machine import Close, Connect, PoolEvent, PoolMachine, PoolNode, State
from offchain.config import ClientConfig
from offchain.contact import Contact
from offchain.errors import PeerError
from offchain.types import NodeId, TrustView, short

log = logging.getLogger("offchain.client")

CLOSING_TIME = 2.0
"""Seconds that connections have to end after the pool was stopped."""


class Link(Protocol):
    """A connection to a node, as the pool sees it."""

    def close(self, reason: str) -> None:
        """End the connection at once, without waiting; what is in flight on it fails with `reason`."""
        ...

    async def run(self) -> str:
        """Serve the connection until it is over; why it ended."""
        ...


L = TypeVar("L", bound=Link)


class Pool(Generic[L]):
    """Keeps connections to trusted nodes and offers a random one; remembers over restarts which nodes failed.

    `run` does the work for as long as it is awaited. All other methods act at once and may be called from any task of
    the loop: when `trust_changed` returns, the node's connection is closed and can't be picked.
    """

    def __init__(
        self,
        config: ClientConfig,
        trust: TrustView,
        connect: Callable[[Contact], Awaitable[L]],
        *,
        rng: random.Random | None = None,
    ) -> None:
        """`connect` makes a connection, or raises a PeerError or OSError; it is cancelled after `connect_timeout`.

        Reads the file of `config.health` if there is one; then make it where a loop runs.
        """
        self.events: Broadcast[PoolEvent] = Broadcast()
        """What happens to nodes, with Unix times."""
        self._config = config
        self._connect = connect
        self._rng = rng or random.SystemRandom()
        self._machine = PoolMachine(config.kind, trust, self._rng, target=config.pool_target, graylist=config.graylist)
        if config.health is not None:
            shift = _now() - time.time()
            self._machine.remember([_shifted(each, shift) for each in health.load(config.health)], _now())
        self._links: dict[int, L] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._wake = asyncio.Event()
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Keep connections until cancelled; then close them all."""
        async with asyncio.TaskGroup() as group:
            keeper = None
            if self._config.health is not None:
                keeper = group.create_task(health.keep(self._config.health, self.health, self.changed))
            self._group = group
            try:
                while True:
                    self._pump()
                    await self._sleep_until(self._machine.next_deadline())
                    self._machine.tick(_now())
            finally:
                self._group = None
                if keeper is not None:
                    keeper.cancel()
                self._close_all()

    # What is asked of it

    def pick(self, exclude: Collection[NodeId] = ()) -> tuple[NodeId, L] | None:
        """A ready node and its connection, each node with the same chance; None if there is none outside `exclude`."""
        node_id = self._machine.pick(exclude)
        if node_id is None:
            return None
        connection = self._machine.connection_of(node_id)
        return None if connection is None else (node_id, self._links[connection])

    def pick_many(self, count: int, exclude: Collection[NodeId] = ()) -> list[tuple[NodeId, L]]:
        """Up to `count` different ready nodes outside `exclude`, at random."""
        picked: dict[NodeId, L] = {}
        while len(picked) < count and (choice := self.pick({*exclude, *picked})) is not None:
            picked[choice[0]] = choice[1]
        return list(picked.items())

    def links(self) -> list[tuple[NodeId, L]]:
        """Every ready node and its connection."""
        nodes = (node.contact.node_id for node in self._machine.nodes() if node.state is State.READY)
        numbers = ((node_id, self._machine.connection_of(node_id)) for node_id in nodes)
        return [(node_id, self._links[number]) for node_id, number in numbers if number in self._links]

    def nodes(self) -> list[PoolNode]:
        """Every node known, as it stands; times are Unix times."""
        shift = time.time() - _now()
        return [
            replace(node, since=node.since + shift, retry_at=None if node.retry_at is None else node.retry_at + shift)
            for node in self._machine.nodes()
        ]

    def health(self) -> list[Health]:
        """Nodes that failed lately; times are Unix times."""
        shift = time.time() - _now()
        return [_shifted(each, shift) for each in self._machine.health()]

    @property
    def target(self) -> int:
        """How many connections are wanted."""
        return self._machine.target

    @property
    def ready(self) -> int:
        """How many nodes may be picked."""
        return self._machine.count(State.READY)

    @property
    def hungry(self) -> bool:
        """Whether more nodes are needed than are connected or may yet be."""
        usable = sum(self._machine.count(state) for state in (State.READY, State.CONNECTING, State.CANDIDATE))
        return usable < self._machine.target

    async def changed(self) -> None:
        """Wait until something happens to a node."""
        await self._changed.wait()

    async def wait_ready(self, count: int, within: float) -> bool:
        """Wait until so many nodes are ready; False if they aren't within so many seconds."""
        try:
            async with asyncio.timeout(within):
                while self.ready < count:
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    # What happens

    def offer(self, contact: Contact) -> bool:
        """Take a node in if it is trusted; whether it is in the pool now."""
        taken = self._machine.offer(contact, _now())
        self._pump()
        return taken

    def set_own(self, contacts: Iterable[Contact]) -> None:
        """Name the user's own nodes, in place of those named before."""
        self._machine.set_own(contacts, _now())
        self._pump()

    def set_target(self, target: int) -> None:
        """Change how many connections are wanted; 0 closes all."""
        self._machine.set_target(target, _now())
        self._pump()

    def trust_changed(
        self,
        node_id: NodeId,
        trusted: bool,
        reason: str,
        *,
        block: int | None = None,
        seen_at: float | None = None,
    ) -> None:
        """Take in a change of trust. `seen_at` is the Unix time at which its cause was seen."""
        reaction = None if seen_at is None else max(0.0, time.time() - seen_at)
        self._machine.trust_changed(node_id, trusted, reason, _now(), block=block, reaction=reaction)
        self._pump()

    def recheck(self) -> None:
        """Look every node up again: after changes may have been missed."""
        self._machine.recheck(_now())
        self._pump()

    def retry_now(self) -> None:
        """Try every node that was unreachable again at once."""
        self._machine.retry_now(_now())
        self._pump()

    def report(self, node_id: NodeId, failure: str | None, *, misbehaved: bool = False) -> None:
        """Say how a node did: `failure` is None, or why it failed; then its connection is closed."""
        if failure is None:
            self._machine.report_success(node_id)
        else:
            self._machine.report_failure(node_id, failure, _now(), misbehaved=misbehaved)
        self._pump()

    # Inside

    def _pump(self) -> None:
        """Carry out what the machine decided. Called after every call into it; does nothing before and after `run`."""
        if self._group is None:
            return
        for action in self._machine.take_actions():
            if isinstance(action, Connect):
                self._start(self._group, action)
            else:
                self._end(action)
        events = self._machine.take_events()
        shift = time.time() - _now()
        for event in events:
            log.info("%s %s: %s", short(event.node_id), event.what.value, event.reason)
            self.events.publish(replace(event, time=event.time + shift))
        if events:
            self._changed.set()
            self._changed = asyncio.Event()
        self._wake.set()

    def _start(self, group: asyncio.TaskGroup, action: Connect) -> None:
        task = group.create_task(self._hold(action))
        self._tasks[action.connection] = task
        task.add_done_callback(lambda _: self._tasks.pop(action.connection, None))

    def _end(self, action: Close) -> None:
        link = self._links.pop(action.connection, None)
        if link is not None:
            link.close(action.reason)
        elif (task := self._tasks.get(action.connection)) is not None:
            task.cancel()

    async def _hold(self, connect: Connect) -> None:
        """Make a connection and hold it until it is over."""
        number = connect.connection
        reason = ""
        try:
            try:
                async with asyncio.timeout(self._config.connect_timeout):
                    link = await self._connect(connect.contact)
            except TimeoutError:
                reason = f"no connection within {self._config.connect_timeout:g} s"
                return
            except (PeerError, OSError) as error:
                reason = str(error) or type(error).__name__
                return
            if not self._machine.connected(number, _now()):
                link.close("not wanted any more")
                self._pump()
                return
            self._links[number] = link
            self._pump()
            try:
                reason = await link.run()
            finally:
                link.close("the client stops")
        finally:
            self._links.pop(number, None)
            self._machine.failed(number, reason, _now())
            self._pump()

    async def _sleep_until(self, deadline: float | None) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout_at(deadline):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _close_all(self) -> None:
        for link in self._links.values():
            link.close("the client stops")
        self.events.close()


def _shifted(health: Health, shift: float) -> Health:
    return replace(health, failed_at=round(health.failed_at + shift, 1), retry_at=round(health.retry_at + shift, 1))


def _now() -> float:
    return asyncio.get_running_loop().time()
