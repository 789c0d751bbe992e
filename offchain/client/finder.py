"""The finder: looks for nodes, and says who may be used. `finder_machine` decides; this has the tasks and the clock."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Protocol

from offchain.client.broadcast import Broadcast
from offchain.client.finder_machine import FinderMachine, Finding
from offchain.contact import Contact, ContactError, Source
from offchain.enr import Enr
from offchain.errors import PeerError
from offchain.types import Kind, NodeId, TrustView, short

log = logging.getLogger("offchain.client")

SEARCH_SAMPLE = 16
"""Ids of the registry to search for at a time, drawn at random while nodes are needed."""

SAMPLE_INTERVAL = 2.0
"""Seconds between looks at whether nodes are needed."""


class Directory(Protocol):
    """Where nodes are found: the discovery network, or a test."""

    def candidates(self, kind: Kind) -> AsyncIterator[Enr]:
        """Verified records of nodes that say they serve the kind, without end."""
        ...

    async def find(self, node_id: NodeId) -> Enr | None:
        """A node's record, by its id."""
        ...


class Finder:
    """Checks what discovery offers against trust, and searches for ids of the registry while nodes are needed.

    `findings` hears of every node admitted or discarded; the methods also return what they admitted.
    """

    def __init__(
        self,
        kind: Kind,
        trust: TrustView,
        directory: Directory,
        *,
        memory: float = 600.0,
        trusted_ids: Callable[[], Iterable[NodeId]] = tuple,
        hungry: Callable[[], bool] = lambda: True,
        rng: random.Random | None = None,
    ) -> None:
        """`trusted_ids` names the nodes that trust knows, `hungry` says whether any are needed."""
        self.findings: Broadcast[Finding] = Broadcast()
        self._kind = kind
        self._directory = directory
        self._trusted_ids = trusted_ids
        self._hungry = hungry
        self._rng = rng or random.SystemRandom()
        self._machine = FinderMachine(kind, trust, self._rng, memory=memory)
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Look for nodes until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._walk())
                group.create_task(self._sample())
                await self._search(group)
        finally:
            self.findings.close()

    def set_own(self, contacts: Iterable[Contact]) -> None:
        """Name the user's own nodes, in place of those named before."""
        self._publish(*self._machine.set_own(contacts, _now()))

    def trust_changed(self, node_id: NodeId, trusted: bool) -> None:
        """Take in a change of trust: a node that is trusted now is admitted if it was met before, else searched for."""
        self._publish(self._machine.trust_changed(node_id, trusted, _now()))
        if trusted and self._hungry():
            self._want([node_id])

    def recheck(self) -> None:
        """Look everybody up again, after changes may have been missed."""
        self._publish(*self._machine.recheck(_now()))

    def reconsider(self) -> None:
        """Say anew of everybody who was not trusted whether they are, and why not."""
        self._publish(*self._machine.reconsider(_now()))

    def found(self, record: Enr, source: Source = Source.DISCOVERED) -> None:
        """Check a verified record."""
        try:
            contact = Contact.from_enr(record, source)
        except ContactError as error:
            log.debug("%s: %s", short(record.node_id), error)
            return
        self._publish(self._machine.found(contact, _now()))

    def contact(self, node_id: NodeId) -> Contact | None:
        """The record held of a node, trusted or not."""
        return self._machine.contact(node_id)

    def stats(self) -> dict[str, int]:
        """How many nodes are admitted, remembered as not trusted, and searched for."""
        return self._machine.stats()

    # Inside

    async def _walk(self) -> None:
        async for record in self._directory.candidates(self._kind):
            self.found(record)

    async def _sample(self) -> None:
        """While nodes are needed, search for some that the registry names: a new node may not have been walked past."""
        while True:
            if self._hungry():
                unknown = [node_id for node_id in self._trusted_ids() if self._machine.contact(node_id) is None]
                self._want(self._rng.sample(unknown, min(SEARCH_SAMPLE, len(unknown))))
            else:
                self._machine.want_none()
            await asyncio.sleep(SAMPLE_INTERVAL)

    def _want(self, node_ids: Iterable[NodeId]) -> None:
        self._machine.want(node_ids, _now())
        self._wake.set()

    async def _search(self, group: asyncio.TaskGroup) -> None:
        while True:
            self._wake.clear()
            for node_id in self._machine.take_due(_now()):
                group.create_task(self._search_one(node_id))
            try:
                async with asyncio.timeout_at(self._machine.next_deadline()):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _search_one(self, node_id: NodeId) -> None:
        contact: Contact | None = None
        try:
            record = await self._directory.find(node_id)
            if record is not None:
                contact = Contact.from_enr(record, Source.REGISTRY)
        except PeerError as error:
            log.debug("%s was not found: %s", short(node_id), error)
        finally:
            self._publish(self._machine.searched(node_id, contact, _now()))
            self._wake.set()

    def _publish(self, *findings: Finding | None) -> None:
        for finding in findings:
            if finding is not None:
                self.findings.publish(finding)


def _now() -> float:
    return asyncio.get_running_loop().time()
