"""How a node finds others: bootnodes first, then lookups, eagerly while somebody wants nodes of a kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from random import Random

from offchain.discovery.calls import Overloaded
from offchain.discovery.contacts import Contacts
from offchain.discovery.lookup import Lookup, lookup_distances
from offchain.discovery.message import Pong
from offchain.discovery.requests import Requests
from offchain.discovery.walk import Pacer
from offchain.enr import Enr
from offchain.types import Kind, NodeId

MIN_SEEDS = 3
"""A lookup that could begin with fewer live nodes asks the bootnodes too."""

MAX_LOOKUPS = 64
"""Lookups under way; what comes on top is Overloaded."""

ABSENT_INTERVAL = 30.0
"""Seconds after which a bootnode that did not answer is asked again by a node that has company without it."""

PRESENT_INTERVAL = 300.0
"""The same for one that did answer, if it is not in the table."""

_OWN_NEIGHBOURHOOD = 4
"""Every so many walks go to our own id, so that our neighbours know us and we them; the others anywhere."""


class Explorer:
    """Bootstrap, lookups and the walk."""

    def __init__(
        self,
        local_id: NodeId,
        requests: Requests,
        contacts: Contacts,
        bootnodes: Sequence[Enr],
        rng: Random,
        stats: Counter[str],
    ) -> None:
        self._local_id = local_id
        self._requests = requests
        self._contacts = contacts
        self._bootnodes = [enr for enr in bootnodes if enr.node_id != local_id]
        self._configured = list(self._bootnodes)
        self._answered: dict[NodeId, float] = {}
        """When each bootnode answered, unless it did not when it was asked last."""

        self._next_round = 0.0
        self._rng = rng
        self._stats = stats
        self._lookups = 0
        self._wanted: Counter[Kind] = Counter()
        self._booting = bool(self._bootnodes)
        self._boot_pacer = Pacer(start=0.4, floor=0.4, ceiling=8.0, eager=10)
        self._in_company = False
        self._walking = False
        self._walks = 0
        self._walk_pacer = _resting_pacer()

    def add_seeds(self, seeds: Iterable[Enr]) -> None:
        """Nodes known from before, to start from beside the bootnodes."""
        known = {self._local_id, *(enr.node_id for enr in self._bootnodes)}
        self._bootnodes += [enr for enr in seeds if enr.node_id not in known]
        self._booting = bool(self._bootnodes)

    # Time

    def handle_timeouts(self, now: float) -> None:
        """Seek the bootnodes, begin a walk: what is due."""
        alone = not len(self._contacts.table)
        if alone and self._bootnodes and not self._booting:
            self._booting = True
            self._boot_pacer.hurry(now)
        if self._booting and now >= self._boot_pacer.due:
            self._seek_bootnodes(now)
        elif self._in_company and now >= self._next_round:
            self._seek_absent(now)
        if alone:
            self._in_company = False
        elif not self._in_company:
            self._in_company = True
            self._walk_pacer.hurry(now)
        if self._in_company and not self._walking and now >= self._walk_pacer.due:
            self._walk(now)

    def next_deadline(self) -> float:
        """When `handle_timeouts` is due; also after anything that puts the first node into the table."""
        due = self._boot_pacer.due if self._booting else float("inf")
        if self._in_company:
            if self._configured and not self._booting:
                due = self._next_round
            return due if self._walking else min(due, self._walk_pacer.due)
        return 0.0 if self._contacts.table else due

    def rest(self, due: float) -> None:
        """Go on like a node that has had a full table for long: it walks again only then."""
        self._booting = False
        self._in_company = True
        self._walk_pacer.rest(due)

    # Who looks for what

    def want(self, kind: Kind, now: float) -> None:
        """Somebody looks for nodes of a kind: walk eagerly until `unwant`."""
        if not self._wanted:
            self._walk_pacer = _eager_pacer()
        self._wanted[kind] += 1
        self._walk_pacer.hurry(now)

    def unwant(self, kind: Kind) -> None:
        """One less looks for the kind."""
        self._wanted[kind] -= 1
        if not self._wanted[kind]:
            del self._wanted[kind]
        if not self._wanted:
            due = self._walk_pacer.due
            self._walk_pacer = _resting_pacer()
            self._walk_pacer.due = due

    # Lookups

    def lookup(
        self,
        target: NodeId,
        now: float,
        done: Callable[[Lookup, float], None],
        *,
        until: NodeId | None = None,
        seeds: Sequence[Enr] = (),
    ) -> None:
        """Look for the nodes closest to a target, or until a node is named. Overloaded if too many are under way.

        It begins with the seeds if there are any, else with the closest nodes of the table.
        """
        if self._lookups >= MAX_LOOKUPS:
            raise Overloaded(f"{MAX_LOOKUPS} lookups are under way")
        self._lookups += 1
        self._stats["lookups"] += 1
        if not seeds:
            table = self._contacts.table
            seeds = [entry.enr for entry in table.closest(target)]
            if len(seeds) < MIN_SEEDS:
                seeds += [entry.enr for entry in table.closest(target, live_only=False)]
                seeds += self._bootnodes
        _Search(self, Lookup(target, self._local_id, seeds, until=until), done).advance(now)

    def find(self, node_id: NodeId, now: float, done: Callable[[Enr | None, float], None]) -> None:
        """Look for a node by its id. Its record: from itself if it answers, else the newest that was found; or None."""
        known = self._contacts.known(node_id)

        def told(enr: Enr | None, then: float) -> None:
            if enr is not None:
                done(enr, then)
                return
            try:
                self.lookup(node_id, then, found, until=node_id)
            except Overloaded:
                done(known, then)

        def found(lookup: Lookup, then: float) -> None:
            enr = lookup.record_of(node_id)
            if enr is None or (known is not None and known.seq > enr.seq):
                enr = known
            if enr is None or enr is known:
                done(enr, then)
                return
            newest = enr
            self._own_record(newest, then, lambda own, at: done(own or newest, at))

        if known is None:
            self.lookup(node_id, now, found, until=node_id)
        else:
            self._own_record(known, now, told)

    def _own_record(self, enr: Enr, now: float, done: Callable[[Enr | None, float], None]) -> None:
        """Ask a node for its record; None if it doesn't answer."""
        remote = self._requests.remote(enr)
        if remote is None:
            done(None, now)
            return

        def heard(records: list[Enr] | None, then: float) -> None:
            if records is None:
                done(None, then)
                return
            newest = max([enr, *records], key=lambda each: each.seq)
            self._contacts.answered(enr, then)
            self._contacts.take_newer(newest, remote.address, then)
            done(newest, then)

        try:
            self._requests.find_node(remote, (0,), now, heard)
        except Overloaded:
            done(None, now)

    def query(self, enr: Enr, lookup: Lookup, now: float, advance: Callable[[float], None]) -> None:
        """Ask a node on behalf of a lookup."""
        remote = self._requests.remote(enr)
        if remote is None:
            lookup.failed(enr.node_id)
            return

        def heard(records: list[Enr] | None, then: float) -> None:
            if records is None:
                lookup.failed(enr.node_id)
                self._contacts.table.failed(enr.node_id)
            else:
                lookup.answered(enr.node_id, records)
                self._contacts.answered(enr, then)
                for named in records:
                    self._contacts.named(named, then, wanted=not self._wanted.keys().isdisjoint(named.kinds))
                self._contacts.run_checks(then)
            advance(then)

        try:
            self._requests.find_node(remote, lookup_distances(enr.node_id, lookup.target), now, heard)
        except Overloaded:
            lookup.failed(enr.node_id)

    def lookup_over(self) -> None:
        """One less is under way."""
        self._lookups -= 1

    # Inside

    def _seek_bootnodes(self, now: float) -> None:
        self._boot_pacer.done(now, news=False)
        self._next_round = now + ABSENT_INTERVAL
        self._ask_bootnodes(self._bootnodes, now, lost=False)

    def _seek_absent(self, now: float) -> None:
        """Ask bootnodes that we have lost: the network may be in two parts, each of which has company enough."""
        self._next_round = now + ABSENT_INTERVAL
        table = self._contacts.table
        self._ask_bootnodes(
            [
                enr
                for enr in self._configured
                if not ((entry := table.get(enr.node_id)) and entry.live)
                and now >= self._answered.get(enr.node_id, -PRESENT_INTERVAL) + PRESENT_INTERVAL
            ],
            now,
            lost=True,
        )

    def _ask_bootnodes(self, bootnodes: Iterable[Enr], now: float, *, lost: bool) -> None:
        for enr in bootnodes:
            if self._requests.remote(enr) is None:
                continue
            try:
                self._contacts.ping(enr, now, self._bootnode_heard(enr, lost), retries=0)
            except Overloaded:
                return  # they are due again soon

    def _bootnode_heard(self, enr: Enr, lost: bool) -> Callable[[Pong | None, float], None]:
        def heard(pong: Pong | None, then: float) -> None:
            if pong is None:
                self._answered.pop(enr.node_id, None)
                return
            returned = lost and enr.node_id not in self._answered
            self._booting = False
            self._answered[enr.node_id] = then
            self._contacts.answered(enr, then)
            if returned:
                self._join_by(enr, then)

        return heard

    def _join_by(self, enr: Enr, now: float) -> None:
        """Find our neighbours among those whom a bootnode knows, which may be none of those whom we know."""
        try:
            self.lookup(self._local_id, now, lambda lookup, then: None, seeds=(enr,))
        except Overloaded:
            del self._answered[enr.node_id]  # it returns once more when it is asked next

    def _walk(self, now: float) -> None:
        self._walking = True
        before = self._gains()

        def over(_: Lookup, then: float) -> None:
            self._walking = False
            self._walk_pacer.done(then, news=self._gains() > before)

        to_self = self._walks % _OWN_NEIGHBOURHOOD == 0
        self._walks += 1
        try:
            self.lookup(self._local_id if to_self else NodeId(self._rng.randbytes(32)), now, over)
        except Overloaded:
            self._walking = False
            self._walk_pacer.done(now, news=False)

    def _gains(self) -> int:
        """What walks are for: nodes not met before while somebody looks for some, else a fuller table."""
        return self._contacts.news if self._wanted else self._contacts.table.live_count


class _Search:
    """A lookup and who waits for it."""

    __slots__ = ("_done", "_explorer", "_lookup", "_over")

    def __init__(self, explorer: Explorer, lookup: Lookup, done: Callable[[Lookup, float], None]) -> None:
        self._explorer = explorer
        self._lookup = lookup
        self._done = done
        self._over = False

    def advance(self, now: float) -> None:
        """Ask whom the lookup says; tell when it is over. Answers that come later change nothing."""
        while queries := self._lookup.next_queries():
            for enr in queries:
                self._explorer.query(enr, self._lookup, now, self.advance)
        if self._lookup.done and not self._over:
            self._over = True
            self._explorer.lookup_over()
            self._done(self._lookup, now)


def _resting_pacer() -> Pacer:
    """For a node that only keeps its table: a few rounds at the start, then up to half an hour apart."""
    return Pacer(start=0.5, floor=10.0, ceiling=1_800.0, eager=4)


def _eager_pacer() -> Pacer:
    """For a node that looks for others."""
    return Pacer(start=0.3, floor=1.0, ceiling=30.0, eager=8)
