"""100,000 mutated inputs against connection machines: none raises, each ends sanely, and no memory is lost."""

import gc
import os
import random
from pathlib import Path

from offchain.rlpx import auth, p2p
from offchain.rlpx.connection import Closed, Connection, Limits, Message, Opened
from offchain.rlpx.frame import FrameReader, FrameWriter
from tests.support.rlpx import SHH, connection_pair, key, secrets_pair, vectors

INPUTS = int(os.environ.get("WAYPOST_FUZZ_INPUTS", "100000"))
OBJECTS_ALLOWED = 2_000
BYTES_ALLOWED = 8 * 1024 * 1024
LIMITS = Limits(max_message=20_000)

HELLO_BODY = b"\x80" + p2p.Hello("peer", (SHH,), key(1).public).encode()
SECRETS = secrets_pair()
"""Fresh copies of the MAC states are taken from these, so that a connection costs no handshake."""


class Corpus:
    """Whole inputs that are right, from recorded sessions, and their mutations."""

    def __init__(self, rng):
        self.rng = rng
        self.bodies = [HELLO_BODY, b"\x02" + p2p.compress(b"\xc0"), b"\x01" + p2p.compress(b"\xc1\x08")]
        for session in vectors("rlpx")["sessions"]:
            for event in session["events"][2:]:
                body = bytes.fromhex(event["compressed"] if event["snappy"] else event["payload"])
                if len(body) < 5000:
                    self.bodies.append(p2p.encode_id(event["code"]) + body)
        recipient, initiator = random.Random(1), random.Random(2)
        self.packets = [
            auth.encode_auth(key(1), key(2).public, auth.random_key(recipient), bytes(32), recipient),
            auth.encode_ack(key(2).public, auth.random_key(initiator), bytes(32), initiator),
            bytes.fromhex(vectors("rlpx")["eip8"]["auth"][0]["packet"]),
        ]

    def mutated(self, data):
        rng = self.rng
        data = bytearray(data)
        for _ in range(rng.choice((0, 1, 1, 1, 2, 4))):
            at = rng.randrange(len(data) + 1)
            match rng.randrange(6):
                case 0 if at < len(data):
                    data[at] ^= 1 << rng.randrange(8)
                case 1:
                    del data[at : at + rng.randrange(1, 9)]
                case 2:
                    data[at:at] = rng.randbytes(rng.randrange(1, 9))
                case 3:
                    data = data[:at]
                case 4:
                    data[at:at] = data[: rng.randrange(len(data) + 1)]
                case _:
                    data[at : at + 1] = rng.choice((b"\x80", b"\xc0", b"\xff", b"\0", b"\xbf\xff\xff"))
        return bytes(data)


def framed_connection(rng):
    """A recipient whose handshake is done, and the writer of its peer."""
    connection = Connection(key(2), (SHH,), client_id="fuzzed", now=0.0, rng=rng, limits=LIMITS)
    connection.remote = key(1).public
    connection._reader = FrameReader(SECRETS[1], p2p.MAX_HELLO)
    connection._writer = FrameWriter(SECRETS[1])
    connection.state = connection.state.HELLO
    return connection, FrameWriter(SECRETS[0])


def finish(connection):
    """Drain and end it; how many Closed events there were, which must be one."""
    connection.tick(1.0)
    connection.end_of_stream()
    closed = 0
    while (event := connection.next_event()) is not None:
        assert isinstance(event, (Opened, Message, Closed))
        if isinstance(event, Message):
            assert len(event.payload) <= LIMITS.max_message
        closed += isinstance(event, Closed)
    assert connection.closed
    return closed


def attack(corpus, rng):
    """Give one connection some inputs; how many."""
    style = rng.randrange(10)
    if style == 0:  # handshake packets
        left, right = connection_pair(seed=rng.randrange(1000))
        victim = rng.choice((left, right))
        victim.receive(corpus.mutated(rng.choice(corpus.packets)), 0.0)
        assert finish(victim) == 1
        return 1
    connection, writer = framed_connection(rng)
    given = 0
    if style < 8:  # right MACs, wrong contents
        connection.receive(writer.encode(HELLO_BODY if style > 1 else corpus.mutated(HELLO_BODY)), 0.0)
        for _ in range(rng.randrange(1, 12)):
            if connection.closed:
                break
            connection.receive(writer.encode(corpus.mutated(rng.choice(corpus.bodies))), 0.0)
            given += 1
    else:  # damaged on the way
        connection.receive(writer.encode(HELLO_BODY), 0.0)
        wire = corpus.mutated(writer.encode_many(rng.choices(corpus.bodies, k=3)))
        cut = rng.randrange(len(wire) + 1)
        connection.receive(wire[:cut], 0.0)
        connection.receive(wire[cut:], 0.0)
        given = 1
    assert finish(connection) == 1
    return max(given, 1)


def resident():
    """Bytes of memory this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_mutated_inputs_raise_nothing_and_leak_nothing():
    rng = random.Random(20_261)
    corpus = Corpus(rng)
    given = 0
    while given < INPUTS // 10:  # caches fill, arenas grow
        given += attack(corpus, rng)
    gc.collect()
    objects, memory = len(gc.get_objects()), resident()

    while given < INPUTS:
        given += attack(corpus, rng)

    gc.collect()
    assert len(gc.get_objects()) - objects < OBJECTS_ALLOWED
    assert resident() - memory < BYTES_ALLOWED
