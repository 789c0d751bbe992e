"""What does it cost to check what an endpoint proves?

A contract with many verdict slots: the time, in processor time, to check the proof of one slot, and to rebuild the hash
of a header. Proofs of different lengths are mixed as they come.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import msgspec

from bench._report import Figure, report
from offchain import rlp
from offchain.chain.commitment import verdict_slot
from offchain.chain.header import RawHeader, parse_header
from offchain.chain.proof import prove_slot
from offchain.types import KindId, ProviderId
from tests.support.chain import FakeChain, trie

SLOTS = 4_000
ROUNDS = 5


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", action="store_true", help="print one JSON document")
    arguments.add_argument("--seed", type=int, default=1)
    options = arguments.parse_args()
    draw = random.Random(options.seed)
    words = {
        verdict_slot(ProviderId(number), KindId(1)): draw.randbytes(25).lstrip(b"\0") for number in range(1, SLOTS + 1)
    }
    root, prove = trie({slot: rlp.encode(word) for slot, word in words.items()})
    asked = [(slot, prove(slot)) for slot in draw.sample(sorted(words), 500)]
    header = msgspec.convert(FakeChain.started().head.header, RawHeader)

    def slots() -> None:
        for slot, proof in asked:
            if prove_slot(root, slot, proof).lstrip(b"\0") != words[slot]:
                raise SystemExit("a proof says something else")

    def headers() -> None:
        for _ in range(500):
            parse_header(header)

    nodes = sum(len(proof) for _, proof in asked) / len(asked)
    figures = {
        "nodes in a proof": Figure(nodes, "nodes"),
        "check of a slot": Figure(_microseconds(slots), "us", "<= 60"),
        "hash of a header": Figure(_microseconds(headers), "us"),
    }
    report("proof", figures, options.json)


def _microseconds(work: Callable[[], None]) -> float:
    """For one of five hundred, the best of some rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return best / 500 * 1e6


if __name__ == "__main__":
    main()
