"""One stream of events to any number of listeners, none of whom can hold up the others."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")

LISTENER_QUEUE = 1_000
"""Events a listener may fall behind. When its queue is full the oldest is thrown away, and counted in `missed`."""

RECENT = 200
"""Events kept for those who come later."""


class Listener(Generic[T]):
    """An endless iterator over events from the moment it was made; ends when the broadcast is closed."""

    def __init__(self) -> None:
        self.missed = 0
        """Events thrown away because they were not taken in time."""
        self._queue: deque[T] = deque()
        self._ready = asyncio.Event()
        self._closed = False

    def put(self, event: T) -> None:
        """For the broadcast."""
        if len(self._queue) >= LISTENER_QUEUE:
            self._queue.popleft()
            self.missed += 1
        self._queue.append(event)
        self._ready.set()

    def close(self) -> None:
        """End the iteration after what is queued."""
        self._closed = True
        self._ready.set()

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        while not self._queue:
            if self._closed:
                raise StopAsyncIteration
            self._ready.clear()
            await self._ready.wait()
        return self._queue.popleft()


class Broadcast(Generic[T]):
    """Where events are published."""

    def __init__(self) -> None:
        self._listeners: set[Listener[T]] = set()
        self._recent: deque[T] = deque(maxlen=RECENT)
        self._closed = False

    @property
    def recent(self) -> list[T]:
        """The last events, oldest first."""
        return list(self._recent)

    def publish(self, event: T) -> None:
        """Hand an event to every listener."""
        self._recent.append(event)
        for listener in self._listeners:
            listener.put(event)

    def close(self) -> None:
        """End every listener's iteration."""
        self._closed = True
        for listener in self._listeners:
            listener.close()

    @contextmanager
    def listen(self) -> Iterator[Listener[T]]:
        """A listener for as long as the block lasts."""
        listener = Listener[T]()
        if self._closed:
            listener.close()
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
