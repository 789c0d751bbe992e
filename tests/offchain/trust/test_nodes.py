"""TrustedNodes: the library's entry, following a chain of objects."""

import asyncio
import json
import math

import pytest

from offchain.config import ChainConfig, ContractRef
from offchain.errors import StorageError
from offchain.trust import nodes as nodes_module
from offchain.trust.freshness import Freshness
from offchain.trust.nodes import Resync, TrustedNodes
from offchain.trust.policy import OwnNode, Policy
from offchain.types import MAILSERVER
from tests.support.chain import (
    CHAIN_ID,
    CURATOR,
    GENESIS_TIME,
    REGISTRY,
    FakeChain,
    FakeNode,
    FakeRpc,
    node_id,
    node_ids,
    nodes_added,
    nodes_removed,
)
from tests.support.virtual_time import virtual_loop

PATIENCE = 60.0
START = float(GENESIS_TIME)
POLICY = Policy(curators=(CURATOR,))


@pytest.fixture
def chain():
    """One node of provider 1, final."""
    chain = FakeChain.started()
    chain.mine(nodes_added(1, node_ids(1)))
    chain.pass_blocks(2)
    return chain


def open_nodes(folder, node, policy=POLICY, **settings):
    config = ChainConfig(
        rpc=("http://node0",),
        chain_id=CHAIN_ID,
        registry=ContractRef(REGISTRY, 1),
        curators=(ContractRef(CURATOR, 1),),
        database=folder / "chain.sqlite",
        **{"poll_interval": 0.001, "proof_interval": 0.0, "finality": "latest", **settings},
    )
    return TrustedNodes(config, policy, rpc=FakeRpc(node))


async def heard(trusted, count):
    """The next changes."""
    found = []
    async with asyncio.timeout(PATIENCE):
        async for change in trusted.changes():
            found.append(change)
            if len(found) == count:
                break
    return found


async def test_answers_from_memory_once_something_is_proven(tmp_path, chain):
    async with open_nodes(tmp_path, FakeNode(chain)) as trusted:
        assert not trusted.is_trusted(MAILSERVER, node_id(1))
        assert trusted.state is Freshness.NEVER
        await trusted.ready(PATIENCE)

        assert trusted.is_trusted(MAILSERVER, node_id(1))
        assert [node.node_id for node in trusted.nodes(MAILSERVER)] == [node_id(1)]
        assert trusted.explain(MAILSERVER, node_id(1)).provider == 1
        assert "curator" in trusted.why(MAILSERVER, node_id(1))


async def test_a_consumer_hears_every_change_in_order(tmp_path, chain):
    async with open_nodes(tmp_path, FakeNode(chain)) as trusted:
        await trusted.ready(PATIENCE)
        listening = asyncio.create_task(heard(trusted, 3))
        await asyncio.sleep(0)
        chain.mine(nodes_added(1, node_ids(2)))
        await trusted.wait_for(lambda each: each.is_trusted(MAILSERVER, node_id(2)), PATIENCE)
        chain.mine(nodes_removed(1, node_ids(1)))
        await trusted.wait_for(lambda each: not each.is_trusted(MAILSERVER, node_id(1)), PATIENCE)
        trusted.set_policy(Policy())

        changes = await listening

    assert [(change.node_id, change.trusted) for change in changes] == [
        (node_id(2), True),
        (node_id(1), False),
        (node_id(2), False),
    ]
    assert changes[1].reason == f"removed in block {chain.head.number} by provider 1"
    assert changes[2].reason.endswith("you have no curators")


async def test_a_slow_consumer_is_told_to_read_everything_again(tmp_path, chain, monkeypatch):
    monkeypatch.setattr(nodes_module, "MAX_WAITING", 3)
    async with open_nodes(tmp_path, FakeNode(chain)) as trusted:
        await trusted.ready(PATIENCE)
        stream = trusted.changes()
        first = asyncio.create_task(anext(stream))
        await asyncio.sleep(0)
        own = [OwnNode(MAILSERVER, node_id(number)) for number in range(10, 15)]
        for count in (1, 5):
            trusted.set_policy(Policy(curators=(CURATOR,), own=tuple(own[:count])))
            await asyncio.sleep(0)

        assert (await first).node_id == node_id(10)
        assert await anext(stream) == Resync(trusted.trusted_set.version)
        assert {node.node_id for node in trusted.nodes(MAILSERVER)} == {node_id(1), *(each.node_id for each in own)}


def test_the_end_of_a_listing_is_told_when_it_comes(tmp_path, chain):
    async def story(loop):
        trusted = open_nodes(tmp_path, FakeNode(chain), poll_interval=1.0)
        trusted._clock = trusted.trusted_set._clock = lambda: START + loop.time()
        async with trusted:
            await trusted.ready(PATIENCE)
            listening = asyncio.create_task(heard(trusted, 2))
            await asyncio.sleep(0)
            chain.mine(nodes_added(1, node_ids(2), expires_at=int(START) + 7))
            return await listening

    with virtual_loop() as loop:
        came, went = loop.run_until_complete(story(loop))

    assert (came.trusted, went.trusted) == (True, False)
    assert START + 7 <= went.seen_at < START + 7.2


async def test_a_preview_tells_what_a_switch_would_do_and_does_nothing(tmp_path, chain):
    async with open_nodes(tmp_path, FakeNode(chain)) as trusted:
        await trusted.ready(PATIENCE)

        changes = trusted.preview(Policy(own=(OwnNode(MAILSERVER, node_id(9)),)))

        assert {(change.node_id, change.trusted) for change in changes} == {(node_id(1), False), (node_id(9), True)}
        assert trusted.policy == POLICY
        assert trusted.is_trusted(MAILSERVER, node_id(1))


async def test_status_is_json_and_shows_what_matters(tmp_path, chain):
    async with open_nodes(tmp_path, FakeNode(chain)) as trusted:
        before = trusted.status()
        await trusted.ready(PATIENCE)
        status = trusted.status()

    json.dumps(before)
    json.dumps(status)
    assert before["state"] == "NEVER"
    assert (status["state"], status["provenBlock"], status["head"]) == ("FRESH", chain.head.number, chain.head.number)
    assert status["trusted"] == {"mailserver": 1}
    assert status["registryVersion"] == chain.head.commitment.version
    assert status["endpoints"][0]["name"] == "node0.example"


async def test_trusts_what_was_proven_before_while_no_endpoint_answers(tmp_path, chain):
    async with open_nodes(tmp_path, FakeNode(chain)) as trusted:
        await trusted.ready(PATIENCE)

    async with open_nodes(tmp_path, FakeNode(chain, down=True)) as trusted:
        assert trusted.state is Freshness.FRESH
        assert trusted.is_trusted(MAILSERVER, node_id(1))


async def test_an_endpoint_that_lies_freezes_what_was_proven(tmp_path, chain):
    node = FakeNode(chain)
    async with open_nodes(tmp_path, node) as trusted:
        await trusted.ready(PATIENCE)
        node.tamper = lambda logs: logs[:-1]
        chain.mine(nodes_added(1, node_ids(2)), nodes_added(1, node_ids(3)))
        await trusted.wait_for(lambda each: each.state is Freshness.TAMPERED, PATIENCE)

        assert trusted.is_trusted(MAILSERVER, node_id(1))
        assert not trusted.is_trusted(MAILSERVER, node_id(2))
        assert "add up to" in trusted.status()["alarm"]


async def test_what_a_person_must_see_to_reaches_whoever_waits(tmp_path, chain, monkeypatch):
    async with open_nodes(tmp_path, FakeNode(chain)) as trusted:
        await trusted.ready(PATIENCE)

        def full(*_):
            raise StorageError("the disk is full")

        monkeypatch.setattr(trusted._watcher._checkpoint, "switch", full)
        chain.mine(nodes_added(1, node_ids(2)))

        with pytest.raises(StorageError, match="the disk is full"):
            await trusted.wait_for(lambda each: False, math.inf)
        with pytest.raises(StorageError, match="the disk is full"):
            await heard(trusted, 1)


async def test_refuses_a_database_that_is_in_use(tmp_path, chain):
    async with open_nodes(tmp_path, FakeNode(chain)):
        with pytest.raises(StorageError, match="in use"):
            async with open_nodes(tmp_path, FakeNode(chain)):
                pass


async def test_waiting_ends_when_its_time_is_over(tmp_path, chain):
    async with open_nodes(tmp_path, FakeNode(chain, down=True)) as trusted:
        with pytest.raises(TimeoutError):
            await trusted.ready(0.01)
