"""What users of such systems complained about, where no other test shows the answer; see docs/complaints.md.

Time is virtual: what is said of seconds and bytes depends on nothing but the program.
"""

import asyncio
from contextlib import aclosing, asynccontextmanager

import pytest

from offchain.client.cross_check import CrossChecked
from offchain.client.history import Finished, Overtaken, Query
from offchain.client.mailbox import Mail
from offchain.whisper.envelope import Envelope
from tests.support.client import FakeServer, Setting
from tests.support.virtual_time import run

TOPIC = b"abcd"
START = 1_700_000_000
OVERHEAD = 120
"""Bytes around a message at most: RLPx header, checksums and padding, TCP, IP."""


def letters(count):
    made = (Envelope.create(START + n // 10 + 50, 50, TOPIC, n.to_bytes(4, "big") * 90) for n in range(count))
    return sorted(made, key=lambda each: each.position)


@asynccontextmanager
async def client(*servers):
    """A client of these servers; the loop's time passes only in waiting."""
    setting = Setting(*servers, timeout=10.0, hedge_after=1.5)
    async with asyncio.TaskGroup() as tasks:
        pool = tasks.create_task(setting.pool.run())
        for server in servers:
            setting.pool.offer(server.contact)
        try:
            yield setting
        finally:
            pool.cancel()
            for server in servers:
                for task in server.tasks:
                    task.cancel()


def now():
    return asyncio.get_running_loop().time()


def everything(**changes):
    return Query((TOPIC,), START, START + 10_000, **changes)


def test_a_first_history_comes_in_seconds_also_from_another_continent():
    """1,500 messages, 300 ms away: five seconds were wanted, minutes were complained of."""
    far = FakeServer(1, letters(1_500))
    far.delay = 0.3
    found, took = [], []

    async def fetch():
        async with client(far) as setting:
            begun = now()
            async for event in setting.mailbox.fetch(everything()):
                found.append(event)
            took.append(now() - begun)

    assert run(fetch(), 60.0)
    assert sum(isinstance(event, Mail) for event in found) == 1_500
    assert found[-1].complete
    assert took[0] <= 5.0


def test_a_server_that_is_far_too_slow_is_left_for_another_on_the_first_page():
    far, near = FakeServer(1, letters(300)), FakeServer(2, letters(300))
    far.delay, near.delay = 8.0, 0.05
    found, took = [], []

    async def fetch():
        async with client(far, near) as setting:
            await setting.pool.wait_ready(2, 10.0)
            links = setting.pool.links
            setting.pool.pick = lambda exclude=(): next(
                (each for each in sorted(links(), key=lambda one: one[0] != far.node_id) if each[0] not in exclude),
                None,
            )
            begun = now()
            async for event in setting.mailbox.fetch(everything()):
                found.append(event)
            took.append(now() - begun)

    assert run(fetch(), 60.0)
    assert [event.by for event in found if isinstance(event, Overtaken)] == [near.node_id]
    assert sum(isinstance(event, Mail) for event in found) == 300
    assert took[0] <= 3.0


@pytest.mark.parametrize("kept", [0, 1], ids=("nothing", "only the last message"))
def test_a_server_that_returns_hardly_anything_is_found_out_though_it_looks_healthy(kept):
    all_of_them = letters(60)
    broken, whole = FakeServer(1, all_of_them[len(all_of_them) - kept :]), FakeServer(2, all_of_them)
    found = []

    async def fetch():
        async with client(broken, whole) as setting:
            await setting.pool.wait_ready(2, 10.0)
            links = setting.pool.links
            setting.pool.pick = lambda exclude=(): next(
                (each for each in sorted(links(), key=lambda one: one[0] != broken.node_id) if each[0] not in exclude),
                None,
            )
            async for event in setting.mailbox.fetch_checked(everything()):
                found.append(event)

    assert run(fetch(), 60.0)
    (first,) = [event for event in found if isinstance(event, Finished)]
    (checked,) = [event for event in found if isinstance(event, CrossChecked)]
    assert first.complete  # by itself it looks as if that were all
    assert (checked.first, checked.second) == ((broken.node_id,), (whole.node_id,))
    assert len(checked.withheld) == 60 - kept
    assert {event.envelope for event in found if isinstance(event, Mail)} == set(all_of_them)


def test_an_hour_of_waiting_for_mail_costs_less_than_half_a_megabyte():
    """A month of it is below 0.4 GB; 14.8 GB were complained of."""
    servers = [FakeServer(number, letters(5)) for number in (1, 2)]

    async def wait_for_mail():
        async with (
            client(*servers) as setting,
            aclosing(setting.mailbox.follow([TOPIC], START)) as events,
        ):
            async for _ in events:
                pass

    assert not run(wait_for_mail(), 3_600.0)
    ends = [end for server in servers for peer in server.peers for end in (peer, peer.other)]
    spent = sum(end.bytes_sent + OVERHEAD * end.messages_sent for end in ends)
    assert sum(len(server.requests) for server in servers) > 300
    assert spent < 500_000


def test_a_client_without_any_server_waits_and_goes_on_when_one_comes():
    late = FakeServer(1, letters(3))
    found = []

    async def follow():
        async with client() as setting, aclosing(setting.mailbox.follow([TOPIC], START)) as events:

            async def comes_after_ten_minutes():
                await asyncio.sleep(600.0)
                setting.servers[late.node_id] = late
                setting.trust.add(late.node_id)
                setting.pool.set_target(1)
                setting.pool.offer(late.contact)

            coming = asyncio.ensure_future(comes_after_ten_minutes())
            async for event in events:
                if isinstance(event, Mail):
                    found.append(event.envelope)
                if len(found) == 3:
                    break
            await coming
            for task in late.tasks:
                task.cancel()

    assert run(follow(), 3_600.0)
    assert found == letters(3)
