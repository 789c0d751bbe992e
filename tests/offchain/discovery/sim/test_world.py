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


def two_halves(world, count):
    """So many nodes, each of which knows the first of either half, as bootnodes."""
    boot = [world.join(), world.join()]
    boot += [world.join([host.node for host in boot]) for _ in range(count - 2)]
    return [host for host in boot if not host.number & 1], [host for host in boot if host.number & 1]


@pytest.mark.parametrize("healed", [10.0, 900.0])
def test_two_halves_that_never_met_find_each_other_within_a_minute_of_healing_by_their_bootnodes(healed):
    world = World(Links(splits=(Split(0.0, healed),)), 1)
    even, odd = two_halves(world, 20)

    world.run(healed)
    met = [knows(one, other) for one in even for other in odd]
    world.run(healed + 60.0)

    assert not any(met)
    assert all(any(knows(one, other) for other in odd) for one in even)
    assert all(any(knows(one, other) for other in even) for one in odd)


def test_two_halves_that_lost_each_other_find_each_other_again_within_a_minute_of_healing():
    begin, healed = 60.0, 2_000.0
    world = World(Links(splits=(Split(begin, healed),)), 1)
    even, odd = two_halves(world, 16)

    world.run(begin)
    met = [knows(one, other) for one in even for other in odd]
    world.run(healed)
    lost = not any(knows(one, other) for one in even for other in odd)
    world.run(healed + 60.0)

    assert all(met)
    assert lost
    assert all(any(knows(one, other) for other in odd) for one in even[1:])
    assert all(any(knows(one, other) for other in even) for one in odd[1:])


def test_a_bootnode_that_does_not_answer_is_asked_twice_a_minute_and_one_in_the_table_not_at_all():
    world = World(Links(), 1)
    gone, there = world.join(), world.join()
    gone.node.stop(world.now)
    others = [world.join([there.node]) for _ in range(3)]
    world.run(10.0)
    node = world.join([gone.node, there.node])
    world.run(20.0)
    asked = gone.received

    world.run(620.0)

    assert all(knows(node, other) for other in (there, *others))
    assert gone.received - asked == 2 * 20  # a knock and a proof, as the packet layer of the stopped node answers
    assert node.node.sizes()["sessions"] == 4
