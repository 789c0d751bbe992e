"""wpsync/1: the packets with which two mail servers find out what one of them lacks. RLP, beside shh/6.

    0 ask        [number, [[begin, end, fingerprint16] ...]]      what do you have there?  1 to 512 ranges
    1 tell       [number, [answer ...]]                           for the first of the ranges, at least one
                   answer = ""                                    the same as you
                          | [1, [position36 ...]]                 all positions, at most 128, ascending
                          | [2, [[end, fingerprint16] ...]]       2 to 16 parts, which together are the range
    2 fetch      [number, [position36 ...]]                       1 to 256
    3 envelopes  [number, final, [envelope ...]]                  those that are there; several packets, the last final
    4 refuse     [number, text]

    position = sent u32 big endian || envelope hash 32
    begin, end = the first bytes of a position, 0 to 36 of them: a range holds begin <= position < end, compared as
                 strings of bytes. Both lie in one window of 300 seconds (`end` may be the next window's begin).

A number names a question; the answer carries it. Both ends may ask, each for what it lacks itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from offchain import rlp
from offchain.errors import DecodeError
from offchain.mailserver.reconcile.fingerprint import SIZE as FINGERPRINT_SIZE
from offchain.rlpx.p2p import Capability

WPSYNC = Capability("wpsync", 1, 8)

ASK, TELL, FETCH, ENVELOPES, REFUSE = range(5)

WINDOW = 300
"""Seconds of `sent`."""

POSITION_SIZE = 36
MAX_RANGES = 512
MAX_LISTED = 128
MAX_PARTS = 16
MAX_FETCHED = 256
MAX_TEXT = 200
_LISTED, _DIVIDED = 1, 2


class SyncError(DecodeError):
    """The packet is not one of wpsync/1, or does not answer what was asked."""


@dataclass(frozen=True, slots=True)
class Range:
    """Positions from begin to before end."""

    begin: bytes
    end: bytes


@dataclass(frozen=True, slots=True)
class Question:
    """What do you have there? I have this."""

    range: Range
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Same:
    """What you have."""


@dataclass(frozen=True, slots=True)
class Listed:
    """All of it."""

    positions: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Divided:
    """Too many to list: the range in parts, each with its end and fingerprint."""

    parts: tuple[tuple[bytes, bytes], ...]


Told: TypeAlias = Same | Listed | Divided


@dataclass(frozen=True, slots=True)
class Ask:
    """Packet 0."""

    number: int
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Tell:
    """Packet 1."""

    number: int
    answers: tuple[Told, ...]


@dataclass(frozen=True, slots=True)
class Fetch:
    """Packet 2."""

    number: int
    positions: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Envelopes:
    """Packet 3. The envelopes are not looked into."""

    number: int
    final: bool
    raws: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Refuse:
    """Packet 4."""

    number: int
    text: str


SyncPacket: TypeAlias = Ask | Tell | Fetch | Envelopes | Refuse


def encode(packet: SyncPacket) -> tuple[int, bytes]:
    """The code and payload of a packet."""
    number = packet.number
    if isinstance(packet, Ask):
        asked = [[each.range.begin, each.range.end, each.fingerprint] for each in packet.questions]
        return ASK, rlp.encode([number, asked])
    if isinstance(packet, Tell):
        return TELL, rlp.encode([number, [_encode_told(each) for each in packet.answers]])
    if isinstance(packet, Fetch):
        return FETCH, rlp.encode([number, packet.positions])
    if isinstance(packet, Envelopes):
        parts = [rlp.encode(number), rlp.encode(int(packet.final)), rlp.encode_list(packet.raws)]
        return ENVELOPES, rlp.encode_list(parts)
    return REFUSE, rlp.encode([number, packet.text.encode()[:MAX_TEXT]])


def decode(code: int, payload: bytes) -> SyncPacket:
    """The packet with this code and payload."""
    try:
        if code == ENVELOPES:
            return _decode_envelopes(payload)
        if code not in (ASK, TELL, FETCH, REFUSE):
            raise SyncError(f"there is no packet {code}")
        first, content = rlp.as_list(rlp.decode(payload), 2)
        number = rlp.as_int(first)
        if code == ASK:
            return Ask(number, tuple(_question(each) for each in _some(content, MAX_RANGES, "ranges")))
        if code == TELL:
            return Tell(number, tuple(_told(each) for each in _some(content, MAX_RANGES, "answers")))
        if code == FETCH:
            return Fetch(number, _ascending(_some(content, MAX_FETCHED, "positions")))
        return Refuse(number, rlp.as_bytes(content)[:MAX_TEXT].decode("utf-8", "replace"))
    except rlp.RlpError as error:
        raise SyncError(f"packet {code}: {error}") from None


def window_ranges(lower: int, upper: int) -> list[Range]:
    """The windows that hold the seconds from lower to upper, oldest first."""
    first, last = max(lower, 0) // WINDOW, min(upper, 2**32 - 1) // WINDOW
    return [Range(_window_begin(at), _window_begin(at + 1)) for at in range(first, last + 1)]


def window_of(range_: Range) -> int:
    """The window that a range lies in; SyncError if it is empty or lies in none."""
    number = int.from_bytes(range_.begin[:4].ljust(4, b"\0"), "big") // WINDOW
    if not range_.begin < range_.end <= _window_begin(number + 1):
        raise SyncError(f"the range {range_.begin.hex()} to {range_.end.hex()} is not part of one window")
    return number


def _window_begin(number: int) -> bytes:
    sent = number * WINDOW
    return sent.to_bytes(4, "big") if sent < 2**32 else b"\xff" * POSITION_SIZE


def _encode_told(told: Told) -> rlp.Encodable:
    if isinstance(told, Listed):
        return [_LISTED, told.positions]
    if isinstance(told, Divided):
        return [_DIVIDED, told.parts]
    return b""


def _question(item: rlp.Item) -> Question:
    begin, end, fingerprint = rlp.as_list(item, 3)
    range_ = Range(_bound(begin), _bound(end))
    window_of(range_)
    return Question(range_, rlp.as_bytes(fingerprint, FINGERPRINT_SIZE))


def _told(item: rlp.Item) -> Told:
    if item == b"":
        return Same()
    kind, content = rlp.as_list(item, 2)
    which = rlp.as_int(kind)
    if which == _LISTED:
        positions = rlp.as_list(content)
        if len(positions) > MAX_LISTED:
            raise SyncError(f"{len(positions)} positions are listed, expected at most {MAX_LISTED}")
        return Listed(_ascending(positions))
    if which != _DIVIDED:
        raise SyncError(f"an answer is of kind {which}, expected {_LISTED} or {_DIVIDED}")
    parts = [rlp.as_list(each, 2) for each in _some(content, MAX_PARTS, "parts")]
    read = tuple((_bound(end), rlp.as_bytes(fingerprint, FINGERPRINT_SIZE)) for end, fingerprint in parts)
    if len(read) < 2 or any(a[0] >= b[0] for a, b in pairwise(read)):
        raise SyncError("a range is to be divided into 2 or more parts, in order")
    return Divided(read)


def _decode_envelopes(payload: bytes) -> Envelopes:
    items = rlp.split_list(payload)
    if len(items) != 3:
        raise SyncError(f"packet {ENVELOPES} has 3 items, found {len(items)}")
    final = rlp.as_int(rlp.decode(items[1]), 1)
    if final > 1:
        raise SyncError(f"final is {final}, expected 0 or 1")
    raws = tuple(rlp.split_list(items[2]))
    if len(raws) > MAX_FETCHED:
        raise SyncError(f"{len(raws)} envelopes came, expected at most {MAX_FETCHED}")
    return Envelopes(rlp.as_int(rlp.decode(items[0])), bool(final), raws)


def _some(item: rlp.Item, most: int, what: str) -> list[rlp.Item]:
    items = rlp.as_list(item)
    if not 1 <= len(items) <= most:
        raise SyncError(f"{len(items)} {what}, expected 1 to {most}")
    return items


def _ascending(items: Sequence[rlp.Item]) -> tuple[bytes, ...]:
    positions = tuple(rlp.as_bytes(each, POSITION_SIZE) for each in items)
    if any(a >= b for a, b in pairwise(positions)):
        raise SyncError("positions are to ascend")
    return positions


def _bound(item: rlp.Item) -> bytes:
    bound = rlp.as_bytes(item)
    if len(bound) > POSITION_SIZE:
        raise SyncError(f"a bound has {len(bound)} bytes, expected at most {POSITION_SIZE}")
    return bound
