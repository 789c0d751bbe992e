"""The local interface of `waypost watch`, over a chain of fakes."""

from contextlib import asynccontextmanager

import pytest
from aiohttp.test_utils import TestClient, TestServer

from offchain.errors import ConfigError
from offchain.types import MAILSERVER
from offchain.web.trust_api import TrustApi, serve_trust
from tests.support.chain import node_id, node_ids, nodes_removed
from tests.support.lies import Scene


@asynccontextmanager
async def serving(folder):
    scene = Scene(folder)
    scene.first_years()
    async with scene.open() as trusted:
        await scene.settle(trusted)
        async with TestClient(TestServer(TrustApi(trusted).application("ab" * 32))) as client:
            yield client, scene, trusted


async def test_tells_nodes_status_health_and_metrics(tmp_path):
    async with serving(tmp_path) as (client, scene, _):
        nodes = await (await client.get("/v1/nodes")).json()
        status = await (await client.get("/v1/status")).json()
        health = await client.get("/healthz")
        metrics = await (await client.get("/metrics")).text()

    assert {node["nodeId"] for node in nodes["nodes"]} == {"0x" + each.hex() for each in scene.expected()}
    assert status["trust"]["state"] == "FRESH"
    assert health.status == 200
    assert 'waypost_state{state="FRESH"} 1' in metrics


async def test_says_why_a_node_is_trusted_and_how_old_the_proof_is(tmp_path):
    async with serving(tmp_path) as (client, _, _):
        answer = await (await client.get("/v1/verify", params={"node": node_id(1).hex()})).json()
        missing = await client.get("/v1/verify")

    assert answer["trusted"]
    assert answer["provenAge"] >= 0
    assert any("proven complete at block" in reason for reason in answer["reasons"])
    assert missing.status == 400


async def test_streams_changes(tmp_path):
    async with serving(tmp_path) as (client, scene, trusted):
        stream = await client.get("/v1/events")
        assert await stream.content.readuntil(b"\n\n") == b": waypost\n\n"
        while not trusted._consumers:
            await scene.breathe()
        scene.chain.mine(nodes_removed(1, node_ids(1)))
        event = (await stream.content.readuntil(b"\n\n")).decode()

    assert event.startswith("event: trust\n")
    assert node_id(1).hex() in event
    assert '"trusted": false' in event


@pytest.mark.parametrize(("age", "status"), [(1_000, 200), (10_000, 200), (100_000, 503)])
async def test_health_fails_only_when_nothing_can_be_relied_on(tmp_path, age, status):
    async with serving(tmp_path) as (client, scene, trusted):
        for node in scene.nodes:
            node.down = True
        scene.now += age
        assert (await client.get("/healthz")).status == status
        assert trusted.is_trusted(MAILSERVER, node_id(1)) == (status == 200)


async def test_listens_on_this_machine_only(tmp_path):
    async with serving(tmp_path) as (_, _, trusted):
        with pytest.raises(ConfigError, match="not a loopback address"):
            async with serve_trust(trusted, tmp_path, "0.0.0.0", 0):
                pass
        async with serve_trust(trusted, tmp_path, "127.0.0.1", 0) as url:
            assert url.startswith("http://127.0.0.1:")
