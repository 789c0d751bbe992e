"""The table, by cases and against a model."""

from collections import Counter
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from offchain.discovery.address import bucket_subnet, table_subnet
from offchain.discovery.table import (
    BUCKET_SIZE,
    MAX_INBOUND,
    MAX_PER_BUCKET_SUBNET,
    MAX_PER_TABLE_SUBNET,
    MAX_REPLACEMENTS,
    Table,
    log_distance,
    xor_distance,
)
from offchain.enr import Enr
from tests.support.discovery import key, numbers_at, record

LOCAL = key(0).public.node_id


@pytest.fixture
def table():
    return Table(LOCAL, Random(1), lan=True)


def far(count, distance=256):
    return [record(number, port=30_000) for number in numbers_at(LOCAL, distance, count)]


def put(table, enr, address=("127.0.0.1", 9000), **how):
    return table.add(enr, address, 0.0, **how)


def test_distances():
    assert log_distance(LOCAL, LOCAL) == 0
    assert log_distance(bytes(32), bytes(31) + b"\1") == 1
    assert log_distance(bytes(32), b"\x80" + bytes(31)) == 256
    assert xor_distance(bytes(32), bytes(31) + b"\5") == 5


def test_a_bucket_takes_sixteen_and_ten_replacements(table):
    enrs = far(40)
    taken = [put(table, enr) for enr in enrs]

    assert taken == [True] * BUCKET_SIZE + [False] * 24
    assert len(table) == BUCKET_SIZE
    assert [entry.enr for entry in table.replacements(256)] == enrs[-MAX_REPLACEMENTS:]


def test_there_is_room_as_long_as_a_node_would_be_taken_in(table):
    enrs = far(20)
    for number, enr in enumerate(enrs):
        inbound = number < MAX_INBOUND + 2
        had_room = table.has_room(enr, ("127.0.0.1", 9000), inbound=inbound)
        assert put(table, enr, inbound=inbound) == had_room

    assert len(table) == BUCKET_SIZE
    assert table.has_room(far(1, 255)[0], ("127.0.0.1", 9000), inbound=True)


def test_we_are_not_in_our_own_table(table):
    assert not put(table, record(0))


def test_only_nodes_that_answered_are_handed_on(table):
    silent, speaking = far(2)
    put(table, silent)
    put(table, speaking)
    table.succeeded(speaking.node_id)

    assert [entry.enr for entry in table.at_distances([256])] == [speaking]
    assert [entry.enr for entry in table.closest(bytes(32))] == [speaking]
    assert len(table.closest(bytes(32), live_only=False)) == 2


def test_a_node_that_stops_answering_is_not_handed_on_and_goes_in_the_end(table):
    [enr] = far(1)
    put(table, enr)
    for _ in range(9):
        table.succeeded(enr.node_id)

    table.failed(enr.node_id)
    assert enr.node_id in table
    assert table.at_distances([256]) == []
    table.failed(enr.node_id)
    table.failed(enr.node_id)

    assert enr.node_id not in table


def test_a_new_node_that_does_not_answer_goes_at_once_and_a_replacement_moves_up_unverified(table):
    enrs = far(BUCKET_SIZE + 1)
    for enr in enrs:
        put(table, enr, live=True)

    table.remove(enrs[0].node_id)

    entry = table.get(enrs[-1].node_id)
    assert entry is not None
    assert not entry.live
    assert table.replacements(256) == []


def test_inbound_contacts_cannot_fill_a_bucket(table):
    enrs = far(60)
    for enr in enrs[:30]:
        put(table, enr, inbound=True, live=True)
    assert len(table) == MAX_INBOUND

    for enr in enrs[30:]:
        put(table, enr)
    assert len(table) == BUCKET_SIZE
    assert sum(entry.inbound for entry in table) == MAX_INBOUND


def test_inbound_contacts_that_are_found_otherwise_count_no_longer(table):
    enrs = far(MAX_INBOUND + 1)
    for enr in enrs[:-1]:
        put(table, enr, inbound=True)
    assert not put(table, enrs[-1], inbound=True)

    put(table, enrs[0])

    assert put(table, enrs[-1], inbound=True)


def test_a_full_table_of_replacements_is_not_flushed_into_the_bucket(table):
    enrs = far(BUCKET_SIZE + 40)
    for enr in enrs[:BUCKET_SIZE]:
        put(table, enr, live=True)
    for enr in enrs[BUCKET_SIZE:]:
        put(table, enr, inbound=True, live=True)

    assert {entry.enr for entry in table} == set(enrs[:BUCKET_SIZE])


def public_table():
    return Table(LOCAL, Random(1))


def test_two_of_a_subnet_in_a_bucket():
    table, enrs = public_table(), far(6)

    taken = [put(table, enr, (f"8.8.8.{n}", 9000)) for n, enr in enumerate(enrs)]

    assert taken == [True] * MAX_PER_BUCKET_SUBNET + [False] * 4
    assert put(table, far(7)[-1], ("8.8.9.1", 9000))


def test_ten_of_a_subnet_in_the_table():
    table = public_table()
    enrs = [enr for distance in range(249, 257) for enr in far(2, distance)]

    taken = [put(table, enr, ("8.8.8.8", 9000 + n)) for n, enr in enumerate(enrs)]

    assert sum(taken) == MAX_PER_TABLE_SUBNET == len(table)


def test_a_48_of_ipv6_is_one_neighbourhood_for_the_table():
    table = public_table()
    enrs = [enr for distance in range(249, 257) for enr in far(2, distance)]

    taken = [put(table, enr, (f"2a00:1:2:{n}::1", 9000)) for n, enr in enumerate(enrs)]

    assert sum(taken) == MAX_PER_TABLE_SUBNET


def test_leaving_makes_room_in_the_subnet():
    table, enrs = public_table(), far(3)
    for n, enr in enumerate(enrs[:2]):
        put(table, enr, (f"8.8.8.{n}", 9000))
    table.remove(enrs[0].node_id)

    assert put(table, enrs[2], ("8.8.8.3", 9000))


def test_a_lan_has_no_subnet_limits_but_public_addresses_in_it_do():
    table, enrs = Table(LOCAL, Random(1), lan=True), far(9)

    assert all(put(table, enr, ("10.0.0.1", 9000)) for enr in enrs[:4])
    assert sum(put(table, enr, ("8.8.8.8", 9000)) for enr in enrs[4:]) == MAX_PER_BUCKET_SUBNET


def test_a_newer_record_replaces_and_an_older_one_does_not(table):
    number = numbers_at(LOCAL, 256, 1)[0]
    put(table, record(number, seq=5), live=True)

    assert not table.update(record(number, seq=4), ("127.0.0.1", 9000))
    assert not table.update(record(number, seq=5), ("127.0.0.1", 9000))
    assert table.update(record(number, seq=6), ("127.0.0.1", 9000))

    entry = table.get(record(number).node_id)
    assert (entry.enr.seq, entry.live) == (6, True)


def test_a_node_that_moved_must_answer_at_its_new_address_first(table):
    number = numbers_at(LOCAL, 256, 1)[0]
    put(table, record(number, seq=5), live=True)

    table.update(record(number, seq=6), ("127.0.0.1", 9001))

    entry = table.get(record(number).node_id)
    assert (entry.enr.seq, entry.address[1], entry.live) == (6, 9001, False)


def test_a_node_that_moves_into_a_full_subnet_loses_its_place():
    table, numbers = public_table(), numbers_at(LOCAL, 256, 3)
    for n, number in enumerate(numbers[:2]):
        put(table, record(number), (f"8.8.8.{n}", 9000))
    put(table, record(numbers[2]), ("9.9.9.9", 9000))

    table.update(record(numbers[2], seq=2), ("8.8.8.3", 9000))

    assert record(numbers[2]).node_id not in table


def test_distances_asked_twice_are_answered_once(table):
    [enr] = far(1)
    put(table, enr, live=True)

    assert len(table.at_distances([256, 256, 256])) == 1


def test_new_nodes_are_checked_at_once_and_no_more_than_there_is_room(table):
    for enr in far(10):
        put(table, enr)

    first = table.start_checks(0.0, 4)
    second = table.start_checks(0.0, 16)

    assert len(first) == 4
    assert len(second) == 6
    assert {entry.node_id for entry in first}.isdisjoint(entry.node_id for entry in second)
    assert table.start_checks(0.0, 0) == []


def test_verified_nodes_are_checked_one_at_a_time_and_the_proven_seldom(table):
    fresh, *proven = far(6)
    put(table, fresh, live=True)
    for enr in proven:
        put(table, enr)
        for _ in range(5):
            table.succeeded(enr.node_id)
    counts = Counter()
    now = 0.0
    while now < 3_600:
        for entry in table.start_checks(now, 16):
            counts[entry.node_id] += 1
            entry.checking = False
        now = max(table.next_check(), now + 0.01)

    assert 800 < counts[fresh.node_id] < 1_600
    slow = sum(counts[enr.node_id] for enr in proven)
    assert 250 < slow < 550
    assert min(counts[enr.node_id] for enr in proven) > 20


def test_a_check_that_was_not_made_can_be_made_later(table):
    [enr] = far(1)
    put(table, enr)
    table.start_checks(0.0, 4)
    table.unchecked(enr.node_id)

    assert [entry.enr for entry in table.start_checks(0.0, 4)] == [enr]


NUMBERS = tuple(n for distance in (256, 255, 254) for n in numbers_at(LOCAL, distance, 30))
IPS = [f"20.0.{net}.{host}" for net in range(6) for host in range(3)] + ["10.0.0.1"]


class TableMachine(RuleBasedStateMachine):
    """The table against a model that knows only whom it was told of, and what they did last."""

    @initialize(seed=st.integers(0, 100), lan=st.booleans())
    def start(self, seed, lan):
        self.lan = lan
        self.table = Table(LOCAL, Random(seed), lan=lan)
        self.told: dict[bytes, Enr] = {}
        self.answered: set[bytes] = set()

    @rule(number=st.sampled_from(NUMBERS), ip=st.sampled_from(IPS), seq=st.integers(1, 4), inbound=st.booleans())
    def hear_of(self, number, ip, seq, inbound):
        enr = record(number, seq=seq)
        before = self.table.get(enr.node_id)
        before_ip = before.address[0] if before else None
        if before and enr.seq > before.enr.seq and before_ip != ip:
            self.answered.discard(enr.node_id)
        inside = self.table.add(enr, (ip, 9000), 0.0, inbound=inbound)
        self.told[enr.node_id] = max(enr, self.told.get(enr.node_id, enr), key=lambda each: each.seq)
        if not before:
            assert inside == (enr.node_id in self.table)
            self.answered.discard(enr.node_id)

    @rule(number=st.sampled_from(NUMBERS))
    def answer(self, number):
        node_id = record(number).node_id
        self.table.succeeded(node_id)
        if node_id in self.table:
            self.answered.add(node_id)

    @rule(number=st.sampled_from(NUMBERS))
    def fail(self, number):
        node_id = record(number).node_id
        self.table.failed(node_id)
        self.answered.discard(node_id)

    @rule(number=st.sampled_from(NUMBERS))
    def leave(self, number):
        node_id = record(number).node_id
        self.table.remove(node_id)
        self.answered.discard(node_id)
        assert node_id not in self.table

    @precondition(lambda self: self.told)
    @rule(room=st.integers(0, 20), now=st.floats(0, 100))
    def check(self, room, now):
        started = self.table.start_checks(now, room)
        assert len(started) <= room
        assert all(entry.checking and entry.node_id in self.table for entry in started)

    @invariant()
    def only_who_answered_is_handed_on(self):
        if not hasattr(self, "table"):
            return
        handed_on = {entry.node_id for entry in self.table.at_distances(range(257))}
        assert handed_on == {entry.node_id for entry in self.table.closest(bytes(32), 1_000)}
        assert handed_on <= self.answered

    @invariant()
    def limits_hold(self):
        if not hasattr(self, "table"):
            return
        entries = list(self.table)
        limited = [entry for entry in entries if not (self.lan and entry.address[0] == "10.0.0.1")]
        distances = {id(entry): log_distance(LOCAL, entry.node_id) for entry in entries}
        per_bucket = Counter((distances[id(e)], bucket_subnet(e.address[0])) for e in limited)
        per_table = Counter(table_subnet(e.address[0]) for e in limited)
        assert max(Counter(distances.values()).values(), default=0) <= BUCKET_SIZE
        assert max(Counter(distances[id(e)] for e in entries if e.inbound).values(), default=0) <= MAX_INBOUND
        assert max(per_bucket.values(), default=0) <= MAX_PER_BUCKET_SUBNET
        assert max(per_table.values(), default=0) <= MAX_PER_TABLE_SUBNET

    @invariant()
    def replacements_are_others_and_few(self):
        if not hasattr(self, "table"):
            return
        for distance in (256, 255, 254):
            waiting = [entry.node_id for entry in self.table.replacements(distance)]
            assert len(waiting) == len(set(waiting)) <= MAX_REPLACEMENTS
            assert not any(node_id in self.table for node_id in waiting)

    @invariant()
    def the_newest_record_told_of_those_inside_is_kept(self):
        if not hasattr(self, "table"):
            return
        for entry in self.table:
            assert entry.enr.seq <= self.told[entry.node_id].seq


TestTableAgainstItsModel = TableMachine.TestCase
TestTableAgainstItsModel.settings = settings(max_examples=40, stateful_step_count=60)
