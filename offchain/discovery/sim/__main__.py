"""Simulations from the command line.

python -m offchain.discovery.sim registrar --attack cache --strategy both --hours 24
python -m offchain.discovery.sim network --nodes 1000 --servers 5 --seconds 30
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable

from offchain.discovery.sim import network, registrar
from offchain.discovery.sim.registrar import Load, percentile
from offchain.discovery.topics.admission import Admission, SharedAdmission, SpecifiedAdmission

STRATEGIES: dict[str, Callable[[int], Admission]] = {"specified": SpecifiedAdmission, "shared": SharedAdmission}


def main(arguments: list[str] | None = None) -> int:
    """Run what the arguments say; figures to standard output, one JSON document a line, progress to standard error."""
    parser = argparse.ArgumentParser(prog="python -m offchain.discovery.sim", description="Simulations of discovery.")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same trace")
    commands = parser.add_subparsers(dest="command", required=True)
    load = commands.add_parser("registrar", help="one registrar under load, for hours")
    load.add_argument("--attack", choices=["cache", "target", "none"], default="cache")
    load.add_argument("--strategy", choices=[*STRATEGIES, "both"], default="both")
    load.add_argument("--hours", type=float, default=24.0)
    load.add_argument("--capacity", type=int, default=1_000)
    load.add_argument("--attack-bits", type=int, default=24, help="bits that the attacker's addresses share")
    load.add_argument(
        "--target-share", type=float, default=0.5, help="part of honest advertisers with the target topic"
    )
    many = commands.add_parser("network", help="many whole nodes: how soon are servers found by topic?")
    many.add_argument("--nodes", type=int, default=200)
    many.add_argument("--servers", type=int, default=5)
    many.add_argument("--clients", type=int, default=10)
    many.add_argument("--seconds", type=float, default=30.0, help="virtual time for the network before clients come")
    many.add_argument("--latency", type=float, default=0.1, help="seconds, one way")
    many.add_argument("--loss", type=float, default=0.0)
    many.add_argument("--hostile", type=float, default=0.0, help="part of the nodes that hide honest servers")
    many.add_argument("--full", action="store_true", help="real packets and cryptography")
    options = parser.parse_args(arguments)
    if options.command == "registrar":
        _registrar(options)
    else:
        _network(options)
    return 0


def _registrar(options: argparse.Namespace) -> None:
    day = Load(options.attack, options.hours, attack_bits=options.attack_bits, target_share=options.target_share)
    for name in STRATEGIES if options.strategy == "both" else [options.strategy]:
        print(f"{options.hours} hours under {name} admission ...", file=sys.stderr)
        outcome = registrar.run(STRATEGIES[name](options.capacity), day, options.seed)
        _show(
            strategy=name,
            attack=options.attack,
            hostile_share=round(outcome.hostile_share, 4),
            target_hostile_share=round(outcome.target_hostile_share, 4),
            use=round(outcome.use, 4),
            honest_p50_s=round(percentile(outcome.honest_delays, 0.5)),
            honest_p95_s=round(percentile(outcome.honest_delays, 0.95)),
            target_p95_s=round(percentile(outcome.target_delays, 0.95)),
            attempts=outcome.attempts,
            trace=outcome.trace,
        )


def _network(options: argparse.Namespace) -> None:
    scenario = network.Scenario(
        options.nodes,
        options.servers,
        options.clients,
        options.seconds,
        network.Links(options.latency, options.loss),
        full=options.full,
        hostile=options.hostile,
    )
    outcome = network.run(scenario, options.seed, lambda text: print(text, file=sys.stderr))
    _show(
        nodes=options.nodes,
        first_server_s=[round(each, 2) for each in outcome.first_server],
        not_found=outcome.not_found,
        searches=outcome.searches,
        eclipsed=outcome.eclipsed,
        messages_per_node=round(outcome.messages / options.nodes, 1),
        topic_requests=outcome.topic_requests,
        trace=outcome.trace,
    )


def _show(**figures: object) -> None:
    print(json.dumps(figures))


if __name__ == "__main__":
    sys.exit(main())
