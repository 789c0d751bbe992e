"""The client with real mail servers over TCP: sealed answers, a server that leaves something out, following."""

import asyncio
import time
from contextlib import aclosing

import pytest

from offchain.client import follow
from offchain.client.cross_check import CrossChecked
from offchain.client.follow import CaughtUp
from offchain.client.keyring import SharedKey
from offchain.client.mailbox import Mail
from offchain.whisper.cipher import seal_sym
from offchain.whisper.envelope import PowRule, mine
from tests.support.mail_client import MailClient
from tests.support.mail_stage import SHARED, TOPIC, Clock, around_now, staged

KEYS = [SharedKey("shared", SHARED)]


def letter(number, *, age=0, rule=PowRule.LEADING):
    data = seal_sym(SHARED, b"letter %d" % number)
    return mine(int(time.time()) + 50, 50 + age, TOPIC, data, 0.0001, rule)


async def leave(stage, number, envelopes):
    """Bring envelopes to one server and no other."""
    server = stage.keys[number].public
    sender = await MailClient.connect(server, stage.servers[number].port, stage.keys[number - 1])
    assert await sender.post(envelopes) == []
    await sender.close()


def texts(events):
    return [event.opened.message.payload for event in events if isinstance(event, Mail)]


@pytest.mark.parametrize("sealed", [False, True], ids=("plain", "sealed"))
async def test_history_comes_back_sealed_or_not_by_both_rules_of_work(tmp_path, sealed):
    letters = [letter(number, age=100 - number, rule=list(PowRule)[number % 2]) for number in range(40)]
    async with staged(tmp_path, Clock(), Clock(), sealed_answers=sealed, keys=KEYS) as stage:
        for number in (0, 1):
            await leave(stage, number, letters)
        events = await stage.read()
        sealed_requests = sum(server.stats().get("requests for sealed answers", 0) for server in stage.servers)

    assert texts(events) == [b"letter %d" % number for number in range(40)]
    assert events[-1].complete
    assert (sealed_requests > 0) == sealed


async def test_a_server_that_lacks_something_is_named_whoever_is_asked_first(tmp_path):
    letters = [letter(number, age=900 - number) for number in range(20)]
    async with staged(tmp_path, Clock(), Clock(), keys=KEYS) as stage:
        await leave(stage, 0, letters[:15])
        await leave(stage, 1, letters)
        lacking, whole = (each.public.node_id for each in stage.keys)
        accused, reported = set(), 0
        for _ in range(30):  # until each of them was asked first; the choice is random
            events = [event async for event in stage.mailbox.fetch_checked(around_now())]
            checked = events[-1]
            assert isinstance(checked, CrossChecked)
            assert checked.compared
            assert set(texts(events)) == {b"letter %d" % number for number in range(20)}
            if checked.first == (lacking,):
                assert set(checked.withheld) == {each.hash for each in letters[15:]}
                reported += 1
            else:
                assert (checked.first, checked.withheld, checked.lacked) == ((whole,), (), 5)
            accused.add(checked.first)
            if len(accused) == 2:
                break

    assert len(accused) == 2
    assert reported


async def test_follows_what_arrives_at_one_server_before_the_other_while_connections_break(tmp_path, monkeypatch):
    monkeypatch.setattr(follow, "SHORTEST_PAUSE", 0.02)
    monkeypatch.setattr(follow, "LONGEST_PAUSE", 0.05)
    monkeypatch.setattr(follow, "SWEEP_INTERVAL", 0.2)
    count, arrived, caught_up = 12, [], []

    async with staged(tmp_path, Clock(), Clock(), keys=KEYS) as stage:

        async def read():
            async with aclosing(stage.mailbox.follow([TOPIC], int(time.time()) - 500)) as events:
                async for event in events:
                    if isinstance(event, Mail):
                        arrived.append(event.opened.message.payload)
                    elif isinstance(event, CaughtUp):
                        caught_up.append(event)
                    if len(arrived) == count:
                        return

        reading = asyncio.ensure_future(read())
        for number in range(count):
            envelope = letter(number)
            await leave(stage, number % 2, [envelope])
            if number % 4 == 2 and (using := stage.pool.pick()) is not None:
                using[1].close("the network hiccups")
            await leave(stage, 1 - number % 2, [envelope])
        await reading

    assert sorted(arrived) == sorted(b"letter %d" % number for number in range(count))
    assert caught_up
