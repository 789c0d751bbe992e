"""discv5 with @chainsafe/discv5 over real UDP on loopback: handshakes both ways, every request both ways, lookups."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from offchain.config import DiscoveryConfig
from offchain.discovery import Discovery
from offchain.discovery.calls import NoAnswer
from offchain.discovery.table import log_distance
from offchain.discovery.wire import Wire
from offchain.enr import Enr
from offchain.keys import PrivateKey
from offchain.types import MAILSERVER
from tests.support.discv5_peer import Discv5Peer, available

PATIENCE = 15.0

pytestmark = pytest.mark.skipif(not available(), reason="needs Node and its packages (make setup)")


@asynccontextmanager
async def ours(*boot, **config):
    settings = DiscoveryConfig(lan=True, bootnodes=tuple(record.text for record in boot), **config)
    async with Discovery(PrivateKey.generate(), settings) as discovery:
        yield discovery


async def eventually(true):
    async with asyncio.timeout(PATIENCE):
        # What happens in another process sends no event.
        while not await true():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_we_begin_the_handshake_and_ask_everything():
    async with Discv5Peer() as foreign, ours() as node:
        pong = await node.ping(foreign.record)
        own = await node.find_node(foreign.record, [0])
        answer = await node.talk(foreign.record, b"test", b"hello")

        assert (str(pong.ip), pong.port) == ("127.0.0.1", node.port)
        assert pong.enr_seq == foreign.record.seq
        assert own == [foreign.record]
        assert answer == b"echo:hello"
        assert node.stats()["handshakes_out"] == 1


async def test_it_begins_the_handshake_and_asks_everything():
    async with Discv5Peer() as foreign, ours() as node:
        node.on_talk(b"test", lambda who, request: request[::-1])

        pong = await foreign.do("ping", enr=node.record.text)
        found = await foreign.do("findnode", enr=node.record.text, distances=[0])
        answer = await foreign.do("talk", enr=node.record.text, protocol="test", data=b"hello".hex())
        unknown = await foreign.do("talk", enr=node.record.text, protocol="other", data=b"hello".hex())

        assert pong == {"seq": node.record.seq, "ip": "127.0.0.1", "port": foreign.record.udp}
        assert found["enrs"] == [node.record.text]
        assert bytes.fromhex(answer["data"]) == b"olleh"
        assert unknown["data"] == ""
        assert node.stats()["handshakes_in"] == 1


async def test_many_questions_under_one_session():
    async with Discv5Peer() as foreign, ours() as node:
        await node.ping(foreign.record)
        pongs = await asyncio.gather(*(node.ping(foreign.record) for _ in range(50)))
        back = await foreign.do("repeat", what="ping", enr=node.record.text, times=50, atOnce=8)

        assert len(pongs) == 50
        assert back["failed"] == 0
        assert node.stats()["handshakes_out"] + node.stats().get("handshakes_in", 0) == 1


async def test_both_begin_at_once():
    async with Discv5Peer() as foreign, ours() as node:
        pong, back = await asyncio.gather(node.ping(foreign.record), foreign.do("ping", enr=node.record.text))

        assert pong.port == node.port
        assert back["port"] == foreign.record.udp
        await node.ping(foreign.record)
        await foreign.do("ping", enr=node.record.text)


async def test_a_lookup_through_it_finds_our_other_node():
    async with Discv5Peer() as foreign, ours(foreign.record, kinds=(MAILSERVER,)) as server:

        async def is_known():
            return server.record.text in (await foreign.do("table"))["enrs"]

        await eventually(is_known)
        async with ours(foreign.record) as client:
            async with asyncio.timeout(PATIENCE):
                enr = await anext(client.candidates(MAILSERVER))
            found = await client.find(server.node_id)

        assert enr == server.record
        assert found == server.record


async def test_its_lookup_through_us_finds_our_other_node():
    async with Discv5Peer() as foreign, ours() as boot, ours(boot.record) as other:

        async def is_verified():
            return other.record in await client.find_node(boot.record, [log_distance(boot.node_id, other.node_id)])

        async with ours() as client:
            await eventually(is_verified)
        await foreign.do("add", enr=boot.record.text)

        async def is_found():
            found = await foreign.do("lookup", target=other.node_id.hex())
            return other.record.text in found["enrs"]

        await eventually(is_found)


async def test_it_hands_on_many_records_and_we_believe_those_that_are_good():
    async with Discv5Peer() as foreign, ours() as node:
        enrs = [Enr.create(PrivateKey.generate(), ip="127.0.0.1", udp=30_000 + number) for number in range(20)]
        for enr in enrs:
            await foreign.do("add", enr=enr.text)

        found = await node.find_node(foreign.record, [256, 255, 254])

        assert len(found) <= 16
        assert set(found) <= {*enrs, node.record}


async def test_it_starts_anew_after_we_lost_our_keys():
    """It keeps one request to a node under way: one of its own to the node that went has to time out first."""
    key = PrivateKey.generate()
    async with Discv5Peer() as foreign:
        async with Discovery(key, DiscoveryConfig(lan=True)) as node:
            port = node.port
            await foreign.do("ping", enr=node.record.text)
        async with Discovery(key, DiscoveryConfig(lan=True, port=port)) as again:

            async def is_answered():
                try:
                    return await foreign.do("ping", enr=again.record.text)
                except RuntimeError:
                    return False

            await eventually(is_answered)
            await again.ping(foreign.record)
            assert again.stats()["handshakes_in"] == 1


async def test_another_protocol_id_is_another_network():
    async with Discv5Peer() as foreign, ours(protocol_id=b"waypnt") as node:
        with pytest.raises(NoAnswer):
            await node.ping(foreign.record)


async def test_it_never_sees_a_topic_message_while_our_nodes_find_each_other_by_topic(monkeypatch):
    sent = []
    send = Wire.send_request

    def watched(wire, remote, message, now, **options):
        sent.append((remote.node_id, message[0]))
        return send(wire, remote, message, now, **options)

    monkeypatch.setattr(Wire, "send_request", watched)
    async with (
        Discv5Peer() as foreign,
        ours(foreign.record, kinds=(MAILSERVER,)) as server,
        ours(foreign.record, server.record) as client,
    ):
        async with asyncio.timeout(PATIENCE):
            assert await anext(client.candidates(MAILSERVER)) == server.record
        searching = client.candidates(MAILSERVER)
        await anext(searching)

        async def is_found_by_topic():
            return client.stats()["found_by_topic"] == 1

        await eventually(is_found_by_topic)
        await client.ping(foreign.record)
        await searching.aclose()

    topics = {node_id for node_id, kind in sent if kind >= 7}
    assert topics <= {server.node_id, client.node_id}
    assert topics
    assert foreign.record.node_id in {node_id for node_id, _ in sent}
