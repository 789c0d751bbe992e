"""What waits to be relayed to one server: each envelope once, and not back to where it came from."""

from __future__ import annotations

import asyncio

from offchain.whisper.envelope import Envelope

MAX_WAITING_BYTES = 8 * 1024 * 1024
"""Beyond it the server is too slow: the link is closed, and it fetches what it missed when it comes back."""

SEND_BYTES = 256 * 1024
"""Taken at a time: what one packet holds."""


class Outbox:
    """A queue of envelopes for one link."""

    def __init__(self, max_bytes: int = MAX_WAITING_BYTES) -> None:
        self._max_bytes = max_bytes
        self._waiting: dict[bytes, Envelope] = {}
        self._size = 0
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, envelope: Envelope) -> bool:
        """Add an envelope; False if there is no room, and nothing was added."""
        if envelope.hash in self._waiting:
            return True
        if self._size + len(envelope.raw) > self._max_bytes:
            return False
        self._waiting[envelope.hash] = envelope
        self._size += len(envelope.raw)
        self._filled.set()
        return True

    def discard(self, envelope_hash: bytes) -> None:
        """The other server has it already."""
        envelope = self._waiting.pop(envelope_hash, None)
        if envelope is not None:
            self._size -= len(envelope.raw)

    async def take(self) -> list[Envelope]:
        """The next envelopes, oldest first; waits until there is one."""
        while not self._waiting:
            self._filled.clear()
            await self._filled.wait()
        taken: list[Envelope] = []
        size = 0
        while self._waiting and size < SEND_BYTES:
            envelope = self._waiting.pop(next(iter(self._waiting)))
            taken.append(envelope)
            size += len(envelope.raw)
        self._size -= size
        return taken
