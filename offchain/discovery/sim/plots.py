"""Draw what simulations found: a file of figures (`--out`) in, SVG out. Needs matplotlib (`make sim-plots` fetches it).

python offchain/discovery/sim/plots.py docs/figures/sim.jsonl docs/figures
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

Runs = list[dict[str, Any]]

PUBLISHED = {"cache": (0.36, 20_825), "target": (0.35, 33_300)}
"""Attacker's part of the cache, and honest p95 (of the target's topic in the second) in seconds, of the formula in the
specification with its parameters: ethereum/devp2p, pull request 272."""


def main() -> int:
    """Draw every figure for which there are runs."""
    source, into = Path(sys.argv[1]), Path(sys.argv[2])
    runs = [json.loads(line) for line in source.read_text().splitlines()]
    mpl.rcParams.update({"svg.hashsalt": "waypost", "svg.fonttype": "none", "font.size": 9})
    for name, draw in (("attack", _attack), ("sweep", _sweep), ("searches", _searches), ("load", _load)):
        figure = draw(runs)
        if figure is not None:
            figure.savefig(into / f"sim-{name}.svg", metadata={"Date": None}, bbox_inches="tight")
            print(into / f"sim-{name}.svg")
    return 0


def _attack(runs: Runs) -> Figure | None:
    attacked = [each for each in runs if each["command"] == "registrar" and each["attack"] in PUBLISHED]
    loads = _by(attacked, "attack", "attack_rate")
    if not loads:
        return None
    figure = Figure(figsize=(8, 3), layout="constrained")
    shares, delays = figure.subplots(1, 2)
    labels: list[str] = []
    for at, ((attack, rate), days) in enumerate(loads.items()):
        share, delay = PUBLISHED[attack]
        ours = max(100 * day["hostile_share"] for day in days)
        wait = max(day["honest_p95_s" if attack == "cache" else "target_p95_s"] for day in days)
        shares.bar([at - 0.2], [100 * share], 0.4, color="lightgrey", label="published" if not at else None)
        shares.bar([at + 0.2], [ours], 0.4, color="tab:blue", label="ours, worst seed" if not at else None)
        delays.bar([at - 0.2], [delay], 0.4, color="lightgrey")
        delays.bar([at + 0.2], [wait], 0.4, color="tab:blue")
        labels.append(f"{attack}\n{rate / 0.05:.0f} x")
    for axes in (shares, delays):
        axes.set_xticks(range(len(labels)), labels)
    shares.set_ylabel("attacker's part of the cache, %")
    delays.set_ylabel("honest p95 wait, s")
    shares.legend(frameon=False, loc="center right")
    return figure


def _by(runs: Runs, *names: str) -> dict[tuple[Any, ...], Runs]:
    """Runs that differ in their seed only, together."""
    groups: dict[tuple[Any, ...], Runs] = {}
    for run in runs:
        groups.setdefault(tuple(run[name] for name in names), []).append(run)
    return groups


def _sweep(runs: Runs) -> Figure | None:
    sizes = [each for each in runs if each["command"] == "sweep"]
    if not sizes:
        return None
    figure = Figure(figsize=(8, 3), layout="constrained")
    found, known = figure.subplots(1, 2)
    for strategy in ("specified", "shared"):
        mine = [each for each in sizes if each["strategy"] == strategy]
        nodes = [each["nodes"] for each in mine]
        found.plot(nodes, [max(each["first_server_s"]) for each in mine], "o-", label=strategy)
        known.plot(nodes, [100 * each["advertised"] / each["nodes"] for each in mine], "o-", label=strategy)
    found.set(xlabel="servers, all of one topic", ylabel="slowest client's first server, s", xscale="log", ylim=0)
    known.set(
        xlabel="servers, all of one topic", ylabel="servers advertised after 10 s, %", xscale="log", ylim=(0, 105)
    )
    found.legend(frameon=False)
    return figure


def _searches(runs: Runs) -> Figure | None:
    hours = [each for each in runs if each["command"] == "hour" and each["by_popularity"]]
    if not hours:
        return None
    run = max(hours, key=lambda each: (each["nodes"], -abs(each["hostile"] - 0.333)))
    bands = run["by_popularity"]
    figure = Figure(figsize=(8, 3), layout="constrained")
    found, asked = figure.subplots(1, 2)
    labels = [str(band["from"]) if band["from"] == band["to"] else f"{band['from']}-{band['to']}" for band in bands]
    at = range(len(bands))
    found.bar(at, [band["found_honest"] for band in bands], label="honest")
    found.bar(
        at,
        [band["found_hostile"] for band in bands],
        bottom=[band["found_honest"] for band in bands],
        color="lightgrey",
        label="hostile",
    )
    asked.bar(at, [band["asked"] for band in bands])
    for axes in (found, asked):
        axes.set_xticks(at, labels, rotation=45)
        axes.set_xlabel("honest advertisers of the topic")
    found.set_ylabel("advertisers found by a search")
    asked.set_ylabel("registrars asked by a search")
    found.legend(frameon=False)
    figure.suptitle(f"{run['nodes']} nodes, {100 * run['hostile']:.0f} % hostile, {run['topics']} topics", fontsize=9)
    return figure


def _load(runs: Runs) -> Figure | None:
    hours = [each for each in runs if each["command"] == "hour" and each["wait_by_rank"]]
    if not hours:
        return None
    figure = Figure(figsize=(8, 3), layout="constrained")
    waits, load = figure.subplots(1, 2)
    for run, *_ in _by(hours, "nodes", "hostile").values():
        label = f"{run['nodes']} nodes, {100 * run['hostile']:.0f} % hostile"
        ranks = [max(rank, 1) for rank, _ in run["wait_by_rank"]]
        waits.plot(ranks, [wait for _, wait in run["wait_by_rank"]], ".", label=label)
        load.plot(run["received_by_percent"], range(101), label=label)
    waits.set(xlabel="topic, by popularity", ylabel="wait of honest advertisers, p95, s", xscale="log", yscale="log")
    load.set(xlabel="packets that a node received", ylabel="nodes, %", xlim=0)
    load.legend(frameon=False, fontsize=7)
    return figure


if __name__ == "__main__":
    sys.exit(main())
