"""What users of the library get in each state (rule T7), how they hear of it, and what a shipped snapshot gives."""

import asyncio
import dataclasses
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from offchain.chain.snapshot import encode
from offchain.config import ChainConfig, ContractRef
from offchain.errors import ConfigError
from offchain.trust import Freshness, OwnNode, Policy, TrustedNodes
from offchain.types import MAILSERVER
from tests.support.chain import (
    CHAIN_ID,
    CURATOR,
    REGISTRY,
    FakeChain,
    FakeNode,
    FakeRpc,
    node_id,
    nodes_added,
    nodes_removed,
)
from tests.support.virtual_time import virtual_loop

HOUR = 3_600
DAY = 24 * HOUR
PATIENCE = 600.0
LISTED, LATER, OWN, STRANGER = (node_id(number) for number in range(4))


class Story:
    """A chain, one endpoint, and a clock that can be set. Time is virtual."""

    def __init__(self, folder, loop):
        self.folder, self.loop, self.night = folder, loop, 0.0
        self.chain = FakeChain.started()
        self.chain.mine(nodes_added(1, [LISTED]))
        self.chain.pass_blocks(2)
        self.node = FakeNode(self.chain)
        self.mined_at = loop.time()

    def clock(self):
        return self.chain.time + self.night + self.loop.time() - self.mined_at

    def mine(self, *said):
        self.chain.later += int(self.night)
        self.night, self.mined_at = 0.0, self.loop.time()
        self.chain.mine(*said)
        self.chain.pass_blocks(3)

    @asynccontextmanager
    async def opened(self, name="user", **changes):
        """The trusted nodes, and the states that a listener heard of."""
        config = ChainConfig(
            rpc=("http://node0",),
            chain_id=CHAIN_ID,
            registry=ContractRef(REGISTRY, 1),
            curators=(ContractRef(CURATOR, 1),),
            database=self.folder / name / "chain.sqlite",
            **changes,
        )
        policy = Policy(curators=(CURATOR,), own=(OwnNode(MAILSERVER, OWN),))
        heard = []

        async def listen():
            async for change in trusted.states():
                heard.append(change)

        async with TrustedNodes(config, policy, clock=self.clock, rpc=FakeRpc(self.node)) as trusted:
            listener = asyncio.create_task(listen())
            await asyncio.sleep(0)
            yield trusted, heard
            listener.cancel()

    async def snapshot(self):
        """The file of a snapshot of what is final now."""
        async with self.opened("exporter") as (trusted, _):
            await trusted.ready(PATIENCE)
            path = self.folder / "shipped.snapshot"
            path.write_bytes(encode(await trusted.snapshot()))
            return path


def answers(trusted):
    """Who is trusted, asked one by one and together."""
    found = {node.node_id for node in trusted.nodes(MAILSERVER)}
    assert found == {each for each in (LISTED, LATER, OWN, STRANGER) if trusted.is_trusted(MAILSERVER, each)}
    return found


def told(tmp_path, story):
    """Run a story in virtual time."""
    with virtual_loop() as loop:
        return loop.run_until_complete(story(Story(tmp_path, loop)))


def test_never_fresh_stale_expired_and_fresh_again(tmp_path):
    async def story(scene):
        scene.node.down = True
        async with scene.opened() as (trusted, heard):
            assert (trusted.state, answers(trusted)) == (Freshness.NEVER, {OWN})
            scene.node.down = False
            await trusted.ready(PATIENCE)
            assert (trusted.state, answers(trusted)) == (Freshness.FRESH, {LISTED, OWN})

            scene.node.down = True
            scene.night = 2 * HOUR
            await asyncio.sleep(60)
            assert (trusted.state, answers(trusted)) == (Freshness.STALE, {LISTED, OWN})
            assert "nothing newer is adopted" in trusted.explain(MAILSERVER, LISTED).reasons[-1]

            scene.night = DAY + HOUR
            assert answers(trusted) == {OWN}, "an answer needs no timer"
            await asyncio.sleep(60)
            assert (trusted.state, answers(trusted)) == (Freshness.EXPIRED, {OWN})
            assert "only your own nodes" in trusted.why(MAILSERVER, LISTED)

            scene.node.down = False
            scene.mine(nodes_added(1, [LATER]))
            await trusted.wait_for(lambda each: each.is_trusted(MAILSERVER, LATER), PATIENCE)
            assert (trusted.state, answers(trusted)) == (Freshness.FRESH, {LISTED, LATER, OWN})
            await asyncio.sleep(1)
            return heard

    heard = told(tmp_path, story)

    states = [Freshness.NEVER, Freshness.FRESH, Freshness.STALE, Freshness.EXPIRED, Freshness.FRESH]
    assert [(each.before, each.after) for each in heard] == list(pairwise(states))
    assert "nothing newer is adopted" in heard[1].reason
    assert heard[1].seen_at < heard[2].seen_at


def test_stale_takes_away_what_the_head_removes_and_adopts_nothing(tmp_path):
    async def story(scene):
        async with scene.opened() as (trusted, _):
            await trusted.ready(PATIENCE)
            scene.node.proofs = False
            scene.night = 2 * HOUR
            scene.mine(nodes_removed(1, [LISTED]), nodes_added(1, [LATER]))
            await trusted.wait_for(lambda each: not each.is_trusted(MAILSERVER, LISTED), PATIENCE)

            assert (trusted.state, answers(trusted)) == (Freshness.STALE, {OWN})

    told(tmp_path, story)


def test_tampered_keeps_what_was_proven_and_says_who_did_it(tmp_path):
    async def story(scene):
        async with scene.opened() as (trusted, heard):
            await trusted.ready(PATIENCE)
            scene.node.tamper = lambda logs: logs[:-1]
            scene.mine(nodes_added(1, [LATER]), nodes_added(1, [STRANGER]))
            await trusted.wait_for(lambda each: each.state is Freshness.TAMPERED, PATIENCE)
            assert answers(trusted) == {LISTED, OWN}
            await asyncio.sleep(1)
            assert (heard[-1].after, "node0.example" in heard[-1].reason) == (Freshness.TAMPERED, True)

            scene.night = DAY + HOUR
            assert (trusted.state, answers(trusted)) == (Freshness.TAMPERED, {OWN}), (
                "an alarm makes no proof last longer"
            )

    told(tmp_path, story)


def test_an_endpoint_that_proves_an_old_block_again_and_again_does_not_look_fresh(tmp_path):
    async def story(scene):
        async with scene.opened() as (trusted, _):
            await trusted.ready(PATIENCE)
            proofs = trusted.status()["proofs"]
            scene.night = 2 * HOUR
            await asyncio.sleep(300)
            assert trusted.status()["proofs"] > proofs
            assert trusted.state is Freshness.STALE
            scene.night = DAY + HOUR
            await asyncio.sleep(300)
            assert (trusted.state, answers(trusted)) == (Freshness.EXPIRED, {OWN})

    told(tmp_path, story)


def test_blocks_from_the_future_prove_nothing_beyond_now(tmp_path):
    async def story(scene):
        scene.chain.later = 300 * DAY
        scene.chain.pass_blocks(4)
        scene.night = -300.0 * DAY
        async with scene.opened() as (trusted, _):
            await trusted.ready(PATIENCE)
            assert trusted.status()["provenAt"] <= scene.clock()
            scene.node.down = True
            scene.night += 2 * HOUR
            assert trusted.state is Freshness.STALE

    told(tmp_path, story)


def test_a_listener_who_does_not_listen_keeps_the_newest_states(tmp_path, monkeypatch):
    monkeypatch.setattr("offchain.trust.nodes.MAX_STATES", 2)

    async def story(scene):
        async with scene.opened() as (trusted, _):
            stream = trusted.states()
            first = asyncio.create_task(anext(stream))
            await trusted.ready(PATIENCE)
            await first
            scene.node.down = True
            for night in (2 * HOUR, 0, 2 * HOUR, DAY + HOUR):
                scene.night = night
                await asyncio.sleep(60)
            return [(await anext(stream)).after for _ in range(2)]

    assert told(tmp_path, story) == [Freshness.STALE, Freshness.EXPIRED]


def test_a_shipped_snapshot_counts_until_something_is_proven(tmp_path):
    async def story(scene):
        path = await scene.snapshot()
        scene.node.down = True
        async with scene.opened(snapshot=path) as (trusted, heard):
            assert (trusted.state, answers(trusted)) == (Freshness.NEVER, {LISTED, OWN})
            assert "which curator" in trusted.why(MAILSERVER, LISTED)
            assert "came with this software" in trusted.explain(MAILSERVER, LISTED).reasons[-1]
            assert trusted.status()["shippedBlock"] == scene.chain.blocks[4].number
            scene.mine(nodes_removed(1, [LISTED]), nodes_added(1, [LATER]))
            scene.node.down = False
            await trusted.ready(PATIENCE)
            await trusted.wait_for(lambda each: each.is_trusted(MAILSERVER, LATER), PATIENCE)
            assert answers(trusted) == {LATER, OWN}
            assert trusted.status()["shippedBlock"] is None
            await asyncio.sleep(1)
            assert [each.after for each in heard] == [Freshness.FRESH]
        scene.node.down = True
        async with scene.opened(snapshot=path) as (trusted, _):
            assert answers(trusted) == {LATER, OWN}, "what was proven comes before what was shipped"

    told(tmp_path, story)


def test_the_head_takes_away_from_a_shipped_snapshot_before_anything_is_proven(tmp_path):
    async def story(scene):
        path = await scene.snapshot()
        scene.node.proofs = False
        scene.mine(nodes_removed(1, [LISTED]), nodes_added(1, [LATER]))
        async with scene.opened(snapshot=path, finality="latest") as (trusted, _):
            assert answers(trusted) == {LISTED, OWN}
            await trusted.wait_for(lambda each: not each.is_trusted(MAILSERVER, LISTED), PATIENCE)

            assert (trusted.state, answers(trusted)) == (Freshness.NEVER, {OWN})

    told(tmp_path, story)


def test_a_shipped_snapshot_that_is_too_old_or_gets_too_old_is_not_used(tmp_path):
    async def story(scene):
        path = await scene.snapshot()
        scene.node.down = True
        scene.night = 29 * DAY
        async with scene.opened(snapshot=path) as (trusted, _):
            assert answers(trusted) == {LISTED, OWN}
            scene.night = 31 * DAY
            assert answers(trusted) == {OWN}
            assert "too old to be used" in trusted.why(MAILSERVER, LISTED)
        async with scene.opened("second", snapshot=path) as (trusted, _):
            assert answers(trusted) == {OWN}
        async with scene.opened("third", snapshot=path, snapshot_for=99.0 * DAY) as (trusted, _):
            assert answers(trusted) == {LISTED, OWN}

    told(tmp_path, story)


@pytest.mark.parametrize("damage", ["missing", "damaged", "of another chain"])
def test_a_shipped_snapshot_that_is_of_no_use_is_a_mistake_in_the_configuration(tmp_path, damage):
    async def story(scene):
        path = await scene.snapshot()
        if damage == "missing":
            path.unlink()
        elif damage == "damaged":
            path.write_bytes(path.read_bytes()[:-1])
        else:
            async with scene.opened("exporter") as (trusted, _):
                path.write_bytes(encode(dataclasses.replace(await trusted.snapshot(), chain_id=5)))
        with pytest.raises(ConfigError, match=r"shipped\.snapshot"):
            async with scene.opened(snapshot=path):
                pass

    told(tmp_path, story)
