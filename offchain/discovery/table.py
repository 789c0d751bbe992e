"""The Kademlia table: whom we know, sorted by distance from us.

A bucket for each log distance (256 is half of all nodes, 255 a quarter, ...) holds up to 16 nodes, longest known first,
and 10 replacements. A node that was heard of gets in unverified, if there is room; it is pinged, and only one that
answered is handed on to others. Which node to ping when is decided here too (`start_checks`), in three classes, as geth
does it:

    new     at once, a few at a time
    fast    one of those that answered once or failed last, every few seconds
    slow    one of the others, at a third of that pace

Hostile company: a bucket takes at most half of its nodes from those who contacted us, the rest must have been found by
asking; and at most 2 nodes of a /24 (or /64), the whole table at most 10 of a /24 (or /48).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from heapq import nsmallest
from operator import itemgetter
from random import Random

from offchain.discovery.address import Scope, UdpAddress, bucket_subnet, scope_of_text, table_subnet
from offchain.enr import Enr
from offchain.types import NodeId

BUCKET_SIZE = 16
MAX_REPLACEMENTS = 10
MAX_INBOUND = BUCKET_SIZE // 2
"""Nodes of a bucket that are there because they contacted us."""

MAX_PER_BUCKET_SUBNET = 2
MAX_PER_TABLE_SUBNET = 10
FAST_INTERVAL = 3.0
SLOW_INTERVAL = 9.0
_TRUSTED_CHECKS = 2
"""Answers in a row after which a node is checked at the slow pace."""


def log_distance(a: bytes, b: bytes) -> int:
    """0 for the same id, else 1 + the index of the highest bit in which they differ."""
    return (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).bit_length()


def xor_distance(a: bytes, b: bytes) -> int:
    """Kademlia's distance."""
    return int.from_bytes(a, "big") ^ int.from_bytes(b, "big")


@dataclass(slots=True)
class Entry:
    """A node of the table."""

    enr: Enr
    address: UdpAddress
    inbound: bool
    """Known only because it contacted us."""

    checks: int = 0
    """Answers in a row, cut to a third by a failure."""

    live: bool = False
    """Answered when last asked. Only such nodes are handed on."""

    checking: bool = False
    """A ping is under way."""

    added: float = 0.0

    @property
    def node_id(self) -> NodeId:
        """The node's id."""
        return self.enr.node_id


@dataclass(slots=True)
class _Bucket:
    entries: list[Entry] = field(default_factory=list)
    replacements: dict[NodeId, Entry] = field(default_factory=dict)
    """Newest last; the oldest goes when there are too many."""

    subnets: Counter[bytes] = field(default_factory=Counter)


@dataclass(slots=True)
class _Classes:
    new: list[Entry] = field(default_factory=list)
    fast: list[Entry] = field(default_factory=list)
    slow: list[Entry] = field(default_factory=list)


class Table:
    """The nodes that one node knows."""

    def __init__(self, local_id: NodeId, rng: Random, *, lan: bool = False) -> None:
        """With `lan`, private and loopback addresses are not limited per subnet."""
        self._local_id = local_id
        self._rng = rng
        self._lan = lan
        self._buckets: dict[int, _Bucket] = {}
        self._by_id: dict[NodeId, Entry] = {}
        self._subnets: Counter[bytes] = Counter()
        self._next_fast = 0.0
        self._next_slow = 0.0
        self._classes: _Classes | None = None
        self._sorted_at = -1
        self._numbers: list[int] = []
        self._entries: list[Entry] = []
        """Live nodes in the order of their ids, which are the numbers."""

        self.pace = 1.0
        """Checks are so many times as far apart as usual."""

        self.changes = 0
        """Counts what happens to the live nodes: one more, one less, a newer record."""

    # What is in it

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, node_id: NodeId) -> bool:
        return node_id in self._by_id

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._by_id.values())

    def get(self, node_id: NodeId) -> Entry | None:
        """The entry of a node; replacements are not in the table."""
        return self._by_id.get(node_id)

    @property
    def live_count(self) -> int:
        """Nodes that answered when last asked."""
        return sum(entry.live for entry in self._by_id.values())

    def replacements(self, distance: int) -> list[Entry]:
        """Who waits for a place at this log distance, newest last."""
        bucket = self._buckets.get(distance)
        return list(bucket.replacements.values()) if bucket else []

    def at_distances(self, distances: Iterable[int]) -> list[Entry]:
        """The live nodes at these log distances from us, those of each in random order."""
        found: list[Entry] = []
        for distance in dict.fromkeys(distances):
            bucket = self._buckets.get(distance)
            if bucket:
                live = [entry for entry in bucket.entries if entry.live]
                self._rng.shuffle(live)
                found += live
        return found

    def live_at(self, center: bytes, distance: int) -> list[Entry]:
        """The live nodes at a log distance (1 to 256) from any id: a range in the order of ids."""
        if self._sorted_at != self.changes:
            self._sorted_at = self.changes
            live = [(int.from_bytes(entry.enr.node_id, "big"), entry) for entry in self._by_id.values() if entry.live]
            live.sort(key=itemgetter(0))
            self._numbers, self._entries = [number for number, _ in live], [entry for _, entry in live]
        low = (int.from_bytes(center, "big") >> distance - 1 ^ 1) << distance - 1
        begin = bisect_left(self._numbers, low)
        return self._entries[begin : bisect_left(self._numbers, low + (1 << distance - 1), begin)]

    def closest(self, target: NodeId, count: int = BUCKET_SIZE, *, live_only: bool = True) -> list[Entry]:
        """The nodes closest to a target, closest first."""
        entries = [entry for entry in self._by_id.values() if entry.live or not live_only]
        goal = int.from_bytes(target, "big")
        return nsmallest(count, entries, key=lambda entry: int.from_bytes(entry.enr.node_id, "big") ^ goal)

    # What changes it

    def add(self, enr: Enr, address: UdpAddress, now: float, *, inbound: bool = False, live: bool = False) -> bool:
        """A node was heard of, contacted us (`inbound`), or just answered (`live`). Whether it is in the table now.

        One that is there already takes a newer record, and is no longer `inbound` once it was found otherwise. One for
        which there is no room becomes a replacement.
        """
        if enr.node_id == self._local_id:
            return False
        entry = self._by_id.get(enr.node_id)
        if entry is not None:
            self.update(enr, address)
            entry.inbound = entry.inbound and inbound
            return True
        bucket = self._buckets.setdefault(log_distance(self._local_id, enr.node_id), _Bucket())
        entry = Entry(enr, address, inbound, checks=int(live), live=live, added=now)
        if len(bucket.entries) < BUCKET_SIZE and self._admits(bucket, entry):
            self._insert(bucket, entry)
            return True
        self._keep_as_replacement(bucket, entry)
        return False

    def has_room(self, enr: Enr, address: UdpAddress, *, inbound: bool) -> bool:
        """Whether `add` would take in a node that is not there, rather than make it a replacement."""
        bucket = self._buckets.get(log_distance(self._local_id, enr.node_id))
        return bucket is None or self._admits(bucket, Entry(enr, address, inbound))

    def update(self, enr: Enr, address: UdpAddress) -> bool:
        """A node of the table has this record. Whether it was newer; at another address, the node is checked anew."""
        entry = self._by_id.get(enr.node_id)
        if entry is None or enr.seq <= entry.enr.seq:
            return False
        if address == entry.address:
            entry.enr = enr
            self.changes += 1
            return True
        bucket = self._bucket_of(entry.node_id)
        self._remove(bucket, entry)
        moved = Entry(enr, address, entry.inbound, added=entry.added)
        if self._admits(bucket, moved):
            self._insert(bucket, moved)
        return True

    def succeeded(self, node_id: NodeId) -> None:
        """The node answered."""
        entry = self._by_id.get(node_id)
        if entry is not None:
            if not entry.live:
                self.changes += 1
            if not self._is_slow(entry):
                self._classes = None
            entry.checks += 1
            entry.live = True
            entry.checking = False

    def failed(self, node_id: NodeId) -> None:
        """The node did not answer. It is no longer handed on, and goes if it had not proved itself."""
        entry = self._by_id.get(node_id)
        if entry is None:
            return
        self._classes = None
        self.changes += 1
        entry.checks //= 3
        entry.live = False
        entry.checking = False
        if entry.checks == 0:
            self.remove(node_id)

    def unchecked(self, node_id: NodeId) -> None:
        """The ping that `start_checks` asked for was not sent."""
        entry = self._by_id.get(node_id)
        if entry is not None:
            entry.checking = False

    def remove(self, node_id: NodeId) -> None:
        """Take a node out; one of its bucket's replacements moves up, unverified."""
        entry = self._by_id.get(node_id)
        if entry is None:
            return
        bucket = self._bucket_of(node_id)
        self._remove(bucket, entry)
        candidates = list(bucket.replacements.values())
        self._rng.shuffle(candidates)
        for candidate in candidates:
            if self._admits(bucket, candidate):
                candidate.live, candidate.checks, candidate.checking = False, 0, False
                self._insert(bucket, candidate)
                return

    # Whom to ping when

    def start_checks(self, now: float, room: int) -> list[Entry]:
        """The nodes to ping now, at most `room`; each is `checking` until `succeeded` or `failed` is called."""
        classes = self._by_class()
        if not classes.new and now < self._next_fast and now < self._next_slow:
            return []
        due = [entry for entry in classes.new if not entry.checking][: max(room, 0)]
        for slow in (False, True):
            if now < (self._next_slow if slow else self._next_fast):
                continue
            # Not to the beat: who knows the beat could answer then only.
            delay = (SLOW_INTERVAL if slow else FAST_INTERVAL) * self.pace * (0.5 + self._rng.random())
            if slow:
                self._next_slow = now + delay
            else:
                self._next_fast = now + delay
            proven = [entry for entry in (classes.slow if slow else classes.fast) if not entry.checking]
            if proven and len(due) < room:
                due.append(self._rng.choice(proven))
        for entry in due:
            entry.checking = True
        return due

    def next_check(self) -> float:
        """When `start_checks` is due, apart from new nodes, which are due at once."""
        return min(self._next_fast, self._next_slow) if self._by_class().fast else self._next_slow

    # Inside

    def _by_class(self) -> _Classes:
        """The nodes by class; those that are being checked are in theirs."""
        if self._classes is None:
            classes = self._classes = _Classes()
            for entry in self._by_id.values():
                if entry.checks:
                    (classes.slow if self._is_slow(entry) else classes.fast).append(entry)
                elif not entry.live:
                    classes.new.append(entry)
        return self._classes

    @staticmethod
    def _is_slow(entry: Entry) -> bool:
        return entry.live and entry.checks > _TRUSTED_CHECKS

    def _bucket_of(self, node_id: NodeId) -> _Bucket:
        return self._buckets[log_distance(self._local_id, node_id)]

    def _limited(self, entry: Entry) -> bool:
        return not (self._lan and scope_of_text(entry.address[0]) is not Scope.PUBLIC)

    def _admits(self, bucket: _Bucket, entry: Entry) -> bool:
        if len(bucket.entries) >= BUCKET_SIZE:
            return False
        if entry.inbound and sum(other.inbound for other in bucket.entries) >= MAX_INBOUND:
            return False
        if not self._limited(entry):
            return True
        ip = entry.address[0]
        return (
            bucket.subnets[bucket_subnet(ip)] < MAX_PER_BUCKET_SUBNET
            and self._subnets[table_subnet(ip)] < MAX_PER_TABLE_SUBNET
        )

    def _insert(self, bucket: _Bucket, entry: Entry) -> None:
        bucket.entries.append(entry)
        bucket.replacements.pop(entry.node_id, None)
        self._by_id[entry.node_id] = entry
        self._classes = None
        self.changes += 1
        if self._limited(entry):
            bucket.subnets[bucket_subnet(entry.address[0])] += 1
            self._subnets[table_subnet(entry.address[0])] += 1

    def _remove(self, bucket: _Bucket, entry: Entry) -> None:
        bucket.entries.remove(entry)
        del self._by_id[entry.node_id]
        self._classes = None
        self.changes += 1
        if self._limited(entry):
            _take_one(bucket.subnets, bucket_subnet(entry.address[0]))
            _take_one(self._subnets, table_subnet(entry.address[0]))

    def _keep_as_replacement(self, bucket: _Bucket, entry: Entry) -> None:
        known = bucket.replacements.pop(entry.enr.node_id, None)
        if known is not None:
            if known.enr.seq > entry.enr.seq:
                entry.enr, entry.address = known.enr, known.address
            entry.inbound = entry.inbound and known.inbound
        if (known is None or known.address != entry.address) and self._limited(entry):
            subnet = bucket_subnet(entry.address[0])
            same = sum([bucket_subnet(other.address[0]) == subnet for other in bucket.replacements.values()])
            if same >= MAX_PER_BUCKET_SUBNET:
                return
        bucket.replacements[entry.enr.node_id] = entry
        if len(bucket.replacements) > MAX_REPLACEMENTS:
            del bucket.replacements[next(iter(bucket.replacements))]


def _take_one(counter: Counter[bytes], key: bytes) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
