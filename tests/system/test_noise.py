"""A discovery node as operators run it, fed noise: what it answers, what it keeps, whom it serves."""

import random
import socket
from contextlib import ExitStack, closing

import psutil
import pytest

from offchain.config import DiscoveryConfig
from offchain.discovery import Discovery
from offchain.discovery import packet as packets
from offchain.discovery.packet import Mask
from offchain.keys import PrivateKey
from tests.support.node_process import running_node

NOISE = 100_000
SOURCES = 40
"""Sockets that the noise comes from; each is an address of its own to a node on a local network."""

IN_FLIGHT = 100
"""Packets between two breaths, so that the system's buffer does not drop what the node should see."""

GROWTH = 64 * 2**20
"""Bytes that a node's stores may take on when strangers fill them; all are bounded, so more packets take no more."""

WHOAREYOU_SIZE = 63


@pytest.fixture
def node(tmp_path):
    """A discovery node in a process of its own, and its record."""
    with running_node(tmp_path) as running:
        yield psutil.Process(running.process.pid), running.record


def noise(rng, record):
    """One packet: random bytes, a stranger's first packet, or one with a byte changed or an end cut off."""
    choice = rng.randrange(4)
    if choice == 0:
        return rng.randbytes(rng.randrange(1, 1281))
    header = packets.ordinary_header(rng.randbytes(16), rng.randbytes(12), rng.randbytes(32))
    packet = packets.encode(Mask(record.node_id), header, rng.randbytes(rng.randrange(20, 200)))
    if choice == 1:
        return packet
    if choice == 2:
        at = rng.randrange(len(packet))
        return packet[:at] + bytes((packet[at] ^ 1 << rng.randrange(8),)) + packet[at + 1 :]
    return packet[: rng.randrange(len(packet))]


def take_in(sockets):
    """All answers that have arrived."""
    answers = []
    for each in sockets:
        try:
            while True:
                answers.append(each.recv(2048))
        except BlockingIOError:
            pass
    return answers


async def test_noise_is_answered_with_challenges_at_most_and_leaves_memory_and_service_as_they_were(node):
    process, record = node
    rng = random.Random(5)
    address = (str(record.ip), record.udp)
    answers = []
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))) for _ in range(SOURCES)
        ]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
            each.setblocking(False)
        async with Discovery(PrivateKey.generate(), DiscoveryConfig(lan=True)) as friend:
            before = process.memory_info().rss
            half = before
            for sent in range(0, NOISE, IN_FLIGHT):
                for _ in range(IN_FLIGHT):
                    sockets[rng.randrange(SOURCES)].sendto(noise(rng, record), address)
                await friend.ping(record)  # answered between the noise, which it also paces
                answers += take_in(sockets)
                if sent == NOISE // 2:
                    half = process.memory_info().rss
            after = process.memory_info().rss

    assert {len(answer) for answer in answers} <= {WHOAREYOU_SIZE}
    assert 0 < len(answers) < NOISE
    assert after - before < GROWTH
    assert after - half < GROWTH // 8, "the second half of the noise takes no more"
