"""Several processes serve one port: clients notice nothing, servers meet the first one, and all of it ends together."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from offchain.config import MailserverConfig
from offchain.contact import Contact
from offchain.errors import PeerError, StorageError
from offchain.mailserver.archive import Query
from offchain.mailserver.archive.lmdb import LmdbArchive
from offchain.mailserver.server import Mailserver
from offchain.types import parse_ip
from offchain.whisper.bloom import FULL_BLOOM, topic_bloom
from offchain.whisper.mail import HistoryRequest
from tests.support.mail_client import MailClient, key, mail
from tests.support.mailserver import DAY, MARCH, FakeTrust, sample

SERVER, OTHER = key(1), key(2)
ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 60.0
CROWD = 24
"""Clients enough for both processes to have some, but for one time in eight million."""


@asynccontextmanager
async def running(tmp_path, trust=None, **changes):
    config = MailserverConfig(tmp_path / "archive", min_pow=0.0, workers=2, **changes)
    async with Mailserver(SERVER, config, trust or FakeTrust()) as server:
        yield server


@asynccontextmanager
async def crowd(server, first=100):
    clients = [await MailClient.connect(SERVER.public, server.port, key(first + n)) for n in range(CROWD)]
    try:
        yield clients
    finally:
        for each in clients:
            await each.close()


async def until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.02)


def children():
    tasks = Path(f"/proc/{os.getpid()}/task")
    return [int(pid) for each in tasks.iterdir() for pid in (each / "children").read_text().split()]


async def test_what_is_stored_over_any_process_is_found_at_once_over_every_other(tmp_path):
    async with running(tmp_path) as server, crowd(server) as clients:
        for number, client in enumerate(clients):
            envelope = mail(number)
            assert await client.post([envelope]) == []
            assert envelope in await clients[-1 - number].fetch([b"abcd"])
        await until(lambda: server.stats()["peers"] == CROWD)

        in_first = len(server._sessions)
        assert 0 < in_first < CROWD, "one process serves all"
        for client in clients:
            assert len(await client.fetch([b"abcd"])) == CROWD
        await until(lambda: server.stats()["requests"] == 2 * CROWD)
        assert server.stats()["archive envelopes"] == CROWD


async def test_a_bloom_filter_finds_topics_that_came_after_the_first_question(tmp_path):
    async with running(tmp_path) as server, crowd(server) as clients:
        for number, topic in enumerate((b"aaaa", b"bbbb", b"cccc")):
            envelope = mail(number, topic)
            await clients[0].post([envelope])
            for client in clients:
                page = await client.ask(HistoryRequest(0, 0, bloom=topic_bloom(topic)))
                assert envelope in page.envelopes
        assert len((await clients[1].ask(HistoryRequest(0, 0, bloom=FULL_BLOOM))).envelopes) == 3


async def test_room_that_the_writer_makes_is_noticed_by_every_process(tmp_path):
    async with running(tmp_path) as server, crowd(server) as clients:
        await asyncio.gather(*(client.fetch([b"abcd"]) for client in clients))
        for day in server.archive._open.values():
            day._grow()  # as if it were full
        envelopes = [mail(number, size=4_000) for number in range(200)]
        assert await clients[0].post(envelopes) == []
        for client in clients:
            assert len(await client.fetch([b"abcd"])) == 200


async def test_a_server_to_relay_with_meets_the_first_process(tmp_path):
    trust = FakeTrust(SERVER.public.node_id, OTHER.public.node_id)
    other_config = MailserverConfig(tmp_path / "other", min_pow=0.0)
    async with running(tmp_path, trust) as server, Mailserver(OTHER, other_config, trust) as other:
        ip = parse_ip("127.0.0.1")
        other.relay.add_peer(Contact(SERVER.public.node_id, SERVER.public, ip, server.port))
        server.relay.add_peer(Contact(OTHER.public.node_id, OTHER.public, ip, other.port))
        await until(lambda: server.relay.links and other.relay.links)
        async with crowd(server) as clients:
            for number, client in enumerate(clients):
                await client.post([mail(number)])
            await until(lambda: other.stats()["archive envelopes"] == CROWD)


async def test_a_worker_that_dies_is_replaced_and_nothing_is_lost(tmp_path):
    before = set(children())
    async with running(tmp_path) as server:
        async with crowd(server) as clients:
            for number, client in enumerate(clients):
                await client.post([mail(number)])
            await until(lambda: server.stats()["peers"] == CROWD)
            (worker,) = set(children()) - before
            os.kill(worker, signal.SIGKILL)
            await until(lambda: any(client.lost for client in clients))
        await until(lambda: set(children()) - before - {worker})
        async with crowd(server, first=200) as clients:
            for client in clients:
                assert len(await client.fetch([b"abcd"])) == CROWD
    assert set(children()) <= before


async def test_stopping_ends_every_process_and_acknowledges_nothing_that_is_not_kept(tmp_path):
    before = set(children())
    acknowledged = []

    async def post(client, number):
        with suppress(PeerError, AssertionError):
            for count in range(10_000):
                envelope = mail(number * 10_000 + count)
                if await client.post([envelope]) == []:
                    acknowledged.append(envelope)

    async with running(tmp_path) as server:
        clients = [await MailClient.connect(SERVER.public, server.port, key(300 + n)) for n in range(CROWD)]
        posting = [asyncio.create_task(post(client, number)) for number, client in enumerate(clients)]
        await until(lambda: len(acknowledged) > 10 * CROWD)
    await asyncio.gather(*posting)
    for client in clients:
        with suppress(PeerError):
            await client.close()

    assert set(children()) <= before
    async with running(tmp_path) as server, crowd(server, first=400) as clients:
        kept = {each.hash for each in await clients[0].fetch([b"abcd"])}
    assert {each.hash for each in acknowledged} <= kept


def in_another_process(folder, work):
    """What the process does that writes an archive, named `archive`."""
    lines = (
        "from pathlib import Path",
        "from offchain.mailserver.archive.lmdb import LmdbArchive",
        "from tests.support.mailserver import DAY, MARCH, sample",
        f"archive = LmdbArchive(Path({str(folder)!r}))",
        work,
        "archive.close()",
    )
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True, cwd=ROOT)


def test_an_archive_that_another_process_writes_is_read_as_it_changes(tmp_path):
    in_another_process(tmp_path, "")
    reading = LmdbArchive(tmp_path, readonly=True)
    everything = Query(0, 2**32 - 1)
    assert reading.query(everything).envelopes == []

    (tmp_path / "2026-03-01").mkdir()  # the other process has begun a day, and not more
    assert reading.query(everything).envelopes == []

    in_another_process(tmp_path, "archive.add_many([sample(MARCH, 1), sample(MARCH + DAY, 2)])")
    assert len(reading.query(everything).envelopes) == 2

    in_another_process(tmp_path, "archive.delete_day(MARCH // DAY)")
    assert len(reading.query(everything).envelopes) == 1
    with pytest.raises(StorageError):
        reading.add_many([sample(MARCH + DAY, 3)])
    reading.close()
