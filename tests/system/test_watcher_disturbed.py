"""Reorganisations, restarts and broken subscriptions on a real chain: the set is right, and the service stays up."""

import asyncio
import random

import pytest

from offchain.hashing import keccak256
from offchain.keys import PrivateKey
from offchain.trust import Freshness, Policy, TrustedNodes
from offchain.types import MAILSERVER
from tests.support.chain_world import ACCEPTED, REJECTED, Unavailable, World
from tests.support.endpoint_proxy import EndpointProxy

PATIENCE = 60.0
SLOTS = 6
NOT_FINAL = 2 * SLOTS
"""Blocks above the last final one."""
KEYS = [PrivateKey(keccak256(b"disturbed %d" % number)) for number in range(40)]


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr("offchain.chain.watcher.LIARS_WAIT", 1.0)
    monkeypatch.setattr("offchain.chain.heads.LAST_RETRY", 1.0)


@pytest.fixture
def world(tmp_path):
    """A chain with two providers; the curator accepts the first, which lists one node."""
    try:
        world = World(tmp_path / "anvil.json", SLOTS)
    except Unavailable as reason:
        pytest.skip(str(reason))
    try:
        world.providers = [(world.create_provider(operator), operator) for operator in world.operators[:2]]
        world.judge(world.providers[0][0], ACCEPTED)
        world.list_node(*world.providers[0], KEYS[0])
        world.used = [KEYS[0]]
        world.mine(NOT_FINAL + 1)
        yield world
    finally:
        world.close()


def following(world, folder, **changes):
    config = world.config(folder, **{"websocket": (world.url.replace("http", "ws"),), **changes})
    return TrustedNodes(config, Policy(curators=(world.curator_address,)))


def expected(world):
    """The addresses of those who are to be trusted: final, and still so at the head."""
    views = [set().union(*(world.vouched(provider, block) for provider, _ in world.providers)) for block in TAGS]
    return set.intersection(*views)


TAGS = ("finalized", "latest")


def found(trusted):
    return {node.node_id[12:] for node in trusted.nodes(MAILSERVER)}


async def right(world, trusted):
    """Return once the set is what the contracts say, at the chain's very head."""
    ought = await asyncio.to_thread(expected, world)
    head = world.web3.eth.block_number
    await trusted.wait_for(lambda each: each.status()["head"] == head and found(each) == ought, PATIENCE)
    return ought


def act(world, rng):
    """Something that the contracts allow."""
    provider, operator = rng.choice(world.providers)
    free = [key for key in KEYS if key not in world.used]  # Who is listed again counts only when that is final.
    mine = [key for key in KEYS if key.public.address in listed_by(world, provider)]
    what = rng.choice(("list", "list", "remove", "judge"))
    if what == "list" and free:
        world.used.append(rng.choice(free))
        world.list_node(provider, operator, world.used[-1])
    elif what == "remove" and mine:
        world.remove_node(provider, operator, rng.choice(mine))
    else:
        status = world.curator.functions.verdict(provider, 1).call()[0]
        world.judge(provider, REJECTED if status == ACCEPTED else ACCEPTED)


def listed_by(world, provider):
    nodes, _ = world.registry.functions.nodesOf(provider, 1, "0x" + "00" * 20, 100).call()
    return {bytes.fromhex(address[2:]) for address in nodes}


@pytest.mark.parametrize("websocket", [True, False], ids=["subscribed", "polling"])
async def test_the_set_is_right_after_reorganisations_of_every_depth(world, tmp_path, websocket):
    rng = random.Random(4)

    def live(depth):
        for _ in range(3):
            act(world, rng)
        world.reorganise(depth)
        act(world, rng)

    async with following(world, tmp_path, **({} if websocket else {"websocket": ()})) as trusted:
        await trusted.ready(PATIENCE)
        for depth in (1, 2, 3, 5, 8, NOT_FINAL - 2):
            await asyncio.to_thread(live, depth)
            await right(world, trusted)
            await asyncio.to_thread(world.mine, rng.randint(1, NOT_FINAL))
            await right(world, trusted)
        await asyncio.to_thread(world.mine, NOT_FINAL)

        assert await right(world, trusted) == set().union(*(world.vouched(each) for each, _ in world.providers))
        assert trusted.status()["reorgs"] >= 5
        assert (trusted.state, trusted.status()["lies"]) == (Freshness.FRESH, 0)


async def test_a_chain_that_is_set_back_and_goes_another_way_is_followed(world, tmp_path):
    goes, comes = KEYS[0], KEYS[1]

    def live():
        snapshot = world.rpc("evm_snapshot")
        world.remove_node(*world.providers[0], goes)
        world.mine(2)
        return snapshot

    async with following(world, tmp_path) as trusted:
        await trusted.ready(PATIENCE)
        snapshot = await asyncio.to_thread(live)
        assert await right(world, trusted) == set()
        assert await asyncio.to_thread(world.rpc, "evm_revert", snapshot)
        await asyncio.to_thread(world.list_node, *world.providers[0], comes)
        await asyncio.to_thread(world.mine, NOT_FINAL + 1)

        assert await right(world, trusted) == {goes.public.address, comes.public.address}


async def test_an_endpoint_that_stops_and_starts_again_is_taken_up_where_it_was(world, tmp_path):
    async with following(world, tmp_path, request_timeout=2.0) as trusted:
        await trusted.ready(PATIENCE)
        known = found(trusted)
        for number in (1, 2):
            await asyncio.to_thread(world.stop)
            await trusted.wait_for(lambda each: "reached" in (each.status()["problem"] or ""), PATIENCE)
            assert found(trusted) == known
            assert trusted.state is Freshness.FRESH
            await asyncio.to_thread(world.start)
            await asyncio.to_thread(world.list_node, *world.providers[0], KEYS[number])
            await asyncio.to_thread(world.mine, NOT_FINAL + 1)
            known = await right(world, trusted)

        assert len(known) == 3
        assert trusted.status()["alarm"] is None


async def test_another_chain_in_its_place_is_said_and_refused_until_the_chain_is_back(world, tmp_path):
    async with following(world, tmp_path, request_timeout=2.0) as trusted:
        await trusted.ready(PATIENCE)
        known = found(trusted)
        await asyncio.to_thread(world.stop)
        await asyncio.to_thread(lambda: world.start(another=True))
        await asyncio.to_thread(world.mine, 60)
        await trusted.wait_for(lambda each: each.state is Freshness.TAMPERED, PATIENCE)
        assert "was final" in trusted.status()["alarm"]
        assert found(trusted) == known

        await asyncio.to_thread(world.stop)
        await asyncio.to_thread(world.start)
        await asyncio.to_thread(world.remove_node, *world.providers[0], KEYS[0])
        await asyncio.to_thread(world.mine, NOT_FINAL + 1)
        assert await right(world, trusted) == set()
        await trusted.wait_for(lambda each: each.state is Freshness.FRESH, PATIENCE)


async def test_subscriptions_that_break_under_load_lose_nothing(world, tmp_path):
    rng = random.Random(9)
    async with (
        EndpointProxy(world.url).running() as proxy,
        following(world, tmp_path, rpc=(proxy.url,), websocket=(proxy.websocket,)) as trusted,
    ):
        await trusted.ready(PATIENCE)
        for _ in range(3):
            for _ in range(4):
                await asyncio.to_thread(act, world, rng)
                await proxy.drop_sockets()
            await right(world, trusted)
        await asyncio.to_thread(world.mine, NOT_FINAL + 1)

        assert await right(world, trusted) == set().union(*(world.vouched(each) for each, _ in world.providers))
        assert trusted.state is Freshness.FRESH
        async with asyncio.timeout(PATIENCE):
            while not trusted.status()["subscribed"]:
                await asyncio.to_thread(world.mine, 1)
