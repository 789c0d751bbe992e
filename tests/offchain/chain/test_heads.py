"""Hints of new heads: bounded, and never waited for in vain."""

import asyncio
from collections import defaultdict

import aiohttp
import msgspec
import pytest

from offchain.chain.header import RawHeader, parse_header
from offchain.chain.heads import MAX_HINTS, MAX_OTHERS, Hints, Subscription
from tests.support.chain import FakeChain


def headers(count):
    chain = FakeChain()
    chain.pass_blocks(count)
    return [parse_header(msgspec.convert(block.header, RawHeader)) for block in chain.blocks]


async def test_gives_hints_in_order():
    hints, (first, second) = Hints(), headers(1)
    hints.put(first)
    hints.put(None)
    hints.put(second)

    assert [await hints.get() for _ in range(3)] == [first, None, second]


async def test_asks_once_however_often_it_is_told_to():
    hints = Hints()
    for _ in range(5):
        hints.put(None)
    assert await hints.get() is None

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await hints.get()


async def test_keeps_the_newest_when_there_are_too_many():
    hints, many = Hints(), headers(MAX_HINTS + 5)
    for header in many:
        hints.put(header)

    assert await hints.get() == many[-MAX_HINTS]


class Socket:
    """A WebSocket that says what it is told to, then closes."""

    pause = 0

    def __init__(self, *messages):
        self.messages = list(messages)
        self.sent = []

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass

    async def send_str(self, text):
        self.sent.append(text)

    async def receive(self):
        await asyncio.sleep(self.pause)
        if not self.messages:
            return aiohttp.WSMessage(aiohttp.WSMsgType.CLOSED, None, None)
        return aiohttp.WSMessage(aiohttp.WSMsgType.TEXT, self.messages.pop(0), None)


class Connecting:
    """Gives one socket after another, then waits for ever."""

    def __init__(self, *sockets):
        self.sockets = list(sockets)
        self.urls = []
        self.made = defaultdict(asyncio.Future)

    def ws_connect(self, url, **_):
        self.urls.append(url)
        self.made[len(self.urls)].set_result(None)
        found = self.sockets.pop(0)
        if isinstance(found, Exception):
            raise found
        return found


async def run(connecting, urls, until, followed="one"):
    """Run a subscription until so many connections were made; the hints it gave."""
    hints = Hints()
    subscription = Subscription(connecting, urls, hints, silence=0.01, followed=lambda: followed)
    task = asyncio.create_task(subscription.run())
    async with asyncio.timeout(5):
        await connecting.made[until]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return hints._waiting


def note(header):
    return msgspec.json.encode(
        {"method": "eth_subscription", "params": {"subscription": "0x1", "result": header}}
    ).decode()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr("offchain.chain.heads.FIRST_RETRY", 0.0)


async def test_asks_for_the_gap_then_hands_on_each_head():
    chain = FakeChain()
    chain.pass_blocks(2)
    socket = Socket('{"id":1,"result":"0x1"}', *[note(block.header) for block in chain.blocks[1:]])

    found = await run(Connecting(socket, Socket()), ("ws://one",), until=2)

    assert found[0] is None
    assert [header.number for header in found[1:3]] == [1, 2]
    assert "newHeads" in socket.sent[0]


async def test_a_header_from_another_server_than_the_one_followed_is_only_a_reason_to_ask():
    chain = FakeChain()
    chain.pass_blocks(1)
    socket = Socket(note(chain.head.header))

    assert set(await run(Connecting(socket, Socket()), ("ws://one",), until=2, followed="two")) == {None}


async def test_a_header_that_is_not_true_is_only_a_reason_to_ask():
    chain = FakeChain()
    chain.pass_blocks(1)
    socket = Socket(note({**chain.head.header, "stateRoot": "0x" + "00" * 32}))

    assert set(await run(Connecting(socket, Socket()), ("ws://one",), until=2)) == {None}


@pytest.mark.parametrize("noise", ["", "[", "{}", '{"params": 1}', '{"error": {"code": 1}}', note({"hash": "0x"})])
async def test_noise_ends_the_connection_and_another_endpoint_is_tried(noise):
    connecting = Connecting(Socket(noise), Socket(), Socket(), OSError("refused"))

    await run(connecting, ("ws://one", "ws://two"), until=2)

    assert connecting.urls[:2] == ["ws://one", "ws://two"]


async def test_what_is_no_head_keeps_no_connection_alive():
    """An endless stream of it ends the connection, and so does a slow one."""
    endless, slow = Socket(*["{}"] * 10_000), Socket(*["{}"] * 10_000)
    slow.pause = 0.004

    connecting = Connecting(endless, slow, Socket())
    await run(connecting, ("ws://one",), until=3)

    assert len(endless.messages) == 10_000 - MAX_OTHERS
    assert len(slow.messages) > 10_000 - MAX_OTHERS


async def test_a_connection_that_cannot_be_made_is_tried_again_elsewhere():
    connecting = Connecting(OSError("refused"), OSError("refused"), Socket())

    await run(connecting, ("ws://one", "ws://two"), until=3)

    assert connecting.urls[:3] == ["ws://one", "ws://two", "ws://one"]
