"""The advertiser: keeps this node advertised under one topic, at five registrars in each bucket of the service table.

    asking --admitted--> active --nine tenths of the lifetime--> another registrar, or the same anew
       ^ \\--ticket--> waiting --wait is over--> asking, with the ticket

A registrar is dropped, and left alone for a while, when it doesn't answer, says something impossible, or has let us
wait for a lifetime and a half or ten times. A new record of ours makes tickets void, and what is advertised old:
everybody is asked anew.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum
from random import Random

from offchain.discovery.topics.admission import LIFETIME
from offchain.discovery.topics.registrar import Confirmation
from offchain.discovery.topics.service_table import BUCKETS, Exclusions, ServiceTable
from offchain.enr import Enr
from offchain.types import NodeId

K_REGISTER = 5
MAX_ASKING = 16
"""Requests under way."""

ENOUGH_ASKING = MAX_ASKING // 2
"""Once there were as many as may be, no others are begun before there are so few."""

MAX_TRIES = 10
MAX_WAITED = 1.5
"""Lifetimes to wait for one registrar."""

SHORTEST_LIFETIME = 60.0
"""Who advertises for less only wants us to ask often."""

MAX_TICKET = 400
"""Bytes of a ticket that still fits into a handshake packet with the rest of REGTOPIC."""

RENEW_AT = 0.9
LOOK_INTERVAL = 10.0
"""Seconds after which buckets with too few registrars are looked through again, if nothing happens before."""

JITTER = 1.0
"""Seconds after the wait at which the ticket is used, at most: it is good for five."""


class State(Enum):
    """Of a registration."""

    ASKING = "asking"
    WAITING = "waiting"
    ACTIVE = "active"


@dataclass(slots=True)
class Registration:
    """What goes on between us and one registrar."""

    enr: Enr
    bucket: int
    state: State
    since: float
    due: float = 0.0
    """When to ask again."""

    ticket: bytes = b""
    tries: int = 0
    expires: float = 0.0
    """When the ad goes, while it is active."""

    outdated: bool = False
    """What is asked is asked with a record that is no longer ours."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Send REGTOPIC."""

    enr: Enr
    ticket: bytes


class Advertiser:
    """One topic's."""

    def __init__(
        self,
        table: ServiceTable,
        exclusions: Exclusions,
        rng: Random,
        *,
        lifetime: float = LIFETIME,
        registrars: int = K_REGISTER,
    ) -> None:
        """The table is filled by the caller; call `next_asks` after that. `registrars` are sought in each bucket."""
        self.table = table
        self._exclusions = exclusions
        self._rng = rng
        self._lifetime = lifetime
        self._registrars = registrars
        self._registrations: dict[NodeId, Registration] = {}
        self._in_bucket: Counter[int] = Counter()
        """Registrations by the number of the bucket."""

        self._asking = 0
        self._seen_changes = -1
        self._was_full = False
        self._due: float | None = None
        """When the first registration is due, if known."""

        self._look_at = 0.0
        """Until then, and while the table gets no new nodes, there is nothing to ask."""

    @property
    def active(self) -> int:
        """Registrars that advertise us now."""
        return sum(each.state is State.ACTIVE for each in self._registrations.values())

    @property
    def pending(self) -> int:
        """Registrars that were asked."""
        return len(self._registrations) - self.active

    def next_asks(self, now: float) -> list[Ask]:
        """Whom to ask now; each must be reported with `answered` or `failed`."""
        if now < self._look_at and self.table.changes == self._seen_changes:
            return []
        if self._must_wait():
            return []
        self._seen_changes = self.table.changes
        asks: list[Ask] = []
        ending: dict[int, list[Registration]] = {}
        if self.next_deadline() <= now:
            self._due = None
            for node_id, registration in list(self._registrations.items()):
                if registration.due > now or registration.state is State.ASKING:
                    continue
                if registration.state is State.WAITING:
                    if self._asking < MAX_ASKING:
                        asks.append(self._ask(registration))
                elif registration.expires <= now:
                    self._forget(node_id)
                else:
                    ending.setdefault(registration.bucket, []).append(registration)
        for number in BUCKETS:
            if self._asking >= MAX_ASKING:
                break
            if number in ending or self._in_bucket[number] < min(self._registrars, self.table.size(number)):
                asks += self._fill(number, ending.get(number, []), now)
        self._was_full = self._asking >= MAX_ASKING
        self._look_at = 0.0 if self._was_full else min(self.next_deadline(), now + LOOK_INTERVAL)
        return asks

    def next_deadline(self) -> float:
        """When `next_asks` is due; also after an answer, and after the table got new nodes."""
        if self._must_wait():
            return float("inf")
        if self._due is None:
            dues = [each.due for each in self._registrations.values() if each.state is not State.ASKING]
            self._due = min(dues, default=float("inf"))
        return self._due

    def answered(self, node_id: NodeId, answer: Confirmation, now: float) -> None:
        """A registrar answered."""
        registration = self._registrations.get(node_id)
        if registration is None or registration.state is not State.ASKING:
            return
        self._asking -= 1
        if registration.outdated:
            registration.outdated = False
            self._begin_anew(registration, now)
        elif answer.ticket:
            self._on_ticket(registration, answer, now)
        elif answer.seconds < SHORTEST_LIFETIME:
            self._drop(node_id, now)
        else:
            lifetime = min(answer.seconds, self._lifetime)
            registration.state = State.ACTIVE
            registration.ticket = b""
            registration.expires = now + lifetime
            registration.due = now + max(lifetime - (1 - RENEW_AT) * self._lifetime, 1.0)
            self._comes_due(registration)
            self._exclusions.forgive(node_id)

    def failed(self, node_id: NodeId, now: float) -> None:
        """A registrar did not answer, or nothing that makes sense."""
        registration = self._registrations.get(node_id)
        if registration is not None and registration.state is State.ASKING:
            self._asking -= 1
            self._drop(node_id, now)

    def record_changed(self, now: float) -> None:
        """Our record is a new one: tickets are void, ads are old."""
        for registration in self._registrations.values():
            if registration.state is State.ASKING:
                registration.outdated = True
            else:
                self._begin_anew(registration, now)

    # Inside

    def _begin_anew(self, registration: Registration, now: float) -> None:
        registration.state = State.WAITING
        registration.ticket = b""
        registration.tries = 0
        registration.due = registration.since = now
        self._comes_due(registration)

    def _must_wait(self) -> bool:
        return self._asking >= MAX_ASKING or (self._was_full and self._asking > ENOUGH_ASKING)

    def _comes_due(self, registration: Registration) -> None:
        self._look_at = min(self._look_at, registration.due)
        if self._due is not None:
            self._due = min(self._due, registration.due)

    def _on_ticket(self, registration: Registration, answer: Confirmation, now: float) -> None:
        due = now + answer.seconds + self._rng.random() * JITTER
        waited = due - registration.since
        impossible = len(answer.ticket) > MAX_TICKET or answer.seconds > self._lifetime
        if impossible or registration.tries >= MAX_TRIES or waited > MAX_WAITED * self._lifetime:
            self._drop(registration.enr.node_id, now)
            return
        registration.state = State.WAITING
        registration.ticket = answer.ticket
        registration.due = due
        self._comes_due(registration)

    def _fill(self, number: int, ending: list[Registration], now: float) -> list[Ask]:
        """Ask others in a bucket, if it wants registrars; if there are none, ask those again whose time runs out."""
        missing = self._registrars - (self._in_bucket[number] - len(ending))
        if missing <= 0:
            for each in ending:
                each.due = each.expires
            return []
        asks: list[Ask] = []
        for enr in self.table.members(number, self._registrations):
            if len(asks) >= missing or self._asking >= MAX_ASKING:
                break
            if self._exclusions.holds(enr.node_id, now):
                continue
            registration = Registration(enr, number, State.ASKING, now)
            self._registrations[enr.node_id] = registration
            self._in_bucket[number] += 1
            asks.append(self._ask(registration))
        for registration in ending:
            if self._asking >= MAX_ASKING:
                break
            if len(asks) < missing:
                registration.since, registration.tries, registration.ticket = now, 0, b""
                asks.append(self._ask(registration))
            else:
                registration.due = registration.expires
        return asks

    def _ask(self, registration: Registration) -> Ask:
        newest = self.table.record_of(registration.enr.node_id)
        if newest is not None:
            registration.enr = newest
        registration.state = State.ASKING
        registration.tries += 1
        self._asking += 1
        return Ask(registration.enr, registration.ticket)

    def _forget(self, node_id: NodeId) -> None:
        self._in_bucket[self._registrations.pop(node_id).bucket] -= 1

    def _drop(self, node_id: NodeId, now: float) -> None:
        self._look_at = now
        self._forget(node_id)
        self.table.remove(node_id)
        self._exclusions.add(node_id, now)
