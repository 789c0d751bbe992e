"""How fast does the archive take envelopes in, and answer questions?

Envelopes of 400 bytes (goal figures of specs: Zipf over 25,000 topics) sent over two days, stored with a durable commit
for every 1,000; then queries for one topic, for twenty topics, and by the bloom filter of twenty topics, each over 24
hours with 100 results at most: one after another, or by four threads if the archive is another process. The
twenty-topic figure is the one with a goal; with --envelopes 10000000 it is the one that is compared with other stores.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench._bulk import DAY, NOW, Senders, fill, kept
from bench._report import Figure, report
from offchain.mailserver.archive import Archive, Query
from offchain.mailserver.archive.lmdb import LmdbArchive
from offchain.mailserver.archive.topics import BLOOM_SIZE

DATABASE_ASKERS = 4
"""Threads that ask an archive in another process; one in ours is asked by one."""


def measure(archive: Archive, queries: list[Query], seconds: float) -> tuple[float, float, float]:
    """Queries per second, the 99th percentile of one in ms, and results per query."""
    begin = time.perf_counter()
    end = begin + seconds

    def ask(first: int) -> tuple[list[float], int]:
        times, results = [], 0
        while (begun := time.perf_counter()) < end:
            results += len(archive.query(queries[(first + len(times)) % len(queries)]).envelopes)
            times.append(time.perf_counter() - begun)
        return times, results

    askers = DATABASE_ASKERS if archive.waits else 1
    with ThreadPoolExecutor(askers) as threads:
        asked = list(threads.map(ask, range(0, len(queries), len(queries) // askers)))
    times = sorted(each for times, _ in asked for each in times)
    rate = len(times) / (time.perf_counter() - begin)
    return rate, times[len(times) * 99 // 100] * 1e3, sum(results for _, results in asked) / len(times)


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
    return PostgresArchive(stack.enter_context(postgres.cluster(binaries, shared_buffers="512MB")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--envelopes", type=int, default=500_000)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each kind of query")
    parser.add_argument("--folder", type=Path, help="where to put the archive; a temporary folder otherwise")
    parser.add_argument("--cache", type=Path, help="where to keep the archive, to be used again; `make load` does too")
    parser.add_argument("--postgres", action="store_true", help="measure PostgreSQL, started for it, not LMDB")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    senders = Senders(rng, options.envelopes)
    figures: dict[str, Figure] = {}
    with ExitStack() as stack:
        if options.cache:
            folder, _, built = kept(options.cache, options.envelopes, options.seed)
            archive: Archive = LmdbArchive(folder)
            spent, slowest = built["seconds"], built["slowest"]
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.folder)))
            archive = open_postgres(stack) if options.postgres else LmdbArchive(folder / "archive")
            spent, slowest = fill(archive, senders.batches())
        figures["ingest"] = Figure(options.envelopes / spent, "envelopes/s", "" if options.postgres else ">= 50000")
        figures["slowest commit"] = Figure(slowest, "ms")
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
            figures[f"{name}, 24 h, 100: p99"] = Figure(p99, "ms", "<= 5" if goal == ">= 3000" else "")
            figures[f"{name}, 24 h, 100: results"] = Figure(results, "per query")
        archive.close()
    kept_in = " in PostgreSQL" if options.postgres else ""
    report(f"archive of {options.envelopes:,} envelopes{kept_in}", figures, options.json)


if __name__ == "__main__":
    main()
