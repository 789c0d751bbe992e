"""The local interface over a client whose servers, chain and discovery are fakes."""

import asyncio
import json
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
from aiohttp.test_utils import TestClient, TestServer

from offchain.client import follow
from offchain.client.keyring import SharedKey
from offchain.errors import ConfigError
from offchain.types import MAILSERVER
from offchain.web import api
from offchain.web.api import make_app, serve_api
from offchain.whisper.cipher import seal_sym
from offchain.whisper.envelope import Envelope
from tests.support.client import CLIENT, FakeServer, contact, running
from tests.support.trust import change_of
from tests.support.web import FakeNode

TOKEN = "ab" * 32
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}
START = 1_700_000_000
SHARED = SharedKey("sonnets", b"\x05" * 32)
SHARED_JSON = {"key": "0x" + SHARED.key.hex()}


def letter(number):
    data = seal_sym(SHARED.key, b"letter %d" % number, nonce=number.to_bytes(12, "big"))
    return Envelope.create(START + number + 50, 50, b"\x01\x02\x03\x00", data)


LETTERS = sorted(map(letter, range(5)), key=lambda each: each.position)


@asynccontextmanager
async def serving(*servers):
    async with running(*servers) as setting:
        node = FakeNode(setting)
        async with TestClient(TestServer(make_app(node, CLIENT, TOKEN))) as client:
            yield client, node, setting


async def lines(response):
    return [json.loads(line) async for line in response.content]


async def event(response):
    """The next server-sent event, as its name and document."""
    name = None
    async for line in response.content:
        text = line.decode().rstrip("\n")
        if text.startswith("event: "):
            name = text.removeprefix("event: ")
        elif text.startswith("data: "):
            return name, json.loads(text.removeprefix("data: "))
    raise AssertionError("the stream ended")


async def test_says_that_it_is_well_and_when_it_is_not():
    async with serving() as (client, node, _):
        fresh = await client.get("/healthz")
        node.trust.state = SimpleNamespace(name="TAMPERED")
        tampered = await client.get("/healthz")
        node.trust.state = SimpleNamespace(name="STALE")
        stale = await client.get("/healthz")

    assert (fresh.status, tampered.status, stale.status) == (200, 503, 200)


async def test_shows_status_pool_and_nodes():
    server = FakeServer(1)
    async with serving(server) as (client, _, _):
        status = await (await client.get("/v1/status")).json()
        pool = await (await client.get("/v1/pool")).json()
        nodes = await (await client.get("/v1/nodes")).json()
        other = await (await client.get("/v1/nodes?kind=pushserver")).json()

    assert status["schemaVersion"] == 1
    (pooled,) = pool["nodes"]
    assert (pooled["nodeId"], pooled["state"], pooled["own"]) == ("0x" + server.node_id.hex(), "ready", False)
    (listed,) = nodes["nodes"]
    assert (listed["nodeId"], listed["state"], listed["address"]) == (pooled["nodeId"], "ready", server.contact.address)
    assert other["nodes"] == []


@pytest.mark.parametrize("form", ["id", "enode"])
async def test_says_whether_a_node_is_trusted_and_why(form):
    server = FakeServer(1)
    name = {"id": "0x" + server.node_id.hex(), "enode": server.contact.enode}[form]
    async with serving(server) as (client, _, _):
        trusted = await (await client.get("/v1/verify", params={"node": name})).json()
        stranger = await (await client.get("/v1/verify", params={"node": contact(9).node_id.hex()})).json()
        missing = await client.get("/v1/verify")

    assert trusted["trusted"]
    assert not stranger["trusted"]
    assert stranger["reasons"] == ["nobody lists it as a mailserver"]
    assert missing.status == 400


async def test_streams_history_with_progress():
    async with serving(FakeServer(1, LETTERS)) as (client, _, _):
        body = {"since": START, "until": START + 100, "pageSize": 2, "keys": [SHARED_JSON]}
        response = await client.post("/v1/mail/fetch", json=body, headers=AUTHORIZED)
        documents = await lines(response)

    assert response.content_type == "application/x-ndjson"
    messages = [document["message"] for document in documents if "message" in document]
    assert [message["text"] for message in messages] == [f"letter {number}" for number in range(5)]
    assert documents[0]["progress"]["what"] == "asked"
    assert documents[-1]["done"]["complete"]
    assert documents[-1]["done"]["pages"] == 3


async def test_streams_history_that_it_cannot_open():
    async with serving(FakeServer(1, LETTERS)) as (client, _, _):
        body = {"since": START, "until": START + 100}
        documents = await lines(await client.post("/v1/mail/fetch", json=body, headers=AUTHORIZED))

    messages = [document["message"] for document in documents if "message" in document]
    assert [message["opened"] for message in messages] == [False] * 5
    assert all("payload" not in message for message in messages)


async def test_compares_with_a_second_server_when_asked():
    servers = FakeServer(1, LETTERS), FakeServer(2, LETTERS[:-2])
    async with serving(*servers) as (client, _, setting):
        setting.pool.pick = lambda exclude=(): next(
            (each for each in setting.pool.links() if each[0] not in exclude and each[0] == servers[1].node_id),
            next((each for each in setting.pool.links() if each[0] not in exclude), None),
        )
        body = {"since": START, "until": START + 100, "check": True}
        documents = await lines(await client.post("/v1/mail/fetch", json=body, headers=AUTHORIZED))

    checked = documents[-1]["checked"]
    assert checked["compared"] is True
    assert checked["first"] == ["0x" + servers[1].node_id.hex()]
    assert checked["second"] == ["0x" + servers[0].node_id.hex()]
    assert checked["withheld"] == ["0x" + each.hash.hex() for each in LETTERS[-2:]]
    assert [each["message"]["hash"] for each in documents if "message" in each] == [
        "0x" + each.hash.hex() for each in LETTERS
    ]


async def test_follows_what_arrives_and_says_something_while_nothing_does(monkeypatch):
    monkeypatch.setattr(api, "KEEPALIVE", 0.01)
    monkeypatch.setattr(follow.Follow, "pause", lambda self: 0.0)
    server = FakeServer(1, LETTERS[:3])
    async with serving(server) as (client, _, _), asyncio.timeout(60):
        body = {"topics": ["0x01020300"], "since": START, "keys": [SHARED_JSON]}
        async with client.post("/v1/mail/follow", json=body, headers=AUTHORIZED) as response:
            texts, quiet, caught_up = [], 0, []
            async for line in response.content:
                document = json.loads(line)
                quiet += document == {}
                caught_up += [document["caughtUp"]] if "caughtUp" in document else []
                texts += [document["message"]["text"]] if "message" in document else []
                if len(texts) == 3 and quiet:
                    break

    assert texts == ["letter 0", "letter 1", "letter 2"]
    assert caught_up[0]["since"] == START


async def test_a_follower_from_the_future_is_refused():
    async with serving() as (client, _, _):
        body = {"topics": ["0x01020300"], "since": 4_000_000_000}
        response = await client.post("/v1/mail/follow", json=body, headers=AUTHORIZED)

    assert response.status == 400


@pytest.mark.parametrize(
    "body",
    ["", "[]", "{", '{"since": "x"}', '{"check": 1}', '{"unknown": 1}', "[" * 100_000],
    ids=["empty", "list", "cut off", "wrong type", "no truth", "unknown field", "deep"],
)
async def test_refuses_a_body_that_makes_no_sense(body):
    async with serving() as (client, _, _):
        headers = {**AUTHORIZED, "Content-Type": "application/json"}
        response = await client.post("/v1/mail/fetch", data=body, headers=headers)
        document = await response.json()

    assert response.status == 400
    assert "message" in document["error"]


@pytest.mark.parametrize("changed", [{"Content-Encoding": "gzip"}, {"Content-Type": "application/json; charset=x"}])
async def test_refuses_a_body_that_is_not_what_its_headers_say(changed):
    async with serving() as (client, _, _):
        headers = {**AUTHORIZED, "Content-Type": "application/json", **changed}
        response = await client.post("/v1/mail/fetch", data=b"{}", headers=headers)
        document = await response.json()

    assert (response.status, document["error"]["code"]) == (400, "body")


async def test_sends_a_message_and_says_who_stored_it():
    servers = [FakeServer(number) for number in (1, 2)]
    async with serving(*servers) as (client, _, _):
        body = {"text": "hello", "topic": "sonnets", **SHARED_JSON, "copies": 2, "sign": True}
        documents = await lines(await client.post("/v1/mail/send", json=body, headers=AUTHORIZED))

    stored = [document["stored"] for document in documents if "stored" in document]
    assert {each["nodeId"] for each in stored} == {"0x" + server.node_id.hex() for server in servers}
    assert documents[-1]["done"]["copies"] == 2
    (envelope,) = servers[0].stored
    assert documents[-1]["done"]["hash"] == "0x" + envelope.hash.hex()


async def test_says_when_nobody_takes_a_message():
    server = FakeServer(1)
    server.confirmations = False
    async with serving(server) as (client, _, _):
        body = {"text": "hello", "topic": "sonnets", **SHARED_JSON}
        documents = await lines(await client.post("/v1/mail/send", json=body, headers=AUTHORIZED))

    assert "does not acknowledge" in documents[-1]["error"]["message"]


async def test_streams_what_happens_to_nodes_and_trust():
    server = FakeServer(1)
    async with serving(server) as (client, node, setting), client.get("/v1/events") as response:
        await response.content.readline()
        setting.distrust(server.node_id)
        dropped = await event(response)
        node.changes.publish(change_of(MAILSERVER, server.node_id, False, "curator delisted provider 1", block=7))
        changed = await event(response)

    assert response.content_type == "text/event-stream"
    assert (dropped[0], dropped[1]["what"], dropped[1]["reason"]) == ("pool", "dropped", "curator delisted provider 1")
    assert (changed[0], changed[1]["trusted"], changed[1]["block"]) == ("trust", False, 7)


async def test_begins_with_what_happened_before_when_asked():
    async with serving(FakeServer(1)) as (client, _, _), client.get("/v1/events?recent=1") as response:
        names = [(await event(response))[1]["what"] for _ in range(3)]

    assert names == ["admitted", "connecting", "ready"]


@pytest.mark.parametrize("stream", ["events", "follow"])
async def test_stops_although_somebody_listens(stream, monkeypatch):
    monkeypatch.setattr(api, "KEEPALIVE", 0.01)
    async with running() as setting:
        client = TestClient(TestServer(make_app(FakeNode(setting), CLIENT, TOKEN)))
        await client.start_server()
        if stream == "events":
            response = await client.get("/v1/events")
        else:
            response = await client.post("/v1/mail/follow", json={"topics": ["mine"]}, headers=AUTHORIZED)
        await response.content.readline()
        async with asyncio.timeout(5.0):
            await client.server.close()
        await client.close()


async def test_writes_need_the_token():
    async with serving() as (client, _, _):
        for path in ("/v1/mail/fetch", "/v1/mail/follow", "/v1/mail/send"):
            assert (await client.post(path, json={})).status == 401


async def test_is_served_on_loopback_only(tmp_path):
    async with running() as setting:
        with pytest.raises(ConfigError, match="not a loopback address"):
            async with serve_api(FakeNode(setting), CLIENT, tmp_path, "0.0.0.0"):
                pass


async def test_says_where_it_is_served_and_what_is_taken(tmp_path):
    async with running() as setting, serve_api(FakeNode(setting), CLIENT, tmp_path) as api:
        port = int(api.url.rpartition(":")[2])
        with pytest.raises(ConfigError, match="cannot listen"):
            async with serve_api(FakeNode(setting), CLIENT, tmp_path, port=port):
                pass

    assert api.token_file.exists()
