"""Who is at which distance, and tables as they are after a long time."""

from random import Random

import pytest

from offchain.discovery.sim.space import Space, converge
from offchain.discovery.sim.world import Links, World
from offchain.discovery.table import BUCKET_SIZE, log_distance
from tests.support.discovery import key


@pytest.fixture(scope="module")
def nodes():
    world = World(Links(), 1)
    return [world.join().node for _ in range(60)]


def test_the_nodes_at_a_distance_are_those_that_have_it(nodes):
    space = Space(nodes)
    for center in [key(1).public.node_id, nodes[0].id]:
        for distance in range(1, 257):
            expected = {node.id for node in nodes if log_distance(center, node.id) == distance}
            assert {node.id for node in space.at(center, distance)} == expected


def test_the_distances_are_those_at_which_there_is_somebody(nodes):
    expected = sorted({log_distance(nodes[0].id, node.id) for node in nodes[1:]}, reverse=True)

    assert list(Space(nodes).distances(nodes[0].id)) == expected


def test_after_convergence_every_bucket_is_full_or_has_all_there_are_and_all_are_proven(nodes):
    space = Space(nodes)

    converge(nodes, Random(1), 0.0, 1_800.0)

    for node in nodes:
        table = node.contacts.table
        for distance in space.distances(node.id):
            there = [entry for entry in table if log_distance(node.id, entry.node_id) == distance]
            assert len(there) == min(len(space.at(node.id, distance)), BUCKET_SIZE)
        assert table.live_count == len(table)
