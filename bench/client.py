"""How fast does a client let go of a node that lost its trust, and how fast does it read and send mail?

Everything is real except trust, which is a set: mail servers with their archives on a temporary disk, RLPx and shh/6
over loopback, the pool and the mailbox, all in one process on one core. "trust ends to closed" is from the call that
says so until the client's socket is closing, "to the server's end" until the server has seen the connection end.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench._report import Figure, report
from offchain.client.history import Finished, Query
from offchain.client.keyring import SharedKey
from offchain.client.link import MailLink
from offchain.client.mailbox import Mail, Mailbox
from offchain.client.pool import Pool
from offchain.config import ClientConfig, MailserverConfig
from offchain.contact import Contact, Source
from offchain.keys import PrivateKey
from offchain.mailserver.server import Mailserver
from offchain.types import MAILSERVER, Kind, NodeId, parse_ip
from offchain.whisper.cipher import seal_sym
from offchain.whisper.envelope import Envelope, mine

SERVERS = 3
LETTERS = 3_000
DROPS = 100
TOPIC = b"\x01\x02\x03\x00"
SHARED = SharedKey("bench", b"\x05" * 32, TOPIC)


class Trust:
    """A TrustView that is a set."""

    def __init__(self) -> None:
        self.trusted: set[NodeId] = set()

    def is_trusted(self, kind: Kind, node_id: NodeId) -> bool:
        return node_id in self.trusted

    def why(self, kind: Kind, node_id: NodeId) -> str:
        return "it is in the set" if node_id in self.trusted else "it is not in the set"


def letters(rng: random.Random, now: int) -> list[Envelope]:
    """Messages of 150 bytes, sent in the last minute."""
    made = []
    for _ in range(LETTERS):
        sent = now - rng.randrange(60)
        data = seal_sym(SHARED.key, rng.randbytes(150))
        made.append(mine(now + 60, now + 60 - sent, TOPIC, data, 0.002))
    return made


async def measure_drops(
    pool: Pool[MailLink], trust: Trust, servers: dict[NodeId, Mailserver], contacts: list[Contact], rng: random.Random
) -> tuple[list[float], list[float]]:
    """Milliseconds from the end of trust until the client's socket closes, and until the server has noticed."""
    closed, noticed = [], []
    for _ in range(DROPS):
        assert await pool.wait_ready(SERVERS, 10.0), "a server was not connected again"
        contact = rng.choice(contacts)
        server, link = servers[contact.node_id], dict(pool.links())[contact.node_id]
        trust.trusted.discard(contact.node_id)
        start = time.perf_counter()
        pool.trust_changed(contact.node_id, False, "the benchmark says so")
        while not link._shh.closed:  # noqa: ASYNC110 (measured to the turn of the loop)
            await asyncio.sleep(0)
        closed.append((time.perf_counter() - start) * 1000)
        while server.stats()["peers"]:  # noqa: ASYNC110
            await asyncio.sleep(0)
        noticed.append((time.perf_counter() - start) * 1000)
        trust.trusted.add(contact.node_id)
        pool.offer(contact)
    return closed, noticed


async def read_all(mailbox: Mailbox, now: int) -> tuple[float, float]:
    """Messages a second, opened, and milliseconds until the first."""
    query = Query((TOPIC,), now - 3_600, now + 60, page_size=1_000)
    start, first, count = time.perf_counter(), 0.0, 0
    async for event in mailbox.fetch(query):
        if isinstance(event, Mail):
            assert event.opened is not None
            first = first or time.perf_counter() - start
            count += 1
        elif isinstance(event, Finished):
            assert event.complete, event.reason
    assert count == LETTERS, f"{count} of {LETTERS} messages came"
    return count / (time.perf_counter() - start), first * 1000


async def measure(seed: int) -> dict[str, Figure]:
    """Every figure."""
    rng, trust, now = random.Random(seed), Trust(), int(time.time())
    keys = [PrivateKey(rng.randbytes(32)) for _ in range(SERVERS)]
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers, contacts = {}, []
        for number, key in enumerate(keys):
            config = MailserverConfig(folder / str(number), retention_days=36_500, envelopes_per_second=1e9)
            node_id, public = key.public.node_id, key.public
            servers[node_id] = await stack.enter_async_context(Mailserver(key, config, Trust()))
            contacts.append(
                Contact(node_id, public, parse_ip("127.0.0.1"), servers[node_id].port, None, Source.DISCOVERED)
            )
            trust.trusted.add(node_id)
        client = PrivateKey(rng.randbytes(32))
        pool = Pool(ClientConfig(MAILSERVER, pool_target=SERVERS), trust, partial(MailLink.connect, client), rng=rng)
        running = asyncio.create_task(pool.run())
        try:
            start = time.perf_counter()
            for contact in contacts:
                pool.offer(contact)
            assert await pool.wait_ready(SERVERS, 10.0)
            connect = (time.perf_counter() - start) * 1000
            mailbox = Mailbox(pool, client, [SHARED], rng=rng)
            mails = letters(rng, now)
            start = time.perf_counter()
            await mailbox.post(mails, copies=SERVERS)
            posted = LETTERS / (time.perf_counter() - start)
            reads = [await read_all(mailbox, now) for _ in range(3)]
            closed, noticed = await measure_drops(pool, trust, servers, contacts, rng)
        finally:
            running.cancel()
            await asyncio.wait([running])
    return {
        "trust ends to closed, p50": Figure(statistics.median(closed), "ms"),
        "trust ends to closed, p99": Figure(statistics.quantiles(closed, n=100)[98], "ms", "<= 50"),
        "trust ends to the server's end, p99": Figure(statistics.quantiles(noticed, n=100)[98], "ms", "<= 50"),
        f"{SERVERS} servers connected": Figure(connect, "ms"),
        f"messages stored by {SERVERS} servers": Figure(posted, "messages/s"),
        "history read and opened": Figure(max(rate for rate, _ in reads), "messages/s"),
        "first message of history": Figure(min(first for _, first in reads), "ms"),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    report("client", asyncio.run(measure(arguments.seed)), arguments.json)


if __name__ == "__main__":
    main()
