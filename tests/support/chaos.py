"""Mail servers among faults: is anything lost that two of them said they had?

    python -m tests.support.chaos --minutes 5 --seed 1

Servers in processes of their own, which relay and reconcile; a client that posts a known set of envelopes. Meanwhile
servers are killed at any moment and started again, paused, cut off from each other, held up by slow links; one loses
its disk. Every connection goes through a link that can be cut, frozen or slowed, the client's too. When the faults have
ended, all servers must come to hold the same, and a client must find every envelope that two servers acknowledged. At
last a server hides part of what it has, and the client's cross-check must say so. Prints one table; ends with an error
if anything was lost.

Seconds stand for minutes: the servers call each other again, and compare what they have, sooner than in earnest.
"""

import argparse
import asyncio
import faulthandler
import hashlib
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from ipaddress import ip_address
from pathlib import Path

from bench._report import Figure, report
from offchain.client.cross_check import CrossChecked
from offchain.client.history import Finished, Query
from offchain.client.link import MailLink
from offchain.client.mailbox import Mail, Mailbox, Undeliverable
from offchain.client.pool import Pool
from offchain.config import ClientConfig, MailserverConfig
from offchain.contact import Contact
from offchain.hashing import keccak256
from offchain.keys import PrivateKey
from offchain.mailserver import dialer
from offchain.mailserver.archive import Page
from offchain.mailserver.archive.lmdb import LmdbArchive
from offchain.mailserver.reconcile import exchange
from offchain.mailserver.server import Mailserver
from offchain.types import MAILSERVER
from offchain.whisper.envelope import mine
from tests.support.mailserver import FakeTrust
from tests.support.tcp_link import TcpLink

TOPICS = tuple(b"top%d" % number for number in range(8))
BATCH = 20
AGE = 300
"""Seconds since the envelopes were made: old enough to have got around, so that who lacks one can be blamed."""

START_TIME = 60.0
"""Seconds for a process to start, or to answer."""

HEAL_TIME = 240.0
"""Seconds for all servers to hold the same, once the faults have ended."""

TRIES = 100
"""Readings until one goes as it should: which servers are read from is drawn."""

HIDDEN_SHARE = 4
"""A server that lies hides one of so many."""


def server_key(number):
    return PrivateKey(keccak256(b"chaos server %d" % number))


def contact(number, port):
    public = server_key(number).public
    return Contact(public.node_id, public, ip_address("127.0.0.1"), port)


def hides(envelope_hash):
    return envelope_hash[0] % HIDDEN_SHARE == 0


class LyingArchive(LmdbArchive):
    """Keeps everything, and leaves some of it out of its answers."""

    def query(self, query):
        page = super().query(query)
        return Page([raw for raw in page.envelopes if not hides(keccak256(raw))], page.last, page.cursor)


# A server's process


async def serve(folder, number, servers, ports, lying):
    """Serve until stdin ends. For every line that comes, say what is kept."""
    faulthandler.register(signal.SIGUSR1)
    exchange.ROUND_INTERVAL, exchange.RETRY_INTERVAL = 5.0, 2.0
    dialer.FIRST_PAUSE, dialer.LONGEST_PAUSE = 0.5, 3.0
    keys = [server_key(each) for each in range(servers)]
    archive = (LyingArchive if lying else LmdbArchive)(folder)
    config = MailserverConfig(folder, min_pow=0.0)
    trust = FakeTrust(*(key.public.node_id for key in keys))
    async with Mailserver(keys[number], config, trust, archive=archive) as server:
        server.relay.set_peers([contact(int(each), port) for each, port in ports.items()])
        print(json.dumps({"port": server.port}), flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            kept = archive.positions(b"", b"\xff" * 36, 10**8)
            digest = hashlib.sha256(b"".join(kept)).hexdigest()
            print(json.dumps({"count": len(kept), "digest": digest, "links": len(server.relay.links)}), flush=True)
    archive.close()


class Server:
    """A server that can be killed. `links` are the ways to it, by whose they are; None is the client's."""

    def __init__(self, number, folder):
        self.number = number
        self.folder = folder
        self.links = {}
        self.process = None

    async def start(self, ways, lying=False):
        """`ways`: the ports at which it reaches the others."""
        arguments = ["--serve", json.dumps([str(self.folder), self.number, len(ways) + 1, ways, lying])]
        pipe = asyncio.subprocess.PIPE
        command = [sys.executable, "-m", "tests.support.chaos", *arguments]
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=2**20)
        self.process = process
        line = await self._line(process)
        if self.process is process:  # else it was killed meanwhile, and whoever did that starts it again
            port = json.loads(line)["port"]
            for link in self.links.values():
                link.target = port

    async def kept(self):
        """How many envelopes it has, and a digest of which."""
        self.process.stdin.write(b"\n")
        return json.loads(await self._line(self.process))

    async def kill(self):
        for link in self.links.values():
            link.target = None
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            await process.wait()

    async def stop(self):
        """As an operator stops it."""
        if self.process is not None:
            self.process.stdin.close()
            async with asyncio.timeout(START_TIME):
                await self.process.wait()
            assert self.process.returncode == 0, f"server {self.number} ended with {self.process.returncode}"
            self.process = None

    async def _line(self, process):
        try:
            async with asyncio.timeout(START_TIME):
                line = await process.stdout.readline()
        except TimeoutError:
            for each in (signal.SIGUSR1, signal.SIGCONT):  # say where it hangs
                process.send_signal(each)
            await asyncio.sleep(1)
            raise AssertionError(f"server {self.number} said nothing for {START_TIME:g} s") from None
        assert line or self.process is not process, f"server {self.number} ended by itself"
        return line


class Chaos:
    """The servers, the links between them, the client, and what it was told."""

    def __init__(self, folder, servers, seed):
        self.rng = random.Random(seed)
        self.servers = [Server(number, folder / str(number)) for number in range(servers)]
        self.sent = {}
        """Every envelope that was posted, by hash."""
        self.acknowledged = defaultdict(set)
        """Which servers said that they have it."""
        self.did = Counter()
        self._disk_lost = False
        self._numbers = 0

    @asynccontextmanager
    async def running(self):
        async with AsyncExitStack() as stack:
            for server in self.servers:
                for other in (None, *(each.number for each in self.servers if each is not server)):
                    server.links[other] = await stack.enter_async_context(TcpLink())
            try:
                await asyncio.gather(*(self.start(server) for server in self.servers))
                yield self
            finally:
                await asyncio.gather(*(server.kill() for server in self.servers))

    async def start(self, server, lying=False):
        ways = {each.number: each.links[server.number].port for each in self.servers if each is not server}
        await server.start(ways, lying)

    @asynccontextmanager
    async def client(self, servers=None):
        """A mailbox that nobody has used, whose pool knows these servers, or every one."""
        servers = servers or self.servers
        key = PrivateKey(self.rng.randbytes(32))
        trust = FakeTrust(*(server_key(server.number).public.node_id for server in servers))
        config = ClientConfig(MAILSERVER, pool_target=len(servers), connect_timeout=3.0, graylist=1.0)
        pool = Pool(config, trust, partial(MailLink.connect, key), rng=self.rng)
        pool.set_own([contact(server.number, server.links[None].port) for server in servers])
        running = asyncio.create_task(pool.run())
        try:
            yield Mailbox(pool, key, request_timeout=3.0, rng=self.rng), pool
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    # What happens

    async def post(self, until):
        """Post batch after batch, to two servers each, whatever becomes of it."""
        async with self.client() as (mailbox, pool):
            while time.monotonic() < until or (not self.promised() and time.monotonic() < until + START_TIME):
                now = int(time.time())
                batch = [self._envelope(now) for _ in range(BATCH)]
                self.sent |= {each.hash: each for each in batch}
                try:
                    results = await mailbox.post(batch)
                except Undeliverable as error:
                    results = error.results
                    self.did["posts that nobody took"] += 1
                for result in results:
                    if result.refusal is None:
                        self.acknowledged[result.envelope].add(result.node_id)
                pool.retry_now()
                await asyncio.sleep(0.05)

    async def disturb(self, until):
        """One fault after another, some at the same time, each of which ends by itself."""
        rng = random.Random(self.rng.random())
        fault = self._kill
        async with asyncio.TaskGroup() as faults:
            while time.monotonic() < until:
                faults.create_task(fault(rng.choice(self.servers), rng.uniform(0.2, 4.0)))
                await asyncio.sleep(rng.uniform(0.2, 1.5))
                fault = rng.choice((self._kill, self._kill, self._pause, self._cut, self._freeze, self._slow))

    async def _kill(self, server, seconds):
        if server.process is None:
            return
        await server.kill()
        self.did["killed"] += 1
        await asyncio.sleep(seconds)
        if not self._disk_lost and self.did["killed"] >= 2:
            self._disk_lost = True
            self.did["disks lost"] += 1
            shutil.rmtree(server.folder)
        await self.start(server)

    async def _pause(self, server, seconds):
        process = server.process
        if process is None:
            return
        self.did["paused"] += 1
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)

    async def _cut(self, server, seconds):
        self.did["cut off"] += 1
        await self._on_links(server, TcpLink.cut, seconds)

    async def _freeze(self, server, seconds):
        self.did["frozen"] += 1
        await self._on_links(server, TcpLink.freeze, seconds)

    async def _slow(self, server, seconds):
        self.did["slowed"] += 1
        await self._on_links(server, lambda link: link.slow(self.rng.uniform(0.01, 0.3)), seconds)

    async def _on_links(self, server, fault, seconds):
        """Do something to some of the links from and to a server, for so long."""
        touching = [
            link
            for each in self.servers
            for other, link in each.links.items()
            if server.number in (each.number, other) and self.rng.random() < 0.7
        ]
        for link in touching:
            fault(link)
        await asyncio.sleep(seconds)
        for link in touching:
            link.heal()

    # What must hold

    async def agreed(self):
        """Wait until all servers hold the same; the seconds it took, and how many envelopes that is."""
        begin = time.monotonic()
        while True:
            kept = await asyncio.gather(*(server.kept() for server in self.servers))
            if len({each["digest"] for each in kept}) == 1:
                return time.monotonic() - begin, kept[0]["count"]
            assert time.monotonic() < begin + HEAL_TIME, f"after {HEAL_TIME:.0f} s the servers hold {kept}"
            await asyncio.sleep(0.2)

    def promised(self):
        """Hashes of what two servers said they have."""
        return {envelope for envelope, servers in self.acknowledged.items() if len(servers) >= 2}

    async def found(self):
        """Hashes of what a new client finds; another tries if a busy machine made the first one give up."""
        for _ in range(TRIES):
            async with self.client() as (mailbox, _):
                *events, end = [event async for event in mailbox.fetch(self.query())]
            assert isinstance(end, Finished), end
            if end.complete:
                return {event.envelope.hash for event in events if isinstance(event, Mail)}
        raise AssertionError(f"history could not be read: {end.reason}")

    async def noticed(self):
        """Read and compare until a server that hides something was read first; what the comparison says of it."""
        liar = self.servers[0]
        await liar.stop()
        await self.start(liar, lying=True)
        suspect = server_key(liar.number).public.node_id
        for _ in range(TRIES):
            async with self.client(self.servers[:2]) as (mailbox, pool):
                assert await pool.wait_ready(2, START_TIME)
                *_, event = [each async for each in mailbox.fetch_checked(self.query())]
            assert isinstance(event, CrossChecked), event
            if event.compared and event.first == (suspect,):
                return event
            assert suspect in event.first or not event.withheld, "a server that hides nothing was blamed"
        raise AssertionError("the server that lies was never read first")

    def on_disk(self):
        """Positions in each archive, of servers that were stopped."""
        kept = []
        for server in self.servers:
            archive = LmdbArchive(server.folder)
            kept.append(set(archive.positions(b"", b"\xff" * 36, 10**8)))
            archive.close()
        return kept

    def query(self):
        now = int(time.time())
        return Query(TOPICS, now - 7_200, now, page_size=1_000)

    def _envelope(self, now):
        self._numbers += 1
        data = self._numbers.to_bytes(8, "big") + self.rng.randbytes(self.rng.randrange(100, 500))
        return mine(now + 600, 600 + AGE, self.rng.choice(TOPICS), data, 0.0)


async def run(folder, seconds, seed, servers=3):
    """The whole story; its figures. AssertionError if something was lost."""
    chaos = Chaos(Path(folder), servers, seed)
    async with chaos.running():
        until = time.monotonic() + seconds
        async with asyncio.TaskGroup() as both:
            both.create_task(chaos.post(until))
            both.create_task(chaos.disturb(until))
        healing, count = await chaos.agreed()
        promised, found = chaos.promised(), await chaos.found()
        lost = promised - found
        check = await chaos.noticed()
        hidden = {envelope for envelope in found if hides(envelope)}
        for server in chaos.servers:
            await server.stop()
    on_disk = chaos.on_disk()
    assert chaos.did["killed"], "nothing was killed: that is no test"
    assert promised, "nothing was acknowledged: that is no test"
    assert not lost, f"{len(lost)} of {len(promised)} envelopes that two servers had are lost"
    assert found <= set(chaos.sent), "something was found that nobody sent"
    assert len(found) == count, f"the client found {len(found)} of {count}"
    assert all(each == on_disk[0] for each in on_disk), f"on disk there are {[len(each) for each in on_disk]}"
    assert {at[4:] for at in on_disk[0]} == found
    assert set(check.withheld) == hidden, f"{len(check.withheld)} of {len(hidden)} hidden envelopes were noticed"
    return {
        "envelopes posted": Figure(len(chaos.sent), "envelopes"),
        "acknowledged by two servers": Figure(len(promised), "envelopes"),
        "of them lost": Figure(len(lost), "envelopes", "<= 0"),
        "kept by every server": Figure(count, "envelopes"),
        "until all held the same": Figure(healing, "s"),
        "hidden by a lying server": Figure(len(hidden), "envelopes"),
        "of them noticed": Figure(len(check.withheld), "envelopes", f">= {len(hidden)}"),
    } | {name: Figure(count, "times") for name, count in sorted(chaos.did.items())}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--servers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        folder, *rest = json.loads(options.serve)
        asyncio.run(serve(Path(folder), *rest))
        return
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(run(folder, options.minutes * 60, options.seed, options.servers))
    report(f"{options.servers} mail servers among faults for {options.minutes:g} minutes", figures, options.json)


if __name__ == "__main__":
    main()
