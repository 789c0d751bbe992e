"""Networks of whole nodes: deterministic, and robust against what networks and hostile nodes do."""

from dataclasses import replace

import pytest

from offchain.discovery.sim.network import Scenario, run
from offchain.discovery.sim.world import Links, Split

SMALL = Scenario(nodes=12, servers=2, clients=3, before=4.0, links=Links(latency=0.02))


@pytest.mark.parametrize("full", [False, True])
def test_the_same_seed_gives_the_same_trace_and_another_gives_another(full):
    scenario = replace(SMALL, full=full)

    assert run(scenario, 1).trace == run(scenario, 1).trace != run(scenario, 2).trace


def test_packets_that_are_lost_delay_clients_and_keep_none_from_a_server():
    lossy = run(replace(SMALL, links=Links(0.02, loss=0.1)), 1)

    assert lossy.not_found == 0


def test_after_a_partition_has_healed_every_client_finds_the_server_on_the_other_side():
    begin, healed = 6.0, 10.0
    split = Scenario(12, 1, 4, begin, Links(0.02, splits=(Split(begin, healed),)))

    outcome = run(split, 1)

    assert outcome.not_found == 0
    assert max(outcome.first_server) > healed - begin
    assert min(outcome.first_server) < healed - begin


def test_clients_behind_nat_find_servers_though_a_third_of_the_nodes_is_behind_nat_too():
    hidden = run(replace(SMALL, nat=0.33), 1)

    assert hidden.not_found == 0


def test_with_a_third_of_the_nodes_hostile_every_client_finds_an_honest_server():
    attacked = run(replace(SMALL, nodes=20, servers=3, hostile=0.33), 1)

    assert attacked.not_found == 0
    assert attacked.searches == 3
    assert attacked.eclipsed == 0


def test_in_a_network_that_has_been_there_for_long_servers_that_just_came_are_found_within_three_seconds():
    settled = run(Scenario(150, 3, 5, 10.0, settled=True), 1)

    assert settled.not_found == 0
    assert max(settled.first_server) <= 3.0
