"""How soon does a running discovery node answer what a stranger asks of it: in 300 ms, as conformance tools expect?

The node is `waypost node run` in a process of its own, with the limits that it has by default; the asking side is the
prober of tests/system/test_discv5_conformance.py, which asserts what the answers are and measures nothing.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench._report import Figure, report
from offchain.discovery.message import FindNode, TalkRequest
from offchain.enr import Enr
from tests.support.node_process import running_node
from tests.support.prober import Prober, prober

STRANGERS = 40
TIMES = 200
GAP = 0.01
"""Seconds between two questions: the limits allow 200 a second."""

GOAL = "<= 300"


def timed(once: Callable[[], object]) -> float:
    """Milliseconds."""
    start = time.perf_counter()
    once()
    return (time.perf_counter() - start) * 1_000


def challenges(node: Enr) -> list[float]:
    """From the first packet of a stranger to the WHOAREYOU."""
    times = []
    for _ in range(STRANGERS):
        with prober(node) as stranger:
            times.append(timed(stranger.challenged))
    return times


def handshakes(node: Enr) -> list[float]:
    """From the first packet of a stranger to its PONG."""
    times = []
    for _ in range(STRANGERS):
        with prober(node) as stranger:
            times.append(timed(stranger.meet))
    return times


def questions(node: Enr, ask: Callable[[Prober], object]) -> list[float]:
    """The same question again and again under one session."""
    times = []
    with prober(node) as stranger:
        stranger.meet()
        for _ in range(TIMES):
            times.append(timed(lambda: ask(stranger)))
            time.sleep(GAP)
    return times


def measure() -> dict[str, list[float]]:
    """Milliseconds of every answer, by what was asked."""
    with tempfile.TemporaryDirectory() as folder, running_node(Path(folder)) as running:
        node = running.record
        return {
            "whoareyou": challenges(node),
            "handshake_and_pong": handshakes(node),
            "ping": questions(node, lambda one: one.ask(one.ping())),
            "findnode_zero": questions(node, lambda one: one.ask(FindNode(one.request_id(), (0,)))),
            "findnode": questions(node, lambda one: one.ask_nodes(FindNode(one.request_id(), (256, 255, 254)))),
            "talk_unknown": questions(node, lambda one: one.ask(TalkRequest(one.request_id(), b"test", b""))),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seed", type=int, default=1, help="changes nothing: keys and nonces are drawn by the system")
    arguments = parser.parse_args()
    figures = {}
    for name, times in measure().items():
        figures[f"{name}_median"] = Figure(statistics.median(times), "ms")
        figures[f"{name}_worst"] = Figure(max(times), "ms", GOAL)
    report("conformance", figures, arguments.json)


if __name__ == "__main__":
    main()
