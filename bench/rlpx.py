"""How fast is RLPx on one core: a handshake, and frames of 500 bytes, both ends in this process?

What counts is the time of the processor, all of it spent here: what else a machine does is not in the figures. Both
ends run in one thread, so a frame is compressed, encrypted, authenticated, checked, decrypted and decompressed in the
time shown. "Machines" hand their bytes over directly; "TCP" goes through loopback sockets and asyncio. The payloads are
random: nothing for Snappy to gain.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import time
import tracemalloc
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench._report import Figure, report
from offchain.keys import PrivateKey
from offchain.rlpx import peer as rlpx
from offchain.rlpx.connection import Connection, Message
from offchain.rlpx.p2p import Capability

SHH = Capability("shh", 6, 128)
SIZE = 500
BATCH = 100
FRAMES = 40_000
ROUNDS = 5


def key(rng: random.Random) -> PrivateKey:
    """A new key."""
    return PrivateKey(rng.randbytes(32))


def opened(ours: PrivateKey, theirs: PrivateKey, rng: random.Random) -> tuple[Connection, Connection]:
    """Two machines after handshake and Hello."""
    left = Connection(ours, (SHH,), remote=theirs.public, client_id="left", now=0.0, rng=rng)
    right = Connection(theirs, (SHH,), client_id="right", now=0.0, rng=rng)
    for _ in range(2):
        right.receive(left.data_to_send(), 0.0)
        left.receive(right.data_to_send(), 0.0)
    for each in (left, right):
        if each.next_event() is None or each.closed:
            raise SystemExit("the machines did not open")
    return left, right


def handshake_ms(rng: random.Random, rounds: int = 200) -> float:
    """Median of auth, ack and both Hellos, with the work of both ends."""
    ours, theirs = key(rng), key(rng)
    times = []
    for _ in range(rounds):
        start = time.process_time()
        opened(ours, theirs, rng)
        times.append(time.process_time() - start)
    return statistics.median(times) * 1000


def machine_frames(rng: random.Random, batch: int) -> float:
    """Frames a second through two machines, the best of some rounds."""
    left, right = opened(key(rng), key(rng), rng)
    messages = [(number % 128, rng.randbytes(SIZE)) for number in range(batch)]
    best = 0.0
    for _ in range(ROUNDS):
        received = 0
        start = time.process_time()
        for _ in range(FRAMES // ROUNDS // batch):
            left.send_many("shh", messages)
            right.receive(left.data_to_send(), 0.0)
            while (event := right.next_event()) is not None:
                received += isinstance(event, Message)
        best = max(best, received / (time.process_time() - start))
    return best


async def tcp_frames(rng: random.Random) -> float:
    """Frames a second through loopback TCP, both ends in this loop."""
    ours, theirs = key(rng), key(rng)
    received = 0
    done = asyncio.Event()

    async def count(peer: rlpx.Peer) -> None:
        nonlocal received
        while received < FRAMES:
            received += len(await peer.receive_many())
        done.set()

    async with await rlpx.serve(theirs, "127.0.0.1", 0, (SHH,), count) as server:
        peer = await rlpx.connect(ours, theirs.public, "127.0.0.1", server.port, (SHH,))
        messages = [(number % 128, rng.randbytes(SIZE)) for number in range(BATCH)]
        start = time.process_time()
        for _ in range(FRAMES // BATCH):
            await peer.send_many("shh", messages)
        await done.wait()
        return received / (time.process_time() - start)


def idle_kilobytes(rng: random.Random, count: int = 50) -> float:
    """Python memory of one open, idle connection (one end), without its socket."""
    ours, theirs = key(rng), key(rng)
    opened(ours, theirs, rng)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = [opened(ours, theirs, rng) for _ in range(count)]
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return used / (2 * len(kept)) / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    figures = {
        "handshake, both ends": Figure(handshake_ms(rng), "ms", "<= 2"),
        "frames, machines, in batches": Figure(machine_frames(rng, BATCH), "frames/s", ">= 40000"),
        "frames, machines, one by one": Figure(machine_frames(rng, 1), "frames/s"),
        "frames, TCP": Figure(asyncio.run(tcp_frames(rng)), "frames/s", ">= 27000"),
        "idle connection, one end": Figure(idle_kilobytes(rng), "KiB of Python"),
    }
    report("rlpx", figures, arguments.json)


if __name__ == "__main__":
    main()
