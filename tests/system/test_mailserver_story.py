"""Mail servers, a sender and a reader over TCP on loopback; one server is a process that can be killed."""

import asyncio
import json
import subprocess
import sys
import textwrap
import time
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest

from offchain.config import MailserverConfig
from offchain.contact import Contact
from offchain.errors import ConfigError, StorageError
from offchain.mailserver.archive.lmdb import LmdbArchive
from offchain.mailserver.server import Mailserver
from offchain.whisper.envelope import Envelope
from offchain.whisper.mail import Completion, Failure, HistoryRequest, seal_request
from tests.support.mail_client import MailClient, key, mail

ROOT = Path(__file__).parents[2]
FIRST, SECOND, SENDER, READER = (key(number) for number in (1, 2, 3, 4))


class Trust:
    """Trusts those it is told to."""

    def __init__(self, *keys):
        self.nodes = {each.public.node_id for each in keys}

    def is_trusted(self, kind, node_id):
        return kind == "mailserver" and node_id in self.nodes

    def why(self, kind, node_id):
        return "it is in the list" if self.is_trusted(kind, node_id) else "it is not in the list"


def contact(own, port):
    return Contact(own.public.node_id, own.public, ip_address("127.0.0.1"), port)


def config(folder, **changes):
    return MailserverConfig(**{"data": folder, "min_pow": 0.0, "port": 0} | changes)


def running(own, tmp_path, *trusted, **changes):
    """A mail server in this process."""
    folder = tmp_path / own.public.node_id.hex()[:8]
    return Mailserver(own, config(folder, **changes), Trust(*trusted))


async def until(condition, seconds=20.0):
    """Wait for what happens in other tasks or processes."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.01)


@asynccontextmanager
async def client(own, server, port):
    connected = await MailClient.connect(server.public, port, own)
    try:
        yield connected
    finally:
        await connected.close()


async def test_a_message_reaches_a_reader_who_was_not_there(tmp_path):
    envelopes = [mail(number, (b"abcd", b"efgh")[number % 2], age=number) for number in range(20)]
    async with Mailserver(FIRST, config(tmp_path / "first"), Trust()) as server:
        async with client(SENDER, FIRST, server.port) as sender:
            assert await sender.post(envelopes) == []
        async with client(READER, FIRST, server.port) as reader:
            found = await reader.fetch([b"abcd"])

    assert found == sorted(
        (each for each in envelopes if each.topic == b"abcd"), key=lambda each: (each.sent, each.hash)
    )


async def test_what_was_acknowledged_is_there_after_a_restart(tmp_path):
    envelopes = [mail(number) for number in range(50)]
    async with running(FIRST, tmp_path) as server, client(SENDER, FIRST, server.port) as sender:
        await sender.post(envelopes)

    async with running(FIRST, tmp_path) as server, client(READER, FIRST, server.port) as reader:
        found = await reader.fetch([b"abcd"], limit=7)

    assert set(found) == set(envelopes)
    assert len(found) == 50


async def test_servers_that_trust_each_other_share_what_they_get_once(tmp_path):
    trust = Trust(FIRST, SECOND)
    async with (
        Mailserver(FIRST, config(tmp_path / "first"), trust) as first,
        Mailserver(SECOND, config(tmp_path / "second"), trust) as second,
    ):
        first.relay.set_peers([contact(SECOND, second.port)])
        second.relay.set_peers([contact(FIRST, first.port)])  # both call: one connection stays
        await until(lambda: first.relay.links and second.relay.links)
        async with client(SENDER, FIRST, first.port) as sender:
            await sender.post([mail(number) for number in range(30)])
        async with client(SENDER, SECOND, second.port) as sender:
            await sender.post([mail(number) for number in range(30, 60)])
        # What is counted follows what is committed: the archive may know of an envelope before the count does.
        await until(lambda: all(each.stats()["envelopes stored"] == 60 for each in (first, second)))
        statistics = first.stats(), second.stats()
        stored = first.archive.count(), second.archive.count()

    assert stored == (60, 60)
    for each in statistics:
        assert each["envelopes relayed"] == 30  # nothing was echoed
        assert each["links"] == 1


async def test_a_server_that_comes_late_catches_up(tmp_path):
    trust = Trust(FIRST, SECOND)
    envelopes = [mail(number, age=number % 40) for number in range(1500)]  # more than one page
    async with Mailserver(FIRST, config(tmp_path / "first"), trust) as first:
        async with client(SENDER, FIRST, first.port) as sender:
            await sender.post(envelopes)
        async with Mailserver(SECOND, config(tmp_path / "second"), trust) as second:
            second.relay.set_peers([contact(FIRST, first.port)])
            await until(lambda: second.archive.count() == 1500)
            async with client(READER, SECOND, second.port) as reader:
                found = await reader.fetch([b"abcd"])

    assert set(found) == set(envelopes)


async def test_a_server_that_is_not_trusted_gets_nothing(tmp_path):
    async with (
        Mailserver(FIRST, config(tmp_path / "first"), Trust()) as first,
        Mailserver(SECOND, config(tmp_path / "second"), Trust(FIRST)) as second,
    ):
        async with client(SENDER, FIRST, first.port) as sender:
            await sender.post([mail(1)])
        second.relay.set_peers([contact(FIRST, first.port)])
        await until(lambda: first.stats().get("sync requests refused"))
        async with client(SENDER, FIRST, first.port) as sender:
            await sender.post([mail(2)])

        assert first.relay.links == ()
        assert second.archive.count() == 0


async def test_a_link_ends_when_trust_does(tmp_path):
    trust = Trust(FIRST, SECOND)
    async with (
        Mailserver(FIRST, config(tmp_path / "first"), trust) as first,
        Mailserver(SECOND, config(tmp_path / "second"), trust) as second,
    ):
        first.relay.add_peer(contact(SECOND, second.port))
        await until(lambda: first.relay.links and second.relay.links)

        trust.nodes.remove(SECOND.public.node_id)
        first.relay.review()

        assert first.relay.links == ()
        await until(lambda: second.relay.links == ())


async def test_days_beyond_what_may_be_kept_go(tmp_path):
    now = int(time.time())
    old = [Envelope.create(now - age * 86_400, 50, b"abcd", bytes(5000)) for age in (3, 2, 1)]
    archive = LmdbArchive(tmp_path / FIRST.public.node_id.hex()[:8])
    archive.add_many(old)
    size = archive.days()[0].size
    archive.close()

    async with running(FIRST, tmp_path, max_archive_bytes=2 * size) as server:
        await until(lambda: len(server.archive.days()) == 2)
        async with client(READER, FIRST, server.port) as reader:
            assert await reader.fetch([b"abcd"]) == old[1:]


async def test_a_port_that_is_taken_is_said_and_the_archive_given_back(tmp_path):
    async with running(FIRST, tmp_path) as server:
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{server.port}"):
            async with running(SECOND, tmp_path, port=server.port):
                raise AssertionError("it runs")

    async with running(SECOND, tmp_path):
        pass


async def test_an_archive_in_use_is_said(tmp_path):
    async with running(FIRST, tmp_path):
        with pytest.raises(StorageError, match="in use by another process"):
            async with running(FIRST, tmp_path):
                raise AssertionError("it runs")


async def test_an_error_in_its_block_comes_out_as_it_is(tmp_path):
    with pytest.raises(ZeroDivisionError):
        async with running(FIRST, tmp_path):
            raise ZeroDivisionError

    async with running(FIRST, tmp_path):
        pass


SERVER = """
    import asyncio, json, sys
    from ipaddress import ip_address
    from pathlib import Path
    from offchain.config import MailserverConfig
    from offchain.contact import Contact
    from offchain.mailserver.server import Mailserver
    from tests.support.mail_client import key

    class Everybody:
        def is_trusted(self, kind, node_id): return True
        def why(self, kind, node_id): return "this is a test"

    async def main(number, folder, other_number, other_port):
        async with Mailserver(key(number), MailserverConfig(Path(folder), min_pow=0.0), Everybody()) as server:
            if other_port:
                other = key(other_number).public
                server.relay.add_peer(Contact(other.node_id, other, ip_address("127.0.0.1"), other_port))
            print(json.dumps({"port": server.port}), flush=True)
            await asyncio.Event().wait()

    asyncio.run(main(*json.loads(sys.argv[1])))
"""


class ServerProcess:
    """A mail server in a process of its own, to be killed without a goodbye."""

    def __init__(self, own, number, folder, other_number=0, other_port=0):
        self.own = own
        arguments = json.dumps([number, str(folder), other_number, other_port])
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(SERVER), arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        self.port = json.loads(self.process.stdout.readline())["port"]

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def processes():
    started = []

    def start(*arguments):
        started.append(ServerProcess(*arguments))
        return started[-1]

    yield start
    for each in started:
        each.kill()


async def test_nothing_acknowledged_is_lost_when_a_server_is_killed(tmp_path, processes):
    trust = Trust(FIRST, SECOND)
    async with Mailserver(SECOND, config(tmp_path / "second"), trust) as second:
        victim = processes(FIRST, 1, tmp_path / "first", 2, second.port)
        await until(lambda: second.relay.links)
        acknowledged = []
        async with client(SENDER, FIRST, victim.port) as sender:

            async def send_on():
                number = 0
                while True:
                    batch = [mail(number + n) for n in range(20)]
                    number += 20
                    await sender.post(batch)
                    acknowledged.extend(batch)

            sending = asyncio.ensure_future(send_on())
            await until(lambda: len(acknowledged) >= 400)
            victim.process.kill()
            await asyncio.gather(sending, return_exceptions=True)
        survivors = [mail(1_000_000 + number) for number in range(10)]
        async with client(SENDER, SECOND, second.port) as sender:
            await sender.post(survivors)

        revived = processes(FIRST, 1, tmp_path / "first", 2, second.port)
        expected = set(acknowledged) | set(survivors)
        async with client(READER, FIRST, revived.port) as reader:
            found = set()
            for _ in range(200):  # until it has caught up with what came while it was dead
                found = set(await reader.fetch([b"abcd"], limit=100))
                if expected <= found:
                    break
                await asyncio.sleep(0.05)
        async with client(READER, SECOND, second.port) as reader:
            await until(lambda: second.archive.count() >= len(found))
            on_second = set(await reader.fetch([b"abcd"]))

    assert expected <= found
    assert expected <= on_second


async def test_a_stranger_cannot_read_with_a_request_that_it_overheard(tmp_path):
    request = HistoryRequest(0, 0, topics=(b"abcd",))
    overheard = seal_request(request, FIRST.public, READER, time.time()).packet
    async with (
        running(FIRST, tmp_path) as server,
        client(READER, FIRST, server.port) as reader,
        client(SENDER, FIRST, server.port) as stranger,
    ):
        await stranger.post([mail(1)])

        first = (await reader.ask(request, packet=overheard)).end
        stolen = (await stranger.ask(request, packet=overheard)).end
        repeated = (await reader.ask(request, packet=overheard)).end

    assert isinstance(first, Completion)
    assert isinstance(stolen, Failure)
    assert "signed by another key" in stolen.text
    assert isinstance(repeated, Failure)
    assert "sent before" in repeated.text
