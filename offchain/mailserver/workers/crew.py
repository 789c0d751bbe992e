"""A mail server's workers, seen from its first process: starts them, stores what they take in, starts them again."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import fields
from pathlib import Path

import offchain
from offchain.config import MailserverConfig
from offchain.errors import PeerError, StorageError
from offchain.keys import PrivateKey
from offchain.mailserver.workers.channel import Channel, Kind, Message
from offchain.types import NodeId
from offchain.whisper.envelope import Envelope

ROOT = Path(offchain.__file__).resolve().parent.parent
"""What a worker must import from, to be of the same version."""

log = logging.getLogger("offchain.mailserver")

RESTART_PAUSE = 1.0
"""Seconds until a worker that ended by itself is started again."""

START_TIME = 30.0
"""Seconds that a worker may take to listen."""

STOP_TIME = 10.0
"""Seconds that a worker may take to finish; then it is killed."""

Store = Callable[[Sequence[Envelope]], Awaitable[list[bool]]]
"""Keep envelopes; for each whether it is new. StorageError if the disk refuses."""


class Crew:
    """So many workers. `run` keeps them; `started` returns when all listen for the first time."""

    def __init__(
        self,
        count: int,
        key: PrivateKey,
        config: MailserverConfig,
        store: Store,
        is_trusted_server: Callable[[NodeId], bool],
    ) -> None:
        """`config` with the port that is listened on."""
        self._key = key
        self._config = config
        self._store = store
        self._is_trusted_server = is_trusted_server
        self._channels: set[Channel] = set()
        self._counts: list[Counter[str]] = [Counter() for _ in range(count)]
        self._before: Counter[str] = Counter()
        """What workers counted that have ended."""
        self._listening = [asyncio.Event() for _ in range(count)]
        self._stopping = False

    async def started(self) -> None:
        """Wait until all listen. StorageError if they do not within START_TIME."""
        try:
            async with asyncio.timeout(START_TIME):
                for each in self._listening:
                    await each.wait()
        except TimeoutError:
            raise StorageError(f"the mail server's workers did not start within {START_TIME:g} s") from None

    def counts(self) -> Counter[str]:
        """What all of them have counted."""
        return sum(self._counts, self._before)

    def stop(self) -> None:
        """Have them finish; `run` ends when they have."""
        self._stopping = True
        for channel in self._channels:
            channel.send(Kind.STOP)

    async def run(self) -> None:
        """Keep the workers until `stop`."""
        async with asyncio.TaskGroup() as group:
            for place in range(len(self._counts)):
                group.create_task(self._keep(place))

    async def _keep(self, place: int) -> None:
        while not self._stopping:
            await self._work(place)
            self._before += Counter({name: n for name, n in self._counts[place].items() if name != "peers"})
            self._counts[place] = Counter()
            if not self._stopping:
                log.warning("a worker of the mail server ended; another is started")
                await asyncio.sleep(RESTART_PAUSE)

    async def _work(self, place: int) -> None:
        """One worker's life."""
        ours, theirs = socket.socketpair()
        process = await _start(theirs)
        channel = Channel(*await asyncio.open_connection(sock=ours))
        self._channels.add(channel)
        channel.send(Kind.SETUP, self._key.to_bytes(), _as_json(self._config))
        if self._stopping:
            channel.send(Kind.STOP)
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    message = await channel.receive()
                    if message.kind is Kind.STORE:
                        group.create_task(self._answer_store(channel, message))
                    elif message.kind is Kind.TRUSTED:
                        (node_id,) = message.fields
                        assert isinstance(node_id, bytes)
                        trusted = self._is_trusted_server(NodeId(node_id))
                        channel.send(Kind.TRUST, bytes((trusted,)), number=message.number)
                    elif message.kind is Kind.COUNTS:
                        self._counts[place] = Counter(_counts(message))
                    elif message.kind is Kind.READY:
                        self._listening[place].set()
        except* PeerError as errors:
            log.debug("a worker: %s", errors.exceptions[0])
        finally:
            self._channels.discard(channel)
            channel.close()
            await _end(process)

    async def _answer_store(self, channel: Channel, message: Message) -> None:
        (raws,) = message.fields
        assert isinstance(raws, list)
        flags, text = b"", ""
        try:
            flags = bytes(await self._store([Envelope.decode(raw) for raw in raws if isinstance(raw, bytes)]))
        except StorageError as error:
            text = str(error) or "it cannot be stored"
        channel.send(Kind.STORED, flags, text.encode(), number=message.number)


async def _start(theirs: socket.socket) -> asyncio.subprocess.Process:
    """A worker at the other end of a socket pair. It imports what we imported, from where we did."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    command = (sys.executable, "-m", "offchain.mailserver.workers.worker", str(theirs.fileno()))
    with theirs:
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
            env={**os.environ, "PYTHONPATH": path},
        )


async def _end(process: asyncio.subprocess.Process) -> None:
    """Wait until it has ended; not for ever."""
    try:
        async with asyncio.timeout(STOP_TIME):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _as_json(config: MailserverConfig) -> bytes:
    values = {field.name: getattr(config, field.name) for field in fields(config)}
    return json.dumps({**values, "data": str(config.data)}).encode()


def _counts(message: Message) -> dict[str, int]:
    counts = {}
    for pair in message.fields:
        assert isinstance(pair, list)
        name, count = pair
        assert isinstance(name, bytes)
        assert isinstance(count, bytes)
        counts[name.decode()] = int.from_bytes(count, "big")
    return counts
