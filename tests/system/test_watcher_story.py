"""The watcher and the trusted set on a real chain: anvil, the real contracts, reorganisations, restarts."""

import asyncio

import pytest

from offchain.chain.commitment import Commitment
from offchain.config import ContractRef
from offchain.errors import StorageError
from offchain.keys import PrivateKey
from offchain.trust import Freshness, OwnNode, Policy, TrustedNodes
from offchain.types import MAILSERVER, Address
from tests.support.chain_world import ACCEPTED, REJECTED, Unavailable, World

PATIENCE = 15.0
KEYS = [PrivateKey(bytes([number]) * 32) for number in range(1, 7)]
IDS = [key.public.node_id for key in KEYS]


@pytest.fixture
def world():
    """A chain with two providers; the curator accepts the first, which lists one node."""
    try:
        world = World()
    except Unavailable as reason:
        pytest.skip(str(reason))
    try:
        world.good, world.other = world.operators[:2]
        world.good_provider = world.create_provider(world.good)
        world.other_provider = world.create_provider(world.other)
        world.judge(world.good_provider, ACCEPTED)
        world.list_node(world.good_provider, world.good, KEYS[0])
        world.list_node(world.other_provider, world.other, KEYS[1])
        world.mine(3)
        yield world
    finally:
        world.close()


def following(world, folder, policy=None, **settings):
    settings = {"websocket": (world.url.replace("http", "ws"),), "poll_interval": 0.2, **settings}
    return TrustedNodes(world.config(folder, **settings), policy or Policy(curators=(world.curator_address,)))


def trusts(*numbers):
    """Whether exactly these nodes are trusted."""
    ids = {IDS[number] for number in numbers}
    return lambda trusted: {node.node_id for node in trusted.nodes(MAILSERVER)} == ids


def commitment(world):
    """What the contract says."""
    version, digest = world.registry.functions.commitment().call()
    return Commitment(version, digest)


async def do(function, *arguments):
    """Act on the chain while the watcher runs."""
    return await asyncio.to_thread(function, *arguments)


@pytest.mark.parametrize("websocket", [True, False])
@pytest.mark.parametrize("finality", ["latest", "finalized", "1"])
async def test_follows_listings_removals_and_verdicts(world, tmp_path, websocket, finality):
    settings = {} if websocket else {"websocket": ()}
    async with following(world, tmp_path, finality=finality, **settings) as trusted:
        await trusted.ready(PATIENCE)
        await trusted.wait_for(trusts(0), PATIENCE)
        assert trusted.why(MAILSERVER, IDS[1]) == "listed by provider 2, which no curator of yours accepts"
        await do(world.list_node, world.good_provider, world.good, KEYS[2])
        await do(world.mine, 3)
        await trusted.wait_for(trusts(0, 2), PATIENCE)
        block = await do(world.remove_node, world.good_provider, world.good, KEYS[0])
        await trusted.wait_for(trusts(2), PATIENCE)
        assert trusted.why(MAILSERVER, IDS[0]) == f"removed in block {block} by provider 1"
        await do(world.judge, world.other_provider, ACCEPTED)
        await do(world.mine, 3)
        await trusted.wait_for(trusts(1, 2), PATIENCE)
        await do(world.judge, world.good_provider, REJECTED)
        await trusted.wait_for(trusts(1), PATIENCE)

        assert trusted.state is Freshness.FRESH
        assert trusted.status()["registryVersion"] == commitment(world).version


@pytest.mark.parametrize("websocket", [True, False])
async def test_a_removal_that_is_reorganised_away_comes_back(world, tmp_path, websocket):
    settings = {} if websocket else {"websocket": ()}
    async with following(world, tmp_path, finality="latest", **settings) as trusted:
        await trusted.ready(PATIENCE)
        await do(world.remove_node, world.good_provider, world.good, KEYS[0])
        await trusted.wait_for(trusts(), PATIENCE)

        await do(world.web3.provider.make_request, "anvil_reorg", [1, []])

        await trusted.wait_for(trusts(0), PATIENCE)
        assert trusted.status()["reorgs"] == 1


async def test_an_addition_that_is_rolled_back_is_gone(world, tmp_path):
    async with following(world, tmp_path, finality="latest") as trusted:
        await trusted.ready(PATIENCE)
        await do(world.list_node, world.good_provider, world.good, KEYS[2])
        await trusted.wait_for(trusts(0, 2), PATIENCE)

        await do(world.web3.provider.make_request, "anvil_rollback", [1])

        await trusted.wait_for(trusts(0), PATIENCE)


async def test_takes_up_where_it_was_after_a_restart(world, tmp_path):
    async with following(world, tmp_path, finality="latest") as trusted:
        await trusted.ready(PATIENCE)
        await trusted.wait_for(trusts(0), PATIENCE)
    await do(world.list_node, world.good_provider, world.good, KEYS[2])
    await do(world.remove_node, world.good_provider, world.good, KEYS[0])
    await do(world.mine, 100)

    async with following(world, tmp_path, finality="latest") as trusted:
        assert trusts(0)(trusted)
        await trusted.wait_for(trusts(2), PATIENCE)

        assert trusted.status()["registryVersion"] == commitment(world).version


async def test_says_so_when_the_database_is_of_another_chain(world, tmp_path):
    async with following(world, tmp_path, finality="latest") as trusted:
        await trusted.ready(PATIENCE)
    another = await do(World)
    try:
        another.mine(20)
        async with following(another, tmp_path, finality="latest") as trusted:
            await trusted.wait_for(lambda each: each.state is Freshness.TAMPERED, PATIENCE)
            assert "delete" in trusted.status()["alarm"]
            assert trusts(0)(trusted)
    finally:
        await do(another.close)


async def test_refuses_a_database_of_another_registry(world, tmp_path):
    async with following(world, tmp_path) as trusted:
        await trusted.ready(PATIENCE)
    config = world.config(tmp_path, registry=world.config(tmp_path).curators[0])

    with pytest.raises(StorageError, match="holds another history"):
        async with TrustedNodes(config, Policy()):
            pass


async def test_an_address_where_nothing_stands_is_a_mistake_in_the_configuration_not_an_alarm(world, tmp_path):
    nowhere = ContractRef(Address(bytes(19) + b"\x07"), 0)
    async with TrustedNodes(world.config(tmp_path, registry=nowhere, finality="latest"), Policy()) as trusted:
        await trusted.wait_for(lambda each: each.status()["problem"] is not None, PATIENCE)
        status = trusted.status()

    assert (status["state"], status["alarm"]) == ("NEVER", None)
    assert "there is no contract at 0x00" in status["problem"]
    assert "check the deployment" in status["problem"]


async def test_survives_an_endpoint_that_goes_away_and_comes_back(world, tmp_path):
    policy = Policy(curators=(world.curator_address,), own=(OwnNode(MAILSERVER, IDS[5]),))
    config = world.config(tmp_path, rpc=("http://127.0.0.1:9", world.url), quorum=1, finality="latest")
    async with TrustedNodes(config, policy) as trusted:
        await trusted.wait_for(trusts(0, 5), PATIENCE)

        assert trusted.status()["endpoints"][0]["lastError"]


async def test_every_event_of_the_registry_is_read_and_committed(world, tmp_path):
    """One of each kind of event, so that the commitment covers what this package decodes."""
    registry, owner, good = world.registry.functions, world.owner, world.good
    provider = world.good_provider
    await do(world._send, registry.setMetadata(provider, "ipfs://other"), good)
    await do(world._send, registry.setOperator(provider, world.other, True), good)
    await do(world._send, registry.transferAdmin(provider, world.other), good)
    await do(world._send, registry.acceptAdmin(provider), world.other)
    await do(world._send, registry.createKind("pushserver"), world.stranger)
    node, expiry = KEYS[0].public.address, world.web3.eth.get_block("latest")["timestamp"] + 100 * 86_400
    await do(world._send, registry.renewNodes(provider, 1, expiry, [node]), world.other)
    await do(world._send, registry.publishEnr(node, 7, b"record"), world.other)
    await do(world._send, registry.announceSuccessor(world.curator.address), owner)
    await do(world._send, registry.pauseAdditions(world.web3.eth.get_block("latest")["timestamp"] + 1_000), owner)

    async with following(world, tmp_path, finality="latest") as trusted:
        await trusted.ready(PATIENCE)
        await trusted.wait_for(trusts(0), PATIENCE)
        facts = trusted.trusted_set.adopted

        assert trusted.status()["registryVersion"] == commitment(world).version
        assert "0x" + facts.provider(provider).admin.hex() == world.other.lower()
        assert facts.provider(provider).metadata_uri == "ipfs://other"
        assert facts.enr(IDS[0][12:]).record == b"record"
        assert trusted.explain(MAILSERVER, IDS[0]).expires_at == expiry
        assert "0x" + facts.settings().successor.hex() == world.curator.address.lower()
        assert sorted(facts.all_kinds().values()) == ["mailserver", "pushserver"]
