import asyncio
import threading
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from offchain.config import MailserverConfig
from offchain.errors import StorageError
from offchain.keys import PrivateKey
from offchain.mailserver.answer import Answer, SyncAnswer
from offchain.mailserver.archive.writer import ArchiveWriter
from offchain.mailserver.desk import Desk
from offchain.mailserver.retention import Retention
from offchain.whisper.bloom import FULL_BLOOM
from offchain.whisper.cipher import key_from_password
from offchain.whisper.envelope import Envelope, Fault, PowRule, mine
from offchain.whisper.mail import (
    Completion,
    Failure,
    HistoryRequest,
    Layout,
    SyncRequest,
    SyncResponse,
    decode_completion,
    seal_request,
)
from offchain.whisper.sealed import AnswerOpener
from tests.support.mailserver import DAY, MARCH, FakeTrust, MemoryArchive

SERVER, CLIENT, STRANGER, OTHER_SERVER = (PrivateKey(bytes((n,)) * 32) for n in (1, 2, 3, 4))
HOST = "192.0.2.1"
NOW = MARCH + 1000.0
REQUEST = HistoryRequest(0, 0, topics=(b"abcd",))


def mail(number, sent=MARCH, ttl=2000, min_pow=0.0, rule=PowRule.LEADING):
    return mine(sent + ttl, ttl, b"abcd", number.to_bytes(4, "big"), min_pow, rule)


class World:
    """A desk with an archive in memory and a clock that is a number."""

    def __init__(self, *trusted, **config):
        self.now = NOW
        self.archive = MemoryArchive()
        self.writer = ArchiveWriter(self.archive)
        self.new = []
        self.desk = Desk(
            SERVER,
            MailserverConfig(Path("unused"), **{"min_pow": 0.0} | config),
            FakeTrust(*(each.public.node_id for each in trusted)),
            self.archive,
            self.writer,
            Retention(30, 10**9),
            lambda: self.now,
            lambda envelopes, source: self.new.append((list(envelopes), source)),
        )

    @asynccontextmanager
    async def writing(self):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.writer.run())
            yield self.desk
            await self.writer.stop()

    def ask(self, request=REQUEST, to=SERVER.public, by=CLIENT, peer=CLIENT, host=HOST):
        packet = seal_request(request, to, by, self.now, pow_target=0).packet
        return self.desk.answer(packet, peer.public, host)


async def test_new_envelopes_are_told_of_once_they_are_stored():
    world = World()
    async with world.writing() as desk:
        assert await desk.store([mail(1), mail(2)], CLIENT.public.node_id) == []
        assert await desk.store([mail(2), mail(3)], OTHER_SERVER.public.node_id) == []

    assert world.new == [
        ([mail(1), mail(2)], CLIENT.public.node_id),
        ([mail(3)], OTHER_SERVER.public.node_id),
    ]
    assert (desk.counts["envelopes stored"], desk.counts["envelopes known already"]) == (3, 1)


async def test_envelopes_older_than_what_is_kept_are_refused():
    world = World()
    ancient = mail(1, sent=MARCH - 31 * DAY, ttl=40 * DAY)
    async with world.writing() as desk:
        refused = await desk.store([ancient, mail(2)], CLIENT.public.node_id)

    assert [(each.hash, each.fault) for each in refused] == [(ancient.hash, Fault.EXPIRED)]
    assert desk.counts["envelopes refused: very old envelope"] == 1
    assert world.archive.count() == 1


async def test_what_the_disk_refuses_is_not_told_of():
    world = World()
    world.archive.failure = StorageError("the disk is full")
    async with world.writing() as desk:
        with pytest.raises(StorageError):
            await desk.store([mail(1)], CLIENT.public.node_id)

    assert world.new == []
    assert desk.counts["envelopes lost to a storage error"] == 1


def test_from_another_archive_expired_envelopes_are_taken_and_bad_ones_are_not():
    world = World(min_pow=0.01)
    expired = mail(1, sent=MARCH - 5000, ttl=10, min_pow=0.01)
    by_old_rule = mail(2, sent=MARCH, ttl=10, min_pow=0.01, rule=PowRule.TRAILING)
    weak = mail(3, ttl=100_000)
    future = mail(4, sent=MARCH + 5000, ttl=10, min_pow=0.01)
    timeless = Envelope.create(MARCH, 0, b"abcd", b"")
    raws = [each.raw for each in (expired, by_old_rule, weak, future, timeless)]

    good = world.desk.judge_old([*raws, b"noise", b"\xc0"])

    assert good == [expired, by_old_rule]
    assert world.desk.counts == {
        "envelopes refused: not enough proof of work": 1,
        "envelopes refused: sent in the future": 1,
        "envelopes refused: ttl is zero or more than its expiry": 1,
        "envelopes refused: not one": 2,
    }


def test_answers_a_request():
    world = World()
    world.archive.add_many([mail(1)])

    answer = world.ask()

    assert isinstance(answer, Answer)
    answer.step()
    assert answer.envelopes == 1


def test_seals_the_answer_to_the_key_that_asked_if_the_request_says_so():
    world = World()
    world.archive.add_many([mail(1)])
    request = replace(REQUEST, layout=Layout.SEALED)
    packet = seal_request(request, SERVER.public, CLIENT, world.now, pow_target=0)

    answer = world.desk.answer(packet.packet, CLIENT.public, HOST)

    opener = AnswerOpener(CLIENT, SERVER.public, packet.id)
    contents = [opener.open(payload) for _, payload in answer.step()]
    assert Envelope.decode_many(contents[0]) == [mail(1)]
    assert isinstance(decode_completion(contents[1]), Completion)
    assert world.desk.counts["requests for sealed answers"] == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"by": STRANGER}, "signed by another key"),
        ({"peer": STRANGER}, "signed by another key"),
        ({"to": STRANGER.public}, "not encrypted to this server's key"),
        ({"to": key_from_password("status-offline-inbox")}, "not encrypted to this server's key"),
        ({"request": HistoryRequest(9, 8, FULL_BLOOM)}, "from 9 is after to 8"),
        ({"request": HistoryRequest(1, 9)}, "neither topics nor a bloom filter"),
    ],
)
def test_a_refusal_says_why_and_is_counted(arguments, text):
    world = World()

    answer = world.ask(**arguments)

    assert isinstance(answer, Failure)
    assert text in answer.text
    assert world.desk.counts["requests refused: not understood"] == 1


def test_noise_is_refused_politely():
    world = World()

    for packet in (b"", b"\xc0", b"noise", bytes(70_000)):
        assert isinstance(world.desk.answer(packet, CLIENT.public, HOST), Failure)


def test_the_password_counts_when_switched_on():
    world = World(password_requests=True)

    assert isinstance(world.ask(to=key_from_password("status-offline-inbox")), Answer)
    plain = HistoryRequest(0, 0, FULL_BLOOM).encode_plain(bytes(32))
    assert isinstance(world.desk.answer(plain, CLIENT.public, HOST), Answer)


def test_a_request_that_was_sent_before_is_refused():
    world = World()
    packet = seal_request(REQUEST, SERVER.public, CLIENT, NOW, pow_target=0).packet

    assert isinstance(world.desk.answer(packet, CLIENT.public, HOST), Answer)
    repeated = world.desk.answer(packet, CLIENT.public, HOST)

    assert isinstance(repeated, Failure)
    assert "sent before" in repeated.text
    world.now += 71  # by now it is over
    late = world.desk.answer(packet, CLIENT.public, HOST)
    assert isinstance(late, Failure)
    assert "very old envelope" in late.text


def test_a_flood_of_requests_is_told_to_wait():
    world = World(requests_per_minute=6)

    answers = [world.ask() for _ in range(5)]

    assert [type(each) for each in answers] == [Answer] * 3 + [Failure] * 2
    assert "try again in 10.0 s" in answers[-1].text
    world.now += 10
    assert isinstance(world.ask(), Answer)


async def test_while_the_disk_is_waited_for_looks_are_made_in_threads(monkeypatch):
    faults = iter([0, 50, 50, 50, 50, 50])
    monkeypatch.setattr("offchain.mailserver.desk.page_faults", lambda: next(faults))
    world = World()
    threads = []

    class Looked:
        envelopes = 0

        def step(self):
            threads.append(threading.current_thread())
            return []

    for _ in range(2):
        await world.desk.look(Looked(), CLIENT.public.node_id)

    assert threads[0] is threading.main_thread()
    assert threads[1] is not threading.main_thread()


async def test_when_too_many_wait_who_comes_is_told_to_try_again():
    world = World(max_waiting_requests=3)
    answers = [world.ask(by=each, peer=each) for each in (CLIENT, STRANGER, OTHER_SERVER)]
    looking = [
        asyncio.create_task(world.desk.look(answer, each.public.node_id))
        for answer, each in zip(answers, (CLIENT, STRANGER, OTHER_SERVER), strict=True)
    ]
    await asyncio.sleep(0)

    refused = world.ask(by=SERVER, peer=SERVER)

    assert isinstance(refused, Failure)
    assert "the server is busy: try again in 2.0 s" in refused.text
    assert world.desk.counts["requests refused: busy"] == 1
    await asyncio.gather(*looking)
    assert isinstance(world.ask(by=SERVER, peer=SERVER), Answer)


def test_a_limit_beyond_all_measure_is_cut():
    world = World(max_page=3)
    world.archive.add_many([mail(number) for number in range(9)])

    answer = world.ask(HistoryRequest(0, 0, topics=(b"abcd",), limit=2**32 - 1))
    while not answer.finished:
        answer.step()

    assert answer.envelopes == 3


def test_only_trusted_servers_may_synchronise():
    world = World(OTHER_SERVER)
    request = SyncRequest(0, 9).encode()

    assert isinstance(world.desk.answer_sync(request, OTHER_SERVER.public.node_id), SyncAnswer)
    refused = world.desk.answer_sync(request, STRANGER.public.node_id)

    assert refused == SyncResponse(final=True, error="this server does not trust yours")


def test_a_sync_request_that_is_none_is_refused():
    world = World(OTHER_SERVER)

    refused = world.desk.answer_sync(b"noise", OTHER_SERVER.public.node_id)

    assert isinstance(refused, SyncResponse)
    assert refused.final
    assert "sync request" in refused.error
