"""How fast does the archive take envelopes in, and answer questions?

Envelopes of 400 bytes (goal figures of specs: Zipf over 25,000 topics) sent over two days, stored with a durable commit
for every 1,000; then queries for one topic, for twenty topics, and by the bloom filter of twenty topics, each over 24
hours with 100 results at most. The twenty-topic figure is the one with a goal; with --envelopes 10000000 it is the one
that is compared with other stores.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from bisect import bisect
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench._report import Figure, report
from offchain import rlp
from offchain.mailserver.archive import Archive, Query
from offchain.mailserver.archive.lmdb import LmdbArchive
from offchain.mailserver.archive.topics import BLOOM_SIZE

DAY = 86_400
TOPICS = 25_000
COMMIT = 1_000
SIZE = 400
NOW = 20_000 * DAY


@dataclass(slots=True)
class Stored:
    raw: bytes
    hash: bytes
    topic: bytes
    sent: int


class Senders:
    """Envelopes as a network would send them: Zipf over the topics, in the order of their time, a little shuffled."""

    def __init__(self, rng: random.Random, count: int) -> None:
        self._rng = rng
        self._count = count
        self.topics = [rng.randbytes(4) for _ in range(TOPICS)]
        self.weights = list(accumulate(1 / rank for rank in range(1, TOPICS + 1)))
        self._data = rng.randbytes(4096)

    def topic(self) -> bytes:
        return self.topics[bisect(self.weights, self._rng.random() * self.weights[-1])]

    def batch(self, first: int) -> list[Stored]:
        rng, made = self._rng, []
        for number in range(first, min(first + COMMIT, self._count)):
            sent = NOW - 2 * DAY + number * 2 * DAY // self._count - rng.randrange(20)
            topic, at = self.topic(), rng.randrange(4096 - SIZE)
            head = rlp.encode(sent + 50) + b"\x32" + b"\x84" + topic
            raw = rlp.encode_list([head, rlp.encode(self._data[at : at + SIZE - 40]), b"\x88" + rng.randbytes(8)])
            made.append(Stored(raw, rng.randbytes(32), topic, sent))
        return made


def measure(archive: Archive, queries: list[Query], seconds: float) -> tuple[float, float, float]:
    """Queries per second, the 99th percentile of one in ms, and results per query."""
    times, results, end = [], 0, time.perf_counter() + seconds
    while (begin := time.perf_counter()) < end:
        results += len(archive.query(queries[len(times) % len(queries)]).envelopes)
        times.append(time.perf_counter() - begin)
    times.sort()
    return len(times) / sum(times), times[len(times) * 99 // 100] * 1e3, results / len(times)


def bloom_of(topics: tuple[bytes, ...]) -> bytes:
    bits = bytearray(BLOOM_SIZE)
    for topic in topics:
        for j in range(3):
            index = topic[j] + (256 if topic[3] & (1 << j) else 0)
            bits[index // 8] |= 1 << (index % 8)
    return bytes(bits)


def open_postgres(stack: ExitStack) -> Archive:
    """An empty archive in a PostgreSQL of our own."""
    from offchain.mailserver.archive.postgres import PostgresArchive
    from tests.support import postgres

    binaries = postgres.binaries()
    if binaries is None:
        raise SystemExit("there is no PostgreSQL on this machine: install one, or pip install pgserver")
    return PostgresArchive(stack.enter_context(postgres.cluster(binaries)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--envelopes", type=int, default=500_000)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each kind of query")
    parser.add_argument("--folder", type=Path, help="where to put the archive; a temporary folder otherwise")
    parser.add_argument("--postgres", action="store_true", help="measure PostgreSQL, started for it, not LMDB")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    senders = Senders(rng, options.envelopes)
    figures: dict[str, Figure] = {}
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(dir=options.folder))
        archive = open_postgres(stack) if options.postgres else LmdbArchive(Path(folder) / "archive")
        spent = 0.0
        for first in range(0, options.envelopes, COMMIT):
            batch = senders.batch(first)
            begin = time.perf_counter()
            archive.add_many(batch)
            spent += time.perf_counter() - begin
        figures["ingest"] = Figure(options.envelopes / spent, "envelopes/s", ">= 50000")
        figures["size on disk"] = Figure(sum(day.size for day in archive.days()) / options.envelopes, "bytes/envelope")
        for name, topics, by_bloom, goal in (
            ("1 topic", 1, False, ""),
            ("20 topics", 20, False, ">= 1000" if options.postgres else ">= 3000"),
            ("bloom of 20", 20, True, ""),
        ):
            queries = []
            for _ in range(500):
                upper = NOW - rng.randrange(DAY)
                wanted = tuple(senders.topic() for _ in range(topics))
                chosen = {"bloom": bloom_of(wanted)} if by_bloom else {"topics": wanted}
                queries.append(Query(upper - DAY, upper, limit=100, **chosen))
            rate, p99, results = measure(archive, queries, options.seconds)
            figures[f"{name}, 24 h, 100"] = Figure(rate, "queries/s", goal)
            figures[f"{name}, 24 h, 100: p99"] = Figure(p99, "ms", "<= 5" if goal else "")
            figures[f"{name}, 24 h, 100: results"] = Figure(results, "per query")
        archive.close()
    kept_in = " in PostgreSQL" if options.postgres else ""
    report(f"archive of {options.envelopes:,} envelopes{kept_in}", figures, options.json)


if __name__ == "__main__":
    main()
