"""How fast does the archive take envelopes in, and answer questions?

Envelopes of 400 bytes (goal figures of specs: Zipf over 25,000 topics) sent over two days, stored with a durable commit
for every 1,000; then queries for one topic, for twenty topics, and by the bloom filter of twenty topics, each over 24
hours with 100 results at most: one after another, or by four threads if the archive is another process. The
twenty-topic figure is the one with a goal; with --envelopes 10000000 it is the one that is compared with other stores.

Every query is another one. What is measured is an archive that has been serving for a while: its files are read into
memory first, which a system may have given to others meanwhile, and each kind of query is asked for --warm-up seconds
before the clock starts: a process maps the pages that it meets, a database makes its plans and fills its own buffers,
for which ten million envelopes take it half a minute. A database is let finish its house-keeping after the many
envelopes, too. With --cold the files are put out of memory instead, nothing is asked beforehand, and of twenty topics
only: what comes then is the first seconds after a start.

With --cache the archive is built once and kept; `make archive` does that with ten million, in LMDB and in PostgreSQL.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench._bulk import DAY, FORMAT, NOW, Senders, fill, kept, made_beside, warm
from bench._report import Figure, report
from offchain.mailserver.archive import Archive, Query
from offchain.mailserver.archive.lmdb import LmdbArchive
from offchain.whisper.bloom import merge, topic_bloom

DATABASE_ASKERS = 4
"""Threads that ask an archive in another process; one in ours is asked by one."""

QUERIES = 20_000
"""Of each kind that are drawn; so many are asked in some seconds."""

DATABASE = {"shared_buffers": "4GB", "max_wal_size": "8GB", "checkpoint_timeout": "15min"}
"""As docs/operations.md advises for a machine of 16 GB."""


def measure(archive: Archive, queries: list[Query], seconds: float) -> tuple[float, float, float]:
    """Queries per second, the 99th percentile of one in ms, and results per query."""
    begin = time.perf_counter()
    end = begin + seconds

    def ask(first: int) -> tuple[list[float], int]:
        times: list[float] = []
        results = 0
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


@dataclass(frozen=True, slots=True)
class Opened:
    """An archive to be measured."""

    archive: Archive
    built: dict[str, float]
    """What filling it took: seconds, and the milliseconds of the slowest commit."""

    files: Callable[[], Iterable[Path]]
    """What it is on disk."""


@contextmanager
def lmdb_archive(options: argparse.Namespace) -> Iterator[Opened]:
    """An archive in LMDB."""
    with ExitStack() as stack:
        if options.cache:
            folder, _, built = kept(options.cache, options.envelopes, options.seed)
            archive = LmdbArchive(folder)
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.folder)))
            archive = LmdbArchive(folder)
            spent, slowest = fill(archive, Senders(random.Random(options.seed), options.envelopes).batches())
            built = {"seconds": spent, "slowest": slowest}
        stack.callback(archive.close)
        yield Opened(archive, built, lambda: folder.glob("*/data.mdb"))


@contextmanager
def postgres_archive(options: argparse.Namespace) -> Iterator[Opened]:
    """An archive in a PostgreSQL of our own."""
    from offchain.mailserver.archive.pg_connection import Connection, Loop
    from offchain.mailserver.archive.postgres import PostgresArchive
    from tests.support import postgres

    binaries = postgres.binaries()
    if binaries is None:
        raise SystemExit("there is no PostgreSQL on this machine: install one, or pip install pgserver")
    with ExitStack() as stack:
        parent = options.cache or Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.folder)))
        home = parent / f"{options.envelopes}-{options.seed}-{FORMAT}-postgres"
        data, done = home / "data", home / "built.json"
        if not done.exists():
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir(parents=True)
        parent.chmod(0o755)  # for the user who runs the database
        url = stack.enter_context(postgres.cluster(binaries, kept=data, **DATABASE))
        archive = PostgresArchive(url)
        stack.callback(archive.close)
        if not done.exists():
            spent, slowest = fill(archive, made_beside(Senders(random.Random(options.seed), options.envelopes)))
            loop = Loop()
            stack.callback(loop.stop)
            connection = Connection(loop, url)
            connection.execute("VACUUM (ANALYZE)")
            connection.execute("CHECKPOINT")
            connection.close()
            done.write_text(json.dumps({"seconds": spent, "slowest": slowest}), encoding="ascii")
        built = json.loads(done.read_text(encoding="ascii"))
        yield Opened(archive, built, lambda: data.glob("base/*/*"))


def draw(rng: random.Random, senders: Senders, topics: int, by_bloom: bool) -> list[Query]:
    """Queries for so many topics over 24 hours that begin anywhere in the first day."""
    queries = []
    for _ in range(QUERIES):
        upper = NOW - rng.randrange(DAY)
        wanted = tuple(senders.topic() for _ in range(topics))
        chosen = {"bloom": merge(*map(topic_bloom, wanted))} if by_bloom else {"topics": wanted}
        queries.append(Query(upper - DAY, upper, limit=100, **chosen))
    return queries


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--envelopes", type=int, default=500_000)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each kind of query")
    parser.add_argument("--warm-up", type=float, default=1.0, help="seconds of asking before each kind is measured")
    parser.add_argument("--folder", type=Path, help="where to put the archive; a temporary folder otherwise")
    parser.add_argument("--cache", type=Path, help="where to keep the archive, to be used again; `make load` does too")
    parser.add_argument("--cold", action="store_true", help="begin with an archive that the system has not in memory")
    parser.add_argument("--postgres", action="store_true", help="measure PostgreSQL, started for it, not LMDB")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    senders = Senders(rng, options.envelopes)
    figures: dict[str, Figure] = {}
    with postgres_archive(options) if options.postgres else lmdb_archive(options) as opened:
        archive, built = opened.archive, opened.built
        goal = "" if options.postgres else ">= 50000"
        figures["ingest"] = Figure(options.envelopes / built["seconds"], "envelopes/s", goal)
        figures["slowest commit"] = Figure(built["slowest"], "ms")
        figures["size on disk"] = Figure(sum(day.size for day in archive.days()) / options.envelopes, "bytes/envelope")
        for name, topics, by_bloom, goal in (
            ("1 topic", 1, False, ""),
            ("20 topics", 20, False, "" if options.cold else ">= 1000" if options.postgres else ">= 3000"),
            ("bloom of 20", 20, True, ""),
        ):
            queries = draw(rng, senders, topics, by_bloom)
            if options.cold:
                if name != "20 topics":
                    continue
                warm(opened.files(), cold=True)
            else:
                if name == "1 topic":
                    warm(opened.files())
                measure(archive, draw(rng, senders, topics, by_bloom), options.warm_up)
            rate, p99, results = measure(archive, queries, options.seconds)
            figures[f"{name}, 24 h, 100"] = Figure(rate, "queries/s", goal)
            figures[f"{name}, 24 h, 100: p99"] = Figure(p99, "ms", "<= 5" if goal == ">= 3000" else "")
            figures[f"{name}, 24 h, 100: results"] = Figure(results, "per query")
    what = "archive" + " in PostgreSQL" * options.postgres + ", cold" * options.cold
    report(f"{what}, {options.envelopes:,} envelopes", figures, options.json)


if __name__ == "__main__":
    main()
