"""Servers that were apart find out what each lacks and fetch it, and nothing else, and only from servers they trust."""

import asyncio
import time
from ipaddress import ip_address

import pytest

from offchain.config import MailserverConfig
from offchain.contact import Contact
from offchain.keys import PrivateKey
from offchain.mailserver import server as server_module
from offchain.mailserver.archive.lmdb import LmdbArchive
from offchain.mailserver.server import Mailserver
from offchain.whisper.envelope import Envelope
from offchain.whisper.protocol import SHH
from tests.support.mailserver import FakeTrust

FIRST, SECOND, THIRD = (PrivateKey(bytes((n,)) * 32) for n in (11, 12, 13))


def mail(number, age):
    """An envelope that has long expired: no relay takes it, only reconciliation."""
    return Envelope.create(int(time.time()) - age + 20, 20, b"abcd", number.to_bytes(4, "big") * 50)


def fill(folder, envelopes):
    archive = LmdbArchive(folder)
    archive.add_many(envelopes)
    archive.close()


def server(own, folder, trust, **changes):
    return Mailserver(own, MailserverConfig(**{"data": folder, "min_pow": 0.0} | changes), trust)


def trusting(*keys):
    return FakeTrust(*(each.public.node_id for each in keys))


def introduce(one, other, key):
    one.relay.add_peer(Contact(key.public.node_id, key.public, ip_address("127.0.0.1"), other.port))


async def until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.01)


def kept(server_):
    return set(server_.archive.positions(b"", b"\xff" * 36, 10_000))


async def test_a_server_that_was_down_for_an_hour_has_everything_soon_and_so_have_the_others(tmp_path):
    envelopes = [mail(number, age=number * 3) for number in range(1200)]
    fill(tmp_path / "first", envelopes[:100] + envelopes[300:])
    fill(tmp_path / "second", envelopes[150:])
    fill(tmp_path / "third", envelopes[1150:])  # was down for the hour before
    trust = trusting(FIRST, SECOND, THIRD)
    async with (
        server(FIRST, tmp_path / "first", trust) as first,
        server(SECOND, tmp_path / "second", trust) as second,
        server(THIRD, tmp_path / "third", trust) as third,
    ):
        introduce(third, first, FIRST)
        introduce(third, second, SECOND)
        await until(lambda: third.stats().get("catching up: done", 0) == 2)
        introduce(second, first, FIRST)
        await until(lambda: kept(first) == kept(third) | kept(second))
        await until(lambda: kept(first) == kept(second))
        lacked = [150, 100, 1100]
        await until(lambda: [each.stats().get("envelopes stored") for each in (first, second, third)] == lacked)
        statistics = first.stats(), second.stats(), third.stats()

        assert kept(first) == kept(third)
        assert len(kept(first)) == len(envelopes) - 50

    for each, lacking in zip(statistics, lacked, strict=True):
        # What two servers have may come from both at the same time, and nothing else comes twice.
        assert each["envelopes caught up"] <= 2 * lacking


async def test_takes_only_from_servers_that_it_trusts(tmp_path):
    fill(tmp_path / "first", [mail(number, age=500) for number in range(10)])
    async with (
        server(FIRST, tmp_path / "first", trusting(SECOND)) as first,
        server(SECOND, tmp_path / "second", trusting()) as second,
    ):
        introduce(first, second, SECOND)
        await until(lambda: second.stats().get("sync requests refused"))

        assert second.relay.links == ()
        assert kept(second) == set()


async def test_gives_only_to_servers_that_it_trusts(tmp_path):
    fill(tmp_path / "first", [mail(number, age=500) for number in range(10)])
    async with (
        server(FIRST, tmp_path / "first", trusting()) as first,
        server(SECOND, tmp_path / "second", trusting(FIRST)) as second,
    ):
        introduce(second, first, FIRST)
        await until(lambda: second.stats().get("catching up: failed"))

        assert kept(second) == set()
        assert first.stats()["sync requests refused"] == 1


async def test_what_is_older_than_may_be_kept_is_not_fetched(tmp_path):
    fill(tmp_path / "first", [mail(number, age=age) for number, age in enumerate((100, 3000, 3 * 86_400))])
    trust = trusting(FIRST, SECOND)
    async with (
        server(FIRST, tmp_path / "first", trust) as first,
        server(SECOND, tmp_path / "second", trust, retention_days=1, catch_up=30 * 86_400) as second,
    ):
        introduce(second, first, FIRST)
        await until(lambda: second.stats().get("catching up: done"))

        assert len(kept(second)) == 2


async def test_what_was_refused_is_not_fetched_again(tmp_path):
    fill(tmp_path / "first", [mail(number, age=100) for number in range(10)])
    trust = trusting(FIRST, SECOND)
    async with (
        server(FIRST, tmp_path / "first", trust) as first,
        server(SECOND, tmp_path / "second", trust, min_pow=1e6) as second,
    ):
        introduce(second, first, FIRST)
        await until(lambda: second.stats().get("catching up: done"))
        for session in second._sessions:
            assert await session._exchange.round()

        assert first.stats()["envelopes handed to servers"] == 10


@pytest.mark.parametrize("old", [FIRST, SECOND])
async def test_a_server_of_before_is_asked_the_old_way_and_never_sees_the_new(tmp_path, monkeypatch, old):
    fill(tmp_path / "first", [mail(number, age=500) for number in range(10)])
    fill(tmp_path / "second", [mail(number, age=700) for number in range(10, 15)])
    trust = trusting(FIRST, SECOND)
    first, second = server(FIRST, tmp_path / "first", trust), server(SECOND, tmp_path / "second", trust)
    monkeypatch.setattr(server_module, "CAPABILITIES", (SHH,) if old is FIRST else server_module.CAPABILITIES)
    async with first:
        monkeypatch.undo()
        if old is SECOND:
            monkeypatch.setattr(server_module, "CAPABILITIES", (SHH,))
        async with second:
            introduce(second, first, FIRST)
            await until(lambda: len(kept(first)) == len(kept(second)) == 15)

            assert [session._exchange for session in first._sessions] == [None]
