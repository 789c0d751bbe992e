"""A network in which everybody advertises and searches, a part of it hostile."""

from dataclasses import replace

import pytest

from offchain.discovery.sim.figures import hour_figures
from offchain.discovery.sim.hour import Workload, run

SMALL = Workload(60, 40.0, 3, hostile=0.33, zeal=2, first_search=25.0, capacity=100)


@pytest.fixture(scope="module")
def attacked():
    return run(Workload(150, 110.0, 6, hostile=0.33, zeal=4, first_search=70.0, capacity=200), 1)


def test_the_same_seed_gives_the_same_trace_and_another_gives_another():
    assert run(SMALL, 1).trace == run(SMALL, 1).trace != run(SMALL, 2).trace


def test_a_third_that_names_only_each_other_eclipses_no_search(attacked):
    assert attacked.possible >= 80
    assert attacked.eclipsed == 0


def test_every_honest_node_searches_once(attacked):
    assert len(attacked.searches) == 100


def test_the_first_topics_are_the_most_popular(attacked):
    honest = {search.rank: search.honest + 1 for search in attacked.searches}

    assert honest[0] == max(honest.values())
    assert sum(honest.values()) == 100


def test_without_attackers_searches_find_what_there_is():
    peace = run(replace(SMALL, seconds=100.0, first_search=65.0, hostile=0.0), 1)

    assert peace.eclipsed == 0
    assert all(search.found_hostile == 0 for search in peace.searches)
    assert sum(search.found_honest >= min(search.honest, 10) for search in peace.searches) >= 0.9 * len(peace.searches)


def test_the_figures_add_up(attacked):
    figures = hour_figures(attacked)

    bands = figures["by_popularity"]
    assert sum(band["searches"] for band in bands) == figures["possible"]
    assert sum(band["eclipsed"] for band in bands) == figures["eclipsed"] == 0
    assert figures["received_p50"] <= figures["received_p99"] <= figures["received_max"]
    assert 0 < figures["hostile_ads"] < figures["ads"]
