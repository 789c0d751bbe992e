"""The mail server: listens, serves each peer, relays with other servers, and forgets what is too old.

async with Mailserver(key, config, trust) as server:
    server.relay.set_peers(contacts)
    await stop.wait()
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any

from offchain.config import MailserverConfig
from offchain.contact import Contact
from offchain.errors import ConfigError, StorageError
from offchain.keys import PrivateKey
from offchain.mailserver.archive import open_archive
from offchain.mailserver.archive.base import Archive
from offchain.mailserver.archive.writer import ArchiveWriter
from offchain.mailserver.desk import Desk
from offchain.mailserver.reconcile.packets import WPSYNC
from offchain.mailserver.relay import Relay
from offchain.mailserver.retention import Retention
from offchain.mailserver.session import Session, drain, greet
from offchain.mailserver.sync import Meetings
from offchain.mailserver.workers.crew import Crew
from offchain.rlpx import connection, peer
from offchain.rlpx.p2p import DisconnectReason
from offchain.types import MAILSERVER, NodeId, TrustView
from offchain.whisper.envelope import Envelope
from offchain.whisper.protocol import SHH

log = logging.getLogger("offchain.mailserver")

RETENTION_INTERVAL = 60.0
"""Seconds between looks at what is too old, or too much."""

CAPABILITIES = (SHH, WPSYNC)


class Mailserver:
    """A mail server, running while its block does. StorageError on entering if the archive cannot be used."""

    def __init__(
        self,
        key: PrivateKey,
        config: MailserverConfig,
        trust: TrustView,
        *,
        archive: Archive | None = None,
        clock: Callable[[], float] = time.time,
        rng: random.Random | None = None,
    ) -> None:
        """`archive` instead of LMDB in `config.data`; `clock` tells the time of day."""
        self.config = config = shared_out(config)
        self._key = key
        self._trust = trust
        self._clock = clock
        self._given_archive = archive
        self._retention = Retention(
            config.retention_days, config.max_archive_bytes, config.max_archive_envelopes or math.inf
        )
        self._meetings = Meetings(config.catch_up)
        self.relay = Relay(
            key.public.node_id,
            config.relay_peers,
            self._is_trusted_server,
            self._call,
            self._spawn,
            rng or random.SystemRandom(),
        )
        """Links with other servers: tell it of candidates, and call its `review` when trust changes."""
        self._sessions: set[Session] = set()
        self._tasks = asyncio.TaskGroup()
        self._upkeep: list[asyncio.Task[None]] = []
        self._listener: peer.Server | None = None
        self._working: asyncio.Task[None] | None = None
        self._stopping = False

    async def __aenter__(self) -> Mailserver:
        config = self.config
        self._archive = self._given_archive or open_archive(config)
        self._writer = ArchiveWriter(self._archive)
        self._desk = Desk(
            self._key,
            config,
            self._trust,
            self._archive,
            self._writer,
            self._retention,
            self._clock,
            self._on_new_envelopes,
        )
        try:
            self._listener = await peer.serve(
                self._key,
                config.hosts,
                config.port,
                CAPABILITIES,
                self._serve,
                max_peers=config.max_peers,
                limits=self._limits(),
                reuse_port=config.workers > 1,
            )
        except OSError as error:
            self._close_archive()
            raise ConfigError(f"the mail server cannot listen on {config.host}:{config.port}: {error}") from error
        await self._tasks.__aenter__()
        self._tasks.create_task(self._writer.run(), name="archive writer")
        self._upkeep = [self._tasks.create_task(work) for work in (self.relay.run(), self._forget())]
        self._crew = Crew(
            config.workers - 1,
            self._key,
            replace(config, port=self.port),
            self._keep_for_worker,
            self._is_trusted_server,
        )
        if config.workers > 1:
            self._working = self._tasks.create_task(self._crew.run(), name="workers")
            try:
                await self._crew.started()
            except BaseException as error:
                await self.__aexit__(type(error), error, error.__traceback__)
                raise
        log.info("listening on %s:%d as %s", config.host, self.port, self._key.public.node_id.hex())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopping = True
        try:
            for task in self._upkeep:
                task.cancel()
            self._crew.stop()
            if error is None:
                await drain(self._sessions)
            for session in tuple(self._sessions):
                session.end(DisconnectReason.QUITTING)
            if self._listener is not None:
                await self._listener.close()
            await self.relay.stop()
            if self._working is not None:
                await asyncio.wait([self._working])  # what the workers took in is to be stored
            await self._writer.stop()
        finally:
            try:
                await self._end_tasks(error)
            finally:
                self._close_archive()

    @property
    def port(self) -> int:
        """The TCP port we listen on."""
        assert self._listener is not None, "the server is not running"
        return self._listener.port

    @property
    def archive(self) -> Archive:
        """What is kept."""
        return self._archive

    def stats(self) -> dict[str, int]:
        """How often what happened since the start, and how much there is now."""
        workers = self._crew.counts()
        return {
            **(self._desk.counts + workers),
            "peers": len(self._sessions) + workers["peers"],
            "links": len(self.relay.links),
            "commits": self._writer.commits,
            "archive days": len(self._archive.days()),
            "archive envelopes": self._archive.count(),
            "archive bytes": sum(day.size for day in self._archive.days()),
        }

    # Peers

    async def _serve(self, connected: peer.Peer, dialed: bool = False) -> None:
        trusted = self._is_trusted_server(connected.node_id)
        shh = await greet(connected, self.config, self._clock, trusted=trusted)
        session = Session(shh, self._desk, self._meetings, self._spawn, dialed=dialed)
        if self._stopping:
            session.end(DisconnectReason.QUITTING)
        self._sessions.add(session)
        self.relay.enter(session)
        try:
            await session.run()
        finally:
            self._sessions.discard(session)
            self.relay.leave(session)

    async def _call(self, contact: Contact) -> None:
        """Connect to another server and serve the session until it is over."""
        connected = await peer.connect(
            self._key, contact.public, contact.host, contact.tcp, CAPABILITIES, limits=self._limits()
        )
        try:
            await self._serve(connected, dialed=True)
        finally:
            await connected.close()

    def _is_trusted_server(self, node_id: NodeId) -> bool:
        return self._trust.is_trusted(MAILSERVER, node_id)

    def _limits(self) -> connection.Limits:
        return connection.Limits(max_message=self.config.max_message_bytes)

    def _on_new_envelopes(self, envelopes: Sequence[Envelope], source: NodeId) -> None:
        self.relay.publish(envelopes, source, self._clock())

    async def _keep_for_worker(self, envelopes: Sequence[Envelope]) -> list[bool]:
        return await self._desk.keep(envelopes, self._key.public.node_id)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self._tasks.create_task(self._guarded(work))

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """What goes wrong for one peer does not end the server for the others."""
        try:
            await work
        except Exception:
            log.exception("a task failed")

    # Upkeep and end

    async def _forget(self) -> None:
        while True:
            await self.forget(time.monotonic())
            await asyncio.sleep(RETENTION_INTERVAL)

    async def forget(self, elapsed: float) -> None:
        """Delete days that are too old or too much; done by itself once a minute. `elapsed` as Retention takes it."""
        try:
            days = self._archive.days()
            for day in self._retention.due(days, self._clock(), elapsed):
                log.info("forgetting day %d", day)
                await asyncio.to_thread(self._archive.delete_day, day)
        except StorageError as error:
            log.warning("old days could not be deleted: %s", error)

    async def _end_tasks(self, error: BaseException | None) -> None:
        """Wait for the tasks, all of which have been told to end. A single error comes out as it is, not in a group."""
        cancelled = error if isinstance(error, asyncio.CancelledError) else None
        try:
            await self._tasks.__aexit__(type(cancelled) if cancelled else None, cancelled, None)
        except BaseExceptionGroup as errors:
            if len(errors.exceptions) == 1:
                raise errors.exceptions[0] from None
            raise

    def _close_archive(self) -> None:
        if self._given_archive is None:
            self._archive.close()


def shared_out(config: MailserverConfig) -> MailserverConfig:
    """What each of the workers may have of what is for all."""
    if config.workers < 1:
        raise ConfigError(f"a mail server has at least 1 worker, found {config.workers}")
    return replace(
        config,
        max_peers=-(-config.max_peers // config.workers),
        requests_per_minute_per_address=-(-config.requests_per_minute_per_address // config.workers),
    )
