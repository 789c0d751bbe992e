"""What does a question about trust cost, and how soon does a consumer learn of a removal?

The question: is_trusted on a set of 200,000 listed nodes, in processor time, and explain, which tells the whole
chain of reasons. The delay: a block with a removal arrives on a local chain (its header is announced by WebSocket to
this process, on a second subscription); the clock stops when the change comes out of TrustedNodes.changes(). With it,
for comparison: from the moment at which the transaction was sent. The chain is anvil; the contract emits the registry's
events and commitment.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import aiohttp
from web3.contract import Contract

from bench._chain import Anvil, compile_source, emit
from bench._report import Figure, report
from offchain.chain.checkpoint import Proven
from offchain.chain.facts import Facts, Listing, Origin
from offchain.chain.ledger import EVERYTHING
from offchain.chain.watcher import Update
from offchain.config import ChainConfig, ContractRef
from offchain.trust import Policy, TrustChange, TrustedNodes, TrustedSet
from offchain.types import MAILSERVER, Address, KindId, NodeAddress, NodeId, ProviderId

NODES = 200_000
REMOVALS = 60
POLICY = Policy(chosen=frozenset({ProviderId(1)}))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", action="store_true", help="print one JSON document")
    arguments.add_argument("--seed", type=int, default=1)
    options = arguments.parse_args()
    draw = random.Random(options.seed)
    figures: dict[str, Figure] = {}
    _lookups(draw, figures)
    abi, bytecode = compile_source()
    with Anvil() as chain, tempfile.TemporaryDirectory() as folder:
        source, block = chain.deploy(abi, bytecode)
        emit(chain, source, REMOVALS, 1, REMOVALS)
        delays = asyncio.run(_delays(chain, source, block, Path(folder)))
    from_block = sorted(1_000 * (learned - announced) for _, announced, learned in delays)
    from_send = sorted(1_000 * (learned - sent) for sent, _, learned in delays)
    figures["block to change, median"] = Figure(statistics.median(from_block), "ms", "<= 50")
    figures["block to change, 95 of 100"] = Figure(from_block[int(0.95 * len(from_block))], "ms", "<= 50")
    figures["transaction sent to change, median"] = Figure(statistics.median(from_send), "ms")
    report("trust", figures, options.json)


def _lookups(draw: random.Random, figures: dict[str, Figure]) -> None:
    facts, now = Facts(), int(time.time())
    facts.kinds[KindId(1)] = MAILSERVER
    ids = [NodeId(draw.randbytes(32)) for _ in range(NODES)]
    for number, node_id in enumerate(ids):
        origin = Origin(ProviderId(1 + number % 2), KindId(1), number // 100, number % 100, bytes(32))
        facts.listings[NodeAddress(node_id[12:])] = Listing(node_id, now + 86_400, origin)
    trusted = TrustedSet(POLICY)
    trusted.apply(Update(facts, facts, EVERYTHING, Proven(1, b"", float(now)), None, 1))
    sample = draw.sample(ids, 2_000)
    costs = []
    for _ in range(50):
        # Fresh copies: an id that comes from the network was never hashed before.
        asked = [NodeId(bytes(bytearray(node_id))) for node_id in sample]
        started = time.process_time()
        for node_id in asked:
            trusted.is_trusted(MAILSERVER, node_id)
        costs.append((time.process_time() - started) / len(asked))
    started = time.perf_counter()
    for node_id in sample:
        trusted.explain(MAILSERVER, node_id)
    explain = (time.perf_counter() - started) / 2_000
    started = time.perf_counter()
    changes = trusted.set_policy(Policy(chosen=frozenset({ProviderId(2)})))
    switch = time.perf_counter() - started
    if len(changes) != NODES:
        raise SystemExit(f"a switch of policy made {len(changes)} changes, expected {NODES}")
    figures[f"is_trusted among {NODES:,}"] = Figure(1e9 * min(costs), "ns", "<= 200")
    figures["explain"] = Figure(1e6 * explain, "us")
    figures[f"switch of policy, {NODES:,} changes"] = Figure(1_000 * switch, "ms")


async def _delays(chain: Anvil, source: Contract, block: int, folder: Path) -> list[tuple[float, float, float]]:
    """For each removal: when it was sent, when its block was announced, when the change came out."""
    config = ChainConfig(
        rpc=(chain.url,),
        websocket=(chain.ws,),
        chain_id=31337,
        registry=ContractRef(Address(bytes.fromhex(source.address[2:])), block),
        curators=(),
        database=folder / "chain.sqlite",
        finality="latest",
    )
    found = []
    async with TrustedNodes(config, POLICY) as trusted, aiohttp.ClientSession() as session:
        await trusted.ready(30)
        changes = trusted.changes()
        async with session.ws_connect(chain.ws) as heads:
            await heads.send_str('{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}')
            await heads.receive()
            for node in trusted.nodes(MAILSERVER)[:REMOVALS]:
                learning = asyncio.create_task(_learned(changes))
                hearing = asyncio.create_task(_heard(heads))
                await asyncio.sleep(0.01)
                sent = time.perf_counter()
                await asyncio.to_thread(_remove, chain, source, node.node_id)
                async with asyncio.timeout(10):
                    change, learned = await learning
                    announced = await hearing
                if (change.node_id, change.trusted) != (node.node_id, False):
                    raise SystemExit(f"found {change}, expected the removal of {node.node_id.hex()}")
                found.append((sent, announced, learned))
    return found


async def _learned(changes: object) -> tuple[TrustChange, float]:
    change = await anext(changes)  # type: ignore[call-overload]
    return change, time.perf_counter()


async def _heard(heads: aiohttp.ClientWebSocketResponse) -> float:
    await heads.receive()
    return time.perf_counter()


def _remove(chain: Anvil, source: Contract, node_id: bytes) -> None:
    sender = chain.web3.eth.accounts[0]
    node = chain.web3.to_checksum_address("0x" + node_id[12:].hex())
    source.functions.removeNode(node).transact({"from": sender, "gas": 1_000_000})


if __name__ == "__main__":
    main()
