"""The mailbox over fake servers: reading with failover, sending with acknowledgements."""

import asyncio
import time
from contextlib import aclosing

import pytest

from offchain.client import follow, history, mailbox
from offchain.client.coverage import Coverage
from offchain.client.cross_check import CrossChecked
from offchain.client.follow import CaughtUp
from offchain.client.history import Asked, Finished, Overtaken, PageRead, Query, ServerFailed
from offchain.client.keyring import PersonalKey, SharedKey
from offchain.client.mailbox import Mail, Undeliverable
from offchain.client.pool_machine import State
from offchain.whisper.cipher import seal_asym, seal_sym
from offchain.whisper.envelope import Envelope
from tests.support.client import FakeServer, Setting, key, running

TOPIC = b"\x01\x02\x03\x00"
START = 1_700_000_000
SHARED = SharedKey("sonnets", b"\x05" * 32, TOPIC)


def letter(number, text=b"hello", topic=TOPIC):
    return Envelope.create(START + number + 50, 50, topic, seal_sym(SHARED.key, text, nonce=number.to_bytes(12, "big")))


LETTERS = sorted((letter(number, b"letter %d" % number) for number in range(10)), key=lambda each: each.position)


def query(**changes):
    return Query(**{"topics": (TOPIC,), "lower": START, "upper": START + 100, "page_size": 4, **changes})


async def read(mailbox, *args, **kwargs):
    """Everything a query gives: all events, and the texts of its mails."""
    events = [event async for event in mailbox.fetch(*args, **kwargs)]
    return events, [event.opened.message.payload for event in events if isinstance(event, Mail) and event.opened]


async def test_reads_page_after_page_and_opens_what_it_has_the_key_of():
    server = FakeServer(1, LETTERS)
    async with running(server, keys=[SHARED]) as setting:
        events, texts = await read(setting.mailbox, query())

    assert texts == [b"letter %d" % number for number in range(10)]
    assert [event.page for event in events if isinstance(event, PageRead)] == [1, 2, 3]
    assert events[-1] == Finished(True, "the end of the range was reached", 10, 3, (server.node_id,), None)
    assert [request.cursor for request in server.requests] == [b"", LETTERS[3].position, LETTERS[7].position]


async def test_mails_without_a_key_come_unopened():
    async with running(FakeServer(1, LETTERS[:1]), keys=[SHARED]) as setting:
        events, texts = await read(setting.mailbox, query(), keys=[])

    (mail,) = [event for event in events if isinstance(event, Mail)]
    assert texts == []
    assert mail.opened is None
    assert mail.envelope == LETTERS[0]


async def test_opens_what_was_sealed_to_a_personal_key_and_says_who_signed_and_which_key_it_was():
    sender, recipient = key(50), key(51)
    mail = Envelope.create(START + 50, 50, TOPIC, seal_asym(recipient.public, b"for you", sender))
    async with running(FakeServer(1, [mail]), keys=[SHARED]) as setting:
        events, texts = await read(setting.mailbox, query(), keys=[SHARED, PersonalKey("mine", recipient)])

    opened = events[1].opened if isinstance(events[1], Mail) else events[-3].opened
    assert texts == [b"for you"]
    assert opened.label == "mine"
    assert opened.message.signer == sender.public


@pytest.mark.parametrize("trick", ["cut", "refuse", "nonsense", "foreign"])
async def test_another_server_continues_when_one_fails(trick):
    bad = [FakeServer(number, LETTERS, trick) for number in (1, 2)]
    good = FakeServer(3, LETTERS)
    async with running(*bad, good, keys=[SHARED]) as setting:
        events, texts = await read(setting.mailbox, query())

    assert texts == [b"letter %d" % number for number in range(10)]
    assert events[-1].complete
    assert len([event for event in events if isinstance(event, ServerFailed)]) <= 2


async def test_sealed_answers_are_asked_for_and_read_page_after_page():
    server = FakeServer(1, LETTERS)
    async with running(server, keys=[SHARED], sealed_answers=True) as setting:
        events, texts = await read(setting.mailbox, query())

    assert texts == [b"letter %d" % number for number in range(10)]
    assert events[-1].complete
    assert [request.sealed for request in server.requests] == [True] * 3


@pytest.mark.parametrize("trick", ["plain", "refuse"])
async def test_a_server_that_does_not_seal_is_left_for_one_that_does(trick):
    careless, careful = FakeServer(1, LETTERS, *[trick] * 9), FakeServer(2, LETTERS)
    async with running(careless, careful, keys=[SHARED], sealed_answers=True) as setting:
        setting.pool.pick = lambda exclude=(): next(
            (each for each in sorted(setting.pool.links(), key=lambda one: one[0] != careless.node_id)
             if each[0] not in exclude), None
        )  # fmt: skip
        events, texts = await read(setting.mailbox, query())

    (failed,) = [event for event in events if isinstance(event, ServerFailed)]
    assert failed.node_id == careless.node_id
    assert ("not sealed" in failed.reason) == (trick == "plain")
    assert texts == [b"letter %d" % number for number in range(10)]
    assert events[-1].servers == (careful.node_id,)


async def test_a_server_dropped_in_the_middle_is_left_and_the_rest_comes_from_another():
    servers = [FakeServer(number, LETTERS) for number in (1, 2)]
    async with running(*servers, keys=[SHARED]) as setting:
        events, dropped = [], None
        async for event in setting.mailbox.fetch(query()):
            events.append(event)
            if isinstance(event, PageRead) and dropped is None:
                dropped = event.node_id
                setting.distrust(dropped)

    mails = [event for event in events if isinstance(event, Mail)]
    (failed,) = [event for event in events if isinstance(event, ServerFailed)]
    assert [mail.envelope for mail in mails] == LETTERS
    assert failed == ServerFailed(dropped, "curator delisted provider 1")
    assert dropped not in {event.node_id for event in events[events.index(failed) :] if isinstance(event, Asked)}


async def test_a_silent_server_is_reported_and_another_asked():
    silent = FakeServer(1, LETTERS, *["silent"] * 9)
    async with running(silent, timeout=0.01, keys=[SHARED]) as setting:
        setting.pool.offer(FakeServer(2).contact)
        events = []
        async with aclosing(setting.mailbox.fetch(query())) as stream:
            async for event in stream:
                events.append(event)
                if isinstance(event, ServerFailed):
                    break
        state = {node.contact.node_id: node.state for node in setting.pool.nodes()}[silent.node_id]

    assert events[-1] == ServerFailed(silent.node_id, "it was silent for 0.01 s")
    assert state is not State.READY


async def test_says_that_it_waits_when_no_server_is_ready_and_goes_on_when_one_is():
    late = FakeServer(1, LETTERS)
    setting = Setting(late, keys=[SHARED])
    task = asyncio.create_task(setting.pool.run())
    events = []
    async for event in setting.mailbox.fetch(query()):
        events.append(type(event).__name__)
        if events == ["Waiting"]:
            setting.pool.offer(late.contact)
    task.cancel()
    await asyncio.wait([task, *late.tasks])

    assert events[:2] == ["Waiting", "Asked"]
    assert events[-1] == "Finished"


async def test_two_queries_at_a_time_do_not_share_a_connection():
    servers = [FakeServer(number, LETTERS) for number in (1, 2)]
    async with running(*servers, keys=[SHARED]) as setting:
        (_, first), (_, second), (_, third) = await asyncio.gather(*(read(setting.mailbox, query()) for _ in range(3)))

    assert first == second == third == [b"letter %d" % number for number in range(10)]


async def test_a_query_that_is_left_early_keeps_its_connection_busy_until_the_server_is_done():
    server = FakeServer(1, LETTERS, "endless")
    async with running(server, keys=[SHARED]) as setting:
        async with aclosing(setting.mailbox.fetch(query())) as stream:
            await anext(stream)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await anext(stream)
        ((_, link),) = setting.pool.links()

        assert link.busy
        assert link.stuck(asyncio.get_running_loop().time() + 31.0)


async def test_mail_that_nobody_asked_for_is_ignored():
    server = FakeServer(1, LETTERS)
    async with running(server, keys=[SHARED]) as setting:
        (peer,) = server.peers
        await peer.send("shh", 127, b"\xff")
        await peer.send("shh", 125, b"\xff")
        await peer.other.read_up()
        _, texts = await read(setting.mailbox, query())

    assert len(texts) == 10


async def test_posts_to_as_many_servers_as_asked_and_says_who_stored_it():
    servers = [FakeServer(number) for number in (1, 2, 3)]
    async with running(*servers, keys=[SHARED]) as setting:
        envelope = await setting.mailbox.compose(b"hello", TOPIC, SHARED.key)
        results = await setting.mailbox.post([envelope], copies=2)

    holders = {server.node_id for server in servers if server.stored == [envelope]}
    assert len(holders) == 2
    assert {result.node_id for result in results} == holders
    assert all(result.refusal is None and result.envelope == envelope.hash for result in results)


async def test_composes_with_the_proof_of_work_that_servers_require():
    strict = FakeServer(1)
    strict.min_pow = 0.5
    async with running(strict, keys=[SHARED]) as setting:
        envelope = await setting.mailbox.compose(b"hello", TOPIC, key(51).public, sign_with=key(50))
        results = await setting.mailbox.post([envelope], copies=1)

    assert envelope.pow() >= 0.5
    assert results[0].refusal is None


async def test_says_why_when_no_server_takes_a_message():
    async with running(FakeServer(1), keys=[SHARED]) as setting:
        old = Envelope.create(int(time.time()) - 500, 50, TOPIC, b"too late")

        with pytest.raises(Undeliverable, match="very old envelope"):
            await setting.mailbox.post([old])


async def test_a_server_that_refuses_is_replaced_by_another():
    picky, others = FakeServer(1), [FakeServer(number) for number in (2, 3)]
    picky.min_pow = 1e6
    async with running(picky, *others, keys=[SHARED]) as setting:
        envelope = await setting.mailbox.compose(b"hello", TOPIC, SHARED.key, min_pow=0.001)
        results = await setting.mailbox.post([envelope], copies=2)

    assert {result.node_id for result in results if result.refusal is None} == {server.node_id for server in others}


async def test_posts_many_messages_in_few_packets():
    servers = [FakeServer(number) for number in (1, 2)]
    async with running(*servers, keys=[SHARED]) as setting:
        now = int(time.time())
        envelopes = [Envelope.create(now + 50, 50, TOPIC, number.to_bytes(2, "big")) for number in range(200)]
        results = await setting.mailbox.post(envelopes, copies=2)

    assert [server.packets for server in servers] == [4, 4]
    assert all(set(server.stored) == set(envelopes) for server in servers)
    assert len(results) == 400


async def test_says_which_of_many_messages_nobody_took_and_keeps_the_rest():
    server = FakeServer(1)
    async with running(server, keys=[SHARED]) as setting:
        now = int(time.time())
        good = [Envelope.create(now + 50, 50, TOPIC, number.to_bytes(2, "big")) for number in range(5)]
        old = Envelope.create(now - 500, 50, TOPIC, b"too late")

        with pytest.raises(Undeliverable) as caught:
            await setting.mailbox.post([*good, old], copies=1)

    assert caught.value.lost == [old]
    assert set(server.stored) == set(good)
    assert {result.envelope for result in caught.value.results if result.refusal is None} == {e.hash for e in good}


async def test_envelopes_that_a_server_does_not_want_do_not_hold_up_the_others():
    server = FakeServer(1)
    server.min_pow = 0.5
    async with running(server, keys=[SHARED]) as setting:
        good = [await setting.mailbox.compose(b"letter %d" % number, TOPIC, SHARED.key) for number in range(3)]
        expiry = int(time.time()) + 50
        mails = (Envelope.create(expiry, 50, TOPIC, bytes((number,)) * 200) for number in range(256))
        weak = next(mail for mail in mails if mail.best_pow() < 0.5)

        with pytest.raises(Undeliverable, match=r"asks for a proof of work of 0\.5"):
            await setting.mailbox.post([*good, weak], copies=1)

    assert set(server.stored) == set(good)


async def test_says_that_nobody_is_ready():
    setting = Setting(timeout=0.0)

    with pytest.raises(Undeliverable, match="none is ready"):
        await setting.mailbox.post([LETTERS[0]])


async def test_a_connection_that_ends_fails_the_message_on_it():
    server = FakeServer(1)
    async with running(server, keys=[SHARED]) as setting:
        server.confirmations = False
        ((_, link),) = setting.pool.links()
        waiting = asyncio.ensure_future(link.store([LETTERS[0]]))
        await asyncio.sleep(0)
        link.close("curator delisted provider 1")

        with pytest.raises(Exception, match="curator delisted provider 1"):
            await waiting


async def test_a_slow_server_is_overtaken_by_a_second_and_not_blamed():
    slow = FakeServer(1, LETTERS, *["silent"] * 9)
    fast = FakeServer(2, LETTERS)
    for seed in range(20):  # whichever is picked first
        async with running(slow, fast, keys=[SHARED], hedge_after=0.0, seed=seed) as setting:
            events, texts = await read(setting.mailbox, query())
            states = {node.state for node in setting.pool.nodes()}
        assert texts == [b"letter %d" % number for number in range(10)]
        assert states == {State.READY}
        overtaken = [event for event in events if isinstance(event, Overtaken)]
        if overtaken:
            break
        slow.tricks = ["silent"] * 9

    assert (overtaken[0].node_id, overtaken[0].by) == (slow.node_id, fast.node_id)
    assert len(overtaken) == 1
    assert events[-1].servers == (fast.node_id,)


async def test_a_second_server_that_fails_does_not_end_the_first():
    bad = FakeServer(1, LETTERS, *["refuse"] * 9)
    good = FakeServer(2, LETTERS)
    async with running(bad, good, keys=[SHARED], hedge_after=0.0) as setting:
        _, texts = await read(setting.mailbox, query())

    assert texts == [b"letter %d" % number for number in range(10)]


async def test_what_the_first_server_withheld_is_said_and_given():
    liar, honest = FakeServer(1, LETTERS[:3] + LETTERS[5:]), FakeServer(2, LETTERS)
    setting_events = []
    for seed in range(20):
        async with running(liar, honest, keys=[SHARED], seed=seed) as setting:
            setting_events = [event async for event in setting.mailbox.fetch_checked(query())]
        if setting_events[-1].first == (liar.node_id,):
            break

    result = setting_events[-1]
    found = [event.envelope for event in setting_events if isinstance(event, Mail)]
    assert isinstance(result, CrossChecked)
    assert result.compared
    assert result.withheld == tuple(each.hash for each in LETTERS[3:5])
    assert (result.first, result.second, result.lacked) == ((liar.node_id,), (honest.node_id,), 0)
    assert sorted(found, key=lambda each: each.position) == LETTERS
    assert len(found) == len(LETTERS)


async def test_what_the_second_server_lacks_is_counted_and_nobody_is_accused():
    less, more = FakeServer(1, LETTERS[:6]), FakeServer(2, LETTERS)
    for seed in range(20):
        async with running(less, more, keys=[SHARED], seed=seed) as setting:
            result = [event async for event in setting.mailbox.fetch_checked(query())][-1]
        if result.first == (more.node_id,):
            break

    assert (result.compared, result.withheld, result.lacked) == (True, (), 4)


async def test_only_what_was_read_is_compared():
    servers = [FakeServer(number, LETTERS) for number in (1, 2)]
    async with running(*servers, keys=[SHARED]) as setting:
        events = [event async for event in setting.mailbox.fetch_checked(query(limit=5))]

    assert (events[-1].compared, events[-1].withheld, events[-1].lacked) == (True, (), 0)
    assert len([event for event in events if isinstance(event, Mail)]) == 5


async def test_says_when_there_is_nobody_to_compare_with(monkeypatch):
    monkeypatch.setattr("offchain.client.mailbox.CHECK_WAIT", 0.0)
    async with running(FakeServer(1, LETTERS), keys=[SHARED]) as setting:
        result = [event async for event in setting.mailbox.fetch_checked(query())][-1]

    assert not result.compared
    assert "not compared" in result.reason


async def test_fills_gaps_once_and_goes_on_where_it_broke_off():
    server = FakeServer(1, LETTERS)
    with Coverage(":memory:") as coverage:
        coverage.cover([TOPIC], START + 3, START + 5)
        async with running(server, keys=[SHARED]) as setting:
            box = setting.mailbox
            first = [e async for e in box.fill(coverage, [TOPIC], START, START + 9) if isinstance(e, Mail)]
            asked = len(server.requests)
            again = [event async for event in box.fill(coverage, [TOPIC], START, START + 9)]

    assert [mail.envelope.sent - START for mail in first] == [0, 1, 2, 6, 7, 8, 9]
    assert again == []
    assert len(server.requests) == asked


async def test_follows_what_arrives_across_the_end_of_a_server(monkeypatch):
    monkeypatch.setattr(follow, "SHORTEST_PAUSE", 0.0)
    monkeypatch.setattr(follow, "LONGEST_PAUSE", 0.01)
    now = int(time.time())
    made = [
        Envelope.create(now + 50, 60 - number, TOPIC, seal_sym(SHARED.key, b"letter %d" % number))
        for number in range(6)
    ]
    servers = [FakeServer(number, made[:3]) for number in (1, 2)]
    texts, caught_up = [], []
    async with (
        running(*servers, keys=[SHARED]) as setting,
        asyncio.timeout(60),
        aclosing(setting.mailbox.follow([TOPIC], now - 1_000)) as events,
    ):
        async for event in events:
            if isinstance(event, CaughtUp):
                caught_up.append(event)
            if isinstance(event, Mail):
                texts.append(event.opened.message.payload)
                if len(texts) == 3:
                    for server in servers:
                        server.mails = made
                    await servers[0].hang_up()
            if len(texts) == len(made):
                break

    assert texts == [b"letter %d" % number for number in range(6)]
    assert caught_up[0].lower == now - 1_000


async def test_following_goes_on_after_a_reading_that_failed(monkeypatch):
    monkeypatch.setattr(follow.Follow, "pause", lambda self: 0.0)
    now = int(time.time())
    made = Envelope.create(now + 50, 50, TOPIC, seal_sym(SHARED.key, b"at last"))
    server = FakeServer(1, [made], *["refuse"] * 5)
    async with running(server, keys=[SHARED]) as setting, asyncio.timeout(60):
        setting.pool.report = lambda *args, **kwargs: None  # it stays the only one, and is asked again
        setting.mailbox._timeout = 0.05
        monkeypatch.setattr(history, "FIRST_PAUSE", 0.0)
        monkeypatch.setattr(mailbox, "LOOK_AGAIN", 0.01)
        async with aclosing(setting.mailbox.follow([TOPIC], now - 10)) as events:
            seen = [event async for event in _until_mail(events)]

    assert [event.complete for event in seen if isinstance(event, Finished)] == [False]
    assert seen[-1].opened.message.payload == b"at last"


async def _until_mail(events):
    async for event in events:
        yield event
        if isinstance(event, Mail):
            return


async def test_servers_that_find_our_time_wrong_make_a_notice():
    async with running(*[FakeServer(number) for number in (1, 2)]) as setting:
        for server in setting.servers:
            setting.mailbox.clock.heard(server, "sent in the future")

        assert "clock seems to be ahead" in setting.mailbox.clock.notice
