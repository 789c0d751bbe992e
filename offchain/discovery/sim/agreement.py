"""The two fidelities against each other: the same small networks in both, and how far their figures are apart.

Both draw from generators with the same seeds, but packets draw too, so the traces differ; what must agree is how things
are distributed. `TOLERANCE` is what the tests hold each figure to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from statistics import mean

from offchain.discovery.sim import hour, network
from offchain.discovery.sim.registrar import percentile

TOLERANCE = {
    "joining: packets a node": 0.05,
    "joining: live nodes in a table": 0.03,
    "joining: first server, s": 0.15,
    "joining: registrars asked by a search": 0.10,
    "joining: servers found by a search": 0.10,
    "hour: packets a node": 0.05,
    "hour: admissions a node": 0.05,
    "hour: wait, median, s": 0.05,
    "hour: wait, p95, s": 0.15,
    "hour: registrars asked by a search": 0.10,
    "hour: honest advertisers found by a search": 0.10,
    "hour: hostile advertisers found by a search": 0.15,
    "hour: part of searches that found an honest one": 0.02,
    "hour: a search, s": 0.10,
    "hour: part of honest caches that is hostile": 0.10,
}
"""Of the larger of the two figures."""

SERVERS = 5
CLIENTS = 10
TOPICS = 6
HOSTILE = 0.25


def compare(
    nodes: int, seed: int, progress: Callable[[str], None] = lambda text: None
) -> Iterator[tuple[str, float, float]]:
    """(name, in full fidelity, in fast fidelity) of each figure."""
    joining = network.Scenario(nodes, SERVERS, CLIENTS, 12.0)
    minutes = hour.Workload(nodes, 150.0, TOPICS, hostile=HOSTILE, zeal=2, capacity=100, first_search=75.0)
    columns: list[dict[str, float]] = []
    for full in (True, False):
        progress(f"{nodes} nodes in {'full' if full else 'fast'} fidelity ...")
        joined = _joining_figures(network.run(replace(joining, full=full), seed), nodes)
        lasted = _hour_figures(hour.run(replace(minutes, full=full), seed), nodes)
        columns.append({**joined, **lasted})
    for name in TOLERANCE:
        yield name, columns[0][name], columns[1][name]


def _joining_figures(outcome: network.Outcome, nodes: int) -> dict[str, float]:
    return {
        "joining: packets a node": outcome.messages / nodes,
        "joining: live nodes in a table": mean(outcome.table),
        "joining: first server, s": mean(outcome.first_server),
        "joining: registrars asked by a search": mean(outcome.asked),
        "joining: servers found by a search": mean(outcome.found),
    }


def _hour_figures(outcome: hour.Outcome, nodes: int) -> dict[str, float]:
    waits = [wait for each in outcome.waits.values() for wait in each]
    searches = outcome.searches
    return {
        "hour: packets a node": outcome.packets / nodes,
        "hour: admissions a node": len(waits) / nodes,
        "hour: wait, median, s": percentile(waits, 0.5),
        "hour: wait, p95, s": percentile(waits, 0.95),
        "hour: registrars asked by a search": mean(search.asked for search in searches),
        "hour: honest advertisers found by a search": mean(search.found_honest for search in searches),
        "hour: hostile advertisers found by a search": mean(search.found_hostile for search in searches),
        "hour: part of searches that found an honest one": 1 - outcome.eclipsed / max(outcome.possible, 1),
        "hour: a search, s": mean(search.seconds for search in searches),
        "hour: part of honest caches that is hostile": outcome.hostile_ads / max(outcome.ads, 1),
    }
