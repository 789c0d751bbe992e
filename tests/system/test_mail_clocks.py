"""Clocks that are wrong, end to end: real mail servers over TCP, a client whose time of day is an argument."""

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from offchain.client.history import Finished, Query, ServerFailed
from offchain.client.link import MailLink
from offchain.client.mailbox import Mail, Mailbox, Undeliverable
from offchain.client.pool import Pool
from offchain.config import ClientConfig, MailserverConfig
from offchain.contact import Contact
from offchain.mailserver.server import Mailserver
from offchain.types import MAILSERVER, parse_ip
from tests.support.client import FakeTrust, key

TOPIC = b"abcd"
SHARED = b"\x05" * 32
HOURS = 3 * 3_600
LIMIT = 90.0


class Clock:
    """A time of day that is off by so many seconds."""

    def __init__(self, off=0.0):
        self.off = off

    def __call__(self):
        return time.time() + self.off


class Stage:
    """Mail servers, each with a clock, and a client with its own."""

    def __init__(self, clocks):
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
        now = int(time.time())
        return [event async for event in self.mailbox.fetch(Query((TOPIC,), now - 600, now + 600))]

    async def post(self, text):
        envelope = await self.mailbox.compose(text, TOPIC, SHARED)
        return await self.mailbox.post([envelope], copies=2)


@asynccontextmanager
async def staged(tmp_path, *clocks):
    stage = Stage(clocks)
    async with asyncio.timeout(LIMIT), AsyncExitStack() as stack:
        contacts = []
        for number, (own, clock) in enumerate(zip(stage.keys, clocks, strict=True)):
            config = MailserverConfig(tmp_path / str(number), min_pow=0.0, port=0)
            server = Mailserver(own, config, FakeTrust(), clock=clock)
            await stack.enter_async_context(server)
            node = own.public
            contacts.append(Contact(node.node_id, node, parse_ip("127.0.0.1"), server.port))
        own = key(100)
        config = ClientConfig(MAILSERVER, pool_target=len(clocks), graylist=0.2)
        stage.pool = Pool(config, stage.trust, lambda contact: MailLink.connect(own, contact))
        stage.mailbox = Mailbox(stage.pool, own, clock=stage.client_clock)
        running = asyncio.ensure_future(stage.pool.run())
        try:
            for contact in contacts:
                stage.pool.offer(contact)
            await stage.ready(len(clocks))
            yield stage
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize(("off", "said"), [(HOURS, "ahead"), (-HOURS, "behind")])
async def test_a_client_whose_clock_is_wrong_is_told_so_and_recovers_when_it_is_set(tmp_path, off, said):
    async with staged(tmp_path, Clock(), Clock(), Clock()) as stage:
        stage.client_clock.off = off
        wrong = await stage.read()
        notice = stage.mailbox.clock.notice

        stage.client_clock.off = 0.0
        await stage.ready(2)
        await stage.post(b"now it works")
        right = await stage.read()
        after = stage.mailbox.clock.notice

    assert wrong[-1].complete is False
    assert f"clock seems to be {said}" in notice
    assert right[-1].complete
    assert len([event for event in right if isinstance(event, Mail)]) == 1
    assert after is None


async def test_what_a_client_with_a_wrong_clock_sends_is_refused_in_words(tmp_path):
    async with staged(tmp_path, Clock(), Clock()) as stage:
        stage.client_clock.off = HOURS
        with pytest.raises(Undeliverable, match="sent in the future"):
            await stage.post(b"from tomorrow")
        notice = stage.mailbox.clock.notice

    assert "ahead" in notice


async def test_a_server_whose_clock_is_wrong_is_left_and_we_are_not_accused(tmp_path):
    async with staged(tmp_path, Clock(-HOURS), Clock(), Clock()) as stage:
        wrong = stage.keys[0].public.node_id
        await stage.post(b"hello")  # to two that agree with us; the third refuses, if it is asked
        failed, complete = [], []
        for _ in range(12):  # each begins with a random one
            events = await stage.read()
            failed += [event.node_id for event in events if isinstance(event, ServerFailed)]
            complete += [event.complete for event in events if isinstance(event, Finished)]
            await stage.ready(2)
        notice = stage.mailbox.clock.notice

    assert all(complete)
    assert set(failed) <= {wrong}
    assert notice is None


@pytest.mark.parametrize("off", [25.0, -25.0])
async def test_half_a_minute_is_no_reason_to_lose_anything(tmp_path, off):
    """25 seconds off is what was seen in the field: requests are still valid, and nothing near now is left out."""
    async with staged(tmp_path, Clock(), Clock()) as stage:
        await stage.post(b"hello")
        stage.client_clock.off = off
        events = await stage.read()

    assert events[-1].complete
    assert len([event for event in events if isinstance(event, Mail)]) == 1
