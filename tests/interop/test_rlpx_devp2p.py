"""RLPx and shh/6 with @ethereumjs/devp2p over real TCP on loopback: Hello both ways, envelopes both ways."""

import asyncio
import time

import pytest

from offchain import rlp
from offchain.errors import ConnectionLost
from offchain.keys import PrivateKey
from offchain.rlpx import peer as rlpx
from offchain.rlpx.connection import Message
from offchain.rlpx.p2p import PONG, Capability, DisconnectReason
from offchain.rlpx.peer import Disconnected
from offchain.whisper.envelope import Envelope, encode_many, mine
from offchain.whisper.protocol import SHH, Code, EnvelopesReceived, Extension, RequirementsChanged, ShhPeer, Status
from tests.support.devp2p_peer import PATIENCE, Foreign, needs_devp2p

pytestmark = needs_devp2p


@pytest.fixture
async def foreign():
    started = await Foreign.start(PrivateKey.generate())
    yield started
    await started.stop()


@pytest.fixture
def key():
    return PrivateKey.generate()


class Keeper:
    """A handler that gives its peers to the test and keeps them until they close."""

    def __init__(self):
        self.peers = asyncio.Queue()

    async def __call__(self, peer):
        self.peers.put_nowait(peer)
        await peer.wait_closed()


async def dialled(foreign, key):
    return await rlpx.connect(key, foreign.key, "127.0.0.1", foreign.port, [SHH], client_id="ours", timeout=PATIENCE)


async def test_we_dial_and_both_hellos_arrive(foreign, key):
    peer = await dialled(foreign, key)

    hello = await foreign.heard("hello")
    assert hello["id"] == key.public.to_bytes().hex()
    assert (hello["clientId"], hello["version"], hello["capabilities"]) == ("ours", 5, [["shh", 6]])
    assert peer.remote == foreign.key
    assert peer.hello.client_id == "interop/ethereumjs-devp2p-10"
    assert peer.hello.version == 5
    assert peer.capabilities == (SHH,)
    await peer.close()


async def test_they_dial_and_both_hellos_arrive(foreign, key):
    keeper = Keeper()
    async with await rlpx.serve(key, "127.0.0.1", 0, [SHH], keeper, client_id="ours") as server:
        await foreign.do("connect", id=key.public.to_bytes().hex(), port=server.port)

        hello = await foreign.heard("hello")
        async with asyncio.timeout(PATIENCE):
            peer = await keeper.peers.get()

        assert (hello["clientId"], hello["port"]) == ("ours", server.port)
        assert peer.remote == foreign.key
        assert peer.hello.client_id == "interop/ethereumjs-devp2p-10"


async def test_messages_of_every_length_go_both_ways(foreign, key):
    peer = await dialled(foreign, key)
    await foreign.heard("hello")

    for size in (0, 1, 15, 16, 17, 1000, 65_536, 300_000):
        payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
        await peer.send("shh", 5, payload)
        assert (await foreign.heard("message"))["payload"] == payload.hex()
        await foreign.do("send", code=6, payload=payload.hex())
        async with asyncio.timeout(PATIENCE):
            assert await peer.receive() == Message("shh", 6, payload)
    await peer.close()


async def test_many_messages_at_once_arrive_in_order(foreign, key):
    """Codes to 111 only: the library takes the id of code 112, 0x80, for Hello."""
    peer = await dialled(foreign, key)
    await foreign.heard("hello")

    await peer.send_many("shh", [(number % 112, number.to_bytes(2, "big")) for number in range(500)])

    for number in range(500):
        found = await foreign.heard("message")
        assert (found["code"], found["payload"]) == (number % 112, f"{number:04x}")
    await peer.close()


@pytest.mark.parametrize("we_dial", [True, False])
async def test_whisper_is_spoken_both_ways(foreign, key, we_dial):
    keeper = Keeper()
    now = int(time.time())
    envelopes = [mine(now + 50, 50, b"abcd", bytes([number]) * 300, 0.002) for number in range(3)]
    server = await rlpx.serve(key, "127.0.0.1", 0, [SHH], keeper)
    if we_dial:
        peer = await dialled(foreign, key)
    else:
        await foreign.do("connect", id=key.public.to_bytes().hex(), port=server.port)
        peer = await keeper.peers.get()
    await foreign.heard("hello")

    async with asyncio.timeout(PATIENCE):
        # Both statuses
        await foreign.do("send", code=0, payload=Status(0.001, None, False, True).encode().hex())
        shh = await ShhPeer.start(peer, Status(0.002, confirmations=True), timeout=PATIENCE)
        assert shh.remote_status == Status(0.001, None, False, True)
        found = await foreign.heard("message")
        assert found["code"] == Code.STATUS
        assert Status.decode(bytes.fromhex(found["payload"])) == Status(0.002, confirmations=True)

        # Envelopes there
        await shh.send_envelopes(envelopes)
        found = await foreign.heard("message")
        assert found["code"] == Code.MESSAGES
        assert Envelope.decode_many(bytes.fromhex(found["payload"])) == envelopes

        # Envelopes back, and our confirmation of them
        await foreign.do("send", code=1, payload=encode_many(envelopes).hex())
        event = await anext(shh)
        assert isinstance(event, EnvelopesReceived)
        assert event.envelopes == tuple(envelopes)
        assert (await foreign.heard("message"))["code"] == Code.BATCH_RESPONSE
        assert rlp.decode(bytes.fromhex((await foreign.heard("message"))["payload"])) == event.batch

        # A changed requirement
        await foreign.do("send", code=2, payload="883f60624dd2f1a9fc")
        assert await anext(shh) == RequirementsChanged(Status(0.002, None, False, True))

        # Codes 126 and 127: message ids of two bytes
        await shh.send(Code.HISTORY_REQUEST, envelopes[0].raw)
        found = await foreign.heard("message")
        assert (found["code"], found["payload"]) == (126, envelopes[0].raw.hex())
        await foreign.do("send", code=127, payload=encode_many(envelopes).hex())
        assert await anext(shh) == Extension(127, encode_many(envelopes))
        await foreign.do("send", code=127, payload=envelopes[1].raw.hex())
        assert await anext(shh) == Extension(127, envelopes[1].raw)
        await foreign.do("send", code=126, payload=envelopes[2].raw.hex())
        assert await anext(shh) == Extension(126, envelopes[2].raw)
    await peer.close()
    await server.close()


async def test_our_goodbye_is_understood(foreign, key):
    peer = await dialled(foreign, key)
    await foreign.heard("hello")

    await peer.close(DisconnectReason.QUITTING)

    closed = await foreign.heard("closed")
    assert (closed["reason"], closed["byUs"]) == (DisconnectReason.QUITTING, False)


async def test_their_goodbye_is_understood_though_it_is_not_compressed(foreign, key):
    peer = await dialled(foreign, key)
    await foreign.heard("hello")

    await foreign.do("disconnect", reason=4)

    with pytest.raises(Disconnected) as caught:
        async with asyncio.timeout(PATIENCE):
            await peer.receive()
    assert caught.value.reason is DisconnectReason.TOO_MANY_PEERS
    assert not caught.value.by_us


async def test_our_ping_is_answered(foreign, key, monkeypatch):
    peer = await dialled(foreign, key)
    await foreign.heard("hello")
    machine = peer._shell.connection
    answers = asyncio.Queue()
    monkeypatch.setattr(machine, "_receive_base", lambda message_id, payload, now: answers.put_nowait(message_id))

    machine.tick(machine.next_deadline())
    peer._shell.pump()

    async with asyncio.timeout(PATIENCE):
        assert await answers.get() == PONG
    assert not machine._pinged
    await peer.close()


async def test_a_node_with_another_key_is_not_taken(foreign, key):
    with pytest.raises(ConnectionLost):  # the library keeps the socket open, so we give up by time
        await rlpx.connect(key, PrivateKey.generate().public, "127.0.0.1", foreign.port, [SHH], timeout=1.0)


async def test_without_a_shared_capability_both_part(key):
    foreign = await Foreign.start(PrivateKey.generate(), "eth/63/17")

    with pytest.raises(Disconnected) as caught:
        await dialled(foreign, key)

    assert caught.value.reason is DisconnectReason.USELESS_PEER
    await foreign.stop()


async def test_two_capabilities_keep_their_ids_apart(key):
    foreign = await Foreign.start(PrivateKey.generate(), "shh/6/128", "mail/1/16")
    mail = Capability("mail", 1, 16)
    peer = await rlpx.connect(key, foreign.key, "127.0.0.1", foreign.port, [SHH, mail], timeout=PATIENCE)
    assert {(await foreign.heard("hello"))["shared"] for _ in range(2)} == {"shh/6", "mail/1"}

    for name, code in (("mail", 15), ("shh", 0), ("shh", 127)):
        await peer.send(name, code, b"here")
        found = await foreign.heard("message")
        assert (found["capability"], found["code"]) == (name, code)
    await peer.close()
    await foreign.stop()
