"""A connection to a mail server: what comes in goes to who asked, and everything ends when it ends."""

import asyncio
import time
from contextlib import asynccontextmanager

import pytest

from offchain.client import link as link_module
from offchain.client.link import STATUS, Broken, Completed, Delivered, Inbox, Lost, MailLink
from offchain.errors import ConnectionLost
from offchain.whisper.bloom import EMPTY_BLOOM
from offchain.whisper.envelope import Envelope
from offchain.whisper.mail import Completion, HistoryRequest, encode_mail, seal_request
from offchain.whisper.protocol import Code, ShhPeer
from tests.support.client import FakeServer, key

CLIENT = key(100)
TOPIC = b"\x01\x02\x03\x00"
START = 1_700_000_000
MAILS = sorted(
    (Envelope.create(START + n + 50, 50, TOPIC, bytes((n,))) for n in range(4)), key=lambda each: each.position
)


@asynccontextmanager
async def linked(server):
    link = MailLink(server.contact, await ShhPeer.start(server.connect(CLIENT), STATUS))
    running = asyncio.ensure_future(link.run())
    try:
        yield link, running
    finally:
        running.cancel()
        for task in server.tasks:
            task.cancel()
        await asyncio.wait([running, *server.tasks])


def request(server, **changes):
    wanted = HistoryRequest(**{"lower": START, "upper": START + 100, "topics": (TOPIC,), "limit": 10, **changes})
    return seal_request(wanted, server.key.public, CLIENT, time.time())


async def items(inbox, count):
    got = []
    while len(got) < count:
        await inbox.wait()
        got.append(inbox.take())
    return got


async def test_gives_what_was_asked_for_to_who_asked():
    server = FakeServer(1, MAILS)
    async with linked(server) as (link, _), link.history() as inbox:
        sealed = request(server)
        await link.ask(sealed)
        *delivered, completed = await items(inbox, 3)

    assert [envelope for item in delivered for envelope in item.envelopes] == MAILS
    assert isinstance(completed, Completed)
    assert completed.completion.request_id == sealed.id
    assert not link.busy


async def test_wants_no_envelopes_that_it_did_not_ask_for():
    server = FakeServer(1)
    async with linked(server) as (link, running):
        link.close("enough")
        await running

    (status,) = server.statuses
    assert (status.bloom, status.light, status.confirmations) == (EMPTY_BLOOM, True, True)
    assert server.peers[0].closed


async def test_says_that_a_packet_cannot_be_read():
    server = FakeServer(1, MAILS, "nonsense")
    async with linked(server) as (link, _), link.history() as inbox:
        await link.ask(request(server))
        (broken,) = await items(inbox, 1)

    assert isinstance(broken, Broken)


async def test_a_completion_of_another_request_is_not_taken_for_this_ones():
    server = FakeServer(1, MAILS, "silent")
    async with linked(server) as (link, _), link.history() as inbox:
        await link.ask(request(server))
        (peer,) = server.peers
        await peer.send("shh", Code.REQUEST_COMPLETE, Completion(b"\x01" * 32).encode())
        await peer.send("shh", Code.DIRECT, encode_mail([MAILS[0].raw]))
        (first,) = await items(inbox, 1)

        assert first == Delivered([MAILS[0]])
        assert link.busy


async def test_when_it_is_closed_its_reader_learns_at_once_and_nothing_more_can_be_asked():
    server = FakeServer(1, MAILS, "silent")
    async with linked(server) as (link, running), link.history() as inbox:
        await link.ask(request(server))

        link.close("curator delisted provider 1")

        assert inbox.take() == Lost("curator delisted provider 1")
        assert link.closed
        with pytest.raises(ConnectionLost, match="curator delisted provider 1"):
            await link.ask(request(server))
        assert await running == "curator delisted provider 1"
        assert server.peers[0].closed


async def test_when_the_server_leaves_everybody_who_waits_learns_why():
    server = FakeServer(1, MAILS, "silent")
    server.confirmations = True
    async with linked(server) as (link, running), link.history() as inbox:
        await link.ask(request(server))
        await server.hang_up()
        (lost,) = await items(inbox, 1)

        assert "quitting" in lost.reason
        assert await running == lost.reason


async def test_what_arrived_before_the_end_comes_before_the_end():
    server = FakeServer(1, MAILS, "cut")
    async with linked(server) as (link, _), link.history() as inbox:
        await link.ask(request(server))
        first, second = await items(inbox, 2)

    assert first == Delivered(MAILS[:2])
    assert isinstance(second, Lost)


async def test_a_connection_that_ended_before_says_so_to_a_new_reader():
    server = FakeServer(1)
    async with linked(server) as (link, running):
        link.close("removed")
        await running
        async with link.history() as inbox:
            assert inbox.take() == Lost("removed")


async def test_stays_busy_until_the_server_finished_what_nobody_waits_for(monkeypatch):
    server = FakeServer(1, MAILS)
    async with linked(server) as (link, _):
        async with link.history():
            await link.ask(request(server))
        busy_at_first = link.busy
        await server.peers[0].other.read_up()
        for _ in range(20):
            await asyncio.sleep(0)

        assert busy_at_first
        assert not link.busy


async def test_a_server_that_does_not_acknowledge_is_told_apart():
    server = FakeServer(1)
    server.confirmations = False
    async with linked(server) as (link, _):
        results = await link.store([MAILS[0]])

    assert results == {MAILS[0].hash: "the server does not acknowledge envelopes"}


async def test_an_inbox_that_is_full_holds_the_sender_back(monkeypatch):
    monkeypatch.setattr(link_module, "INBOX", 2)
    inbox = Inbox()
    for _ in range(2):
        await inbox.put(Delivered([]))

    third = asyncio.ensure_future(inbox.put(Delivered([])))
    await asyncio.sleep(0)
    held = not third.done()
    inbox.take()
    await third

    assert held


async def test_an_inbox_whose_reader_left_holds_nobody_back(monkeypatch):
    monkeypatch.setattr(link_module, "INBOX", 1)
    inbox = Inbox()
    await inbox.put(Delivered([]))
    waiting = asyncio.ensure_future(inbox.put(Delivered([])))
    await asyncio.sleep(0)

    inbox.close()
    await waiting

    assert inbox.take() is None
