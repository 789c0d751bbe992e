"""Turns at an archive, given to waiting tasks in the order of a fair queue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from offchain.mailserver.fair_queue import FairQueue


@dataclass(slots=True)
class Turn:
    """What is being served; whoever has it says what it cost."""

    envelopes: int = 0


class Turns:
    """Serves so many slices at a time, in the fair order; between two of them the loop looks at its sockets."""

    def __init__(self, at_a_time: int) -> None:
        self._free = at_a_time
        self._queue = FairQueue()
        self._calling = False

    @property
    def waiting(self) -> int:
        """How many clients wait for a turn."""
        return len(self._queue)

    @asynccontextmanager
    async def turn(self, client: Hashable) -> AsyncIterator[Turn]:
        """Wait for the client's turn; the next one's begins when the block has ended."""
        called: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.enter(client, called)
        self._call_soon()
        try:
            await called
        except asyncio.CancelledError:
            if called.done() and not called.cancelled():  # it was our turn just now: somebody else's, then
                self._queue.cost(client, 0)
                self._free += 1
                self._call_soon()
            raise
        turn = Turn()
        try:
            yield turn
        finally:
            self._queue.cost(client, turn.envelopes)
            self._free += 1
            self._call_soon()

    def _call_soon(self) -> None:
        if self._free and self._queue and not self._calling:
            self._calling = True
            asyncio.get_running_loop().call_soon(self._call)

    def _call(self) -> None:
        """Call whoever is next, of those who still wait."""
        self._calling = False
        while self._free and (chosen := self._queue.next()) is not None:
            client, called = chosen
            assert isinstance(called, asyncio.Future)
            if called.done():
                self._queue.cost(client, 0)
            else:
                self._free -= 1
                called.set_result(None)
