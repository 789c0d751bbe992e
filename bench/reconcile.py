"""What does it cost two mail servers to find out what one of them lacks, and to fetch it?

Two archives of two days of envelopes of 400 bytes, and one round of wpsync/1 between them, without a network: bytes
both ways, messages, and the time of both together. One has everything; the other has the same, or lacks a single
envelope, one in a hundred, the last hour, or everything. For comparison: sending all of it, as packets 123 and 124 did.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench._bulk import DAY, NOW, Senders, Stored
from bench._report import Figure, report
from offchain.mailserver.archive.lmdb import LmdbArchive
from offchain.mailserver.reconcile.asker import Asker
from offchain.mailserver.reconcile.packets import Ask, SyncPacket, encode, window_ranges
from offchain.mailserver.reconcile.summary import Summary
from offchain.mailserver.reconcile.teller import deliver, tell

HOUR = 3_600


@dataclass(slots=True)
class Bill:
    """What a round took."""

    seconds: float = 0.0
    told: int = 0
    """Bytes of questions and answers about ranges."""

    fetched: int = 0
    """Bytes of envelopes, with what is around them."""

    messages: int = 0
    envelopes: int = 0


def one_round(ours: Summary, theirs: Summary) -> Bill:
    """All of it, as `exchange` does, with a memory in between instead of a connection."""
    bill = Bill()

    def pass_on(packet: SyncPacket) -> SyncPacket:
        size = len(encode(packet)[1])
        bill.messages += 1
        if getattr(packet, "raws", None):
            bill.fetched += size
        else:
            bill.told += size
        return packet

    begin = time.perf_counter()
    windows = window_ranges(NOW - 2 * DAY - HOUR, NOW)
    asker = Asker(ours, windows)
    while (question := asker.next_question()) is not None:
        pass_on(question)
        answers = [tell(theirs, question)] if isinstance(question, Ask) else deliver(theirs, question)
        for answer in answers:
            bill.envelopes += len(asker.receive(pass_on(answer)))
    bill.seconds = time.perf_counter() - begin
    assert asker.succeeded, asker.failure
    return bill


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--envelopes", type=int, default=100_000)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    envelopes = [each for batch in Senders(rng, options.envelopes).batches() for each in batch]
    single = rng.choice(envelopes).hash
    lacks: dict[str, Callable[[Stored], bool]] = {
        "nothing": lambda each: False,
        "one envelope": lambda each: each.hash == single,
        "one in a hundred": lambda each: each.hash[0] * 256 + each.hash[1] < 655,
        "the last hour": lambda each: each.sent >= NOW - HOUR,
        "everything": lambda each: True,
    }
    figures = {"all of it": Figure(sum(len(each.raw) for each in envelopes) / 1024, "KiB")}
    with tempfile.TemporaryDirectory() as folder:
        whole = LmdbArchive(Path(folder) / "whole")
        whole.add_many(envelopes)
        theirs = Summary(whole, time.monotonic)
        for name, lacking in lacks.items():
            part = LmdbArchive(Path(folder) / name.replace(" ", "-"))
            part.add_many([each for each in envelopes if not lacking(each)])
            expected = sum(map(lacking, envelopes))
            first = one_round(Summary(part, time.monotonic), theirs)
            assert first.envelopes == expected, f"{first.envelopes} of {expected} came"
            figures |= {
                f"lacks {name}: envelopes": Figure(first.envelopes, "envelopes"),
                f"lacks {name}: comparing": Figure(first.told / 1024, "KiB"),
                f"lacks {name}: fetching": Figure(first.fetched / 1024, "KiB"),
                f"lacks {name}: messages": Figure(first.messages, "messages"),
                f"lacks {name}: time of both": Figure(first.seconds * 1e3, "ms"),
            }
            part.close()
        whole.close()
    report(f"reconciling two archives of {options.envelopes:,} envelopes", figures, options.json)


if __name__ == "__main__":
    main()
