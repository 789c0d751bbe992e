"""The pool's shell: connections are made, held, and closed the moment trust ends."""

import asyncio
import random
from contextlib import asynccontextmanager

import pytest

from offchain.client.health import load
from offchain.client.pool import Pool
from offchain.client.pool_machine import State, What
from offchain.config import ClientConfig
from offchain.errors import ConnectionLost
from offchain.types import MAILSERVER
from tests.support.client import FakeTrust, contact

CONFIG = ClientConfig(MAILSERVER, pool_target=2)


class FakeLink:
    """A connection that lives until it is closed or lost."""

    def __init__(self):
        self.ended = asyncio.get_running_loop().create_future()
        self.closed_with = None

    def close(self, reason):
        if self.closed_with is None:
            self.closed_with = reason
        self.lose(reason)

    def lose(self, reason):
        if not self.ended.done():
            self.ended.set_result(reason)

    async def run(self):
        return await self.ended


class FakeNetwork:
    """Connects to everybody, except who is named in `refusing` and `silent`."""

    def __init__(self):
        self.links = {}
        self.refusing = set()
        self.silent = set()
        self.given_up = []
        self.calling = asyncio.Event()

    async def connect(self, contact):
        if contact.node_id in self.silent:
            self.calling.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.given_up.append(contact.node_id)
                raise
        if contact.node_id in self.refusing:
            raise ConnectionLost("connection refused")
        self.links[contact.node_id] = FakeLink()
        return self.links[contact.node_id]


@pytest.fixture
def network():
    return FakeNetwork()


@asynccontextmanager
async def running(pool):
    task = asyncio.create_task(pool.run())
    try:
        yield pool
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()


def make(network, trust, config=CONFIG):
    return Pool(config, trust, network.connect, rng=random.Random(1))


def ids(*numbers):
    return [contact(number).node_id for number in numbers]


async def test_connects_to_trusted_nodes_and_hands_out_their_connections(network):
    async with running(make(network, FakeTrust(*ids(1, 2)))) as pool:
        for number in (1, 2, 3):
            pool.offer(contact(number))

        ready = await pool.wait_ready(2, 1.0)

        assert ready
        assert dict(pool.pick_many(5)) == {node_id: network.links[node_id] for node_id in ids(1, 2)}


async def test_nodes_offered_before_it_runs_are_connected_when_it_does(network):
    pool = make(network, FakeTrust(*ids(1)))
    pool.offer(contact(1))

    async with running(pool):
        assert await pool.wait_ready(1, 1.0)


async def test_when_trust_ends_the_connection_is_closed_before_the_call_returns(network):
    trust = FakeTrust(*ids(1, 2))
    async with running(make(network, trust)) as pool:
        pool.offer(contact(1))
        pool.offer(contact(2))
        await pool.wait_ready(2, 1.0)
        (gone,) = ids(1)
        trust.remove(gone)

        pool.trust_changed(gone, False, "curator delisted provider 1", block=7)

        assert network.links[gone].closed_with == "curator delisted provider 1"
        assert {node_id for node_id, _ in pool.pick_many(5)} == set(ids(2))
        assert pool.events.recent[-1].what is What.DROPPED
        assert pool.events.recent[-1].block == 7


async def test_gives_up_connecting_when_trust_ends(network):
    trust = FakeTrust(*ids(1))
    network.silent.update(ids(1))
    async with running(make(network, trust)) as pool:
        pool.offer(contact(1))
        await network.calling.wait()
        trust.remove(*ids(1))

        pool.trust_changed(*ids(1), False, "removed")
        await asyncio.sleep(0)
        await asyncio.sleep(0)

        assert network.given_up == ids(1)
        assert pool.nodes() == []


async def test_a_node_that_refuses_is_marked_failed_with_the_reason(network):
    network.refusing.update(ids(1))
    async with running(make(network, FakeTrust(*ids(1)))) as pool:
        pool.offer(contact(1))
        await pool.changed()
        while pool.nodes()[0].state is State.CONNECTING:
            await pool.changed()

        assert pool.nodes()[0].state is State.FAILED
        assert pool.nodes()[0].reason == "connection refused"


async def test_a_node_that_does_not_answer_fails_after_the_timeout(network):
    network.silent.update(ids(1))
    config = ClientConfig(MAILSERVER, pool_target=1, connect_timeout=0.0)
    async with running(make(network, FakeTrust(*ids(1)), config)) as pool:
        pool.offer(contact(1))
        while not pool.nodes() or pool.nodes()[0].state is not State.FAILED:
            await pool.changed()

        assert pool.nodes()[0].reason == "no connection within 0 s"


async def test_a_lost_connection_is_noticed_and_replaced(network):
    config = ClientConfig(MAILSERVER, pool_target=1)
    async with running(make(network, FakeTrust(*ids(1, 2)), config)) as pool:
        pool.offer(contact(1))
        await pool.wait_ready(1, 1.0)
        pool.offer(contact(2))

        network.links[ids(1)[0]].lose("the peer closed the connection: too_many_peers")
        await pool.changed()
        await pool.wait_ready(1, 1.0)

        assert {node_id for node_id, _ in pool.pick_many(5)} == set(ids(2))
        assert What.LOST in [event.what for event in pool.events.recent]


async def test_a_node_that_is_reported_is_closed_and_not_picked(network):
    async with running(make(network, FakeTrust(*ids(1)))) as pool:
        pool.offer(contact(1))
        await pool.wait_ready(1, 1.0)
        node_id, link = pool.pick()

        pool.report(node_id, "it was silent for 10 s")

        assert link.closed_with == "it was silent for 10 s"
        assert pool.pick() is None


async def test_closes_every_connection_when_it_stops(network):
    async with running(make(network, FakeTrust(*ids(1, 2)))) as pool:
        pool.offer(contact(1))
        pool.offer(contact(2))
        await pool.wait_ready(2, 1.0)

    assert all(link.closed_with == "the client stops" for link in network.links.values())


async def test_a_listener_sees_events_from_its_beginning_and_ends_with_the_pool(network):
    pool = make(network, FakeTrust(*ids(1)))
    with pool.events.listen() as listener:
        async with running(pool):
            pool.offer(contact(1))
            await pool.wait_ready(1, 1.0)

        seen = [event.what async for event in listener]

    assert seen[:3] == [What.ADMITTED, What.CONNECTING, What.READY]


async def test_says_that_it_is_not_ready_in_time(network):
    async with running(make(network, FakeTrust())) as pool:
        assert not await pool.wait_ready(1, 0.0)


async def test_a_node_that_failed_before_a_restart_is_not_called_first_after_it(network, tmp_path):
    network.refusing = set(ids(1))
    config = ClientConfig(MAILSERVER, pool_target=1, graylist=3_000.0, health=tmp_path / "health.json")
    async with running(make(network, FakeTrust(*ids(1)), config)) as pool:
        pool.offer(contact(1))
        while not pool.health():
            await pool.changed()

    network.refusing = set()
    after = make(network, FakeTrust(*ids(1, 2)), config)
    after.offer(contact(1))  # before it runs, as the user's own nodes are
    async with running(after):
        after.offer(contact(2))
        await after.wait_ready(1, 60.0)
        states = {node.contact.node_id: node.state for node in after.nodes()}

    assert states == dict(zip(ids(1, 2), (State.FAILED, State.READY), strict=True))
    assert [each.failures for each in load(tmp_path / "health.json")] == [1]
