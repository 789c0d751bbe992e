"""What connections of any kind of node have in common while the pool holds them."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from offchain.contact import Contact
from offchain.errors import ConnectionLost
from offchain.types import NodeId

T = TypeVar("T")


class Held(ABC):
    """A connection to a node: read by `run` until it is over, ended at once by `close`."""

    def __init__(self, contact: Contact) -> None:
        self.contact = contact
        self._closing: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @property
    def node_id(self) -> NodeId:
        """The node."""
        return self.contact.node_id

    @property
    def over(self) -> str | None:
        """Why the connection is over, or about to be; None while it is not."""
        return self._closing.result() if self._closing.done() else None

    def close(self, reason: str) -> None:
        """End the connection at once, without waiting; what is in flight on it fails with `reason`."""
        if not self._closing.done():
            self._closing.set_result(reason)
            self._fail_all(reason)

    async def run(self) -> str:
        """Read from the connection until it is over; why it ended."""
        reader = asyncio.ensure_future(self._read())
        reason = "the client stops"
        try:
            await asyncio.wait([reader, self._closing], return_when=asyncio.FIRST_COMPLETED)
            reason = self._closing.result() if self._closing.done() else reader.result()
        finally:
            reader.cancel()
            self.close(reason)
            await self._hang_up()
        return reason

    @abstractmethod
    async def _read(self) -> str:
        """Take in what comes until the connection is over; why it is."""

    @abstractmethod
    def _fail_all(self, reason: str) -> None:
        """Tell everybody who waits for something."""

    @abstractmethod
    async def _hang_up(self) -> None:
        """Say goodbye and close the socket."""


class Answers(Generic[T]):
    """Who waits for which answer, by a hash of what was sent."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, asyncio.Future[T]] = {}

    @contextmanager
    def to(self, digest: bytes) -> Iterator[asyncio.Future[T]]:
        """What becomes the answer, for as long as the block lasts. Two may wait for the same."""
        answer = self._waiting.get(digest)
        if answer is None:
            answer = self._waiting[digest] = asyncio.get_running_loop().create_future()
        try:
            yield answer
        finally:
            self._waiting.pop(digest, None)

    def came(self, digest: bytes, answer: T) -> None:
        """An answer came. One that nobody waits for is ignored."""
        waiting = self._waiting.get(digest)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def fail(self, reason: str) -> None:
        """No more answers will come."""
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(ConnectionLost(reason))
                waiting.exception()  # seen: nobody may be waiting
