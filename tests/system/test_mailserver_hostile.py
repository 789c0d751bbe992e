"""What hostile or careless peers do to a mail server over TCP, and that honest ones do not notice."""

import asyncio
import random
import time
from contextlib import asynccontextmanager
from ipaddress import ip_address

import pytest

from offchain.config import MailserverConfig
from offchain.contact import Contact
from offchain.errors import PeerError
from offchain.mailserver.server import Mailserver
from offchain.rlpx import peer as rlpx
from offchain.rlpx.peer import Disconnected
from offchain.whisper.envelope import Envelope
from offchain.whisper.mail import Completion, Failure, HistoryRequest, seal_request
from offchain.whisper.protocol import SHH, Code, Status
from tests.support.mail_client import MailClient, key, mail
from tests.support.mailserver import FakeTrust

SERVER, OTHER, HONEST, HOSTILE = (key(number) for number in (1, 2, 3, 4))


def config(folder, **changes):
    return MailserverConfig(**{"data": folder, "min_pow": 0.0, "envelopes_per_second": 1e9} | changes)


@asynccontextmanager
async def running(tmp_path, **changes):
    async with Mailserver(SERVER, config(tmp_path / "archive", **changes), FakeTrust()) as server:
        yield server


@asynccontextmanager
async def client(own, server):
    connected = await MailClient.connect(SERVER.public, server.port, own)
    try:
        yield connected
    finally:
        await connected.close()


async def until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.01)


async def works(server):
    """An honest client posts and reads as if nothing were the matter."""
    posted = [mail(random.randrange(2**32), b"good") for _ in range(5)]
    async with client(HONEST, server) as honest:
        assert await honest.post(posted) == []
        assert set(posted) <= set(await honest.fetch([b"good"]))


async def test_peers_that_never_finish_the_handshake(tmp_path):
    async with running(tmp_path) as server:
        writers = []
        for number in range(60):
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write((b"", b"\x01", b"\x04" * 200, random.Random(number).randbytes(100))[number % 4])
            writers.append(writer)
        # and one that finishes RLPx, but never says its status
        silent = await rlpx.connect(HOSTILE, SERVER.public, "127.0.0.1", server.port, [SHH])

        await works(server)
        await until(lambda: server.stats()["peers"] == 0)

        await silent.close()
        for writer in writers:
            writer.close()


async def test_envelopes_that_are_refused_are_told_and_counted(tmp_path):
    now = int(time.time())
    future = Envelope.create(now + 5000, 50, b"abcd", b"1")
    expired = Envelope.create(now - 100, 50, b"abcd", b"2")
    timeless = Envelope.create(now + 50, 0, b"abcd", b"3")
    weak = Envelope.create(now + 50, 50, b"abcd", b"4" * 200_000)  # so large that no luck is proof enough
    good = mail(5, pow_target=0.01)
    async with running(tmp_path, min_pow=0.01) as server, client(HONEST, server) as sender:
        faults = await sender.post([future, expired, timeless, weak, good, good])
        await sender.post([good])
        counts = server.stats()

    assert sorted(faults) == [
        "not enough proof of work",
        "sent in the future",
        "ttl is zero or more than its expiry",
        "very old envelope",
    ]
    assert {name: count for name, count in counts.items() if name.startswith("envelopes")} == {
        "envelopes refused: sent in the future": 1,
        "envelopes refused: very old envelope": 1,
        "envelopes refused: ttl is zero or more than its expiry": 1,
        "envelopes refused: not enough proof of work": 1,
        "envelopes stored": 1,
        "envelopes known already": 2,
    }


async def test_a_peer_that_breaks_the_protocol_is_dropped(tmp_path):
    async with running(tmp_path) as server:
        async with client(HOSTILE, server) as hostile:
            await hostile.shh.send(Code.MESSAGES, b"noise")
            await hostile.until_lost()
        await works(server)


async def test_a_flood_of_useless_envelopes_ends_the_connection(tmp_path):
    old = [Envelope.create(1000 + number, 50, b"abcd", b"") for number in range(3000)]
    async with running(tmp_path) as server:
        async with client(HOSTILE, server) as hostile:
            await hostile.shh.send_envelopes(old, known_pow=1.0)
            await hostile.until_lost()
        await works(server)
        assert server.archive.count() == 5


async def test_more_envelopes_than_a_stranger_may_send_are_refused(tmp_path):
    async with running(tmp_path, envelopes_per_second=100.0) as server, client(HOSTILE, server) as hostile:
        faults = await hostile.post([mail(number) for number in range(400)])

    assert 150 <= len(faults) <= 210
    assert set(faults) == {"rate limit exceeded"}


async def test_noise_for_requests_is_answered_with_errors_and_then_with_the_door(tmp_path):
    async with running(tmp_path) as server:
        async with client(HOSTILE, server) as hostile:
            answered = 0
            try:
                for number in range(500):
                    noise = random.Random(number).randbytes(number % 300)
                    page = await hostile.ask(HistoryRequest(0, 9), packet=noise or b"\x80")
                    assert isinstance(page.end, Failure)
                    answered += 1
            except PeerError:
                pass
        assert 90 <= answered <= 110
        await works(server)


@pytest.mark.parametrize(
    "request_",
    [
        HistoryRequest(0, 2**32 - 1, topics=(b"abcd",), limit=2**32 - 1),
        HistoryRequest(0, 2**32 - 1, topics=(b"abcd",), cursor=b"\xff" * 36),
        HistoryRequest(2**32 - 1, 2**32 - 1, topics=(b"abcd",)),
        HistoryRequest(0, 2**32 - 1, topics=tuple(n.to_bytes(4, "big") for n in range(512))),
        HistoryRequest(0, 2**32 - 1, bloom=b"\xff" * 64, limit=2**32 - 1),
        HistoryRequest(0, 2**32 - 1, bloom=bytes(64)),
    ],
)
async def test_absurd_requests_get_sober_answers(tmp_path, request_):
    async with running(tmp_path, max_page=100) as server, client(HONEST, server) as reader:
        await reader.post([mail(number) for number in range(150)])
        page = await reader.ask(request_)

    assert isinstance(page.end, Completion)
    assert len(page.envelopes) <= 100
    assert bool(page.end.cursor) == (len(page.envelopes) == 100)


async def test_a_cursor_from_another_server_goes_on_at_the_same_place(tmp_path):
    envelopes = [mail(number, age=number) for number in range(30)]
    ordered = sorted(envelopes, key=lambda each: (each.sent, each.hash))
    async with (
        running(tmp_path / "one") as first,
        Mailserver(OTHER, config(tmp_path / "other"), FakeTrust()) as second,
        client(HONEST, first) as reader,
    ):
        await reader.post(envelopes)
        other_reader = await MailClient.connect(OTHER.public, second.port, HONEST)
        await other_reader.post(envelopes[::2])  # the other server lacks half of them
        begin = await other_reader.ask(HistoryRequest(0, 0, topics=(b"abcd",), limit=5))
        rest = await reader.ask(HistoryRequest(0, 0, topics=(b"abcd",), cursor=begin.end.cursor))
        await other_reader.close()

    assert rest.envelopes == ordered[ordered.index(begin.envelopes[-1]) + 1 :]


async def test_a_reader_that_does_not_read_holds_up_nobody(tmp_path):
    async with running(tmp_path) as server:
        async with client(HONEST, server) as sender:
            await sender.post([mail(number, size=20_000) for number in range(500)])  # 10 MB
        slow = await MailClient.connect(SERVER.public, server.port, HOSTILE)
        slow._reader.cancel()
        slow.shh.peer._shell._transport.pause_reading()
        request = HistoryRequest(0, 0, topics=(b"abcd",))
        for _ in range(3):
            sealed = seal_request(request, SERVER.public, HOSTILE, time.time(), pow_target=0)
            await slow.shh.send(Code.HISTORY_REQUEST, sealed.packet)

        await works(server)

        (session,) = [each for each in server._sessions if each.node_id == HOSTILE.public.node_id]
        buffered = session._shh.peer._shell._transport.get_write_buffer_size()
        assert buffered < 1024 * 1024  # one slice more than what the socket may hold, and not the 30 MB asked for
        slow.shh.peer._shell.abort()


async def test_a_message_larger_than_allowed_ends_the_connection(tmp_path):
    async with running(tmp_path, max_message_bytes=100_000) as server:
        async with client(HOSTILE, server) as hostile:
            await hostile.shh.send(Code.MESSAGES, bytes(200_000))
            await hostile.until_lost()
        await works(server)


async def test_two_servers_that_flood_each_other_do_not_wait_for_each_other(tmp_path):
    trust = FakeTrust(SERVER.public.node_id, OTHER.public.node_id)
    async with (
        Mailserver(SERVER, config(tmp_path / "one"), trust) as first,
        Mailserver(OTHER, config(tmp_path / "other"), trust) as second,
    ):
        peers = [
            await MailClient.connect(SERVER.public, first.port, HONEST),
            await MailClient.connect(OTHER.public, second.port, HONEST),
        ]
        first.relay.add_peer(Contact(OTHER.public.node_id, OTHER.public, ip_address("127.0.0.1"), second.port))
        await until(lambda: first.relay.links and second.relay.links)

        await asyncio.gather(
            *(
                sender.post([mail(part * 10_000 + number, size=2000) for number in range(2000)])
                for part, sender in enumerate(peers)
            )
        )
        await until(lambda: first.archive.count() == second.archive.count() == 4000)

        for sender in peers:
            await sender.close()


async def test_a_server_that_stops_tells_its_peers_and_can_be_started_again(tmp_path):
    async with running(tmp_path) as server:
        connected = await MailClient.connect(SERVER.public, server.port, HONEST)
        posting = asyncio.ensure_future(connected.post([mail(number) for number in range(100)]))
        await until(lambda: server.stats()["archive envelopes"] or posting.done())
    await connected.until_lost()

    with pytest.raises(Disconnected, match="quitting"):
        await connected._reader
    assert await posting == []
    async with running(tmp_path) as server:
        await works(server)
        assert server.archive.count() == 105


async def test_clients_beyond_the_number_allowed_are_told(tmp_path):
    async with running(tmp_path, max_peers=2) as server:
        async with client(key(10), server), client(key(11), server):
            with pytest.raises(Disconnected, match="too_many_peers"):
                await MailClient.connect(SERVER.public, server.port, key(12), Status())
        await works(server)
