"""The relay: every new envelope goes once to every other trusted server, and never back to where it came from.

A link is a session with a trusted server, whoever called whom. When trust ends, so does the session, at once. When two
servers call each other at the same time, the call of the lower node id stays.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence

from offchain.contact import Contact
from offchain.errors import PeerError
from offchain.mailserver.dialer import Dialer
from offchain.mailserver.session import Session, Spawn
from offchain.rlpx.p2p import DisconnectReason
from offchain.types import NodeId, short
from offchain.whisper.envelope import Envelope

log = logging.getLogger("offchain.mailserver")

LOOK_INTERVAL = 1.0
"""Seconds between looks at whom to call."""

REVIEW_INTERVAL = 15.0
"""Seconds between looks at whom we still trust, for whoever does not call `review` on every change."""

Call = Callable[[Contact], Awaitable[None]]
"""Connect to a server and serve the session until it is over; PeerError if it cannot be reached."""


class Relay:
    """Keeps links with other servers and passes envelopes on."""

    def __init__(
        self,
        own: NodeId,
        target: int,
        is_trusted: Callable[[NodeId], bool],
        call: Call,
        spawn: Spawn,
        rng: random.Random,
    ) -> None:
        self._own = own
        self._is_trusted = is_trusted
        self._call = call
        self._spawn = spawn
        self._dialer = Dialer(own, target, rng)
        self._sessions: dict[NodeId, Session] = {}
        """Every peer's, trusted or not: it may become so."""
        self._links: dict[NodeId, Session] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._look_now = asyncio.Event()

    @property
    def links(self) -> tuple[NodeId, ...]:
        """The servers that we relay with now."""
        return tuple(self._links)

    # Who there is

    def add_peer(self, contact: Contact) -> None:
        """A server that may be called, once it is trusted."""
        self._dialer.offer(contact)
        self._look_now.set()

    def set_peers(self, contacts: Iterable[Contact]) -> None:
        """The servers that may be called, and no others. Links that exist stay."""
        self._dialer.replace(contacts)
        self._look_now.set()

    def review(self) -> None:
        """Trust may have changed: drop servers that have lost it, relay with peers that have gained it."""
        for node_id, session in tuple(self._links.items()):
            if not self._is_trusted(node_id):
                log.info("no longer relaying with %s: it is not trusted any more", short(node_id))
                del self._links[node_id]
                session.end(DisconnectReason.REQUESTED)
        for session in tuple(self._sessions.values()):
            self._link(session)
        self._look_now.set()

    # Sessions

    def enter(self, session: Session) -> bool:
        """A peer is connected; False if another connection to it is to stay instead, and this one was ended."""
        other = self._sessions.get(session.node_id)
        if other is not None:
            if other.dialed != session.dialed and self._called_by_lower(other):
                session.end(DisconnectReason.ALREADY_CONNECTED)
                return False
            self._links.pop(session.node_id, None)
            other.end(DisconnectReason.ALREADY_CONNECTED)
        self._sessions[session.node_id] = session
        self._link(session)
        return True

    def leave(self, session: Session) -> None:
        """A peer is gone."""
        if self._sessions.get(session.node_id) is session:
            del self._sessions[session.node_id]
        if self._links.get(session.node_id) is session:
            del self._links[session.node_id]
            log.info("the link with server %s is over", short(session.node_id))
            self._look_now.set()

    def publish(self, envelopes: Sequence[Envelope], source: NodeId, now: float) -> None:
        """Pass new envelopes on, as long as their time has not passed: nobody would take them then."""
        fresh = [envelope for envelope in envelopes if envelope.expiry > now]
        for node_id, session in tuple(self._links.items()):
            outbox = session.outbox
            if node_id == source or outbox is None:
                continue
            if not all(outbox.put(envelope) for envelope in fresh):
                log.warning("the server %s takes envelopes too slowly; the link is closed", short(node_id))
                self._links.pop(node_id, None)
                session.end(DisconnectReason.USELESS_PEER)

    # Calling

    async def run(self) -> None:
        """Call servers as long as this runs."""
        loop = asyncio.get_running_loop()
        next_review = loop.time() + REVIEW_INTERVAL
        while True:
            if loop.time() >= next_review:
                next_review = loop.time() + REVIEW_INTERVAL
                self.review()
            self._look_now.clear()
            for contact in self._dialer.due(loop.time(), self._links, self._is_trusted):
                call = self._spawn(self._dial(contact))
                self._calls.add(call)
                call.add_done_callback(self._calls.discard)
            try:
                async with asyncio.timeout(LOOK_INTERVAL):
                    await self._look_now.wait()
            except TimeoutError:
                pass

    async def stop(self) -> None:
        """End the calls, and the sessions that came of them."""
        calls = tuple(self._calls)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    async def _dial(self, contact: Contact) -> None:
        try:
            await self._call(contact)
        except PeerError as error:
            log.debug("server %s at %s: %s", short(contact.node_id), contact.address, error)
        finally:
            self._dialer.failed(contact.node_id, asyncio.get_running_loop().time())

    def _link(self, session: Session) -> None:
        if session.node_id in self._links or not self._is_trusted(session.node_id):
            return
        self._links[session.node_id] = session
        session.link()
        self._dialer.reached(session.node_id)
        log.info("relaying with server %s", short(session.node_id))

    def _called_by_lower(self, session: Session) -> bool:
        caller = self._own if session.dialed else session.node_id
        return caller == min(self._own, session.node_id)
