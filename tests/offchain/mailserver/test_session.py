import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from offchain.config import MailserverConfig
from offchain.errors import StorageError
from offchain.keys import PrivateKey
from offchain.mailserver import session as session_module
from offchain.mailserver.answer import SLICE
from offchain.mailserver.archive.writer import ArchiveWriter
from offchain.mailserver.desk import Desk
from offchain.mailserver.retention import Retention
from offchain.mailserver.session import MAX_REFUSALS, REQUESTS_WAITING, Session
from offchain.mailserver.sync import Meetings
from offchain.rlpx.p2p import DisconnectReason
from offchain.whisper.envelope import Envelope
from offchain.whisper.mail import (
    MAX_REQUEST_SIZE,
    Completion,
    Failure,
    HistoryRequest,
    SyncRequest,
    SyncResponse,
    decode_completion,
    seal_request,
)
from offchain.whisper.packets import BatchResponse
from offchain.whisper.protocol import Code, EnvelopesReceived, Extension
from tests.support.mailserver import MARCH, FakeShh, FakeTrust, MemoryArchive, until

SERVER, PEER, OTHER, THIRD = (PrivateKey(bytes((n,)) * 32) for n in (1, 2, 3, 4))
NOW = MARCH + 1000.0


def mail(number, sent=MARCH, size=4):
    return Envelope.create(sent + 2000, 2000, b"abcd", number.to_bytes(4, "big") * (size // 4))


def batch(*envelopes, name=b"b" * 32):
    return EnvelopesReceived(envelopes, (), name)


def request(limit=0, topics=(b"abcd",), by=PEER):
    sealed = seal_request(HistoryRequest(0, 0, topics=topics, limit=limit), SERVER.public, by, NOW, pow_target=0)
    return Extension(Code.HISTORY_REQUEST, sealed.packet)


class World:
    """One session of a server with an archive in memory."""

    def __init__(self, *, trusted=False, archive=None, **config):
        self.shh = FakeShh(PEER)
        self.archive = archive or MemoryArchive()
        self.writer = ArchiveWriter(self.archive)
        self.new = []
        self.trust = FakeTrust(*([PEER.public.node_id] if trusted else []))
        self.desk = Desk(
            SERVER,
            MailserverConfig(Path("unused"), **{"min_pow": 0.0, "requests_per_minute": 10_000} | config),
            self.trust,
            self.archive,
            self.writer,
            Retention(30, 10**9),
            lambda: NOW,
            lambda envelopes, source: self.new.extend(envelopes),
        )
        self.meetings = Meetings(86_400)

    @asynccontextmanager
    async def session(self, *, link=False):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.writer.run())
            made = Session(self.shh, self.desk, self.meetings, tasks.create_task, dialed=False)
            if link:
                made.link()
            running = tasks.create_task(made.run())
            yield made
            if not running.done():
                self.shh.hang_up()
            await running
            self.shh.gate.set()
            await self.writer.stop()

    def completions(self):
        return [decode_completion(payload) for payload in self.shh.of_code(Code.REQUEST_COMPLETE)]


async def test_acknowledges_a_batch_after_it_is_stored():
    world = World()
    stored_when_acknowledged = []
    acknowledge = world.shh.acknowledge

    async def watch(received):
        stored_when_acknowledged.append(world.archive.count())
        await acknowledge(received)

    world.shh.acknowledge = watch
    async with world.session():
        world.shh.feed(batch(mail(1), mail(2)))
        await until(lambda: world.shh.acknowledged)

    assert stored_when_acknowledged == [2]
    assert world.new == [mail(1), mail(2)]


async def test_a_batch_that_could_not_be_stored_is_answered_with_faults_and_not_acknowledged():
    world = World()
    world.archive.failure = StorageError("the disk is full")
    async with world.session():
        world.shh.feed(batch(mail(1), mail(2)))
        await until(lambda: world.shh.sent)

    (payload,) = world.shh.of_code(Code.BATCH_RESPONSE)
    response = BatchResponse.decode(payload)
    assert [fault.envelope for fault in response.faults] == [mail(1).hash, mail(2).hash]
    assert "cannot store" in response.faults[0].text
    assert world.shh.acknowledged == []


async def test_who_does_not_want_to_know_is_not_told():
    world = World()
    async with world.session():
        world.shh.feed(batch(mail(1), name=b""))
        await until(world.archive.count)

    assert (world.shh.sent, world.shh.acknowledged) == ([], [])


async def test_what_came_is_stored_and_passed_on_even_if_its_sender_hangs_up_at_once():
    world = World()
    async with world.session() as session:
        world.shh.feed(batch(mail(1)))
        world.shh.hang_up()
        await session.quiet.wait()
        await until(lambda: world.new)

    assert world.new == [mail(1)]


@pytest.mark.parametrize(("size", "in_flight"), [(10, 20), (100_000, 7)])
async def test_reading_stops_while_too_much_waits_for_the_disk(monkeypatch, size, in_flight):
    monkeypatch.setattr(session_module, "BATCHES_IN_FLIGHT", 20)
    monkeypatch.setattr(session_module, "BYTES_IN_FLIGHT", 750_000)
    world = World()
    world.writer._archive = SlowArchive(world.archive)
    async with world.session():
        for number in range(50):
            world.shh.feed(batch(mail(number, size=size)))
        for _ in range(200):
            await asyncio.sleep(0)
        unread = world.shh.unread()
        world.writer._archive.gate.set()
        await until(lambda: world.archive.count() == 50)

    assert unread == 50 - in_flight - 1  # one more is in the hand of the reader


class SlowArchive:
    """An archive whose disk is busy until the gate opens."""

    def __init__(self, archive):
        import threading

        self.archive = archive
        self.gate = threading.Event()

    def add_many(self, envelopes):
        self.gate.wait(10)
        return self.archive.add_many(envelopes)


async def test_reading_goes_on_while_the_peer_reads_nothing():
    world = World()
    world.shh.gate.clear()
    async with world.session():
        for number in range(500):
            world.shh.feed(batch(mail(number)))
        await until(lambda: world.archive.count() == 500)
        assert world.shh.acknowledged == []
        world.shh.gate.set()
        await until(lambda: len(world.shh.acknowledged) == 500)


async def test_a_peer_that_never_reads_its_acknowledgements_is_dropped(monkeypatch):
    monkeypatch.setattr(session_module, "ACKNOWLEDGEMENTS_WAITING", 10)
    world = World()
    world.shh.gate.clear()
    async with world.session():
        for number in range(50):
            world.shh.feed(batch(mail(number)))
        await until(lambda: world.shh.closed)

    assert world.shh.reason is DisconnectReason.USELESS_PEER


async def test_answers_requests_one_after_the_other():
    world = World(archive=MemoryArchive([mail(number) for number in range(SLICE + 5)]))
    async with world.session():
        world.shh.feed(request(), request(limit=2))
        await until(lambda: len(world.completions()) == 2)

    codes = [code for code, _ in world.shh.sent]
    assert codes == [Code.DIRECT, Code.DIRECT, Code.REQUEST_COMPLETE, Code.DIRECT, Code.REQUEST_COMPLETE]
    assert world.desk.counts["envelopes sent"] == SLICE + 7


async def test_a_slow_reader_costs_one_slice_of_memory():
    world = World(archive=MemoryArchive([mail(number) for number in range(10 * SLICE)]))
    world.shh.gate.clear()
    async with world.session():
        world.shh.feed(request())
        await until(lambda: world.archive.queries)
        for _ in range(50):
            await asyncio.sleep(0)
        asked_while_closed = len(world.archive.queries)
        world.shh.gate.set()
        await until(world.completions)

    assert asked_while_closed == 1


async def test_one_that_does_not_read_holds_up_nobody_and_one_that_asks_for_a_lot_only_itself():
    archive = MemoryArchive([mail(number) for number in range(10 * SLICE)])
    world = World(archive=archive, max_page=10 * SLICE)
    stuck, other = FakeShh(OTHER), FakeShh(THIRD)
    stuck.gate.clear()
    async with world.session() as greedy, asyncio.TaskGroup() as tasks:
        for shh in (stuck, other):
            session = Session(shh, world.desk, world.meetings, tasks.create_task, dialed=False)
            tasks.create_task(session.run())
        assert not greedy.quiet.is_set() or not world.archive.queries
        world.shh.feed(request(limit=10 * SLICE))
        stuck.feed(request(limit=10 * SLICE, by=OTHER))
        await until(lambda: len(archive.queries) >= 3)
        other.feed(request(limit=1, by=THIRD))
        await until(lambda: other.of_code(Code.REQUEST_COMPLETE))
        unfinished = not world.completions()
        await until(world.completions)
        queries_for_stuck = len(archive.queries) - 10 - 1
        stuck.gate.set()
        stuck.hang_up()
        other.hang_up()

    assert unfinished, "the small request waited for the large one"
    assert queries_for_stuck == 1


async def test_an_answer_that_takes_too_long_ends_with_a_cursor():
    world = World(archive=MemoryArchive([mail(number) for number in range(3 * SLICE)]), answer_time=0.0)
    async with world.session():
        world.shh.feed(request())
        await until(world.completions)

    (end,) = world.completions()
    assert isinstance(end, Completion)
    assert len(end.cursor) == 36
    assert world.desk.counts["envelopes sent"] == SLICE


async def test_a_server_that_stops_ends_a_long_answer_with_a_cursor_and_begins_no_other():
    world = World(archive=MemoryArchive([mail(number) for number in range(10 * SLICE)]))
    world.shh.gate.clear()
    async with world.session() as session:
        world.shh.feed(request(), request())
        await until(lambda: world.archive.queries)
        session.finish()
        world.shh.gate.set()
        await until(lambda: len(world.completions()) == 2)
        first, second = world.completions()

    assert isinstance(first, Completion)
    assert len(first.cursor) == 36
    assert len(world.archive.queries) <= 2
    assert isinstance(second, Failure)
    assert "about to stop" in second.text


async def test_too_many_requests_at_a_time_are_refused_and_answered():
    world = World()
    world.shh.gate.clear()
    async with world.session():
        requests = [request() for _ in range(REQUESTS_WAITING + 5)]
        world.shh.feed(*requests)
        for _ in range(50):
            await asyncio.sleep(0)
        world.shh.gate.set()
        await until(lambda: len(world.completions()) == len(requests))

    refused = [each for each in world.completions() if isinstance(each, Failure)]
    assert 0 < len(refused) <= 5
    assert all("too many requests at a time" in each.text for each in refused)


async def test_a_request_that_is_too_large_is_refused_before_it_waits_for_its_turn():
    world = World(trusted=True)
    large = bytes(MAX_REQUEST_SIZE + 1)
    async with world.session():
        world.shh.feed(Extension(Code.SYNC_REQUEST, large), Extension(Code.HISTORY_REQUEST, large))
        await until(world.completions)

    assert [each.text for each in world.completions()] == ["the request is too large"]
    assert world.desk.counts["requests refused: too large"] == 1
    assert world.desk.counts["sync requests refused"] == 1
    assert world.shh.of_code(Code.SYNC_RESPONSE) == []


async def test_a_peer_whose_requests_are_refused_again_and_again_is_dropped():
    world = World()
    async with world.session():
        for _ in range(MAX_REFUSALS + 1):
            world.shh.feed(Extension(Code.HISTORY_REQUEST, b"noise"))
            await asyncio.sleep(0)
        await until(lambda: world.shh.closed)

    assert world.shh.reason is DisconnectReason.USELESS_PEER


async def test_a_broken_archive_is_told_and_the_connection_stays():
    world = World()
    async with world.session():
        world.archive.failure = StorageError("broken")
        world.shh.feed(request())
        await until(lambda: len(world.completions()) == 1)
        world.archive.failure = None
        world.shh.feed(request())
        await until(lambda: len(world.completions()) == 2)

    first, second = world.completions()
    assert isinstance(first, Failure)
    assert "cannot read its archive" in first.text
    assert isinstance(second, Completion)


@pytest.mark.parametrize("code", [Code.SYNC_RESPONSE, Code.REQUEST_COMPLETE, Code.DIRECT])
async def test_answers_that_nobody_asked_for_are_ignored(code):
    world = World()
    async with world.session():
        world.shh.feed(Extension(code, SyncResponse((mail(1).raw,), final=True).encode()), request())
        await until(world.completions)

    assert world.archive.count() == 0


async def test_ends_when_told_to():
    world = World()
    async with world.session() as session:
        session.end(DisconnectReason.QUITTING)
        session.end(DisconnectReason.REQUESTED)
        await until(lambda: world.shh.closed)

    assert world.shh.reason is DisconnectReason.QUITTING


async def test_a_link_asks_for_what_was_missed_and_stores_it():
    world = World(trusted=True)
    async with world.session(link=True):
        await until(lambda: world.shh.of_code(Code.SYNC_REQUEST))
        first = SyncRequest.decode(world.shh.of_code(Code.SYNC_REQUEST)[0])
        cursor = mail(2).sent.to_bytes(4, "big") + mail(2).hash
        world.shh.feed(
            Extension(Code.SYNC_RESPONSE, SyncResponse((mail(1).raw, mail(2).raw, b"\xc0")).encode()),
            Extension(Code.SYNC_RESPONSE, SyncResponse(cursor=cursor, final=True).encode()),
        )
        await until(lambda: len(world.shh.of_code(Code.SYNC_REQUEST)) == 2)
        second = SyncRequest.decode(world.shh.of_code(Code.SYNC_REQUEST)[1])
        world.shh.feed(Extension(Code.SYNC_RESPONSE, SyncResponse((mail(3).raw,), final=True).encode()))
        await until(lambda: world.desk.counts["catching up: done"])

    assert (first.lower, first.cursor) == (NOW - 86_400, b"")
    assert (second.lower, second.cursor) == (first.lower, cursor)
    assert set(world.new) == {mail(1), mail(2), mail(3)}
    assert world.meetings.begin(PEER.public.node_id, NOW).request.lower == NOW - 600


async def test_catching_up_that_failed_is_done_again_in_full():
    world = World(trusted=True)
    async with world.session(link=True):
        await until(lambda: world.shh.of_code(Code.SYNC_REQUEST))
        world.shh.feed(Extension(Code.SYNC_RESPONSE, b"noise"))
        world.shh.feed(request())
        await until(world.completions)  # and the link works all the same

    assert world.meetings.begin(PEER.public.node_id, NOW).request.lower == NOW - 86_400


async def test_a_link_sends_what_is_put_out_for_it_but_not_what_came_from_there():
    world = World(trusted=True)
    world.shh.gate.clear()
    async with world.session(link=True) as session:
        session.outbox.put(mail(1))
        await until(lambda: not len(session.outbox))  # on its way, waiting for room
        session.outbox.put(mail(2))
        session.outbox.put(mail(3))
        world.shh.feed(batch(mail(2)))
        await until(lambda: world.archive.count() == 1)
        world.shh.gate.set()
        await until(lambda: len(world.shh.relayed) == 2)

    assert world.shh.relayed == [mail(1), mail(3)]


async def test_a_peer_becomes_a_link_while_it_is_connected():
    world = World(trusted=True)
    async with world.session() as session:
        await asyncio.sleep(0)
        session.link()
        session.outbox.put(mail(1))
        await until(lambda: world.shh.relayed)

    assert world.shh.relayed == [mail(1)]


async def test_a_peer_that_becomes_a_link_loses_the_limits_of_a_stranger_at_once():
    world = World(trusted=True)
    async with world.session() as session:
        await asyncio.sleep(0)
        limited_before = world.shh.limited
        session.link()

        assert limited_before
        assert not world.shh.limited


async def test_a_trusted_server_gets_its_sync_answered():
    world = World(trusted=True, archive=MemoryArchive([mail(1), mail(2)]))
    async with world.session():
        world.shh.feed(Extension(Code.SYNC_REQUEST, SyncRequest(0, MARCH + 9).encode()))
        await until(lambda: len(world.shh.of_code(Code.SYNC_RESPONSE)) == 2)

    parts = [SyncResponse.decode(payload) for payload in world.shh.of_code(Code.SYNC_RESPONSE)]
    assert {raw for part in parts for raw in part.envelopes} == {mail(1).raw, mail(2).raw}
    assert parts[-1].final


async def test_a_stranger_gets_no_sync():
    world = World(archive=MemoryArchive([mail(1)]))
    async with world.session():
        world.shh.feed(Extension(Code.SYNC_REQUEST, SyncRequest(0, MARCH + 9).encode()))
        await until(lambda: world.shh.of_code(Code.SYNC_RESPONSE))

    (payload,) = world.shh.of_code(Code.SYNC_RESPONSE)
    assert SyncResponse.decode(payload).error == "this server does not trust yours"
    assert SyncResponse.decode(payload).envelopes == ()
