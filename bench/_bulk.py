"""Many envelopes as a network would send them, and an archive of them that is built once and kept.

What is asked of such an archive must be known exactly, so of some topics every position is written down beside it.
"""

from __future__ import annotations

import json
import multiprocessing
import multiprocessing.connection
import os
import random
import shutil
import time
from bisect import bisect, bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from offchain import rlp
from offchain.hashing import keccak256
from offchain.mailserver.archive.base import CURSOR_SIZE, Archive
from offchain.mailserver.archive.lmdb import LmdbArchive

DAY = 86_400
TOPICS = 25_000
COMMIT = 1_000
SIZE = 400
NOW = 20_000 * DAY
"""The moment after the last envelope; the first was sent two days before."""

KNOWN_TOPICS = 1_000
"""Topics whose positions are written down; which they are is drawn like the envelopes' own."""

FORMAT = 1
"""Of the kept archive; another is built anew."""


@dataclass(slots=True)
class Stored:
    raw: bytes
    hash: bytes
    topic: bytes
    sent: int


class Senders:
    """Envelopes of 400 bytes, Zipf over 25,000 topics, in the order of their time, a little shuffled."""

    def __init__(self, rng: random.Random, count: int) -> None:
        self._rng = rng
        self._count = count
        self.topics = [rng.randbytes(4) for _ in range(TOPICS)]
        self.weights = list(accumulate(1 / rank for rank in range(1, TOPICS + 1)))
        self._data = rng.randbytes(4096)

    def topic(self) -> bytes:
        """A topic, drawn as often as it is used."""
        return self.topics[bisect(self.weights, self._rng.random() * self.weights[-1])]

    def batch(self, first: int) -> list[Stored]:
        """The envelopes from that number on, as many as a commit takes."""
        rng, made = self._rng, []
        for number in range(first, min(first + COMMIT, self._count)):
            sent = NOW - 2 * DAY + number * 2 * DAY // self._count - rng.randrange(20)
            topic, at = self.topic(), rng.randrange(4096 - SIZE)
            head = rlp.encode(sent + 50) + b"\x32" + b"\x84" + topic
            nonce = rng.getrandbits(63) | 1 << 63  # an integer has no leading zeros
            data = rlp.encode(self._data[at : at + SIZE - 40])
            raw = rlp.encode_list([head, data, b"\x88" + nonce.to_bytes(8, "big")])
            made.append(Stored(raw, keccak256(raw), topic, sent))
        return made

    def batches(self) -> Iterator[list[Stored]]:
        """All of them."""
        return (self.batch(first) for first in range(0, self._count, COMMIT))


class Known:
    """Every position of some topics, to be compared with what a server answers."""

    def __init__(self, positions: dict[bytes, list[bytes]]) -> None:
        self.positions = {topic: sorted(each) for topic, each in positions.items()}
        self.topics = sorted(self.positions)

    def page(self, topics: tuple[bytes, ...], lower: int, upper: int, limit: int, cursor: bytes) -> list[bytes]:
        """The positions that a page must hold, in order: no other, and none missing."""
        start = max(lower.to_bytes(4, "big"), cursor + b"\0" if cursor else b"")
        end = (upper + 1).to_bytes(4, "big")
        found: list[bytes] = []
        for topic in set(topics):
            of_topic = self.positions[topic]
            first = bisect_left(of_topic, start)
            found += of_topic[first : min(bisect_left(of_topic, end), first + limit)]
        return sorted(found)[:limit]

    def save(self, path: Path) -> None:
        """One line of counts by topic, then the positions."""
        with path.open("wb") as file:
            file.write(json.dumps({topic.hex(): len(each) for topic, each in self.positions.items()}).encode() + b"\n")
            for each in self.positions.values():
                file.writelines(each)

    @classmethod
    def load(cls, path: Path) -> Known:
        """As `save` wrote it."""
        with path.open("rb") as file:
            counts = json.loads(file.readline())
            return cls(
                {
                    bytes.fromhex(topic): [file.read(CURSOR_SIZE) for _ in range(count)]
                    for topic, count in counts.items()
                }
            )


def fill(archive: Archive, batches: Iterator[list[Stored]]) -> tuple[float, float]:
    """Store batch by batch; the seconds that the archive took for it, and the slowest commit's milliseconds."""
    spent = slowest = 0.0
    for batch in batches:
        begin = time.perf_counter()
        archive.add_many(batch)
        took = time.perf_counter() - begin
        spent += took
        slowest = max(slowest, took)
    return spent, slowest * 1e3


def kept(folder: Path, count: int, seed: int) -> tuple[Path, Known, dict[str, float]]:
    """An archive of so many envelopes, what is known of it, and what filling it took. Built if it is not there."""
    home = folder / f"{count}-{seed}-{FORMAT}"
    done = home / "built.json"
    if not done.exists():
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        archive = LmdbArchive(home / "archive")
        rng = random.Random(seed)
        senders = Senders(rng, count)
        of_interest = {senders.topic() for _ in range(3 * KNOWN_TOPICS)}
        positions: dict[bytes, list[bytes]] = {topic: [] for topic in sorted(of_interest)[:KNOWN_TOPICS]}
        spent, slowest = fill(archive, _noted(made_beside(senders), positions))
        Known(positions).save(home / "known")
        size = sum(day.size for day in archive.days())
        archive.close()
        done.write_text(json.dumps({"seconds": spent, "slowest": slowest, "bytes": size}), encoding="ascii")
    return home / "archive", Known.load(home / "known"), json.loads(done.read_text(encoding="ascii"))


def warm(files: Iterable[Path], cold: bool = False) -> None:
    """Have the system hold files in memory, as it does after some time of serving; or forget them."""
    for file in files:
        with file.open("rb") as opened:
            if cold:
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            else:
                while opened.read(2**24):
                    pass


def _noted(batches: Iterator[list[Stored]], positions: dict[bytes, list[bytes]]) -> Iterator[list[Stored]]:
    """The same batches; what is of interest of them is written down."""
    for batch in batches:
        for each in batch:
            if each.topic in positions:
                positions[each.topic].append(each.sent.to_bytes(4, "big") + each.hash)
        yield batch


def made_beside(senders: Senders) -> Iterator[list[Stored]]:
    """The senders' batches, made by a process of their own so that the archive need not wait for them."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    maker = context.Process(target=_make, args=(senders, theirs), daemon=True)
    maker.start()
    theirs.close()
    try:
        while batch := ours.recv():
            yield [Stored(*each) for each in batch]
    finally:
        ours.close()
        maker.join()


def _make(senders: Senders, pipe: multiprocessing.connection.Connection) -> None:
    for batch in senders.batches():
        pipe.send([(each.raw, each.hash, each.topic, each.sent) for each in batch])
    pipe.send([])
