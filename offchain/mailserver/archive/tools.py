"""What an operator does with an archive while no server uses it: look whether it is sound, copy it out and in.

    file      = "waypost envelopes 1\\n" || entry ... || 00000000 || count u64 || SHA-256 of everything before
    entry     = size u32 || RLP of an envelope        all integers big endian; envelopes in the archive's order

A copy is the same whatever the archive is kept in, so that copying is also moving from LMDB to PostgreSQL or back.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from offchain.errors import DecodeError
from offchain.mailserver.archive.base import MAX_SENT, SECONDS_PER_DAY, Archive, Query, position
from offchain.whisper.envelope import Envelope, EnvelopeError

MAGIC = b"waypost envelopes 1\n"
PAGE = 500
MAX_SIZE = 16 * 1024 * 1024
"""Bytes of one envelope in a copy."""

SAMPLE = 32
"""Of so many envelopes one is also looked up by its topic."""

MAX_FAULTS = 20
"""Faults that are told in full; all are counted."""

_SIZE = struct.Struct(">I")
_COUNT = struct.Struct(">Q")

Progress = Callable[[int], None]
"""Told how many envelopes have been looked at."""


class CopyError(DecodeError):
    """The file is not a copy of an archive, or not a whole one."""


@dataclass(slots=True)
class Report:
    """What a check found."""

    envelopes: int = 0
    looked_up: int = 0
    faults: int = 0
    texts: list[str] = field(default_factory=list)
    """The first faults, in words."""

    def fault(self, text: str) -> None:
        """Note a fault."""
        self.faults += 1
        if len(self.texts) < MAX_FAULTS:
            self.texts.append(text)


def check(archive: Archive, progress: Progress = lambda count: None) -> Report:
    """Read every envelope: whether it is one, of the hash and time it is kept under, and found by its topic."""
    report = Report()
    for at, raw in _entries(archive, 0, MAX_SENT):
        report.envelopes += 1
        if report.envelopes % PAGE == 0:
            progress(report.envelopes)
        where = f"at {int.from_bytes(at[:4], 'big')} {at[4:].hex()[:16]}"
        if raw is None:
            report.fault(f"{where}: listed but not there")
            continue
        try:
            envelope = Envelope.decode(raw)
        except EnvelopeError as error:
            report.fault(f"{where}: {error}")
            continue
        if position(envelope.sent, envelope.hash) != at:
            report.fault(f"{where}: holds an envelope of another time or hash")
        elif (report.envelopes - 1) % SAMPLE == 0:
            report.looked_up += 1
            before = (int.from_bytes(at, "big") - 1).to_bytes(len(at), "big") if any(at) else b""
            query = Query(envelope.sent, envelope.sent, (envelope.topic,), None, 1, before)
            if archive.query(query).envelopes != [raw]:
                report.fault(f"{where}: not found by its topic")
    return report


def export(
    archive: Archive, file: BinaryIO, lower: int = 0, upper: int = MAX_SENT, progress: Progress = lambda count: None
) -> int:
    """Write a copy of what was sent from lower to upper, both included; how many envelopes it holds."""
    digest = hashlib.sha256()

    def write(data: bytes) -> None:
        digest.update(data)
        file.write(data)

    write(MAGIC)
    count = 0
    for _, raw in _entries(archive, lower, upper):
        if raw is None:
            continue
        write(_SIZE.pack(len(raw)) + raw)
        count += 1
        if count % PAGE == 0:
            progress(count)
    write(_SIZE.pack(0) + _COUNT.pack(count))
    file.write(digest.digest())
    return count


def import_(archive: Archive, file: BinaryIO, progress: Progress = lambda count: None) -> tuple[int, int]:
    """Take in a copy; how many envelopes it held, and how many of them were new.

    CopyError if it is damaged: what came before the damage is in the archive then, and taking it in again does no harm.
    """
    count = new = 0
    batch: list[Envelope] = []
    for raw in read_copy(file):
        try:
            batch.append(Envelope.decode(raw))
        except EnvelopeError as error:
            raise CopyError(f"entry {count + 1} is not an envelope: {error}") from None
        count += 1
        if len(batch) >= PAGE:
            new += sum(archive.add_many(batch))
            batch = []
            progress(count)
    return count, new + sum(archive.add_many(batch))


def read_copy(file: BinaryIO) -> Iterator[bytes]:
    """The envelopes in a copy. CopyError at the place of a damage, or at the end if something is missing."""
    digest = hashlib.sha256()

    def read(size: int) -> bytes:
        data = file.read(size)
        if len(data) != size:
            raise CopyError("the copy ends in the middle: it was cut off")
        digest.update(data)
        return data

    if file.read(len(MAGIC)) != MAGIC:
        raise CopyError(f"not a copy of an archive: expected it to begin with {MAGIC.decode().strip()!r}")
    digest.update(MAGIC)
    count = 0
    while (size := _SIZE.unpack(read(_SIZE.size))[0]) != 0:
        if size > MAX_SIZE:
            raise CopyError(f"entry {count + 1} has {size} bytes, expected at most {MAX_SIZE}")
        yield read(size)
        count += 1
    (promised,) = _COUNT.unpack(read(_COUNT.size))
    if promised != count:
        raise CopyError(f"the copy holds {count} envelopes, expected {promised}")
    expected = digest.digest()
    if file.read(len(expected)) != expected or file.read(1):
        raise CopyError("the copy is damaged: its digest is another")


def _entries(archive: Archive, lower: int, upper: int) -> Iterator[tuple[bytes, bytes | None]]:
    """Everything that was sent from lower to upper, in order."""
    for day in archive.days():
        first, last = max(lower, day.day * SECONDS_PER_DAY), min(upper, (day.day + 1) * SECONDS_PER_DAY - 1)
        if first > last:
            continue
        begin, end = first.to_bytes(4, "big"), last.to_bytes(4, "big") + b"\xff" * 33
        while page := archive.positions(begin, end, PAGE):
            yield from zip(page, archive.get_many(page), strict=True)
            begin = page[-1] + b"\0"
