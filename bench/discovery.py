"""How fast does a discovery node answer over UDP: handshakes, PING, FINDNODE, beside @chainsafe/discv5?

Asking and answering node are two processes on loopback, both through the whole service (sockets, sessions, table). The
inbound limits of the answering node are off, as @chainsafe/discv5's are by default: with them it answers 200 requests a
second to one address. FINDNODE is answered with 16 records, which the asking node checks: "repeated" records are
remembered by their bytes and so cost no second signature check; "new" ones, forgotten between requests, cost one each.

@chainsafe/discv5 asks and answers itself in the same way, in two processes of Node, in the same run; without Node its
lines are left out.

Rates depend on what else the machine does; the processor time that a PING takes on each side does so less. How long a
network that just started takes to find its servers, and what the stores weigh, is measured here too.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import statistics
import sys
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import psutil

from bench._report import Figure, report
from offchain import enr as records
from offchain.config import DiscoveryConfig
from offchain.discovery import Discovery
from offchain.discovery.limits import Limits
from offchain.discovery.session import Keys, SessionStore
from offchain.discovery.table import Entry
from offchain.discovery.topics.ad_cache import AdCache
from offchain.discovery.topics.admission import SharedAdmission
from offchain.enr import Enr
from offchain.keys import PrivateKey
from offchain.types import MAILSERVER, Kind, NodeId, topic_of
from tests.support.discv5_peer import Discv5Peer, available

LAN = DiscoveryConfig(lan=True)
NO_LIMITS = Limits(packets=None, requests=None, challenges=None, all_challenges=None)
MEETINGS = 40
PINGS = 8_000
AT_ONCE = 32
FINDS = 600
FILLERS = 40
SERVERS = 5
ENTRIES = 10_000
DISTANCES = [256, 255, 254]


def fillers(rng: random.Random) -> list[Enr]:
    """Records of nodes that aren't there."""
    return [Enr.create(PrivateKey(rng.randbytes(32)), ip="127.0.0.1", udp=20_000 + n) for n in range(FILLERS)]


async def serve(seed: int) -> None:
    """The answering process: prints its record, fills its table when a line comes in, ends with its input."""
    rng = random.Random(seed)
    async with Discovery(PrivateKey(rng.randbytes(32)), LAN, limits=NO_LIMITS) as node:
        print(node.record.text, flush=True)
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, sys.stdin.readline):
            for enr in fillers(rng):
                node._node.contacts.table.add(enr, ("127.0.0.1", enr.udp or 0), loop.time(), live=True)


async def rate(times: int, at_once: int, once: Callable[[], Awaitable[object]]) -> float:
    """How many a second, so many under way at a time."""
    left = times

    async def worker() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await once()

    start = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(at_once)))
    return times / (time.perf_counter() - start)


async def ours(seed: int) -> dict[str, float]:
    """The figures of this implementation."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        __file__,
        "--serve",
        "--seed",
        str(seed),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        target = Enr.parse((await process.stdout.readline()).decode().strip())
        figures = {"handshake": await meetings(target)}
        async with Discovery(PrivateKey.generate(), LAN, limits=NO_LIMITS) as node:
            await rate(500, 1, lambda: node.ping(target))
            answering = psutil.Process(process.pid)
            for name, at_once in (("ping", 1), ("ping_at_once", AT_ONCE)):
                asked, answered = time.process_time(), sum(answering.cpu_times()[:2])
                figures[name] = await rate(PINGS, at_once, lambda: node.ping(target))
                figures[f"{name}_cpu_asking"] = (time.process_time() - asked) / PINGS * 1e6
                figures[f"{name}_cpu_answering"] = (sum(answering.cpu_times()[:2]) - answered) / PINGS * 1e6
            process.stdin.write(b"fill\n")
            await process.stdin.drain()
            await asyncio.sleep(0.3)
            figures["records"] = len(await node.find_node(target, DISTANCES))
            figures["findnode"] = await rate(FINDS, 1, lambda: node.find_node(target, DISTANCES))

            async def find_new() -> None:
                records._decode.cache_clear()
                await node.find_node(target, DISTANCES)

            figures["findnode_new"] = await rate(FINDS // 2, 1, find_new)
    finally:
        process.stdin.close()
        await process.wait()
    return figures


async def meetings(target: Enr) -> float:
    """Median milliseconds from the first packet of a fresh node to its PONG."""
    times = []
    for _ in range(MEETINGS):
        async with Discovery(PrivateKey.generate(), LAN, limits=NO_LIMITS) as node:
            start = time.perf_counter()
            await node.ping(target)
            times.append(time.perf_counter() - start)
    return statistics.median(times) * 1_000


async def chainsafe(seed: int) -> dict[str, float]:
    """The same of @chainsafe/discv5."""
    async with Discv5Peer() as asking, Discv5Peer() as answering:
        target = answering.record.text

        async def repeated(what: str, times: int, at_once: int) -> float:
            done = await asking.do("repeat", what=what, enr=target, times=times, atOnce=at_once, distances=DISTANCES)
            return times / float(done["seconds"])

        met = await asking.do("meet", enr=target, times=MEETINGS)
        await repeated("ping", 500, 1)
        figures = {
            "handshake": statistics.median(met["milliseconds"]),
            "ping": await repeated("ping", PINGS // 4, 1),
            "ping_at_once": await repeated("ping", PINGS // 4, AT_ONCE),
        }
        for enr in fillers(random.Random(seed)):
            await answering.do("add", enr=enr.text)
        figures["records"] = len((await asking.do("findnode", enr=target, distances=DISTANCES))["enrs"])
        figures["findnode"] = await repeated("findnode", 60, 1)
    return figures


async def just_started(clients: int) -> float:
    """Seconds from the start of five servers until every client that joins then was told of all five."""
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:

        async def node(*boot: Enr, kinds: tuple[Kind, ...] = ()) -> Discovery:
            config = DiscoveryConfig(lan=True, bootnodes=tuple(each.text for each in boot), kinds=kinds)
            return await stack.enter_async_context(Discovery(PrivateKey.generate(), config))

        start = loop.time()
        first = await node(kinds=(MAILSERVER,))
        servers = [first, *[await node(first.record, kinds=(MAILSERVER,)) for _ in range(SERVERS - 1)]]

        async def find(client: Discovery) -> None:
            async with aclosing(client.candidates(MAILSERVER)) as candidates:
                told = set()
                async for enr in candidates:
                    told.add(enr.node_id)
                    if len(told) == SERVERS:
                        break
                # By the topic alone, whatever their records say.
                while clients == 1 and not all(  # noqa: ASYNC110
                    client.is_advertised(MAILSERVER, each.node_id) for each in servers
                ):
                    await asyncio.sleep(0.01)

        joined = [await node(servers[number % SERVERS].record) for number in range(clients)]
        async with asyncio.timeout(120):
            await asyncio.gather(*map(find, joined))
        return loop.time() - start


def resident(make: Callable[[], object]) -> float:
    """Bytes that the process grows by, what libraries take included; true once, as freed memory is used again."""
    gc.collect()
    before = psutil.Process().memory_info().rss
    made = make()
    gc.collect()
    grown = psutil.Process().memory_info().rss - before
    del made
    return float(grown)


def traced(make: Callable[[], object]) -> float:
    """Bytes of the Python objects that are made."""
    tracemalloc.start()
    made = make()
    gc.collect()
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del made
    return float(size)


def weights(rng: random.Random) -> dict[str, float]:
    """Bytes of a session with both its keys in use, and MB of 10,000 checked records, table entries and ads."""

    def sessions() -> object:
        store = SessionStore(ENTRIES)
        for number in range(ENTRIES):
            keys = Keys(rng.randbytes(16), rng.randbytes(16))
            keys.accept(keys.next_nonce(rng.randbytes(8)))
            store.install((NodeId(rng.randbytes(32)), ("10.0.0.1", number)), keys, None, 0.0)
        return store

    kept: list[Enr] = []

    def checked() -> object:
        kept.extend(
            Enr.create(PrivateKey(rng.randbytes(32)), ip=f"20.{n // 256}.{n % 256}.1", udp=30_303)
            for n in range(ENTRIES)
        )
        return None

    def entries() -> object:
        return {enr.node_id: Entry(enr, (str(enr.ip), 30_303), False) for enr in kept}

    def ads() -> object:
        cache = AdCache(SharedAdmission(ENTRIES + 1), rng, lan=False)
        for enr in kept:
            cache.admit(topic_of(MAILSERVER), enr, (str(enr.ip), 30_303), 0.0)
        return cache

    return {
        "session_bytes": resident(sessions) / ENTRIES,
        "records_mb": traced(checked) / 2**20,
        "entries_mb": traced(entries) / 2**20,
        "ads_mb": traced(ads) / 2**20,
    }


def table(mine: dict[str, float], theirs: dict[str, float] | None) -> dict[str, Figure]:
    """What to print."""
    figures = {
        "handshake_and_pong_median": Figure(mine["handshake"], "ms", "<= 1.5"),
        "ping_one_at_a_time": Figure(mine["ping"], "per s", ">= 4000"),
        "ping_32_in_flight": Figure(mine["ping_at_once"], "per s", ">= 8000"),
        "cpu_of_a_ping_asking": Figure(mine["ping_cpu_asking"], "us"),
        "cpu_of_a_ping_answering": Figure(mine["ping_cpu_answering"], "us"),
        "cpu_of_a_ping_asking_32": Figure(mine["ping_at_once_cpu_asking"], "us", "<= 125"),
        "cpu_of_a_ping_answering_32": Figure(mine["ping_at_once_cpu_answering"], "us", "<= 125"),
        "findnode_records": Figure(mine["records"], "records", ">= 15"),
        "findnode_repeated_records": Figure(mine["findnode"], "per s", ">= 500"),
        "findnode_new_records": Figure(mine["findnode_new"], "per s"),
        "five_new_servers_found_by_topic": Figure(mine["five_servers"], "s", "<= 5"),
        "seventy_clients_find_all": Figure(mine["seventy_clients"], "s"),
        "memory_of_a_session": Figure(mine["session_bytes"], "bytes"),
        "memory_of_10000_records": Figure(mine["records_mb"], "MB"),
        "memory_of_10000_table_entries": Figure(mine["entries_mb"], "MB"),
        "memory_of_10000_ads": Figure(mine["ads_mb"], "MB"),
    }
    for name, unit in (
        ("handshake", "ms"),
        ("ping", "per s"),
        ("ping_at_once", "per s"),
        ("records", "records"),
        ("findnode", "per s"),
    ):
        if theirs is not None:
            figures[f"chainsafe_{name}"] = Figure(theirs[name], unit)
    return figures


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        await serve(arguments.seed)
        return
    weighed = weights(random.Random(arguments.seed))  # first: later there is freed memory to be used again
    mine = {**weighed, **await ours(arguments.seed)}
    mine["five_servers"] = await just_started(1)
    mine["seventy_clients"] = await just_started(70)
    theirs = await chainsafe(arguments.seed) if available() else None
    report("discovery", table(mine, theirs), arguments.json)


if __name__ == "__main__":
    asyncio.run(main())
