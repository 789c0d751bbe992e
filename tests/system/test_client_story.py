"""The main job in miniature: a chain, a bootstrap node, three mail servers and a client, in one process on loopback.

Two servers are listed by a provider that the curator accepts, the third by one that it doesn't.
"""

import asyncio
import json
import time
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import pytest

from offchain.client.history import Finished, PageRead, Query, ServerFailed
from offchain.client.keyring import SharedKey, topic_of_name
from offchain.client.mailbox import Mail
from offchain.client.pool_machine import What
from offchain.config import ClientConfig, DiscoveryConfig, MailserverConfig
from offchain.contact import Contact
from offchain.keys import PrivateKey
from offchain.node import open_client, open_discovery, open_server
from offchain.trust.policy import OwnNode, Policy
from offchain.trust.policy_file import save_policy
from offchain.types import MAILSERVER
from offchain.web.api import serve_api
from tests.support.chain_world import ACCEPTED, REJECTED, Unavailable, World

LIMIT = 60.0
"""Seconds in which each story must have ended, on a slow and busy machine."""

TOPIC = topic_of_name("sonnets")
SHARED = SharedKey("sonnets", b"\x05" * 32, TOPIC)
CLIENT_KEY = PrivateKey(b"\x09" * 32)


@pytest.fixture
def world():
    try:
        world = World()
    except Unavailable as missing:
        pytest.skip(str(missing))
    yield world
    world.close()


class Stage:
    """Two accepted servers, one that isn't, and a client that follows the chain."""

    def __init__(self, world, folder):
        self.world = world
        self.folder = folder
        self.policy_path = folder / "client" / "policy.json"
        self.policy = Policy(curators=(world.curator_address,))
        self.keys = [PrivateKey.generate() for _ in range(3)]
        self.ids = [key.public.node_id for key in self.keys]
        self.servers = []
        self.homes = []
        self.client = None

    def set_up_chain(self):
        """Two providers; the first lists two nodes and is accepted, the second lists one."""
        good, bad = self.world.operators[:2]
        self.good, self.bad = self.world.create_provider(good), self.world.create_provider(bad)
        for key in self.keys[:2]:
            self.world.list_node(self.good, good, key)
        self.world.list_node(self.bad, bad, self.keys[2])
        self.world.judge(self.good, ACCEPTED)
        self.world.mine(5)

    def save(self, policy):
        """Let the user choose, as another program would: by replacing the file."""
        self.policy = policy
        save_policy(self.policy_path, policy)

    async def stop(self, number):
        """Let a server end."""
        await self.homes[number].aclose()

    async def ready(self, *numbers):
        """Wait until exactly these servers are in use."""
        wanted = {self.ids[number] for number in numbers}
        while {node_id for node_id, _ in self.client.pool.links()} != wanted:
            await self.client.pool.changed()

    async def post(self, count):
        """Send letters to both accepted servers; their texts in the order in which they will be read."""
        mailbox = self.client.mailbox
        texts = [b"letter %d" % number for number in range(count)]
        envelopes = [await mailbox.compose(text, TOPIC, SHARED.key, ttl=300) for text in texts]
        await mailbox.post(envelopes, copies=2)
        order = sorted(range(count), key=lambda number: (envelopes[number].sent, envelopes[number].hash))
        return [texts[number] for number in order]


@asynccontextmanager
async def staged(world, folder):
    """The stage, running."""
    stage = Stage(world, folder)
    await asyncio.to_thread(stage.set_up_chain)
    stage.save(stage.policy)
    async with asyncio.timeout(LIMIT), AsyncExitStack() as stack:
        boot = await stack.enter_async_context(open_discovery(PrivateKey.generate(), DiscoveryConfig(lan=True)))
        discovery = DiscoveryConfig(lan=True, bootnodes=(boot.discovery.record.text,))
        for number, key in enumerate(stage.keys):
            home = folder / f"server{number}"
            home.mkdir()
            save_policy(home / "policy.json", stage.policy)
            mail = MailserverConfig(home / "mail")
            server = open_server(key, world.config(home), discovery, mail, home / "policy.json")
            stage.homes.append(await stack.enter_async_context(AsyncExitStack()))
            stage.servers.append(await stage.homes[number].enter_async_context(server))
        chain, config = world.config(folder / "client"), ClientConfig(MAILSERVER, pool_target=3)
        client = open_client(CLIENT_KEY, chain, discovery, config, stage.policy_path, keys=[SHARED])
        stage.client = await stack.enter_async_context(client)
        yield stage


def recent():
    """The letters of the last minutes, in pages of seven."""
    now = int(time.time())
    return Query((TOPIC,), now - 600, now + 60, page_size=7)


async def event_of(listener, what, node_id):
    """The next event of this sort about this node."""
    async for event in listener:
        if event.what is what and event.node_id == node_id:
            return event
    raise AssertionError("the events ended")


async def test_finds_the_accepted_servers_and_says_why_the_other_is_not_used(world, tmp_path):
    async with staged(world, tmp_path) as stage:
        with stage.client.pool.events.listen() as events:
            past = stage.client.pool.events.recent
            await stage.ready(0, 1)
            reasons = [event.reason for event in past if event.what is What.DISCARDED]
            expected = stage.client.trust.why(MAILSERVER, stage.ids[2])
            while expected not in reasons:
                reasons.append((await event_of(events, What.DISCARDED, stage.ids[2])).reason)

    assert expected == f"listed by provider {stage.bad}, which no curator of yours accepts"


async def test_what_was_sent_is_read_back_once_and_in_order(world, tmp_path):
    async with staged(world, tmp_path) as stage:
        await stage.ready(0, 1)
        expected = await stage.post(40)
        events = [event async for event in stage.client.mailbox.fetch(recent())]

    mails = [event for event in events if isinstance(event, Mail)]
    assert [mail.opened.message.payload for mail in mails] == expected
    assert events[-1].complete
    assert set(events[-1].servers) <= set(stage.ids[:2])


async def test_a_server_removed_while_it_is_read_is_left_at_once_and_the_rest_comes_from_the_other(world, tmp_path):
    async with staged(world, tmp_path) as stage:
        await stage.ready(0, 1)
        expected = await stage.post(40)
        events, dropped = [], None
        with stage.client.pool.events.listen() as pool_events:
            async for event in stage.client.mailbox.fetch(recent()):
                events.append(event)
                if isinstance(event, PageRead) and dropped is None:
                    gone = stage.ids.index(event.node_id)
                    block = await asyncio.to_thread(world.remove_node, stage.good, world.operators[0], stage.keys[gone])
                    dropped = await event_of(pool_events, What.DROPPED, event.node_id)

    texts = [event.opened.message.payload for event in events if isinstance(event, Mail)]
    failed = [event for event in events if isinstance(event, ServerFailed)]
    assert (dropped.connected, dropped.block) == (True, block)
    assert texts == expected
    assert [event.node_id for event in failed] == [dropped.node_id]
    assert isinstance(events[-1], Finished)
    assert events[-1].complete
    assert len(events[-1].servers) == 2


async def test_when_a_server_ends_while_it_is_read_the_rest_comes_from_the_other(world, tmp_path):
    async with staged(world, tmp_path) as stage:
        await stage.ready(0, 1)
        expected = await stage.post(40)
        events, gone = [], None
        async for event in stage.client.mailbox.fetch(recent()):
            events.append(event)
            if isinstance(event, PageRead) and gone is None:
                gone = event.node_id
                await stage.stop(stage.ids.index(gone))

    assert [event.opened.message.payload for event in events if isinstance(event, Mail)] == expected
    assert gone in {event.node_id for event in events if isinstance(event, ServerFailed)}
    assert events[-1].complete


async def test_the_users_choice_counts_at_once(world, tmp_path):
    async with staged(world, tmp_path) as stage:
        await stage.ready(0, 1)

        stage.save(Policy(curators=stage.policy.curators, chosen=frozenset({stage.bad})))
        await stage.ready(0, 1, 2)
        stage.save(Policy(curators=stage.policy.curators, blocked=frozenset({stage.good})))
        await stage.ready()
        own = Contact.from_enr(stage.servers[2].discovery.record)
        stage.save(Policy(curators=(), own=(OwnNode(MAILSERVER, own.node_id, own.enode, "mine"),)))
        await stage.ready(2)
        (node,) = [node for node in stage.client.pool.nodes() if node.contact.node_id == own.node_id]

        assert node.own


async def test_the_curators_verdict_counts_at_once(world, tmp_path):
    async with staged(world, tmp_path) as stage:
        await stage.ready(0, 1)

        await asyncio.to_thread(world.judge, stage.good, REJECTED)
        await stage.ready()

        assert not stage.client.trust.is_trusted(MAILSERVER, stage.ids[0])


async def test_the_local_interface_tells_the_same_story(world, tmp_path):
    async with staged(world, tmp_path) as stage, serve_api(stage.client, CLIENT_KEY, tmp_path / "client") as api:
        await stage.ready(0, 1)
        headers = {"Authorization": f"Bearer {api.token_file.read_text().strip()}"}
        expected = await stage.post(5)
        async with aiohttp.ClientSession(api.url) as http:
            healthy = await (await http.get("/healthz")).json()
            status = await (await http.get("/v1/status")).json()
            nodes = await (await http.get("/v1/nodes")).json()
            good = await (await http.get("/v1/verify", params={"node": stage.ids[0].hex()})).json()
            bad = await (await http.get("/v1/verify", params={"node": stage.ids[2].hex()})).json()
            body = {"topics": ["sonnets"], "keys": [{"key": "0x" + SHARED.key.hex()}]}
            response = await http.post("/v1/mail/fetch", json=body, headers=headers)
            documents = [json.loads(line) async for line in response.content]

    assert healthy == {"healthy": True, "state": "FRESH"}
    assert status["pool"]["ready"] == 2
    assert {node["nodeId"] for node in nodes["nodes"]} == {"0x" + stage.ids[number].hex() for number in (0, 1)}
    assert (good["trusted"], bad["trusted"]) == (True, False)
    assert [document["message"]["text"].encode() for document in documents if "message" in document] == expected
