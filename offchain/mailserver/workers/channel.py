"""What a mail server's processes say to each other, over a pair of sockets.

    message = size u32 big endian || RLP [kind, number, fields ...]

A question has a number of its own, and its answer the same.
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass
from enum import IntEnum
from itertools import count

from offchain import rlp
from offchain.errors import ConnectionLost, DecodeError

MAX_SIZE = 256 * 1024**2
"""Bytes of a message: more than a process lets its peers have in flight."""

_SIZE = struct.Struct(">I")


class Kind(IntEnum):
    """What a message is."""

    SETUP = 1
    """To a worker, first: the key's 32 bytes, the configuration as JSON."""

    READY = 2
    """From a worker: it listens."""

    STORE = 3
    """From a worker: a list of envelopes. Answered when they are on disk, or cannot be."""

    STORED = 4
    """A byte for each envelope, 1 if it is new; or nothing, and why."""

    TRUSTED = 5
    """From a worker: a node id. Answered by whether it is a server to relay with."""

    TRUST = 6
    """1 or 0."""

    COUNTS = 7
    """From a worker, now and then: [name, count] ..., since the start, and its peers."""

    STOP = 8
    """To a worker: finish."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message."""

    kind: Kind
    number: int
    fields: tuple[rlp.Encodable, ...] = ()

    def encode(self) -> bytes:
        """With its size."""
        body = rlp.encode([int(self.kind), self.number, *self.fields])
        return _SIZE.pack(len(body)) + body

    @classmethod
    def decode(cls, body: bytes) -> Message:
        """Without its size. DecodeError if it is none."""
        try:
            kind, number, *fields = rlp.decode_list(body)
            return cls(Kind(rlp.as_int(kind)), rlp.as_int(number), tuple(fields))
        except ValueError as error:
            raise DecodeError(f"not a message between workers: {error}") from None


class Channel:
    """One end. ConnectionLost once the other process is gone."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._numbers = count(1)
        self._asked: dict[int, asyncio.Future[Message]] = {}

    def send(self, kind: Kind, *fields: rlp.Encodable, number: int = 0) -> None:
        """Say something. What waits to be sent is bounded by what is asked, so it does not wait."""
        if not self._writer.is_closing():
            self._writer.write(Message(kind, number, fields).encode())

    async def ask(self, kind: Kind, *fields: rlp.Encodable) -> Message:
        """Ask, and wait for the answer, which somebody must be receiving."""
        if self._writer.is_closing():
            raise ConnectionLost("the other process is gone")
        number = next(self._numbers)
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        try:
            self.send(kind, *fields, number=number)
            return await answer
        finally:
            del self._asked[number]

    async def receive(self) -> Message:
        """The next message that is not an answer."""
        while True:
            message = await self._read()
            asked = self._asked.get(message.number) if message.kind in (Kind.STORED, Kind.TRUST) else None
            if asked is None:
                return message
            if not asked.done():
                asked.set_result(message)

    def close(self) -> None:
        """End it; who waits for an answer gets none."""
        self._writer.close()
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(ConnectionLost("the other process is gone"))

    async def _read(self) -> Message:
        try:
            (size,) = _SIZE.unpack(await self._reader.readexactly(_SIZE.size))
            if size > MAX_SIZE:
                raise ConnectionLost(f"a message of {size} bytes came from the other process")
            return Message.decode(await self._reader.readexactly(size))
        except (asyncio.IncompleteReadError, OSError):
            raise ConnectionLost("the other process is gone") from None
