"""The shell over a pipe in memory: queues, backpressure, ends. Real sockets are in tests/interop."""

import asyncio
import random

import pytest

from offchain.errors import ConnectionLost
from offchain.rlpx import peer as module
from offchain.rlpx.connection import Connection, Limits, Message
from offchain.rlpx.p2p import DisconnectReason
from offchain.rlpx.peer import Disconnected, Server, _Shell
from tests.support.rlpx import SHH, key, pipe


def server(handler, **kwargs):
    settings = {"client_id": "server", "max_peers": 10, "max_handshakes": 10, "limits": None} | kwargs
    return Server(key(2), (SHH,), handler, **settings)


def client_shell(number=1, limits=None):
    def make(now):
        rng = random.Random(number)
        return Connection(key(number), (SHH,), remote=key(2).public, client_id="c", now=now, rng=rng, limits=limits)

    return _Shell(make)


async def join(listening, number=1, address=("192.0.2.1", 1000)):
    """A client's open connection to a server, over a pipe."""
    shell = client_shell(number)
    pipe(shell, _Shell(listening._make, listening), address)
    async with asyncio.timeout(5):
        peer = await shell.opened
    await settle()
    return peer


async def settle(turns=50):
    for _ in range(turns):
        await asyncio.sleep(0)


class Handler:
    """Keeps each peer until told to stop; remembers what it received."""

    def __init__(self):
        self.peers = []
        self.received = []
        self.stop = asyncio.Event()

    async def __call__(self, peer):
        self.peers.append(peer)
        await self.stop.wait()


class Echo(Handler):
    async def __call__(self, peer):
        self.peers.append(peer)
        while True:
            for message in await peer.receive_many():
                self.received.append(message)
                await peer.send(message.capability, message.code, message.payload)


async def test_messages_go_both_ways():
    listening = server(Echo())
    peer = await join(listening)

    await peer.send("shh", 126, b"question")
    await peer.send_many("shh", [(1, b"one"), (2, b"two")])

    assert await peer.receive() == Message("shh", 126, b"question")
    assert await peer.receive() == Message("shh", 1, b"one")
    assert await peer.receive() == Message("shh", 2, b"two")
    assert peer.remote == key(2).public
    assert peer.node_id == key(2).public.node_id
    assert peer.capabilities == (SHH,)
    assert [each.remote for each in listening.peers] == [key(1).public]
    await listening.close()


async def test_the_handler_ends_with_the_peer():
    handler = Echo()
    listening = server(handler)
    peer = await join(listening)

    await peer.close(DisconnectReason.QUITTING)
    await settle()

    assert handler.peers[0].closed
    assert listening.peers == ()
    assert not listening._tasks
    over = await handler.peers[0].wait_closed()
    assert (over.reason, over.by_us) == (DisconnectReason.QUITTING, False)


async def test_the_peer_ends_with_the_handler():
    handler = Handler()
    listening = server(handler)
    peer = await join(listening)

    handler.stop.set()

    with pytest.raises(Disconnected) as caught:
        await peer.receive()
    assert caught.value.reason is DisconnectReason.REQUESTED
    assert not caught.value.by_us
    assert isinstance(caught.value, ConnectionLost)


async def test_a_handler_that_fails_closes_its_connection_only(caplog):
    async def handler(peer):
        if peer.remote == key(1).public:
            raise RuntimeError("a bug")
        await Echo()(peer)

    listening = server(handler)
    other = await join(listening, number=3)
    peer = await join(listening, number=1)

    over = await peer.wait_closed()

    assert over.reason is DisconnectReason.SUBPROTOCOL_ERROR
    assert "its handler failed" in caplog.text
    await other.send("shh", 1, b"still here")
    assert (await other.receive()).payload == b"still here"
    await listening.close()


async def test_what_came_before_the_end_can_still_be_received():
    async def handler(peer):
        await peer.send_many("shh", [(1, b"one"), (1, b"two")])

    peer = await join(server(handler))
    await peer.wait_closed()

    assert [each.payload for each in await peer.receive_many()] == [b"one", b"two"]
    with pytest.raises(Disconnected):
        await peer.receive()
    with pytest.raises(Disconnected):
        await peer.send("shh", 1, b"")


async def test_a_flood_waits_at_its_sender():
    handler = Handler()
    listening = server(handler)
    peer = await join(listening)
    far = handler.peers[0]._shell

    for _ in range(50):
        await peer.send_many("shh", [(1, b"tiny")] * 100)
        await settle(5)

    assert not far._transport.reading
    assert module.QUEUE_MESSAGES <= len(far._queue) <= module.QUEUE_MESSAGES + 100
    assert len(await handler.peers[0].receive_many()) == module.QUEUE_MESSAGES
    received = module.QUEUE_MESSAGES
    while received < 5000:
        received += len(await handler.peers[0].receive_many())
    assert received == 5000
    assert far._transport.reading
    assert far._queued_bytes == 0
    handler.stop.set()


async def test_large_messages_are_counted_by_their_bytes():
    handler = Handler()
    peer = await join(server(handler, limits=Limits(max_message=2 * 1024 * 1024)))
    far = handler.peers[0]._shell

    for _ in range(4):
        await peer.send("shh", 1, bytes(1024 * 1024))
    await settle()

    assert far._queued_bytes == module.QUEUE_BYTES
    assert not far._transport.reading
    handler.stop.set()


async def test_a_sender_waits_for_a_slow_peer():
    handler = Handler()
    peer = await join(server(handler))
    handler.peers[0]._shell._transport.pause_reading()

    sender = asyncio.create_task(send_all(peer, 100))
    await settle()
    assert not sender.done()
    assert peer._shell._transport.buffered() < 2 * module.WRITE_BUFFER

    handler.peers[0]._shell._transport.resume_reading()
    for _ in range(100):
        await handler.peers[0].receive()
    await sender
    handler.stop.set()


async def send_all(peer, count):
    rng = random.Random(1)
    for _ in range(count):
        await peer.send("shh", 1, rng.randbytes(10_000))


async def test_a_peer_that_never_reads_is_given_up(monkeypatch):
    monkeypatch.setattr(module, "SEND_TIMEOUT", 0.0)
    handler = Handler()
    peer = await join(server(handler))
    handler.peers[0]._shell._transport.pause_reading()

    with pytest.raises(Disconnected) as caught:
        await send_all(peer, 100)

    assert caught.value.reason is DisconnectReason.TIMEOUT
    assert caught.value.by_us
    handler.stop.set()


async def test_of_many_senders_each_waits_for_its_turn():
    handler = Handler()
    peer = await join(server(handler))
    far = handler.peers[0]
    far._shell._transport.pause_reading()
    senders = [asyncio.create_task(send_all(peer, 30)) for _ in range(10)]
    await settle()

    most = 0
    far._shell._transport.resume_reading()
    for _ in range(300):
        assert len((await far.receive()).payload) == 10_000
        most = max(most, peer._shell._transport.buffered())

    await asyncio.gather(*senders)
    assert most < module.WRITE_BUFFER + 20_000
    handler.stop.set()


async def test_a_large_sending_is_cut_where_the_buffer_is_full():
    handler = Handler()
    peer = await join(server(handler))
    handler.peers[0]._shell._transport.pause_reading()
    rng = random.Random(1)

    messages = [(1, rng.randbytes(100_000)) for _ in range(40)]
    sender = asyncio.create_task(peer.send_many("shh", messages))
    await settle()

    assert not sender.done()
    assert peer._shell._transport.buffered() < module.WRITE_BUFFER + 100_000
    handler.peers[0]._shell._transport.resume_reading()
    for _ in range(40):
        await handler.peers[0].receive()
    await sender
    handler.stop.set()


async def test_a_sender_that_waits_learns_of_the_end():
    handler = Handler()
    peer = await join(server(handler))
    handler.peers[0]._shell._transport.pause_reading()
    sender = asyncio.create_task(send_all(peer, 100))
    await settle()

    peer._shell.disconnect(DisconnectReason.QUITTING)

    with pytest.raises(Disconnected):
        await sender
    handler.stop.set()


async def test_answers_do_not_wait_but_a_peer_that_takes_none_is_dropped():
    handler = Handler()
    peer = await join(server(handler))
    handler.peers[0]._shell._transport.pause_reading()
    rng = random.Random(1)

    def answer_much():
        for _ in range(1000):
            peer.send_now("shh", [(1, rng.randbytes(10_000))])

    with pytest.raises(Disconnected) as caught:
        answer_much()

    assert caught.value.reason is DisconnectReason.TIMEOUT
    assert module.ANSWER_BUFFER <= peer._shell._transport.buffered() <= module.ANSWER_BUFFER + 30_000
    handler.stop.set()


async def test_beyond_max_peers_a_peer_is_told():
    handler = Handler()
    listening = server(handler, max_peers=2)
    await join(listening, number=1)
    await join(listening, number=3)

    refused = await join(listening, number=4)
    with pytest.raises(Disconnected) as caught:
        await refused.receive()

    assert caught.value.reason is DisconnectReason.TOO_MANY_PEERS
    assert len(listening.peers) == 2
    assert len(handler.peers) == 2
    await listening.close()


async def test_a_crowded_network_makes_room_for_a_newcomer_of_another():
    handler = Handler()
    listening = server(handler, max_peers=3)
    crowd = [await join(listening, number, ("203.0.113.9", number)) for number in (1, 3, 4)]

    honest = await join(listening, 5, ("198.51.100.1", 1))
    over = await crowd[0].wait_closed()
    one_more = await join(listening, 6, ("203.0.113.9", 6))
    refused = await one_more.wait_closed()

    assert (over.reason, over.by_us) == (DisconnectReason.TOO_MANY_PEERS, False)
    assert refused.reason is DisconnectReason.TOO_MANY_PEERS
    assert not honest.closed
    assert [peer.closed for peer in crowd] == [True, False, False]
    assert len(listening.peers) == 3
    await listening.close()


async def test_where_no_network_has_two_more_peers_a_newcomer_waits():
    listening = server(Handler(), max_peers=2)
    there = [await join(listening, number, (f"198.51.100.{number}", 1)) for number in (1, 3)]

    refused = await join(listening, 4, ("203.0.113.9", 1))

    assert (await refused.wait_closed()).reason is DisconnectReason.TOO_MANY_PEERS
    assert not any(peer.closed for peer in there)
    await listening.close()


async def test_the_addresses_of_one_ipv6_subscriber_are_one_network():
    listening = server(Handler(), max_peers=2)
    crowd = [await join(listening, number, (f"2001:db8::{number}", 1)) for number in (1, 3)]

    honest = await join(listening, 4, ("2001:db8:0:1::1", 1))

    assert (await crowd[0].wait_closed()).reason is DisconnectReason.TOO_MANY_PEERS
    assert not honest.closed
    await listening.close()


async def test_a_node_that_connects_again_replaces_its_older_connection():
    handler = Handler()
    listening = server(handler, max_peers=1)
    older = await join(listening)

    newer = await join(listening)
    over = await older.wait_closed()
    await settle()

    assert over.reason is DisconnectReason.ALREADY_CONNECTED
    assert not newer.closed
    assert len(listening.peers) == 1
    handler.stop.set()


async def test_when_handshakes_pile_up_the_crowded_address_gives_way():
    handler = Handler()
    listening = server(handler, max_handshakes=3)

    def connect(address):
        shell = _Shell(listening._make, listening)
        pipe(asyncio.Protocol(), shell, address)
        return shell

    honest = connect(("198.51.100.1", 1))
    crowd = [connect(("203.0.113.9", port)) for port in range(5)]
    await settle()

    assert honest.over is None
    assert [shell.over is None for shell in crowd] == [False, False, False, True, True]
    assert len(listening._handshakes) == 3
    await listening.close()
    assert not listening._shells


async def test_closing_the_server_tells_the_peers_and_ends_the_handlers():
    handler = Handler()
    listening = server(handler)
    peers = [await join(listening, number) for number in (1, 3)]

    await listening.close()

    for peer in peers:
        over = await peer.wait_closed()
        assert (over.reason, over.by_us) == (DisconnectReason.QUITTING, False)
    assert not listening._tasks
    assert not listening._shells


async def test_the_machines_deadlines_are_kept():
    shell = client_shell(limits=Limits(handshake_timeout=0.0))
    pipe(shell, asyncio.Protocol())

    with pytest.raises(Disconnected) as caught:
        await shell.opened

    assert caught.value.reason is DisconnectReason.TIMEOUT
    await shell.wait_closed()


async def test_a_lost_socket_ends_everything():
    handler = Handler()
    peer = await join(server(handler))
    waiting = asyncio.create_task(peer.receive())
    await settle()

    handler.peers[0]._shell._transport.abort()

    with pytest.raises(Disconnected) as caught:
        await waiting
    assert caught.value.reason is DisconnectReason.TCP_ERROR
    handler.stop.set()


async def test_names_do_not_show_keys():
    handler = Handler()
    peer = await join(server(handler))

    assert repr(peer) == f"Peer({key(2).public.node_id[:4].hex()} at 192.0.2.1:1000)"
    handler.stop.set()
    await peer.wait_closed()
