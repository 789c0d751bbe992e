"""The virtual network: what arrives, and what does not."""

import pytest

from offchain.discovery.sim.world import NAT_LIFETIME, Links, Split, World


def knows(one, other):
    entry = one.node.contacts.table.get(other.node.id)
    return entry is not None and entry.live


@pytest.mark.parametrize("full", [False, True])
def test_nodes_that_boot_from_each_other_know_each_other(full):
    world = World(Links(), 1, full=full)
    first = world.join()
    second = world.join([first.node])

    world.run(5.0)

    assert knows(first, second)
    assert knows(second, first)
    assert first.received > 0
    assert world.packets >= first.received + second.received


def test_what_is_lost_does_not_arrive():
    world = World(Links(loss=1.0), 1)
    first = world.join()
    second = world.join([first.node])

    world.run(5.0)

    assert world.packets > 0
    assert first.received == second.received == 0


def test_the_two_sides_of_a_partition_do_not_reach_each_other_until_it_heals():
    world = World(Links(splits=(Split(0.0, 10.0),)), 1)
    first = world.join()
    second = world.join([first.node])

    world.run(9.9)
    apart = first.received + second.received
    world.run(40.0)

    assert apart == 0
    assert knows(first, second)
    assert knows(second, first)


def test_a_partition_does_not_part_those_on_one_side():
    world = World(Links(splits=(Split(0.0, 10.0),)), 1)
    first = world.join()
    world.join()
    third = world.join([first.node])

    world.run(5.0)

    assert knows(first, third)


def test_a_node_behind_nat_cannot_be_reached_by_one_to_whom_it_has_not_sent():
    world = World(Links(), 1)
    hidden = world.join(nat=True)
    outside = world.join([hidden.node])

    world.run(20.0)

    assert hidden.received == 0
    assert not knows(outside, hidden)


def test_a_node_behind_nat_is_reached_by_those_to_whom_it_sends():
    world = World(Links(), 1)
    outside = world.join()
    hidden = world.join([outside.node], nat=True)

    world.run(5.0)

    assert knows(hidden, outside)
    assert knows(outside, hidden)


def test_the_way_through_a_nat_closes_when_nothing_was_sent_for_long():
    world = World(Links(), 1)
    outside = world.join()
    hidden = world.join([outside.node], nat=True)
    world.run(5.0)
    hidden.node.stop(world.now)
    world.run(5.0 + 2 * NAT_LIFETIME)
    before = hidden.received

    outside.node.contacts.ping(hidden.node.record, world.now, lambda pong, now: None)
    world.pump(outside)
    world.run(world.now + 10.0)

    assert hidden.received == before
