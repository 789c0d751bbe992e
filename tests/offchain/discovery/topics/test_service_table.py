"""Service tables: buckets by distance from the topic, and what hostile hints cannot do to them."""

from random import Random

import pytest

from offchain.discovery.table import log_distance
from offchain.discovery.topics.capability import speaks_topics
from offchain.discovery.topics.service_table import (
    BUCKET_SIZE,
    BUCKETS,
    MAX_HINTS,
    NEAREST,
    Exclusions,
    ServiceTable,
)
from offchain.enr import Enr
from offchain.types import MAILSERVER, NodeId, topic_of
from tests.support.discovery import key, numbers_at, record

TOPIC = topic_of(MAILSERVER)
LOCAL = key(1).public.node_id


def speaker(number, ip="127.0.0.1", seq=1, version=b"\1", name="ng"):
    enr = Enr.create(key(number), seq, ip=ip, udp=20_000 + number, extra={name: version})
    return enr, (ip, 20_000 + number)


@pytest.fixture
def exclusions():
    return Exclusions()


@pytest.fixture
def table(exclusions):
    return ServiceTable(TOPIC, LOCAL, exclusions, Random(1), lan=True)


def test_both_keys_of_the_capability_are_read_and_other_versions_are_not_spoken():
    assert speaks_topics(speaker(2)[0])
    assert speaks_topics(speaker(2, name="topic-discovery")[0])
    assert not speaks_topics(speaker(2, version=b"\2")[0])
    assert not speaks_topics(record(2))


def test_a_node_is_in_the_bucket_of_its_distance_from_the_topic(table):
    for number in range(2, 30):
        table.add(*speaker(number), 0.0)

    assert len(table) >= 20
    for number in BUCKETS:
        assert all(max(log_distance(TOPIC, enr.node_id), NEAREST) == number for enr in table.members(number))


def test_what_is_very_near_is_in_the_last_bucket(table):
    assert table.bucket_of(NodeId(TOPIC)) == NEAREST == BUCKETS[-1]


def test_nodes_without_the_capability_and_we_ourselves_are_not_taken(table):
    assert not table.add(record(2), ("127.0.0.1", 20_002), 0.0)
    assert not table.add(*speaker(1), 0.0)
    assert len(table) == 0


def test_a_newer_record_replaces_an_older_one_and_never_the_reverse(table):
    for seq in (2, 3, 1):
        assert table.add(*speaker(2, seq=seq), 0.0)

    assert table.record_of(key(2).public.node_id).seq == 3


def test_a_bucket_has_room_for_sixteen(table):
    numbers = numbers_at(NodeId(TOPIC), 256, BUCKET_SIZE + 4)

    taken = [table.add(*speaker(number), 0.0) for number in numbers]

    assert taken == [True] * BUCKET_SIZE + [False] * 4
    assert 256 not in table.wanted()


def test_of_one_24_a_bucket_takes_one_node(exclusions):
    table = ServiceTable(TOPIC, LOCAL, exclusions, Random(1), lan=False)
    numbers = numbers_at(NodeId(TOPIC), 256, 6)

    taken = [table.add(*speaker(number, f"45.5.5.{number % 250}"), 0.0) for number in numbers]

    assert taken == [True] + [False] * 5


def test_of_hints_in_one_answer_each_bucket_takes_one(table):
    hints = [speaker(number) for number in numbers_at(NodeId(TOPIC), 250, 10)]

    assert len(table.add_hints(hints, 0.0)) == 1
    assert table.size(250) == 1


def test_ten_thousand_hints_add_eight_nodes_at_most(table):
    hints = [speaker(number % 60 + 2) for number in range(10_000)]

    assert len(table.add_hints(hints, 0.0)) <= MAX_HINTS


def test_a_node_that_failed_is_left_alone_for_twice_as_long_each_time(table, exclusions):
    node_id = key(2).public.node_id
    exclusions.add(node_id, 0.0)
    assert not table.add(*speaker(2), 29.0)
    assert table.add(*speaker(2), 31.0)

    exclusions.add(node_id, 40.0)
    assert exclusions.holds(node_id, 99.0)
    assert not exclusions.holds(node_id, 101.0)
    for _ in range(20):
        exclusions.add(node_id, 200.0)
    assert exclusions.holds(node_id, 200.0 + 3_599)
    assert not exclusions.holds(node_id, 200.0 + 3_601)


def test_the_next_end_is_of_the_first_who_is_still_left_alone(exclusions):
    assert exclusions.next_end == float("inf")
    exclusions.add(key(2).public.node_id, 0.0)
    exclusions.add(key(3).public.node_id, 10.0)
    assert exclusions.next_end == 30.0

    exclusions.pass_by(30.0)
    assert exclusions.next_end == 40.0
    exclusions.pass_by(40.0)
    assert exclusions.next_end == float("inf")


def test_what_is_remembered_of_failures_is_bounded(exclusions):
    for number in range(3_000):
        exclusions.add(NodeId(number.to_bytes(32, "big")), 0.0)

    assert len(exclusions) == Exclusions.CAPACITY


def test_a_picked_node_is_none_of_those_left_out(table):
    numbers = numbers_at(NodeId(TOPIC), 256, 3)
    for number in numbers:
        table.add(*speaker(number), 0.0)
    ids = {key(number).public.node_id for number in numbers}
    last = ids.pop()

    assert table.pick(256, ids).node_id == last
    assert table.pick(256, {*ids, last}) is None
