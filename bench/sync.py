"""How fast do the registry's events become a committed, proven trusted set, and how fast is it there again?

One anvil chain with two histories: events that list one node each, and events that list a hundred. Ours reads them from
the endpoint, checks each log, folds the log commitment and compares it with the proven storage slot, folds the facts,
commits them to SQLite and applies them to a TrustedSet. Beside it, in the same run on the same single-node events:
web3.py's contract.events.NodesAdded.get_logs, which only decodes; and the floor, "reading the same answers and dropping
them": the same requests over the same client, as many in flight, every byte of every answer received and nothing made
of it. That is what the floor's text says and the stricter reading, so it is the one that counts; the floor of a client
that also decodes the JSON, into msgspec's structures, stands beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import resource
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import aiohttp
import msgspec
from web3.contract import Contract

from bench._chain import Anvil, compile_source, emit
from bench._report import Figure, report
from offchain.chain.answer import Answer
from offchain.chain.events import RawLog
from offchain.chain.ranges import log_filter
from offchain.config import ChainConfig, ContractRef
from offchain.trust import Policy, TrustedNodes
from offchain.types import MAILSERVER, Address, ProviderId

WEB3_LOGS = 6_000
"""Logs that web3.py reads: a few seconds' worth."""

ROUNDS = 11
"""The floor, ours, the floor with decoding, in turn, so that all meet the same machine; medians count."""

RANGE = 2
"""Blocks in a request for the floor; ours begins with it. 1.8 MB of single-node events, and small enough that the first
answer is soon there."""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", action="store_true", help="print one JSON document")
    arguments.add_argument("--seed", type=int, default=1, help="accepted for uniformity; nothing is drawn")
    arguments.add_argument("--singles", type=int, default=200_000, help="events that list one node")
    arguments.add_argument("--batches", type=int, default=2_000, help="events that list a hundred nodes")
    options = arguments.parse_args()
    figures: dict[str, Figure] = {}
    abi, bytecode = compile_source()
    with Anvil() as chain, tempfile.TemporaryDirectory() as folder:
        singles, single_block = chain.deploy(abi, bytecode)
        emit(chain, singles, options.singles, 1, 1_000)
        batches, batch_block = chain.deploy(abi, bytecode)
        emit(chain, batches, options.batches, 100, 50)
        chain.mine(4)
        _singles(chain, singles, single_block, options.singles, Path(folder), figures)
        _batches(chain, batches, batch_block, options.batches * 100, Path(folder), figures)
    report("sync", figures, options.json)


def _singles(chain: Anvil, source: Contract, block: int, events: int, folder: Path, figures: dict[str, Figure]) -> None:
    theirs = _web3(source, block)
    before = _resident()
    floors, decodings, runs, spents = [], [], [], []
    for at in range(ROUNDS):
        floors.append(asyncio.run(_drop(chain, source, block)))
        seconds, spent = asyncio.run(_follow(chain, source, block, events, folder / f"one{at}"))
        runs.append(seconds)
        spents.append(spent)
        decodings.append(asyncio.run(_drop(chain, source, block, decode=True)))
    floor, decoded, ours = (events / median(each) for each in (floors, decodings, runs))
    spent = median(spents)
    figures["single: web3.py get_logs"] = Figure(theirs, "events/s")
    figures["single: ours, processor time of this process"] = Figure(1e6 * spent / events, "us/event")
    figures["single: floor, answers read and dropped"] = Figure(floor, "events/s")
    figures["single: floor of a client that decodes them"] = Figure(decoded, "events/s")
    figures["single: ours, proven and committed"] = Figure(ours, "events/s")
    figures["single: ours / web3.py"] = Figure(ours / theirs, "x", ">= 60")
    figures["single: ours / floor"] = Figure(100 * ours / floor, "%", ">= 50")
    figures["single: ours / floor with decoding"] = Figure(100 * ours / decoded, "%")
    figures["single: memory above the start"] = Figure(max(_peak() - before, 0) / 1e6, "MB", "<= 150")


def _batches(chain: Anvil, source: Contract, block: int, nodes: int, folder: Path, figures: dict[str, Figure]) -> None:
    floor = nodes / median(asyncio.run(_drop(chain, source, block)) for _ in range(3))
    seconds = [asyncio.run(_follow(chain, source, block, nodes, folder / f"many{at}"))[0] for at in range(3)]
    figures["batches: floor"] = Figure(floor, "nodes/s")
    figures["batches: ours, proven and committed"] = Figure(nodes / median(seconds), "nodes/s", ">= 100000")
    figures["batches: ours / floor"] = Figure(100 * nodes / median(seconds) / floor, "%")
    warm = median(asyncio.run(_warm(chain, source, block, nodes, folder / "many0")) for _ in range(3))
    figures[f"warm start of {nodes:,} nodes"] = Figure(1_000 * warm, "ms", "<= 300")


def _config(chain: Anvil, source: Contract, block: int, database: Path) -> ChainConfig:
    return ChainConfig(
        rpc=(chain.url,),
        chain_id=31337,
        registry=ContractRef(Address(bytes.fromhex(source.address[2:])), block),
        curators=(),
        database=database,
        range_blocks=RANGE,
        poll_interval=60.0,
        request_timeout=60.0,
    )


POLICY = Policy(chosen=frozenset({ProviderId(1)}))


async def _follow(chain: Anvil, source: Contract, block: int, nodes: int, database: Path) -> tuple[float, float]:
    """Seconds from nothing to all nodes trusted, proven and on disk; and processor time of this process."""
    gc.collect()
    started, spent = time.perf_counter(), time.process_time()
    async with TrustedNodes(_config(chain, source, block, database), POLICY) as trusted:
        await trusted.ready(120)
        elapsed, spent = time.perf_counter() - started, time.process_time() - spent
        found = trusted.status()["trusted"][MAILSERVER]
        if found != nodes:
            raise SystemExit(f"found {found} trusted nodes, expected {nodes}: {trusted.status()}")
    return elapsed, spent


async def _warm(chain: Anvil, source: Contract, block: int, nodes: int, database: Path) -> float:
    """Seconds from opening the database to the first answers."""
    gc.collect()
    started = time.perf_counter()
    async with TrustedNodes(_config(chain, source, block, database), POLICY) as trusted:
        elapsed = time.perf_counter() - started
        if trusted.trusted_set.count(MAILSERVER) != nodes:
            raise SystemExit("the warm start lost nodes")
    return elapsed


async def _drop(chain: Anvil, source: Contract, block: int, *, decode: bool = False) -> float:
    """Seconds to read the same answers and drop them, four at a time; or to decode them first."""
    decoder = msgspec.json.Decoder(Answer[list[RawLog]])
    contract = Address(bytes.fromhex(source.address[2:]))
    last = chain.web3.eth.get_block("finalized")["number"]
    ranges = iter([(first, min(first + RANGE - 1, last)) for first in range(block, last + 1, RANGE)])
    started = time.perf_counter()
    async with aiohttp.ClientSession(read_bufsize=1024 * 1024) as session:

        async def work() -> None:
            for first, upto in ranges:
                call = {
                    "jsonrpc": "2.0",
                    "id": 1,
                    "method": "eth_getLogs",
                    "params": [log_filter([contract], first, upto)],
                }
                async with session.post(
                    chain.url, data=msgspec.json.encode(call), headers={"Content-Type": "application/json"}
                ) as answer:
                    if decode:
                        decoder.decode(await answer.read())
                        continue
                    async for _ in answer.content.iter_any():
                        pass

        await asyncio.gather(*(work() for _ in range(4)))
    return time.perf_counter() - started


def _web3(source: Contract, block: int) -> float:
    """Events a second that web3.py reads and decodes."""
    started, found, at = time.perf_counter(), 0, block
    while found < WEB3_LOGS:
        found += len(source.events.NodesAdded.get_logs(from_block=at, to_block=at))
        at += 1
    return found / (time.perf_counter() - started)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    main()
