"""A faulty proxy between the product and a real chain: the set is right whatever the proxy does, and the service up."""

import asyncio

import pytest

from offchain.hashing import keccak256
from offchain.keys import PrivateKey
from offchain.trust import Freshness, Policy, TrustedNodes
from offchain.types import MAILSERVER
from tests.support.chain_world import ACCEPTED, Unavailable, World
from tests.support.endpoint_proxy import FAULTS, EndpointProxy
from tests.support.soak import soak

PATIENCE = 30.0


@pytest.fixture(scope="module")
def world():
    try:
        world = World()
    except Unavailable as reason:
        pytest.skip(str(reason))
    yield world
    world.close()


async def until(trusted, condition):
    await trusted.wait_for(lambda _: condition(), PATIENCE)


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_faulty_endpoint_that_is_asked_first_is_left(world, tmp_path, fault):
    operator = world.operators[0]
    stays, goes, late = (PrivateKey(keccak256(f"{fault} {name}".encode())) for name in ("stays", "goes", "late"))
    provider = await asyncio.to_thread(world.create_provider, operator)
    await asyncio.to_thread(world.judge, provider, ACCEPTED)
    await asyncio.to_thread(world.list_node, provider, operator, stays)
    await asyncio.to_thread(world.list_node, provider, operator, goes)
    await asyncio.to_thread(world.mine, 4)

    async with EndpointProxy(world.url).running() as proxy:
        proxy.fault = fault
        config = world.config(
            tmp_path,
            rpc=(proxy.url, world.url, world.url.replace("127.0.0.1", "localhost")),
            websocket=(proxy.websocket,),
            request_timeout=1.0,
        )
        async with TrustedNodes(config, Policy(curators=(world.curator_address,))) as trusted:
            await until(trusted, lambda: trusted.is_trusted(MAILSERVER, goes.public.node_id))
            await asyncio.to_thread(world.remove_node, provider, operator, goes)
            await until(trusted, lambda: not trusted.is_trusted(MAILSERVER, goes.public.node_id))
            await asyncio.to_thread(world.list_node, provider, operator, late)
            await asyncio.to_thread(world.mine, 4)
            await until(trusted, lambda: trusted.is_trusted(MAILSERVER, late.public.node_id))

            assert trusted.is_trusted(MAILSERVER, stays.public.node_id)
            assert trusted.state is Freshness.FRESH
            faulty = trusted.status()["endpoints"][0]
            assert faulty["lastError"] or fault in ("delay", "flood")
            assert faulty["lastError"].isprintable()
            assert len(faulty["lastError"]) < 500
            assert bool(faulty["lies"]) == (fault in ("omit", "alter", "repeat", "reorder"))


def test_lives_through_faults_reorganisations_and_restarts(tmp_path):
    try:
        figures, _, errors = soak(6.0, 2, tmp_path)
    except Unavailable as reason:
        pytest.skip(str(reason))

    assert errors == []
    assert figures["reorganisations"].value > 0
