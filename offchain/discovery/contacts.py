"""The nodes we deal with: who is there, and which of their records is the newest.

A record counts once its signature is checked; a node counts once it answered us at the address in its record. Only such
nodes are handed on: to other nodes by the table, to the program as `NodeVerified`.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from random import Random

from offchain.discovery.address import UdpAddress
from offchain.discovery.calls import Overloaded
from offchain.discovery.message import Pong
from offchain.discovery.requests import Requests
from offchain.discovery.table import Table
from offchain.discovery.wire import Remote
from offchain.enr import Enr
from offchain.types import Kind, NodeId

MAX_CHECKS = 16
"""Nodes pinged at a time to see whether they are there."""

MAX_QUEUED = 256
"""Nodes that wait to be pinged; others are passed over."""

MAX_RECORDS = 4_096
"""Records remembered of nodes that made a session with us, and of nodes that answered us; the oldest goes."""

MAX_EVENTS = 4_096
"""Events that wait to be fetched; the oldest is lost."""


@dataclass(frozen=True, slots=True)
class NodeVerified:
    """A node answered at its record's address, for the first time or with a newer record."""

    enr: Enr


class Contacts:
    """The table, what is remembered beside it, and the pings that keep both true."""

    def __init__(self, local_id: NodeId, requests: Requests, rng: Random, *, lan: bool) -> None:
        """`on_pong`, an attribute, is called with each PONG to a PING of ours."""
        self.table = Table(local_id, rng, lan=lan)
        self.on_pong: Callable[[Remote, Pong, float], None] = lambda remote, pong, now: None
        self.news = 0
        """Counts the nodes verified."""

        self._local_id = local_id
        self._requests = requests
        self._records: OrderedDict[NodeId, Enr] = OrderedDict()
        self._verified: OrderedDict[NodeId, Enr] = OrderedDict()
        self._queued: OrderedDict[NodeId, tuple[Enr, bool]] = OrderedDict()
        self._checking: set[NodeId] = set()
        self._refreshing: set[NodeId] = set()
        self._events: deque[NodeVerified] = deque(maxlen=MAX_EVENTS)

    # What is known

    def known(self, node_id: NodeId) -> Enr | None:
        """The newest record that we have of a node."""
        entry = self.table.get(node_id)
        kept = self._records.get(node_id)
        if entry is None:
            return kept
        return kept if kept is not None and kept.seq > entry.enr.seq else entry.enr

    def verified(self, kind: Kind) -> list[Enr]:
        """The records of nodes of a kind that answered us, as far as they are remembered."""
        return [enr for enr in self._verified.values() if kind in enr.kinds]

    def is_verified(self, enr: Enr) -> bool:
        """Whether the node answered us with this record or a newer one."""
        known = self._verified.get(enr.node_id)
        return known is not None and known.seq >= enr.seq

    def next_event(self) -> NodeVerified | None:
        """The next thing to tell the program."""
        return self._events.popleft() if self._events else None

    def tell_again(self, node_id: NodeId) -> None:
        """More is known of a verified node now than when the program was told of it: tell again."""
        enr = self._verified.get(node_id)
        if enr is not None:
            self._events.append(NodeVerified(enr))

    def verified_records(self, node_ids: Collection[NodeId]) -> list[Enr]:
        """The records of those of these nodes that answered us."""
        return [self._verified[node_id] for node_id in node_ids if node_id in self._verified]

    def live_records(self) -> list[Enr]:
        """The records of the nodes of the table that answered when last asked."""
        return [entry.enr for entry in self.table if entry.live]

    def sizes(self) -> dict[str, int]:
        """How much is held: each of these is bounded."""
        return {
            "table": len(self.table),
            "live": self.table.live_count,
            "records": len(self._records),
            "verified": len(self._verified),
            "queued_checks": len(self._queued),
        }

    # What happens

    def contacted_us(self, enr: Enr, source: UdpAddress, now: float) -> None:
        """A node made a session with us. If it says that it is where it is, see whether it can be reached there."""
        self._keep(enr)
        remote = self._requests.remote(enr)
        if remote is None or remote.address != source:
            return
        self.table.update(enr, source)
        entry = self.table.get(enr.node_id)
        if entry is None and not self.table.has_room(enr, source, inbound=True):
            self.table.add(enr, source, now, inbound=True)  # as a replacement: it is pinged if its turn comes
        elif entry is None or not entry.live:
            self.queue_check(enr, inbound=True)
            self.run_checks(now)

    def named(self, enr: Enr, now: float, *, wanted: bool) -> None:
        """Somebody named the node, as it may. It is pinged if the table takes it, or it is `wanted`."""
        remote = self._requests.remote(enr)
        if remote is None or enr.node_id == self._local_id:
            return
        in_table = self.table.add(enr, remote.address, now)
        if wanted and not in_table and not self.is_verified(enr):
            self.queue_check(enr, inbound=False)

    def answered(self, enr: Enr, now: float) -> None:
        """The node of a record, whom we asked, answered at the record's address."""
        remote = self._requests.remote(enr)
        if remote is not None:
            self._on_live(enr)
            # That we asked it makes no difference to how we came to know it.
            entry = self.table.get(enr.node_id)
            self.table.add(enr, remote.address, now, inbound=entry is not None and entry.inbound, live=True)

    def has_newer(self, known: Enr, address: UdpAddress, now: float) -> None:
        """A node says that it has a newer record than we: ask for it, once at a time."""
        node_id = known.node_id
        if node_id in self._refreshing or len(self._refreshing) >= MAX_CHECKS:
            return

        def heard(records: list[Enr] | None, then: float) -> None:
            self._refreshing.discard(node_id)
            for enr in records or ():
                self.take_newer(enr, address, then)

        self._refreshing.add(node_id)
        try:
            self._requests.find_node(Remote(node_id, known.public, address), (0,), now, heard)
        except Overloaded:
            self._refreshing.discard(node_id)

    def take_newer(self, enr: Enr, address: UdpAddress, now: float) -> None:
        """A node at this address gave its record."""
        was_known = enr.node_id in self.table or enr.node_id in self._verified
        self._keep(enr)
        remote = self._requests.remote(enr)
        if remote is None:
            return
        self.table.update(enr, remote.address)
        if remote.address == address:
            self._on_live(enr)
        elif was_known:
            self.queue_check(enr, inbound=True)
        self.run_checks(now)

    def ping(self, enr: Enr, now: float, done: Callable[[Pong | None, float], None], *, retries: int = 1) -> None:
        """Ping a node, and draw the conclusions. ValueError if its record names no address that we use."""
        remote = self._requests.needed_remote(enr)

        def heard(pong: Pong | None, then: float) -> None:
            if pong is None:
                self.table.failed(enr.node_id)
            else:
                self._on_live(enr)
                known = self.known(enr.node_id) or enr
                if pong.enr_seq > known.seq:
                    self.has_newer(known, remote.address, then)
                self.on_pong(remote, pong, then)
            done(pong, then)

        self._requests.ping(remote, now, heard, retries=retries)

    # Checks

    def queue_check(self, enr: Enr, *, inbound: bool) -> None:
        """Ping the node when there is room."""
        if enr.node_id in self._queued or len(self._queued) < MAX_QUEUED:
            self._queued[enr.node_id] = (enr, inbound)

    def run_checks(self, now: float) -> None:
        """Ping those who wait, and those of the table whose turn it is."""
        while self._queued and len(self._checking) < MAX_CHECKS:
            _, (enr, inbound) = self._queued.popitem(last=False)
            self._check(enr, inbound, now)
        for entry in self.table.start_checks(now, MAX_CHECKS - len(self._checking)):
            self._check(entry.enr, entry.inbound, now)

    def _check(self, enr: Enr, inbound: bool, now: float) -> None:
        node_id = enr.node_id
        remote = self._requests.remote(enr)
        if node_id in self._checking or node_id == self._local_id or remote is None:
            return

        def heard(pong: Pong | None, then: float) -> None:
            self._checking.discard(node_id)
            if pong is not None:
                self.table.add(enr, remote.address, then, inbound=inbound, live=True)
            self.run_checks(then)

        self._checking.add(node_id)
        try:
            self.ping(enr, now, heard)
        except Overloaded:
            self._checking.discard(node_id)
            self.table.unchecked(node_id)

    def _keep(self, enr: Enr) -> None:
        known = self._records.pop(enr.node_id, None)
        self._records[enr.node_id] = known if known is not None and known.seq > enr.seq else enr
        if len(self._records) > MAX_RECORDS:
            self._records.popitem(last=False)

    def _on_live(self, enr: Enr) -> None:
        self._keep(enr)
        self.table.succeeded(enr.node_id)
        if self.is_verified(enr):
            return
        self._verified[enr.node_id] = enr
        self._verified.move_to_end(enr.node_id)
        if len(self._verified) > MAX_RECORDS:
            self._verified.popitem(last=False)
        self.news += 1
        self._events.append(NodeVerified(enr))
