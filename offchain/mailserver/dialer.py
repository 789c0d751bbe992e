"""Whom to call next, of the servers we could relay with: trusted ones, at random, not again and again in vain."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable

from offchain.contact import Contact
from offchain.types import NodeId

MAX_CANDIDATES = 1_000
"""Contacts remembered; beyond it the one heard of first is forgotten."""

FIRST_PAUSE = 5.0
"""Seconds until a server that could not be reached is called again; doubles with every failure."""

LONGEST_PAUSE = 600.0
"""It does not grow beyond this."""


class Dialer:
    """Decides whom to call. It knows no sockets: `due` says whom, and the caller reports what came of it."""

    def __init__(self, own: NodeId, target: int, rng: random.Random) -> None:
        self._own = own
        self._target = target
        self._rng = rng
        self._contacts: dict[NodeId, Contact] = {}
        self._dialing: set[NodeId] = set()
        self._failures: dict[NodeId, tuple[int, float]] = {}
        """How often in a row, and when it may be tried again."""

    def offer(self, contact: Contact) -> None:
        """A server that may be called. An older record does not replace a newer one."""
        if contact.node_id == self._own:
            return
        known = self._contacts.get(contact.node_id)
        if known is not None and known.seq > contact.seq:
            return
        if known != contact:
            self._failures.pop(contact.node_id, None)  # it may have moved
        self._contacts[contact.node_id] = contact
        if len(self._contacts) > MAX_CANDIDATES:
            forgotten = next(iter(self._contacts))
            del self._contacts[forgotten]
            self._failures.pop(forgotten, None)

    def replace(self, contacts: Iterable[Contact]) -> None:
        """The servers that may be called, and no others."""
        offered = {contact.node_id: contact for contact in contacts}
        for node_id in [each for each in self._contacts if each not in offered]:
            del self._contacts[node_id]
            self._failures.pop(node_id, None)
        for contact in offered.values():
            self.offer(contact)

    def due(self, now: float, linked: Collection[NodeId], trusted: Callable[[NodeId], bool]) -> list[Contact]:
        """Whom to call now; each is being called until `reached` or `failed` tells of it."""
        wanted = self._target - len(set(linked) | self._dialing)
        if wanted <= 0:
            return []
        ready = [
            contact
            for node_id, contact in self._contacts.items()
            if node_id not in linked
            and node_id not in self._dialing
            and self._failures.get(node_id, (0, 0.0))[1] <= now
            and trusted(node_id)
        ]
        chosen = self._rng.sample(ready, min(wanted, len(ready)))
        self._dialing |= {contact.node_id for contact in chosen}
        return chosen

    def reached(self, node_id: NodeId) -> None:
        """The call was answered."""
        self._dialing.discard(node_id)
        self._failures.pop(node_id, None)

    def failed(self, node_id: NodeId, now: float) -> None:
        """Nobody answered, or the connection did not last."""
        self._dialing.discard(node_id)
        count = self._failures.get(node_id, (0, 0.0))[0] + 1
        pause = min(FIRST_PAUSE * 2.0 ** min(count - 1, 20), LONGEST_PAUSE)
        self._failures[node_id] = (count, now + pause * self._rng.uniform(0.8, 1.2))
