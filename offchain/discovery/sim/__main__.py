"""Simulations from the command line.

python -m offchain.discovery.sim registrar --attack cache --strategy both --hours 24
python -m offchain.discovery.sim network --nodes 1000 --servers 5 --settled
python -m offchain.discovery.sim sweep --strategy both
python -m offchain.discovery.sim hour --nodes 10000 --hostile 0.333
python -m offchain.discovery.sim compare --nodes 150
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from offchain.discovery.sim import agreement, hour, network, registrar
from offchain.discovery.sim.figures import hour_figures
from offchain.discovery.sim.registrar import Load, percentile
from offchain.discovery.sim.world import Links, Split
from offchain.discovery.topics.admission import CAPACITY, Admission, SharedAdmission, SpecifiedAdmission

STRATEGIES: dict[str, Callable[[int], Admission]] = {"specified": SpecifiedAdmission, "shared": SharedAdmission}
SWEEP = (10, 20, 50, 100, 200)

Figures = dict[str, object]


def main(arguments: list[str] | None = None) -> int:
    """Run what the arguments say; figures to standard output, one JSON document a line, progress to standard error."""
    options = _parser().parse_args(arguments)
    gc.set_threshold(500_000, 100, 1_000)  # what there is of it lives to the end
    runs: Callable[[argparse.Namespace], Iterable[Figures]] = options.runs
    asked = {name: value for name, value in vars(options).items() if name not in ("runs", "out")}
    before = time.process_time()
    for figures in runs(options):
        used = {
            "cpu_s": round(time.process_time() - before, 1),
            "memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        }
        line = json.dumps({**asked, **figures, **used})
        print(line, flush=True)
        if options.out:
            with options.out.open("a") as out:
                out.write(line + "\n")
        before = time.process_time()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m offchain.discovery.sim", description="Simulations of discovery.")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same trace")
    parser.add_argument("--out", type=Path, help="append the figures to this file, too: plots are drawn from it")
    commands = parser.add_subparsers(dest="command", required=True)

    load = commands.add_parser("registrar", help="one registrar under load, for hours")
    load.add_argument("--attack", choices=["cache", "target", "none"], default="cache")
    load.add_argument("--strategy", choices=[*STRATEGIES, "both"], default="both")
    load.add_argument("--hours", type=float, default=24.0)
    load.add_argument("--capacity", type=int, default=CAPACITY)
    load.add_argument("--attack-rate", type=float, default=0.2, help="hostile advertisers that turn up in a second")
    load.add_argument("--attack-bits", type=int, default=24, help="bits that the attacker's addresses share")
    load.add_argument(
        "--target-share", type=float, default=0.5, help="part of honest advertisers with the target topic"
    )
    load.set_defaults(runs=_registrar)

    many = commands.add_parser("network", help="one topic: how soon are servers found?")
    _add_network(many, nodes=200)
    many.add_argument("--servers", type=int, default=5)
    many.add_argument("--clients", type=int, default=10)
    many.add_argument("--seconds", type=float, default=30.0, help="virtual time for the network before clients come")
    many.add_argument(
        "--settled", action="store_true", help="only the servers are new, all others have been there long"
    )
    many.add_argument("--nat", type=float, default=0.0, help="part of the nodes, and all clients, behind NAT")
    many.set_defaults(runs=_network)

    sweep = commands.add_parser("sweep", help="networks of 10 to 200 nodes, all servers of one topic, just started")
    sweep.add_argument("--strategy", choices=[*STRATEGIES, "both"], default="both")
    sweep.add_argument("--sizes", type=int, nargs="+", default=SWEEP)
    sweep.set_defaults(runs=_sweep)

    large = commands.add_parser("hour", help="a large network, many topics, everybody advertises and searches")
    _add_network(large, nodes=1_000)
    large.add_argument("--seconds", type=float, default=3_600.0)
    large.add_argument("--topics", type=int, default=300)
    large.add_argument("--zeal", type=int, default=10, help="times as many registrars as honest nodes ask")
    large.add_argument("--per-ip", type=int, default=5, help="hostile nodes that share an address")
    large.add_argument("--capacity", type=int, default=500)
    large.add_argument("--first-search", type=float, default=hour.FIRST_SEARCH, help="seconds after the start")
    large.add_argument("--pace", type=float, default=1.0, help="checks of the tables are so many times as far apart")
    large.set_defaults(runs=_hour)

    both = commands.add_parser("compare", help="the same small network in both fidelities")
    both.add_argument("--nodes", type=int, default=150)
    both.set_defaults(runs=_compare)
    return parser


def _add_network(parser: argparse.ArgumentParser, nodes: int) -> None:
    parser.add_argument("--nodes", type=int, default=nodes)
    parser.add_argument("--latency", type=float, default=0.1, help="seconds, one way")
    parser.add_argument("--loss", type=float, default=0.0, help="part of the packets")
    parser.add_argument("--split", type=float, nargs=2, action="append", default=[], metavar=("FROM", "TO"))
    parser.add_argument("--hostile", type=float, default=0.0, help="part of the nodes that hide honest servers")
    parser.add_argument("--full", action="store_true", help="real packets and cryptography")


def _links(options: argparse.Namespace) -> Links:
    return Links(options.latency, options.loss, tuple(Split(*each) for each in options.split))


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _strategies(options: argparse.Namespace) -> list[str]:
    return list(STRATEGIES) if options.strategy == "both" else [options.strategy]


def _registrar(options: argparse.Namespace) -> Iterator[Figures]:
    day = Load(
        options.attack,
        options.hours,
        attack_rate=options.attack_rate,
        attack_bits=options.attack_bits,
        target_share=options.target_share,
    )
    for name in _strategies(options):
        _tell(f"{options.hours} hours under {name} admission ...")
        outcome = registrar.run(STRATEGIES[name](options.capacity), day, options.seed)
        yield {
            "strategy": name,
            "hostile_share": round(outcome.hostile_share, 4),
            "target_hostile_share": round(outcome.target_hostile_share, 4),
            "use": round(outcome.use, 4),
            "honest_p50_s": round(percentile(outcome.honest_delays, 0.5)),
            "honest_p95_s": round(percentile(outcome.honest_delays, 0.95)),
            "target_p95_s": round(percentile(outcome.target_delays, 0.95)),
            "attempts": outcome.attempts,
            "trace": outcome.trace,
        }


def _network(options: argparse.Namespace) -> Iterator[Figures]:
    scenario = network.Scenario(
        options.nodes,
        options.servers,
        options.clients,
        options.seconds,
        _links(options),
        options.full,
        options.hostile,
        options.nat,
        options.settled,
    )
    yield _network_figures(scenario, options.seed)


def _network_figures(scenario: network.Scenario, seed: int) -> Figures:
    outcome = network.run(scenario, seed, _tell)
    return {
        "first_server_s": [round(each, 2) for each in outcome.first_server],
        "not_found": outcome.not_found,
        "advertised": outcome.advertised,
        "ads": outcome.ads,
        "ads_pending": outcome.ads_pending,
        "searches": outcome.searches,
        "eclipsed": outcome.eclipsed,
        "found": outcome.found,
        "asked": outcome.asked,
        "messages_per_node": round(outcome.messages / scenario.nodes, 1),
        "topic_requests": outcome.topic_requests,
        "trace": outcome.trace,
    }


def _sweep(options: argparse.Namespace) -> Iterator[Figures]:
    for name in _strategies(options):
        for size in options.sizes:
            _tell(f"{size} servers under {name} admission ...")
            make = STRATEGIES[name]
            scenario = network.Scenario(size, size, 10, 10.0, admission=lambda make=make: make(CAPACITY))  # type: ignore[misc]
            yield {"strategy": name, "nodes": size, **_network_figures(scenario, options.seed)}


def _hour(options: argparse.Namespace) -> Iterator[Figures]:
    workload = hour.Workload(
        options.nodes,
        options.seconds,
        options.topics,
        hostile=options.hostile,
        zeal=options.zeal,
        per_ip=options.per_ip,
        capacity=options.capacity,
        pace=options.pace,
        links=_links(options),
        first_search=options.first_search,
        full=options.full,
    )
    yield hour_figures(hour.run(workload, options.seed, _tell))


def _compare(options: argparse.Namespace) -> Iterator[Figures]:
    for name, full, fast in agreement.compare(options.nodes, options.seed, _tell):
        yield {"figure": name, "full": round(full, 3), "fast": round(fast, 3)}


if __name__ == "__main__":
    sys.exit(main())
