"""Our own RLPx at both ends of real TCP connections on loopback: many at once, slow ones, rude ones."""

import asyncio
import random
import time

import pytest

from offchain.errors import ConnectionLost
from offchain.keys import PrivateKey
from offchain.rlpx import peer as rlpx
from offchain.rlpx.connection import Limits
from offchain.rlpx.p2p import DisconnectReason
from offchain.rlpx.peer import Disconnected
from offchain.whisper.envelope import mine
from offchain.whisper.protocol import SHH, Acknowledged, EnvelopesReceived, ShhPeer, Status

PATIENCE = 120.0


@pytest.fixture
def key():
    return PrivateKey.generate()


async def echo(peer):
    while True:
        for message in await peer.receive_many():
            await peer.send(message.capability, message.code, message.payload)


async def dial(key, server, **kwargs):
    return await rlpx.connect(
        PrivateKey.generate(), key.public, "127.0.0.1", server.port, [SHH], timeout=PATIENCE, **kwargs
    )


async def test_a_hundred_peers_connect_at_once_and_are_answered(key):
    async with await rlpx.serve(key, "127.0.0.1", 0, [SHH], echo) as server:
        peers = await asyncio.gather(*(dial(key, server) for _ in range(100)))
        for number, peer in enumerate(peers):
            await peer.send("shh", 126, b"%d" % number)

        async with asyncio.timeout(PATIENCE):
            answers = [(await peer.receive()).payload for peer in peers]

        assert answers == [b"%d" % number for number in range(100)]
        assert len(server.peers) == 100
    for peer in peers:
        over = await peer.wait_closed()
        assert over.reason is DisconnectReason.QUITTING


async def test_one_server_is_reached_over_ipv4_and_ipv6_at_the_same_port(key):
    try:
        server = await rlpx.serve(key, ("127.0.0.1", "::1"), 0, [SHH], echo)
    except OSError as error:
        pytest.skip(f"this machine has no IPv6: {error}")
    async with server:
        for host in ("127.0.0.1", "::1"):
            peer = await rlpx.connect(PrivateKey.generate(), key.public, host, server.port, [SHH], timeout=PATIENCE)
            await peer.send("shh", 126, host.encode())
            async with asyncio.timeout(PATIENCE):
                assert (await peer.receive()).payload == host.encode()
            await peer.close()


async def test_a_port_that_is_taken_on_one_of_several_addresses_is_taken_on_none(key):
    async with await rlpx.serve(key, "127.0.0.1", 0, [SHH], echo) as first:
        with pytest.raises(OSError, match="in use"):
            await rlpx.serve(key, ("127.0.0.2", "127.0.0.1"), first.port, [SHH], echo)

        async with await rlpx.serve(key, "127.0.0.2", first.port, [SHH], echo) as second:
            assert second.port == first.port


async def test_megabytes_pass_a_slow_reader_without_being_kept(key):
    started = asyncio.Event()
    go = asyncio.Event()
    received = 0

    async def slow(peer):
        nonlocal received
        started.set()
        await go.wait()
        while received < 30_000_000:
            received += sum(len(each.payload) for each in await peer.receive_many(16))

    async with await rlpx.serve(key, "127.0.0.1", 0, [SHH], slow) as server:
        peer = await dial(key, server)
        await started.wait()
        payload = random.Random(1).randbytes(100_000)
        sender = asyncio.create_task(send_all(peer, payload, 300))
        done, _ = await asyncio.wait([sender], timeout=0.5)
        assert not done, "30 MB cannot have fitted the bounds"
        kept = server.peers[0]._shell._queued_bytes
        assert kept < 2 * rlpx.QUEUE_BYTES

        go.set()
        async with asyncio.timeout(PATIENCE):
            await sender
            await peer.wait_closed()
        assert received == 30_000_000


async def send_all(peer, payload, count):
    for _ in range(count):
        await peer.send("shh", 1, payload)


async def test_max_peers_is_kept_on_real_sockets(key):
    async with await rlpx.serve(key, "127.0.0.1", 0, [SHH], echo, max_peers=2) as server:
        first, second = await dial(key, server), await dial(key, server)
        third = await dial(key, server)

        with pytest.raises(Disconnected) as caught:
            await third.receive()

        assert caught.value.reason is DisconnectReason.TOO_MANY_PEERS
        await first.close()
        fourth = await dial(key, server)
        await fourth.send("shh", 1, b"room again")
        assert (await fourth.receive()).payload == b"room again"
        await second.close()


async def test_somebody_who_says_nothing_is_closed(key):
    limits = Limits(handshake_timeout=0.1)
    async with await rlpx.serve(key, "127.0.0.1", 0, [SHH], echo, limits=limits) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)

        async with asyncio.timeout(PATIENCE):
            assert await reader.read() == b""

        writer.close()


async def test_a_speaker_of_http_is_closed_without_an_answer(key):
    async with await rlpx.serve(key, "127.0.0.1", 0, [SHH], echo) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")

        async with asyncio.timeout(PATIENCE):
            assert await reader.read() == b""

        writer.close()


async def test_dialling_ourselves_nobody_or_the_wrong_node_fails_with_one_error(key):
    async with await rlpx.serve(key, "127.0.0.1", 0, [SHH], echo) as server:
        stranger = PrivateKey.generate()
        with pytest.raises(ConnectionLost):
            await rlpx.connect(key, key.public, "127.0.0.1", server.port, [SHH])
        with pytest.raises(ConnectionLost):
            await rlpx.connect(stranger, PrivateKey.generate().public, "127.0.0.1", server.port, [SHH])
        port = server.port
    with pytest.raises(ConnectionLost, match="cannot be reached"):
        await rlpx.connect(stranger, key.public, "127.0.0.1", port, [SHH])


class Silent:
    """A listener that reads and never says anything."""

    def __init__(self):
        self.gone = asyncio.Event()

    async def __aenter__(self):
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error):
        self._listener.close()
        async with asyncio.timeout(PATIENCE):
            await self.gone.wait()
            await self._listener.wait_closed()

    async def _serve(self, reader, writer):
        try:
            await reader.read()
        except ConnectionResetError:
            pass  # an aborted dial resets
        writer.close()
        try:
            await writer.wait_closed()
        except ConnectionResetError:
            pass
        self.gone.set()


async def test_a_dial_that_nobody_answers_ends_in_time_and_closes_its_socket(key):
    async with Silent() as listener:
        with pytest.raises(ConnectionLost, match=r"within 0\.1 s"):
            await rlpx.connect(key, PrivateKey.generate().public, "127.0.0.1", listener.port, [SHH], timeout=0.1)


async def test_a_cancelled_dial_closes_its_socket(key):
    async with Silent() as listener:
        dialling = asyncio.create_task(
            rlpx.connect(key, PrivateKey.generate().public, "127.0.0.1", listener.port, [SHH], timeout=PATIENCE)
        )
        await asyncio.wait([dialling], timeout=0.1)

        dialling.cancel()

        with pytest.raises(asyncio.CancelledError):
            await dialling


async def test_two_that_send_much_and_acknowledge_everything_do_not_wait_for_each_other(key):
    """Both ends send 40 MB from 40 tasks, more than all buffers hold, while they read and acknowledge."""
    count, size = 4_000, 10_000
    now = int(time.time())
    rng = random.Random(1)
    envelopes = [mine(now + 50, 50, b"abcd", rng.randbytes(size), 0.0) for _ in range(count)]

    async def talk(peer):
        shh = await ShhPeer.start(peer, Status(confirmations=True), timeout=PATIENCE)
        received = acknowledged = 0
        async with asyncio.TaskGroup() as tasks:
            sending = [tasks.create_task(shh.send_envelopes(envelopes[number::40])) for number in range(40)]
            while received < count or acknowledged < sum(len(each.result()) if each.done() else 1 for each in sending):
                event = await anext(shh)
                if isinstance(event, EnvelopesReceived):
                    received += len(event.envelopes)
                acknowledged += isinstance(event, Acknowledged)
        done.append(received)
        if len(done) < 2:
            await peer.wait_closed()

    done = []
    async with await rlpx.serve(key, "127.0.0.1", 0, [SHH], talk) as server:
        peer = await dial(key, server)
        async with asyncio.timeout(PATIENCE):
            await talk(peer)
            await peer.close()
    assert done == [count, count]
