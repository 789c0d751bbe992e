"""The discovery service over real UDP on loopback: the interface that programs use, and noise from a real socket."""

import asyncio
import random
import socket
from contextlib import AsyncExitStack

import pytest

from offchain.config import DiscoveryConfig
from offchain.discovery import Discovery, NoAnswer
from offchain.discovery import packet as packets
from offchain.discovery.packet import Mask
from offchain.enr import Enr
from offchain.errors import ConfigError, ConnectionLost
from offchain.keys import PrivateKey
from offchain.types import MAILSERVER, Kind

PATIENCE = 15.0


def discovery(*boot, **config):
    settings = DiscoveryConfig(lan=True, bootnodes=tuple(record.text for record in boot), **config)
    return Discovery(PrivateKey.generate(), settings)


async def collect(node, kind, count):
    found = []
    async with asyncio.timeout(PATIENCE):
        async for enr in node.candidates(kind):
            found.append(enr)
            if len(found) == count:
                break
    return found


async def test_a_client_finds_six_servers_of_a_network_that_just_started():
    async with AsyncExitStack() as stack:
        boot = await stack.enter_async_context(discovery())
        servers = [
            await stack.enter_async_context(discovery(boot.record, kinds=(MAILSERVER,), tcp=30_000 + number))
            for number in range(6)
        ]
        client = await stack.enter_async_context(discovery(boot.record))

        found = await collect(client, MAILSERVER, 6)

        assert set(found) == {server.record for server in servers}
        assert {enr.tcp for enr in found} == set(range(30_000, 30_006))


async def test_nodes_that_start_before_their_bootnode_find_it():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    key = PrivateKey.generate()
    record = Enr.create(key, ip="127.0.0.1", udp=port)
    async with discovery(record, kinds=(MAILSERVER,)) as server, discovery(record) as client:
        finding = asyncio.create_task(collect(client, MAILSERVER, 1))
        await asyncio.sleep(0.2)
        async with Discovery(key, DiscoveryConfig(lan=True, port=port)):
            assert await finding == [server.record]


async def test_a_candidate_comes_again_with_its_newer_record_only():
    async with discovery(kinds=(MAILSERVER,)) as server, discovery(server.record) as client:
        reader = client.candidates(MAILSERVER)
        first = await anext(reader)
        newer = await server.update_record(tcp=4444, kinds=[b"mailserver", b"pushserver"])
        async with asyncio.timeout(PATIENCE):
            second = await anext(reader)
        await reader.aclose()

        assert first.seq < second.seq == newer.seq
        assert (second, second.tcp, second.kinds) == (newer, 4444, ("mailserver", "pushserver"))
        assert await collect(client, Kind("pushserver"), 1) == [newer]


async def test_two_readers_are_told_the_same():
    async with discovery(kinds=(MAILSERVER,)) as server, discovery(server.record) as client:
        both = await asyncio.gather(collect(client, MAILSERVER, 1), collect(client, MAILSERVER, 1))

        assert both == [[server.record], [server.record]]


async def test_the_reader_ends_when_the_node_stops():
    async with discovery() as client:
        reader = asyncio.create_task(collect(client, MAILSERVER, 1))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    assert await reader == []


async def test_asking_and_being_asked():
    async with discovery() as one, discovery(one.record) as other:
        one.on_talk(b"echo", lambda who, request: who + request)

        assert (await other.ping(one.record)).port == other.port
        assert await other.find_node(one.record, [0]) == [one.record]
        assert await other.talk(one.record, b"echo", b"hi") == other.node_id + b"hi"
        assert await other.talk(one.record, b"what", b"hi") == b""
        assert await other.find(one.node_id) == one.record
        assert [enr.node_id for enr in await other.lookup(one.node_id)] == [one.node_id]


async def test_nobody_there_is_no_answer():
    async with discovery() as node:
        nobody = Enr.create(PrivateKey.generate(), ip="127.0.0.1", udp=node.port + 1 if node.port < 65_000 else 60_000)

        with pytest.raises(NoAnswer):
            await node.ping(nobody)
        with pytest.raises(ValueError, match="no address"):
            await node.ping(Enr.create(PrivateKey.generate()))


async def test_a_node_that_stopped_says_so():
    async with discovery() as node:
        pass

    with pytest.raises(ConnectionLost, match="not running"):
        await node.ping(node.record)
    with pytest.raises(ConnectionLost, match="not running"):
        await anext(node.candidates(MAILSERVER))


async def test_requests_under_way_end_when_the_node_stops():
    async with discovery() as node:
        asking = asyncio.create_task(node.ping(Enr.create(PrivateKey.generate(), ip="127.0.0.1", udp=60_001)))
        await asyncio.sleep(0)

    with pytest.raises(NoAnswer):
        await asking


async def test_lookups_under_way_end_when_the_node_stops():
    async with discovery() as boot:
        nobody = [Enr.create(PrivateKey.generate(), ip="127.0.0.1", udp=50_000 + number) for number in range(20)]
        async with discovery(boot.record, *nobody) as node:
            looking = asyncio.create_task(node.lookup(bytes(32)))
            finding = asyncio.create_task(node.find(bytes(32)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    async with asyncio.timeout(PATIENCE):
        assert await looking == []
        assert await finding is None


async def test_a_node_that_starts_again_has_a_newer_record():
    key = PrivateKey.generate()
    async with Discovery(key, DiscoveryConfig(lan=True)) as node:
        before = node.record
        assert await node.find(node.node_id) == before
    async with Discovery(key, DiscoveryConfig(lan=True)) as again:
        assert again.record.seq > before.seq


async def test_a_server_that_starts_again_elsewhere_is_told_of_again():
    key = PrivateKey.generate()
    async with discovery() as boot, discovery(boot.record) as client:
        config = DiscoveryConfig(lan=True, bootnodes=(boot.record.text,), kinds=(MAILSERVER,))
        reader = client.candidates(MAILSERVER)
        async with asyncio.timeout(PATIENCE):
            async with Discovery(key, config) as server:
                assert await anext(reader) == server.record
            async with Discovery(key, config) as again:
                assert await anext(reader) == again.record


async def test_a_port_in_use_is_a_matter_of_configuration():
    async with discovery() as node:
        with pytest.raises(ConfigError, match="cannot listen"):
            async with discovery(port=node.port):
                pass


@pytest.mark.parametrize("wrong", [{"host": "localhost"}, {"advertised_ip": "me"}, {"protocol_id": b"short"}])
def test_settings_that_make_no_sense_are_a_matter_of_configuration(wrong):
    with pytest.raises(ConfigError):
        discovery(**wrong)


@pytest.mark.parametrize(
    ("config", "ip"),
    [
        ({"host": "127.0.0.1"}, "127.0.0.1"),
        ({"host": "0.0.0.0"}, None),
        ({"host": "0.0.0.0", "advertised_ip": "10.0.0.7"}, "10.0.0.7"),
    ],
)
async def test_what_the_record_says_of_the_address(config, ip):
    async with discovery(**config) as node:
        assert (str(node.record.ip) if node.record.ip else None) == ip
        assert node.record.udp == node.port


async def test_ipv6_and_ipv4_through_one_socket():
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 here")
    both = discovery(host="::", advertised_ip="127.0.0.1", advertised_ip6="::1")
    async with discovery(host="::1") as six, both, discovery() as four:
        assert str(six.record.ip6) == "::1"
        assert (str(both.record.ip), str(both.record.ip6)) == ("127.0.0.1", "::1")
        assert both.record.udp == both.record.udp6 == both.port
        assert str((await both.ping(six.record)).ip) == "::1"
        assert str((await both.ping(four.record)).ip) == "127.0.0.1"
        assert await six.find_node(both.record, [0]) == [both.record]
        assert await four.find_node(both.record, [0]) == [both.record]


async def test_noise_from_a_socket_is_borne():
    rng = random.Random(5)
    async with discovery() as node, discovery(node.record) as friend:
        await friend.ping(node.record)
        mask = Mask(node.node_id)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as noisy:
            noisy.bind(("127.0.0.1", 0))
            noisy.setblocking(False)
            for number in range(10_000):
                data = rng.randbytes(rng.randrange(0, 1_500))
                if number % 2:
                    header = packets.ordinary_header(rng.randbytes(16), rng.randbytes(12), rng.randbytes(32))
                    data = packets.encode(mask, header, rng.randbytes(50))
                try:
                    noisy.sendto(data, ("127.0.0.1", node.port))
                except BlockingIOError:
                    pass
                if number % 50 == 0:
                    await asyncio.sleep(0)
            answers = []
            while True:
                try:
                    answers.append(noisy.recv(2_000))
                except BlockingIOError:
                    break

        assert {len(answer) for answer in answers} <= {63}
        assert len(answers) <= 1_000
        async with asyncio.timeout(PATIENCE):
            await friend.ping(node.record)
        assert node.stats()["sessions"] == 1


async def test_the_system_keeps_more_for_us_than_it_does_unless_told():
    async with discovery() as node:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as usual:
            sizes = [each.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) for each in (usual, node._socket)]

    assert sizes[1] > sizes[0]
