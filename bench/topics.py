"""How long does a registrar take to answer REGTOPIC and TOPICQUERY when its ad cache is full?

The whole handlers, hints from a routing table of 200 nodes included, without packets; the askers' records were checked
before. The cache is full but for one ad in a hundred, topics are drawn with Zipf's distribution. Then the memory of
that cache. The Go prototype (datahop) was measured at 58 us for REGTOPIC and 66 us for TOPICQUERY.
"""

from __future__ import annotations

import argparse
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench._report import Figure, report
from offchain.config import DiscoveryConfig
from offchain.discovery.message import RegTopic, TopicQuery
from offchain.discovery.node import Node
from offchain.discovery.topics.admission import CAPACITY, Admission, SharedAdmission, SpecifiedAdmission
from offchain.discovery.topics.capability import KEY, VERSION
from offchain.discovery.wire import Received
from offchain.enr import Enr
from offchain.keys import PrivateKey
from offchain.types import Topic

TOPICS = 100
TABLE = 200
ASKERS = 1_000
DISTANCES = tuple(range(256, 248, -1))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    figures: dict[str, Figure] = {}
    for name, strategy in (("shared", SharedAdmission), ("specified", SpecifiedAdmission)):
        figures |= measured(name, strategy(), Random(options.seed))
    report("topics", figures, options.json)


def measured(name: str, admission: Admission, rng: Random) -> dict[str, Figure]:
    """The figures under one strategy."""
    node = Node(PrivateKey(rng.randbytes(32)), DiscoveryConfig(), rng, admission=admission)
    node.start(["9.9.9.9"], 9_999, 0.0)
    for enr, address in strangers(TABLE, rng):
        node.contacts.table.add(enr, address, 0.0, live=True)
    topics = [Topic(rng.randbytes(32)) for _ in range(TOPICS)]
    weights = [1 / rank for rank in range(1, TOPICS + 1)]

    ads = strangers(CAPACITY - CAPACITY // 100, rng)
    tracemalloc.start()
    for enr, address in ads:
        node.directory.registrar.ads.admit(rng.choices(topics, weights)[0], enr, address, 0.0)
    memory = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()

    askers = strangers(ASKERS, rng)
    asked = [rng.choices(topics, weights)[0] for _ in askers]
    received = [Received(enr.node_id, address, b"") for enr, address in askers]
    registrations = [
        RegTopic(bytes(8), topic, enr.raw, b"", DISTANCES) for topic, (enr, _) in zip(asked, askers, strict=True)
    ]
    queries = [TopicQuery(bytes(8), topic, DISTANCES) for topic in asked]
    directory = node.directory
    register = microseconds(
        lambda: [directory.on_regtopic(*each, 1.0) for each in zip(received, registrations, strict=True)]
    )
    query = microseconds(lambda: [directory.on_topicquery(*each, 1.0) for each in zip(received, queries, strict=True)])
    return {
        f"REGTOPIC, full cache ({name})": Figure(register, "us", "<= 100"),
        f"TOPICQUERY, full cache ({name})": Figure(query, "us", "<= 100"),
        f"{len(ads)} ads in the cache, records aside ({name})": Figure(round(memory / 1024), "KiB"),
    }


def strangers(count: int, rng: Random) -> list[tuple[Enr, tuple[str, int]]]:
    """Records of nodes with addresses of their own."""
    made = []
    for _ in range(count):
        ip = f"{rng.randrange(11, 90)}.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}"
        enr = Enr.create(PrivateKey(rng.randbytes(32)), ip=ip, udp=9_000, extra={KEY: VERSION})
        made.append((enr, (ip, 9_000)))
    return made


def microseconds(work: Callable[[], list[object]]) -> float:
    """For each of what `work` does: the best of five rounds."""
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        done = len(work())
        best = min(best, (time.perf_counter() - start) / done)
    return round(best * 1e6, 1)


if __name__ == "__main__":
    main()
