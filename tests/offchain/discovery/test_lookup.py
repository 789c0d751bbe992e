"""The iterative lookup, over networks that exist only as a dictionary."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offchain.discovery.lookup import ALPHA, MAX_SEEN, Lookup, lookup_distances
from offchain.discovery.table import log_distance, xor_distance
from tests.support.discovery import key, record

LOCAL = key(0).public.node_id
ENRS = {record(n).node_id: record(n) for n in range(1, 121)}


def knows(node_id, distances):
    """In this network everybody knows everybody, and names sixteen of those asked for, in an order of its own."""
    named = []
    for distance in distances:
        at = [enr for other, enr in ENRS.items() if log_distance(node_id, other) == distance]
        named += Random(node_id).sample(at, len(at))
    return named[:16]


def walk(lookup, answer=knows, dead=frozenset()):
    """Drive a lookup to its end; whom it asked."""
    asked = []
    while queries := lookup.next_queries():
        for enr in queries:
            asked.append(enr.node_id)
            if enr.node_id in dead:
                lookup.failed(enr.node_id)
            else:
                lookup.answered(enr.node_id, answer(enr.node_id, lookup_distances(enr.node_id, lookup.target)))
    return asked


def closest(target, dead=frozenset(), count=16):
    return sorted(ENRS.keys() - dead, key=lambda each: xor_distance(each, target))[:count]


@settings(max_examples=25)
@given(st.binary(min_size=32, max_size=32))
def test_finds_the_closest_nodes(target):
    lookup = Lookup(target, LOCAL, [record(1), record(2)])

    walk(lookup)

    found = [enr.node_id for enr in lookup.result()]
    assert found == sorted(found, key=lambda each: xor_distance(each, target))
    assert found[0] == closest(target, count=1)[0]
    assert len(set(found) & set(closest(target))) >= 14


@settings(max_examples=25)
@given(st.sets(st.integers(3, 120), max_size=60), st.integers(0, 1000))
def test_dead_nodes_are_passed_over(dead_numbers, seed):
    target = Random(seed).randbytes(32)
    dead = {record(n).node_id for n in dead_numbers}
    lookup = Lookup(target, LOCAL, [record(1), record(2)])

    walk(lookup, dead=dead)

    assert lookup.done
    assert dead.isdisjoint(enr.node_id for enr in lookup.result())
    assert lookup.result()[0].node_id == closest(target, dead, 1)[0]


def test_nobody_is_asked_twice():
    asked = walk(Lookup(bytes(32), LOCAL, [record(1)]))

    assert len(asked) == len(set(asked))


def test_three_are_asked_at_a_time():
    lookup = Lookup(bytes(32), LOCAL, ENRS.values())
    first = lookup.next_queries()
    assert len(first) == ALPHA
    assert lookup.next_queries() == []

    lookup.answered(first[0].node_id, [])

    assert len(lookup.next_queries()) == 1


def test_ends_early_when_the_node_is_named():
    wanted = closest(bytes(32))[0]
    lookup = Lookup(wanted, LOCAL, [record(1)], until=wanted)

    asked = walk(lookup)

    assert lookup.record_of(wanted) == ENRS[wanted]
    assert wanted not in asked


def test_without_seeds_it_is_over_at_once():
    lookup = Lookup(bytes(32), LOCAL, [])

    assert lookup.done
    assert lookup.next_queries() == []
    assert lookup.result() == []


def test_we_are_not_asked_ourselves():
    lookup = Lookup(LOCAL, LOCAL, [record(0), record(1)])

    assert LOCAL not in walk(lookup, lambda *_: [record(0), record(1)])


def test_the_newest_record_of_a_node_counts():
    lookup = Lookup(bytes(32), LOCAL, [record(1, seq=2)])
    lookup.next_queries()

    lookup.answered(record(1).node_id, [record(1, seq=1), record(1, seq=3)])
    lookup.answered(record(1).node_id, [record(1, seq=2)])

    assert lookup.record_of(record(1).node_id).seq == 3


def test_who_only_names_is_not_in_the_result_until_it_answered():
    lookup = Lookup(bytes(32), LOCAL, [record(1)])
    lookup.next_queries()
    lookup.answered(record(1).node_id, [record(2)])

    assert [enr.node_id for enr in lookup.result()] == [record(1).node_id]


def test_a_flood_of_names_does_not_make_it_grow():
    lookup = Lookup(bytes(32), LOCAL, [record(1)])
    lookup.next_queries()
    for start in range(2, 2 + MAX_SEEN + 50):
        lookup.answered(record(1).node_id, [record(start)])

    assert len(lookup._nodes) == MAX_SEEN


@pytest.mark.parametrize(("middle", "distances"), [(256, {256, 255, 254}), (255, {255, 256, 254}), (1, {1, 2, 3})])
def test_three_distances_around_the_target_are_asked(middle, distances):
    target = (1 << (middle - 1)).to_bytes(32, "big")

    asked = lookup_distances(bytes(32), target)

    assert set(asked) == distances
    assert asked[0] == middle


def test_the_distance_to_oneself_is_never_asked():
    assert 0 not in lookup_distances(bytes(32), bytes(32))
