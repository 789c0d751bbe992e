"""A long life under load: events, reorganisations, faults of endpoints, dropped subscriptions, restarts; then the bill.

    python -m tests.support.soak --minutes 30

A real chain (anvil) with the real contracts; the product follows it through three endpoints of which one or two have a
fault at any time. The contracts' own views are the model: again and again, and in the end, the trusted set must equal
what they say. In between no endpoint answers and the clock goes on: STALE keeps the set, EXPIRED keeps nobody. Prints
one table; ends with an error if the set is wrong, memory grew, or anything was logged as an error.
"""

import argparse
import asyncio
import ctypes
import gc
import logging
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

from bench._report import Figure, report
from offchain.hashing import keccak256
from offchain.keys import PrivateKey
from offchain.trust import Freshness, Policy, TrustedNodes
from offchain.types import MAILSERVER
from tests.support.chain_world import ACCEPTED, MAILSERVER_KIND, REJECTED, World
from tests.support.endpoint_proxy import FAULTS, EndpointProxy

SETTLE = 60.0
"""Seconds for the set to become right once the faults end."""

HOUR = 3_600.0

LIVES = 4
"""Times that the trusted nodes are opened anew; each ends with a comparison and a night."""

MAX_GROWTH = 30.0
"""MB by which the memory in use may grow from the first comparison to the last: then no answer is under way."""


class Errors(logging.Handler):
    """Keeps what was logged as an error."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.found = []

    def emit(self, record):
        self.found.append(record.getMessage())


class Soak:
    """The world, the endpoints and the trusted nodes that follow them."""

    def __init__(self, world, folder, seed):
        self.world = world
        self.folder = folder
        self.rng = random.Random(seed)
        self.keys = [PrivateKey(keccak256(b"soak %d" % number)) for number in range(24)]
        self.providers = []
        self.listed = {}
        self.rejected = set()
        self.did = Counter()
        self.trusted = None
        self.memory = []
        self.ahead = 0.0
        """Seconds by which the clock of the trusted nodes is ahead of the world's."""

    async def run(self, seconds):
        """Live for so long, then settle; the figures."""
        async with AsyncExitStack() as stack:
            self.proxies = [await stack.enter_async_context(EndpointProxy(self.world.url).running()) for _ in range(3)]
            await asyncio.to_thread(self._prepare)
            started = time.monotonic()
            while (left := started + seconds - time.monotonic()) > 0:
                async with self._open() as self.trusted:
                    watcher = asyncio.create_task(self._consume(self.trusted))
                    until = time.monotonic() + min(left, max(seconds / LIVES, 2))
                    while (left := until - time.monotonic()) > 0:
                        await self._live(min(left, max(seconds / LIVES / 5, 2)))
                        await self._agree()
                        await self._night()
                    watcher.cancel()
                self.did["restarts"] += 1
            lived = time.monotonic() - started
            async with self._open() as self.trusted:
                return self._bill(lived, await self._agree())

    def _open(self):
        config = self.world.config(
            self.folder,
            rpc=tuple(proxy.url for proxy in self.proxies),
            websocket=tuple(proxy.websocket for proxy in self.proxies),
            request_timeout=1.0,
            head_silence=3.0,
            poll_interval=0.2,
            proof_interval=5.0,
        )
        policy = Policy(curators=(self.world.curator_address,))
        return TrustedNodes(config, policy, clock=lambda: time.time() + self.ahead)

    def _prepare(self):
        for operator in self.world.operators[:3]:
            provider = self.world.create_provider(operator)
            self.providers.append((provider, operator))
            self.world.judge(provider, ACCEPTED)

    async def _live(self, seconds):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            await asyncio.to_thread(self._act)
            chance = self.rng.random()
            if chance < 0.15:
                self._heal()
                for proxy in self.rng.sample(self.proxies, self.rng.choice((1, 1, 1, 2))):
                    proxy.fault = self.rng.choice(FAULTS)
                    self.did[f"fault: {proxy.fault}"] += 1
            elif chance < 0.2:
                await self.rng.choice(self.proxies).drop_sockets()
                self.did["subscriptions dropped"] += 1

    def _act(self):
        world, rng = self.world, self.rng
        chance = rng.random()
        provider, operator = rng.choice(self.providers)
        free = [key for key in self.keys if key not in self.listed]
        mine = [key for key, (by, _) in self.listed.items() if by == provider]
        if chance < 0.45 and free:
            key = rng.choice(free)
            world.list_node(provider, operator, key)
            self.listed[key] = provider, operator
            self.did["nodes listed"] += 1
        elif chance < 0.7 and mine:
            key = rng.choice(mine)
            world.remove_node(provider, operator, key)
            del self.listed[key]
            self.did["nodes removed"] += 1
        elif chance < 0.8:
            if self.rejected:
                provider = min(self.rejected)
            status = ACCEPTED if self.rejected else REJECTED
            (self.rejected.discard if status == ACCEPTED else self.rejected.add)(provider)
            world.judge(provider, status)
            self.did["verdicts"] += 1
        elif chance < 0.9:
            # No deeper than what anvil calls final; empty blocks replace what was there.
            depth = rng.randint(1, 2)
            world.web3.provider.make_request("anvil_reorg", [depth, []])
            self.did["reorganisations"] += 1
            self._read_back()
        else:
            world.mine(1)

    def _read_back(self):
        """What the chain holds after a reorganisation, so that what is done next is possible."""
        now = self.model("latest", verdicts=False)
        by_id = {key.public.node_id: key for key in self.keys}
        self.listed = {by_id[node]: now[node] for node in now}
        functions = self.world.curator.functions
        self.rejected = {
            provider for provider, _ in self.providers if functions.verdict(provider, MAILSERVER_KIND).call()[0] != 1
        }

    def model(self, block, *, verdicts=True):
        """Who is listed by accepted providers after a block, and by whom, by the contracts' own views."""
        found = {}
        by_address = {"0x" + key.public.node_id[12:].hex(): key.public.node_id for key in self.keys}
        for provider, operator in self.providers:
            verdict = self.world.curator.functions.verdict(provider, MAILSERVER_KIND).call(block_identifier=block)
            if verdicts and verdict[0] != ACCEPTED:
                continue
            call = self.world.registry.functions.nodesOf(provider, MAILSERVER_KIND, "0x" + "00" * 20, 100)
            for address in call.call(block_identifier=block)[0]:
                found[by_address[address.lower()]] = provider, operator
        return found

    async def _consume(self, trusted):
        async for _ in trusted.changes():
            self.did["changes told"] += 1

    def _heal(self):
        for proxy in self.proxies:
            proxy.fault = None

    def _found(self):
        return {node.node_id for node in self.trusted.nodes(MAILSERVER)}

    async def _agree(self):
        """Wait until the trusted set is what the contracts say, without faults; the set."""
        self._heal()
        async with asyncio.timeout(SETTLE):
            while True:
                await asyncio.to_thread(self.world.mine, 1)
                await asyncio.sleep(0.2)
                final, head = await asyncio.to_thread(lambda: (self.model("finalized"), self.model("latest")))
                expected, status = final.keys() & head.keys(), self.trusted.status()
                if (
                    self._found() == expected
                    and (status["state"], status["alarm"]) == (Freshness.FRESH.value, None)
                    and self.trusted.caught_up
                ):
                    self.did["times the set was compared"] += 1
                    self.memory.append(await asyncio.to_thread(_settled_memory))
                    return expected

    async def _night(self):
        """No endpoint answers and time goes on: what was proven is kept for a while, then nobody; then all is back."""
        known = self._found()
        for proxy in self.proxies:
            proxy.fault = "limit"
        for hours, state, expected in ((2, Freshness.STALE, known), (25, Freshness.EXPIRED, set())):
            self.ahead = hours * HOUR
            assert (self.trusted.state, self._found()) == (state, expected)
            self.did[f"nights: {state.value}"] += 1
        self.ahead = 0.0
        await self._agree()

    def _bill(self, lived, expected):
        growth = self.memory[-1] - self.memory[0]
        figures = {
            "lived": Figure(lived, "s"),
            "memory at the first comparison": Figure(self.memory[0], "MB"),
            "memory at the last comparison": Figure(self.memory[-1], "MB"),
            "memory grew": Figure(growth, "MB", f"<= {MAX_GROWTH:g}"),
            "peak memory, with the faulty endpoints": Figure(_peak_memory(), "MB"),
            "trusted at the end, as the contracts say": Figure(len(expected), "nodes"),
        }
        figures |= {name: Figure(count, "") for name, count in sorted(self.did.items())}
        return figures, growth


def _settled_memory():
    """What is in use, without what was freed and is kept for later (the answers of some faults have 80 MB)."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def _peak_memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def soak(seconds, seed, folder):
    """Run it; the figures and what was logged as an error."""
    errors = Errors()
    logging.getLogger("offchain").addHandler(errors)
    world = World()
    try:
        figures, growth = asyncio.run(Soak(world, folder, seed).run(seconds))
    finally:
        world.close()
        logging.getLogger("offchain").removeHandler(errors)
    return figures, growth, errors.found


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", action="store_true", help="print one JSON document")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--minutes", type=float, default=30.0)
    options = arguments.parse_args()
    logging.getLogger("offchain").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        figures, growth, errors = soak(60 * options.minutes, options.seed, Path(folder))
    report("soak", {**figures, "errors": Figure(len(errors), "", "<= 0")}, options.json)
    for error in errors[:10]:
        print(error, file=sys.stderr)
    if errors or growth > MAX_GROWTH:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
