"""Networks of whole nodes: deterministic, alike in both fidelities."""

from dataclasses import replace

import pytest

from offchain.discovery.sim.network import Scenario, run

SMALL = Scenario(nodes=12, servers=2, clients=3, before=4.0, latency=0.02)


@pytest.mark.parametrize("full", [False, True])
def test_the_same_seed_gives_the_same_trace_and_another_gives_another(full):
    scenario = replace(SMALL, full=full)

    assert run(scenario, 1).trace == run(scenario, 1).trace != run(scenario, 2).trace


def test_both_fidelities_find_the_servers_with_as_many_packets_and_in_the_same_time():
    fast, full = run(SMALL, 1), run(replace(SMALL, full=True), 1)

    assert fast.not_found == full.not_found == 0
    assert fast.messages == pytest.approx(full.messages, rel=0.1)
    assert sum(fast.first_server) == pytest.approx(sum(full.first_server), rel=0.2)


def test_packets_that_are_lost_delay_clients_and_keep_none_from_a_server():
    lossy = run(replace(SMALL, loss=0.1), 1)

    assert lossy.not_found == 0


def test_with_a_third_of_the_nodes_hostile_every_client_finds_an_honest_server():
    attacked = run(replace(SMALL, nodes=20, servers=3, hostile=0.33), 1)

    assert attacked.not_found == 0
    assert attacked.searches == 3
    assert attacked.eclipsed == 0
