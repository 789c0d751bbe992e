"""What does a question about trust cost, and how soon does a consumer learn of a removal?

The question: is_trusted on a set of 200,000 listed nodes, in processor time, and explain, which tells the whole
chain of reasons. The delay: a block with a removal arrives on a local chain (its header is announced by WebSocket to
this process, on a second subscription); the clock stops when the change comes out of TrustedNodes.changes(). With it,
for comparison: from the moment at which the transaction was sent. And with the client's pool behind it: until the other
end of the node's TCP connection has seen it close. The chain is anvil; the contract emits the registry's events and
commitment.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import aiohttp
from web3.contract import Contract

from bench._chain import Anvil, compile_source, emit
from bench._report import Figure, report
from offchain.chain.checkpoint import Proven
from offchain.chain.facts import Facts, Listing, Origin
from offchain.chain.ledger import EVERYTHING
from offchain.chain.news import Update
from offchain.client.pool import Pool
from offchain.config import ChainConfig, ClientConfig, ContractRef
from offchain.contact import Contact, Source
from offchain.keys import PrivateKey
from offchain.trust import Policy, TrustChange, TrustedNodes, TrustedSet
from offchain.types import MAILSERVER, Address, KindId, NodeAddress, NodeId, ProviderId, parse_ip

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
    from_block = sorted(1_000 * (learned - announced) for _, announced, learned, _ in delays)
    from_send = sorted(1_000 * (learned - sent) for sent, _, learned, _ in delays)
    to_drop = sorted(1_000 * (dropped - announced) for _, announced, _, dropped in delays)
    figures["block to change, median"] = Figure(statistics.median(from_block), "ms", "<= 50")
    figures["block to change, 95 of 100"] = Figure(from_block[int(0.95 * len(from_block))], "ms", "<= 50")
    figures["block to dropped connection, median"] = Figure(statistics.median(to_drop), "ms", "<= 50")
    figures["block to dropped connection, 95 of 100"] = Figure(to_drop[int(0.95 * len(to_drop))], "ms", "<= 50")
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


class Wire:
    """A connection of the pool: TCP to this process."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.port: int = writer.get_extra_info("sockname")[1]

    def close(self, reason: str) -> None:
        """As the pool asks."""
        self._writer.close()

    async def run(self) -> str:
        """Until it is over."""
        await self._reader.read()
        return "it is over"


async def _delays(chain: Anvil, source: Contract, block: int, folder: Path) -> list[tuple[float, float, float, float]]:
    """For each removal: when it was sent, its block announced, the change out, and the connection seen to end."""
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
    ended: dict[int, asyncio.Future[float]] = defaultdict(asyncio.get_running_loop().create_future)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        ended[writer.get_extra_info("peername")[1]].set_result(time.perf_counter())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async def connect(contact: Contact) -> Wire:
        return Wire(*await asyncio.open_connection("127.0.0.1", port))

    async with TrustedNodes(config, POLICY) as trusted, aiohttp.ClientSession() as session:
        await trusted.ready(30)
        changes = trusted.changes()
        pool = Pool(ClientConfig(MAILSERVER, pool_target=REMOVALS), trusted, connect)
        running = asyncio.create_task(pool.run())
        public = PrivateKey.generate().public
        for node in trusted.nodes(MAILSERVER)[:REMOVALS]:
            pool.offer(Contact(node.node_id, public, parse_ip("127.0.0.1"), port, None, Source.REGISTRY))
        if not await pool.wait_ready(REMOVALS, 30):
            raise SystemExit(f"{pool.ready} of {REMOVALS} connections are ready")
        wires = dict(pool.links())
        async with session.ws_connect(chain.ws) as heads:
            await heads.send_str('{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}')
            await heads.receive()
            for node in trusted.nodes(MAILSERVER)[:REMOVALS]:
                learning = asyncio.create_task(_learned(changes, pool))
                hearing = asyncio.create_task(_heard(heads))
                await asyncio.sleep(0.01)
                sent = time.perf_counter()
                await asyncio.to_thread(_remove, chain, source, node.node_id)
                async with asyncio.timeout(10):
                    change, learned = await learning
                    announced = await hearing
                if (change.node_id, change.trusted) != (node.node_id, False):
                    raise SystemExit(f"found {change}, expected the removal of {node.node_id.hex()}")
                async with asyncio.timeout(10):
                    dropped = await ended[wires[node.node_id].port]
                found.append((sent, announced, learned, dropped))
        running.cancel()
        await asyncio.wait([running])
    server.close()
    return found


async def _learned(changes: object, pool: Pool[Wire]) -> tuple[TrustChange, float]:
    """The next change, handed to the pool as the client does, and when it came out."""
    change = await anext(changes)  # type: ignore[call-overload]
    learned = time.perf_counter()
    pool.trust_changed(change.node_id, change.trusted, change.reason, block=change.block)
    return change, learned


async def _heard(heads: aiohttp.ClientWebSocketResponse) -> float:
    await heads.receive()
    return time.perf_counter()


def _remove(chain: Anvil, source: Contract, node_id: bytes) -> None:
    sender = chain.web3.eth.accounts[0]
    node = chain.web3.to_checksum_address("0x" + node_id[12:].hex())
    source.functions.removeNode(node).transact({"from": sender, "gas": 1_000_000})


if __name__ == "__main__":
    main()
