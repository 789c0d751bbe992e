"""Real mail servers over TCP on loopback and a client of them, whose trust is a set; everybody has a clock."""

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager

from offchain.client.history import Query
from offchain.client.link import MailLink
from offchain.client.mailbox import Mailbox
from offchain.client.pool import Pool
from offchain.config import ClientConfig, MailserverConfig
from offchain.contact import Contact
from offchain.mailserver.server import Mailserver
from offchain.types import MAILSERVER, parse_ip
from tests.support.client import FakeTrust, key

TOPIC = b"abcd"
SHARED = b"\x05" * 32
LIMIT = 90.0


class Clock:
    """A time of day that is off by so many seconds."""

    def __init__(self, off=0.0):
        self.off = off

    def __call__(self):
        return time.time() + self.off


class Stage:
    """Mail servers, each with a clock, and a client with its own."""

    def __init__(self, folder, clocks):
        self.folder = folder
        self.servers = []
        self.clocks = clocks
        self.client_clock = Clock()
        self.keys = [key(number) for number in range(1, len(clocks) + 1)]
        self.trust = FakeTrust(*(each.public.node_id for each in self.keys))
        self.pool = None
        self.mailbox = None

    async def ready(self, count):
        assert await self.pool.wait_ready(count, 60.0)

    async def read(self):
        """A fetch of everything around the true time: its events."""
        return [event async for event in self.mailbox.fetch(around_now())]

    async def post(self, text):
        envelope = await self.mailbox.compose(text, TOPIC, SHARED)
        return await self.mailbox.post([envelope], copies=2)


def around_now():
    now = int(time.time())
    return Query((TOPIC,), now - 2_000, now + 600)


@asynccontextmanager
async def staged(tmp_path, *clocks, **mailbox):
    """A server for each clock, and the client, connected to all of them."""
    stage = Stage(tmp_path, clocks)
    async with asyncio.timeout(LIMIT), AsyncExitStack() as stack:
        contacts = []
        for number, (own, clock) in enumerate(zip(stage.keys, clocks, strict=True)):
            config = MailserverConfig(tmp_path / str(number), min_pow=0.0, port=0)
            server = Mailserver(own, config, FakeTrust(), clock=clock)
            stage.servers.append(await stack.enter_async_context(server))
            node = own.public
            contacts.append(Contact(node.node_id, node, parse_ip("127.0.0.1"), server.port))
        own = key(100)
        config = ClientConfig(MAILSERVER, pool_target=len(clocks), graylist=0.2)
        stage.pool = Pool(config, stage.trust, lambda contact: MailLink.connect(own, contact))
        stage.mailbox = Mailbox(stage.pool, own, clock=stage.client_clock, **mailbox)
        running = asyncio.ensure_future(stage.pool.run())
        try:
            for contact in contacts:
                stage.pool.offer(contact)
            await stage.ready(len(clocks))
            yield stage
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
