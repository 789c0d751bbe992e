"""A process that serves clients on the mail server's port: reads the archive itself, hands what comes to the writer.

    python -m offchain.mailserver.workers.worker FD

It relays with nobody: a server to relay with that calls is sent away, and called back by the first process. It ends
when it is told to, or when the first process is gone.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import sys
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from offchain import rlp
from offchain.config import MailserverConfig
from offchain.errors import ConnectionLost, PeerError, StorageError
from offchain.keys import PrivateKey
from offchain.mailserver.archive import open_archive
from offchain.mailserver.archive.base import Archivable
from offchain.mailserver.desk import Desk
from offchain.mailserver.retention import Retention
from offchain.mailserver.session import Session, drain, greet
from offchain.mailserver.sync import Meetings
from offchain.mailserver.workers.channel import Channel, Kind
from offchain.rlpx import connection, peer
from offchain.rlpx.p2p import DisconnectReason
from offchain.types import Kind as NodeKind
from offchain.types import NodeId
from offchain.whisper.protocol import SHH

log = logging.getLogger("offchain.mailserver")

REPORT_INTERVAL = 1.0
"""Seconds between two reports of what was counted."""

REVIEW_INTERVAL = 15.0
"""Seconds between looks whether a peer has become a server to relay with."""


class _NoServers:
    """Trusts no server: here there are none."""

    def is_trusted(self, kind: NodeKind, node_id: NodeId) -> bool:
        return False

    def why(self, kind: NodeKind, node_id: NodeId) -> str:
        return "servers are served by the first process"


class Worker:
    """Serves clients until told to stop."""

    def __init__(self, channel: Channel, key: PrivateKey, config: MailserverConfig) -> None:
        self._channel = channel
        self._key = key
        self._config = config
        self._archive = open_archive(config, readonly=True)
        retention = Retention(config.retention_days, config.max_archive_bytes)
        self._desk = Desk(key, config, _NoServers(), self._archive, self, retention, time.time, lambda *_: None)
        self._meetings = Meetings(config.catch_up)
        self._sessions: set[Session] = set()
        self._tasks = asyncio.TaskGroup()

    async def run(self) -> None:
        """Listen, and serve whoever comes."""
        config = self._config
        limits = connection.Limits(max_message=config.max_message_bytes)
        listener = await peer.serve(
            self._key,
            config.hosts,
            config.port,
            (SHH,),
            self._serve,
            max_peers=config.max_peers,
            limits=limits,
            reuse_port=True,
        )
        async with self._tasks:
            upkeep = [self._tasks.create_task(work) for work in (self._report(), self._review())]
            self._channel.send(Kind.READY)
            try:
                while (await self._channel.receive()).kind is not Kind.STOP:
                    pass
                await drain(self._sessions)
            except ConnectionLost:
                log.warning("the mail server's first process is gone; this one ends too")
            finally:
                self._channel.close()
                for session in tuple(self._sessions):
                    session.end(DisconnectReason.QUITTING)
                await listener.close()
                for task in upkeep:
                    task.cancel()
        self._archive.close()

    async def add(self, envelopes: Sequence[Archivable]) -> list[bool]:
        """Have the first process store envelopes; for each whether it is new. StorageError if it could not."""
        try:
            answer = await self._channel.ask(Kind.STORE, [each.raw for each in envelopes])
        except ConnectionLost as error:
            raise StorageError(str(error)) from None
        flags, text = answer.fields
        assert isinstance(flags, bytes)
        assert isinstance(text, bytes)
        if text:
            raise StorageError(text.decode())
        return [bool(flag) for flag in flags]

    async def _serve(self, connected: peer.Peer) -> None:
        if await self._is_server(connected.node_id):
            self._desk.counts["servers sent away by workers"] += 1
            await connected.close(DisconnectReason.TOO_MANY_PEERS)
            return
        shh = await greet(connected, self._config, time.time, trusted=False)
        session = Session(shh, self._desk, self._meetings, self._spawn, dialed=False)
        self._sessions.add(session)
        try:
            await session.run()
        finally:
            self._sessions.discard(session)

    async def _is_server(self, node_id: NodeId) -> bool:
        return (await self._channel.ask(Kind.TRUSTED, node_id)).fields == (b"\x01",)

    async def _review(self) -> None:
        while True:
            await asyncio.sleep(REVIEW_INTERVAL)
            for session in tuple(self._sessions):
                if await self._is_server(session.node_id):
                    session.end(DisconnectReason.REQUESTED)

    async def _report(self) -> None:
        while True:
            counts = {**self._desk.counts, "peers": len(self._sessions)}
            pairs: list[rlp.Encodable] = [[name.encode(), count] for name, count in counts.items()]
            self._channel.send(Kind.COUNTS, *pairs)
            await asyncio.sleep(REPORT_INTERVAL)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self._tasks.create_task(self._guarded(work))

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except PeerError as error:
            log.debug("%s", error)
        except Exception:
            log.exception("a task failed")


async def main(descriptor: int) -> None:
    """Be a worker of the process at the other end of the socket."""
    channel = Channel(*await asyncio.open_connection(sock=socket.socket(fileno=descriptor)))
    setup = await channel.receive()
    key, text = setup.fields
    assert isinstance(key, bytes)
    assert isinstance(text, bytes)
    values = json.loads(text)
    await Worker(channel, PrivateKey(key), MailserverConfig(**{**values, "data": Path(values["data"])})).run()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    for each in (signal.SIGINT, signal.SIGTERM):  # whoever stops all processes stops the first, and that stops us
        signal.signal(each, signal.SIG_IGN)
    asyncio.run(main(int(sys.argv[1])))
