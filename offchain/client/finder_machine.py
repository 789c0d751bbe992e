"""Who of the nodes that were found may be used: decided without sockets, clocks or tasks.

Nodes come from three places: records met on the discovery network, the user's own nodes, and ids that the registry
names and discovery is asked for. Each is checked once against trust. A node that is not trusted is remembered with its
record and not looked at again for a while; when trust changes its mind, the remembered record is admitted at once, so
that a node that was listed a moment ago needs no new search.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from offchain.contact import Contact, Source
from offchain.types import Kind, NodeId, TrustView

MAX_REMEMBERED = 10_000
"""Nodes remembered as not trusted; the oldest make room. A stranger can make keys for nothing, so there is a bound."""

MAX_WANTED = 10_000
"""Ids of the registry that are searched for; the rest waits until some are found."""

FIRST_SEARCH_RETRY = 2.0
"""Seconds until an id that was not found is searched for again; doubles up to `LONGEST_SEARCH_RETRY`."""

LONGEST_SEARCH_RETRY = 300.0


@dataclass(frozen=True, slots=True)
class Admitted:
    """A trusted node that can be called, or a newer address of one."""

    contact: Contact


@dataclass(frozen=True, slots=True)
class Discarded:
    """A node that was found and is not trusted. Said once per node and memory period."""

    node_id: NodeId
    reason: str
    address: str


Finding = Admitted | Discarded


@dataclass(slots=True)
class _Remembered:
    contact: Contact
    until: float


@dataclass(slots=True)
class _Search:
    due: float
    failures: int = 0
    running: bool = False


class FinderMachine:
    """Checks nodes against trust, and decides which ids to search for and when."""

    def __init__(self, kind: Kind, trust: TrustView, rng: random.Random, *, memory: float, in_flight: int = 4) -> None:
        self._kind = kind
        self._trust = trust
        self._rng = rng
        self._memory = memory
        self._in_flight = in_flight
        self._untrusted: OrderedDict[NodeId, _Remembered] = OrderedDict()
        self._admitted: dict[NodeId, Contact] = {}
        self._searches: dict[NodeId, _Search] = {}
        self._own: frozenset[NodeId] = frozenset()

    # Nodes that were found

    def found(self, contact: Contact, now: float) -> Finding | None:
        """Check a node; None if nothing about it is new."""
        node_id = contact.node_id
        remembered = self._untrusted.get(node_id)
        if remembered is not None and now < remembered.until:
            if contact.seq >= remembered.contact.seq:
                remembered.contact = contact
            return None
        if self._accepts(node_id):
            return self._admit(contact)
        self._remember(contact, now)
        return Discarded(node_id, self._trust.why(self._kind, node_id), contact.address)

    def trust_changed(self, node_id: NodeId, trusted: bool, now: float) -> Admitted | None:
        """Admit a node that is trusted now if its record is remembered; keep the record of one that is not any more."""
        if not trusted:
            self._lapse(node_id, now)
            return None
        remembered = self._untrusted.pop(node_id, None)
        return None if remembered is None else self._admit(remembered.contact)

    def recheck(self, now: float) -> list[Admitted]:
        """Look everybody up again, after changes may have been missed; who is admitted now."""
        for node_id in list(self._admitted):
            if not self._accepts(node_id):
                self._lapse(node_id, now)
        again = [node_id for node_id in self._untrusted if self._accepts(node_id)]
        return [found for node_id in again if (found := self._admit(self._untrusted.pop(node_id).contact))]

    def reconsider(self, now: float) -> list[Finding]:
        """Look at everybody who was not trusted as if found now: when why they weren't may have changed."""
        remembered = [self._untrusted.pop(node_id).contact for node_id in list(self._untrusted)]
        return [finding for contact in remembered if (finding := self.found(contact, now))]

    def set_own(self, contacts: Iterable[Contact], now: float) -> list[Admitted]:
        """Name the user's own nodes, in place of those named before; they are accepted whatever the registry says."""
        contacts = list(contacts)
        before, self._own = self._own, frozenset(contact.node_id for contact in contacts)
        for node_id in before - self._own:
            if not self._accepts(node_id):
                self._lapse(node_id, now)
        for contact in contacts:
            self._untrusted.pop(contact.node_id, None)
        return [found for contact in contacts if (found := self._admit(contact))]

    def contact(self, node_id: NodeId) -> Contact | None:
        """The record held of a node, trusted or not."""
        remembered = self._untrusted.get(node_id)
        return self._admitted.get(node_id) or (None if remembered is None else remembered.contact)

    # Ids to search for

    def want(self, node_ids: Iterable[NodeId], now: float) -> None:
        """Search for these ids of the registry unless their nodes are known."""
        for node_id in node_ids:
            if node_id not in self._admitted and node_id not in self._searches and len(self._searches) < MAX_WANTED:
                self._searches[node_id] = _Search(now)

    def want_none(self) -> None:
        """Search no more: enough nodes are known. Searches that run go on."""
        self._searches = {node_id: search for node_id, search in self._searches.items() if search.running}

    def take_due(self, now: float) -> list[NodeId]:
        """Ids to search for now; answer each with `searched`."""
        running = sum(search.running for search in self._searches.values())
        due = [node_id for node_id, search in self._searches.items() if not search.running and search.due <= now]
        self._rng.shuffle(due)
        chosen = due[: max(0, self._in_flight - running)]
        for node_id in chosen:
            self._searches[node_id].running = True
        return chosen

    def searched(self, node_id: NodeId, contact: Contact | None, now: float) -> Finding | None:
        """A search ended, with the node's contact or without."""
        search = self._searches.get(node_id)
        if search is None:
            return None if contact is None else self.found(contact, now)
        search.running = False
        if contact is None or contact.node_id != node_id:
            delay = min(FIRST_SEARCH_RETRY * 2.0 ** min(search.failures, 20), LONGEST_SEARCH_RETRY)
            search.failures += 1
            search.due = now + delay * self._rng.uniform(0.8, 1.2)
            return None
        del self._searches[node_id]
        return self.found(contact, now)

    def next_deadline(self) -> float | None:
        """When `take_due` may give something; None if nothing waits, or enough is running."""
        running = sum(search.running for search in self._searches.values())
        if running >= self._in_flight:
            return None
        return min((search.due for search in self._searches.values() if not search.running), default=None)

    def stats(self) -> dict[str, int]:
        """How many nodes are admitted, remembered as not trusted, and searched for."""
        return {"admitted": len(self._admitted), "untrusted": len(self._untrusted), "searched": len(self._searches)}

    # Inside

    def _accepts(self, node_id: NodeId) -> bool:
        return node_id in self._own or self._trust.is_trusted(self._kind, node_id)

    def _admit(self, contact: Contact) -> Admitted | None:
        node_id = contact.node_id
        self._untrusted.pop(node_id, None)
        self._searches.pop(node_id, None)
        known = self._admitted.get(node_id)
        if known is not None and contact.source is not Source.OWN and contact.seq <= known.seq:
            return None
        self._admitted[node_id] = contact
        return Admitted(contact)

    def _lapse(self, node_id: NodeId, now: float) -> None:
        """Trust ended: keep the record in case it comes back, and search no more."""
        if node_id in self._own:
            return
        self._searches.pop(node_id, None)
        contact = self._admitted.pop(node_id, None)
        if contact is not None:
            self._remember(contact, now)

    def _remember(self, contact: Contact, now: float) -> None:
        self._untrusted.pop(contact.node_id, None)
        self._admitted.pop(contact.node_id, None)
        self._untrusted[contact.node_id] = _Remembered(contact, now + self._memory)
        while len(self._untrusted) > MAX_REMEMBERED:
            self._untrusted.popitem(last=False)
