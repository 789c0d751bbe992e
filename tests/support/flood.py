"""A running node under a million packets from spoofed sources: does its memory stay flat, are real peers still served?

    python -m tests.support.flood --packets 1000000

The node is `waypost node run` in a process of its own. The packets come from sockets bound to addresses all over
127.0.0.0/8, a fresh set every so often: random bytes, first packets of strangers, handshakes and WHOAREYOU that nobody
asked for, and some of these with bits changed or ends cut off. Between them a friend who has a session pings, and must
be answered each time, which also paces the flood by what the node takes; it keeps within the rate that a node grants to
an address, as peers do. Newcomers knock until they are let in.
Ends with 1 if memory grew, a friend or newcomer was not served, or something longer than a WHOAREYOU came back.
"""

from __future__ import annotations

import argparse
import json
import random
import select
import socket
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import psutil

from offchain.discovery import packet as packets
from offchain.discovery.message import Pong
from offchain.discovery.packet import Mask, WhoAreYou
from offchain.enr import Enr
from tests.support.node_process import running_node
from tests.support.prober import REPLY_PATIENCE, Prober, Silence, prober

SOURCES = 200
"""Sockets at a time."""

TURNOVER = 20_000
"""Packets until all sources are others."""

BREATH = 200
"""Packets between two PINGs."""

PING_INTERVAL = 1 / 160
"""Seconds from one PING to the next, at least: a node answers 200 requests a second to an address (`Limits`)."""

NEWCOMERS = 20
"""Friends that make a session in the midst of it."""

WARM = 0.25
"""Part of the packets in which the stores may fill, up to their bounds."""

GROWTH = 16 * 2**20
"""Bytes that memory may grow after that."""

WHOAREYOU_SIZE = 63


def packet(rng: random.Random, node: Enr) -> bytes:
    """One packet that nobody should be impressed by."""
    mask, iv, nonce, stranger = Mask(node.node_id), rng.randbytes(16), rng.randbytes(12), rng.randbytes(32)
    choice = rng.randrange(8)
    if choice == 0:
        return rng.randbytes(rng.randrange(1, 1_400))
    if choice == 1:
        made = packets.encode(mask, packets.whoareyou_header(iv, nonce, rng.randbytes(16), 0))
    elif choice == 2:
        header = packets.handshake_header(iv, nonce, stranger, rng.randbytes(64), b"\2" + rng.randbytes(32))
        made = packets.encode(mask, header, rng.randbytes(60))
    else:
        header = packets.ordinary_header(iv, nonce, stranger)
        made = packets.encode(mask, header, rng.randbytes(rng.randrange(20, 200)))
    if choice in (4, 5):
        at = rng.randrange(len(made))
        return made[:at] + bytes((made[at] ^ 1 << rng.randrange(8),)) + made[at + 1 :]
    return made[: rng.randrange(len(made))] if choice == 6 else made


class Sources:
    """Sockets at addresses drawn from 127.0.0.0/8."""

    def __init__(self, rng: random.Random) -> None:
        self.answers: dict[int, int] = {}
        """How many datagrams of each size came back."""

        self._rng = rng
        self._sockets: list[socket.socket] = []

    def change(self) -> None:
        """Others in their place."""
        self.close()
        for _ in range(SOURCES):
            each = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._sockets.append(each)
            ip = ".".join(["127", *(str(self._rng.randrange(1, 255)) for _ in range(3))])
            each.bind((ip, 0))
            each.setblocking(False)

    def send(self, datagram: bytes, target: tuple[str, int]) -> None:
        """From one of them."""
        self._rng.choice(self._sockets).sendto(datagram, target)

    def close(self) -> None:
        """Take in the answers, close the sockets."""
        for each in self._sockets:
            try:
                while True:
                    size = len(each.recv(2_048))
                    self.answers[size] = self.answers.get(size, 0) + 1
            except BlockingIOError:
                pass
            each.close()
        self._sockets = []


class Newcomers:
    """Friends without a session. They knock until they are let in: in a flood, WHOAREYOU are rationed."""

    def __init__(self, node: Enr, stack: ExitStack) -> None:
        self.began = 0
        self.served = 0
        self.knocks: list[int] = []
        """How often each had to knock."""

        self._node = node
        self._stack = stack
        self._waiting: list[Prober] = []

    def begin(self) -> None:
        """One more."""
        self.began += 1
        self._waiting.append(self._stack.enter_context(prober(self._node)))
        self.knocks.append(0)

    def go_on(self) -> None:
        """The one who waits longest looks whether it was challenged, and proves who it is; else knocks again."""
        if not self._waiting:
            return
        newcomer = self._waiting[0]
        if select.select([newcomer.socket], [], [], 0)[0]:
            challenge = newcomer.read()
            assert isinstance(challenge, WhoAreYou)
            datagram, newcomer.keys = newcomer.handshake(challenge, newcomer.ping())
            newcomer.send_raw(datagram)
            try:
                assert isinstance(newcomer.read(REPLY_PATIENCE), Pong)
            except Silence:
                return  # the challenge was over
            self.served += 1
            del self._waiting[0]
        else:
            self.knocks[self.served] += 1
            newcomer.send_raw(newcomer.random_packet())


def flood(count: int, seed: int) -> dict[str, object]:
    """Send so many packets; what was seen."""
    rng = random.Random(seed)
    count = max(count // BREATH, 1) * BREATH
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        running = stack.enter_context(running_node(Path(folder)))
        node, memory = running.record, psutil.Process(running.process.pid).memory_info
        friend = stack.enter_context(prober(node))
        friend.meet()
        sources = Sources(rng)
        newcomers = Newcomers(node, stack)
        start, slowest, warm = time.monotonic(), 0.0, 0
        asked = start
        begin = memory().rss
        for sent in range(0, count, BREATH):
            if sent % TURNOVER == 0:
                sources.change()
            for _ in range(BREATH):
                sources.send(packet(rng, node), running.address)
            time.sleep(max(0.0, asked + PING_INTERVAL - time.monotonic()))
            asked = time.monotonic()
            friend.ask(friend.ping())  # Silence, an error, if it is not answered
            slowest = max(slowest, time.monotonic() - asked)
            if sent >= WARM * count and not warm:
                warm = memory().rss
            newcomers.go_on()
            if sent * NEWCOMERS // count >= newcomers.began:
                newcomers.begin()
            if sent % (count // 10 // BREATH * BREATH or BREATH) == 0:
                print(f"{sent:>9,} packets  {memory().rss / 2**20:6.1f} MB", file=sys.stderr, flush=True)
        sources.close()
        end, seconds = memory().rss, time.monotonic() - start
        return {
            "packets": count,
            "seconds": round(seconds, 1),
            "packetsPerSecond": round(count / seconds),
            "memoryAtStart": begin,
            "memoryWarm": warm,
            "memoryAtEnd": end,
            "grewAfterWarm": end - warm,
            "pingsAnswered": count // BREATH,
            "newcomersServed": newcomers.served,
            "newcomersKnocks": newcomers.knocks,
            "slowestPingMs": round(slowest * 1_000, 1),
            "answersBySize": sources.answers,
            "allNewcomersServed": newcomers.served == NEWCOMERS,
            "flat": end - warm <= GROWTH,
            "noAmplification": set(sources.answers) <= {WHOAREYOU_SIZE},
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packets", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    seen = flood(arguments.packets, arguments.seed)
    print(json.dumps(seen, indent=1))
    return 0 if seen["flat"] and seen["noAmplification"] and seen["allNewcomersServed"] else 1


if __name__ == "__main__":
    sys.exit(main())
