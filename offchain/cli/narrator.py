"""Says what happens in a running client: to nodes, to trust, to what is known of the registry."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

from offchain.cli.output import Output
from offchain.client.broadcast import Broadcast
from offchain.client.pool_machine import PoolEvent
from offchain.node.background import background
from offchain.trust.trusted_set import TrustChange
from offchain.web import views

STATE_INTERVAL = 0.2
"""Seconds between looks at the state of trust."""


class Trust(Protocol):
    """What is asked of trust."""

    @property
    def state(self) -> Any:
        """FRESH and so on."""
        ...

    def status(self) -> dict[str, object]:
        """How it stands."""
        ...


class Client(Protocol):
    """What is told of; a ClientNode."""

    trust: Any
    pool: Any
    changes: Broadcast[TrustChange]


class Narrator:
    """Prints events as they come; those from before it began, too."""

    def __init__(self, output: Output, client: Client) -> None:
        self._output = output
        self._client = client

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Tell for as long as the block lasts."""
        async with background(self._tell_pool(), self._tell_trust(), tell_states(self._output, self._client.trust)):
            yield

    async def _tell_pool(self) -> None:
        events: Broadcast[PoolEvent] = self._client.pool.events
        with events.listen() as listener:
            for event in events.recent:
                self._pool(event)
            async for event in listener:
                self._pool(event)

    async def _tell_trust(self) -> None:
        changes = self._client.changes
        with changes.listen() as listener:
            for change in changes.recent:
                tell_change(self._output, change)
            async for change in listener:
                tell_change(self._output, change)

    def _pool(self, event: PoolEvent) -> None:
        text = f"{clock(event.time)}  {event.what.value:<10}  {event.node_id.hex()[:8]}  {event.reason}"
        self._output.event({"event": "pool", **views.pool_event(event)}, text)


async def tell_states(output: Output, trust: Trust) -> None:
    """Print each state that trust comes into, until cancelled."""
    before = None
    while True:
        state = trust.state.name
        if state != before:
            status = trust.status()
            block = status.get("provenBlock")
            output.event(
                {"event": "state", "state": state, "before": before, "block": block, "time": time.time()},
                f"{clock(time.time())}  {'registry':<10}  {state}" + (f", proven at block {block}" if block else ""),
            )
            before = state
        await asyncio.sleep(STATE_INTERVAL)


def tell_change(output: Output, change: TrustChange) -> None:
    """Print a change of trust."""
    word = "trusted" if change.trusted else "untrusted"
    text = f"{clock(time.time())}  {word:<10}  {change.node_id.hex()[:8]}  {change.kind}: {change.reason}"
    output.event({"event": "trust", **views.trust_change(change)}, text)


def clock(moment: float) -> str:
    """The time of day, for people."""
    return time.strftime("%H:%M:%S", time.localtime(moment)) + f".{int(moment * 1000) % 1000:03d}"
