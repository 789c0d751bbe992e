"""Servers that fail, for an hour of virtual time: how often they are asked. Nothing here depends on the machine."""

import asyncio
import time
from contextlib import aclosing

import pytest

from offchain.client.history import Finished, Query
from offchain.client.mailbox import Mail
from offchain.errors import ConnectionLost
from offchain.whisper.envelope import Envelope
from tests.support.client import FakeServer, Setting
from tests.support.virtual_time import run

TOPIC = b"abcd"
START = 1_700_000_000
HOUR = 3_600.0
BOUND = 5 * 130
"""Of five servers in an hour: while nobody else is there, each is tried once in about 30 s, the first delay."""

LETTERS = [Envelope.create(START + number + 50, 50, TOPIC, bytes([number])) for number in range(40)]


class Crowd(Setting):
    """Servers that count connections; those in `down` refuse them."""

    def __init__(self, *servers, down=(), **changes):
        super().__init__(*servers, timeout=10.0, hedge_after=1.5, clock=time.time, **changes)
        self.down = {server.node_id for server in down}
        self.connections = 0

    async def _connect(self, contact):
        self.connections += 1
        if contact.node_id in self.down:
            raise ConnectionLost("connection refused")
        return await super()._connect(contact)

    @property
    def requests(self):
        return sum(len(server.requests) for server in self.servers.values())

    async def follow(self, seen):
        """Follow for as long as it is let."""
        async with asyncio.TaskGroup() as tasks:
            pool = tasks.create_task(self.pool.run())
            for server in self.servers.values():
                self.pool.offer(server.contact)
            try:
                async with aclosing(self.mailbox.follow([TOPIC], START)) as events:
                    async for event in events:
                        seen.append(event)
            finally:
                pool.cancel()
                for server in self.servers.values():
                    for task in server.tasks:
                        task.cancel()

    async def fetch_again_and_again(self, seen):
        """An impatient app: as soon as a fetch has failed it begins another."""
        async with asyncio.TaskGroup() as tasks:
            pool = tasks.create_task(self.pool.run())
            for server in self.servers.values():
                self.pool.offer(server.contact)
            try:
                while True:
                    async for event in self.mailbox.fetch(Query((TOPIC,), START, START + 100)):
                        seen.append(event)
            finally:
                pool.cancel()
                for server in self.servers.values():
                    for task in server.tasks:
                        task.cancel()


@pytest.mark.parametrize("trick", ["refuse", "silent", "cut", "nonsense"])
def test_servers_that_all_fail_are_asked_a_bounded_number_of_times_in_an_hour(trick):
    crowd = Crowd(*(FakeServer(number, LETTERS, *[trick] * 10_000) for number in range(1, 6)))
    seen = []

    assert not run(crowd.follow(seen), HOUR)

    assert 5 < crowd.requests <= BOUND
    assert crowd.connections <= BOUND
    assert not [event for event in seen if isinstance(event, Mail) and trick != "cut"]


def test_servers_that_cannot_be_reached_are_called_a_bounded_number_of_times_in_an_hour():
    servers = [FakeServer(number) for number in range(1, 6)]
    crowd = Crowd(*servers, down=servers)

    assert not run(crowd.follow([]), HOUR)

    assert 5 < crowd.connections <= BOUND
    assert crowd.requests == 0


@pytest.mark.parametrize("trick", ["refuse", "silent"])
def test_an_app_that_never_waits_makes_no_storm_either(trick):
    crowd = Crowd(*(FakeServer(number, LETTERS, *[trick] * 10_000) for number in range(1, 6)))
    seen = []

    assert not run(crowd.fetch_again_and_again(seen), HOUR)

    assert 5 < crowd.requests <= BOUND
    assert not any(event.complete for event in seen if isinstance(event, Finished))


def test_one_server_that_works_serves_and_the_others_are_left_alone():
    works = FakeServer(9, LETTERS)
    broken = [FakeServer(number, LETTERS, *["refuse"] * 10_000) for number in range(1, 5)]
    crowd = Crowd(works, *broken)
    seen = []

    assert not run(crowd.follow(seen), HOUR)

    assert [event.envelope for event in seen if isinstance(event, Mail)] == sorted(
        LETTERS, key=lambda each: (each.sent, each.hash)
    )
    assert sum(len(server.requests) for server in broken) <= 4 * 10
    assert len(works.requests) > 300


def test_a_slow_server_costs_one_more_request_a_page_not_a_storm():
    slow, quick = FakeServer(1, LETTERS, *["silent"] * 10_000), FakeServer(2, LETTERS)
    crowd = Crowd(slow, quick)
    seen = []

    async def fetch():
        async with asyncio.TaskGroup() as tasks:
            pool = tasks.create_task(crowd.pool.run())
            for server in (slow, quick):
                crowd.pool.offer(server.contact)
            await crowd.pool.wait_ready(2, 10.0)
            for _ in range(20):
                async for event in crowd.mailbox.fetch(Query((TOPIC,), START, START + 100, page_size=10)):
                    seen.append(event)
            pool.cancel()
            for server in (slow, quick):
                for task in server.tasks:
                    task.cancel()

    assert run(fetch(), HOUR)

    finished = [event for event in seen if isinstance(event, Finished)]
    assert [event.complete for event in finished] == [True] * 20
    assert len(quick.requests) <= 20 * 5 + 20
    assert len(slow.requests) <= 20
