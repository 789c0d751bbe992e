"""How many envelopes can one core judge, open and carry a second?

An envelope is judged when it is decoded and hashed, and its times, proof of work and topic are checked. "On one
connection" is the whole way: two shh/6 sessions over two RLPx machines in this thread, in packets of about 256 KiB.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench._report import Figure, report
from bench.rlpx import opened
from offchain.keys import PrivateKey
from offchain.rlpx.connection import Message
from offchain.whisper import cipher
from offchain.whisper.bloom import merge, topic_bloom
from offchain.whisper.envelope import Envelope, PowRule, encode_many, mine
from offchain.whisper.protocol import EnvelopesReceived, ShhSession, Status
from offchain.whisper.sealed import AnswerOpener, AnswerSealer

NOW = 1_700_000_000
MIN_POW = 0.002
PAYLOAD = 150
COUNT = 2_000
SECONDS = 1.0


def rate(work: Callable[[], int], seconds: float = SECONDS) -> float:
    """How many a second, `work` telling how many it did: the best of the rounds that fit."""
    best = 0.0
    end = time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        done = work()
        best = max(best, done / (time.perf_counter() - start))
    return best


def envelopes(rng: random.Random, key: bytes) -> list[Envelope]:
    """Envelopes as apps send them: 150 bytes of text, sealed and padded, a minute to live."""
    topics = [rng.randbytes(4) for _ in range(100)]
    made = []
    for _ in range(COUNT):
        data = cipher.seal_sym(key, rng.randbytes(PAYLOAD))
        made.append(mine(NOW + 60, 60, rng.choice(topics), data, MIN_POW))
    return made


def judge(session: ShhSession, payload: bytes, expected: int) -> int:
    """Judge one packet of envelopes."""
    event = session.receive(1, payload, NOW)
    if not isinstance(event, EnvelopesReceived) or len(event.envelopes) != expected:
        raise SystemExit("an envelope was refused")
    return expected


def carried(rng: random.Random, made: list[Envelope]) -> Callable[[], int]:
    """Send the envelopes from one end of a connection to the other."""
    left, right = opened(PrivateKey(rng.randbytes(32)), PrivateKey(rng.randbytes(32)), rng)
    ours, theirs = ShhSession(Status(), NOW), ShhSession(Status(MIN_POW), NOW)
    for session, other in ((ours, theirs), (theirs, ours)):
        for code, payload in session.packets_to_send():
            other.receive(code, payload, NOW)

    def work() -> int:
        ours.send_envelopes(made, known_pow=MIN_POW)
        left.send_many("shh", ours.packets_to_send())
        right.receive(left.data_to_send(), 0.0)
        count = 0
        while (message := right.next_event()) is not None:
            if not isinstance(message, Message):
                raise SystemExit(f"the connection failed: {message}")
            event = theirs.receive(message.code, message.payload, NOW)
            count += len(event.envelopes) if isinstance(event, EnvelopesReceived) else 0
        if count != len(made):
            raise SystemExit(f"{len(made) - count} envelopes were lost")
        return count

    return work


def attempts(rule: PowRule) -> Callable[[], int]:
    """Mine, counting the nonces tried."""
    number = 0

    def work() -> int:
        nonlocal number
        number += 1
        return mine(NOW + 60, 60, b"abcd", number.to_bytes(300, "big"), 2.0, rule).nonce + 1

    return work


def opener(open_one: Callable[[bytes], object], sealed: list[bytes]) -> Callable[[], int]:
    """Open every one of some sealed messages."""

    def work() -> int:
        for data in sealed:
            open_one(data)
        return len(sealed)

    return work


def answer(client: PrivateKey, server: PrivateKey, content: bytes, count: int) -> Callable[[], int]:
    """Seal one packet of an answer and open it again."""

    def work() -> int:
        sealed = AnswerSealer(server, client.public, bytes(32)).seal(content)
        if AnswerOpener(client, server.public, bytes(32)).open(sealed) != content:
            raise SystemExit("an answer was changed")
        return count

    return work


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    key, signer, reader = rng.randbytes(32), PrivateKey(rng.randbytes(32)), PrivateKey(rng.randbytes(32))
    made = envelopes(rng, key)
    packet = encode_many(made)
    bloom = merge(*(topic_bloom(each.topic) for each in made))
    session = ShhSession(Status(MIN_POW, bloom), NOW)
    session.receive(0, Status().encode(), NOW)
    text = rng.randbytes(PAYLOAD)
    sealed = {
        "shared key": opener(lambda data: cipher.open_sym(key, data), [cipher.seal_sym(key, text)] * 500),
        "shared key, signed": opener(
            lambda data: cipher.open_sym(key, data), [cipher.seal_sym(key, text, signer) for _ in range(200)]
        ),
        "public key": opener(
            lambda data: cipher.open_asym(reader, data), [cipher.seal_asym(reader.public, text) for _ in range(200)]
        ),
        "public key, signed": opener(
            lambda data: cipher.open_asym(reader, data),
            [cipher.seal_asym(reader.public, text, signer) for _ in range(200)],
        ),
    }
    part = encode_many(made[:256])
    figures = {
        "judged": Figure(rate(lambda: judge(session, packet, COUNT)), "envelopes/s"),
        "on one connection": Figure(rate(carried(rng, made)), "envelopes/s", ">= 20000"),
        **{f"opened, {name}": Figure(rate(work), "messages/s") for name, work in sealed.items()},
        "in sealed answers": Figure(rate(answer(reader, signer, part, 256)), "envelopes/s"),
        "sealed, shared key": Figure(rate(opener(lambda data: cipher.seal_sym(key, data), [text] * 500)), "messages/s"),
        "mined, leading zeros": Figure(rate(attempts(PowRule.LEADING), 2 * SECONDS), "hashes/s"),
        "mined, trailing zeros": Figure(rate(attempts(PowRule.TRAILING), 2 * SECONDS), "hashes/s"),
    }
    report("whisper", figures, arguments.json)


if __name__ == "__main__":
    main()
