"""RLP, strict: Ethereum's encoding of byte strings and lists of them (Yellow Paper, appendix B).

    0x00..0x7f                 the byte itself
    0x80..0xb7  len            a string of 0 to 55 bytes
    0xb8..0xbf  len-of-len     a longer string; its length follows, big endian, no leading zeros
    0xc0..0xf7  len            a list whose items take 0 to 55 bytes
    0xf8..0xff  len-of-len     a longer list

Every value has one encoding; any other is refused. An integer is its big-endian bytes without leading zeros.

Our own because every datagram, envelope and proof passes through it: see docs/decisions/0003-own-rlp.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias, Union

from offchain.errors import DecodeError

Item: TypeAlias = Union[bytes, list["Item"]]
"""What decoding gives: bytes, or a list of items."""

Encodable: TypeAlias = Union[bytes, int, str, Sequence["Encodable"]]
"""What encoding takes: bytes, a non-negative integer, text (as UTF-8), or a sequence of these."""

MAX_DEPTH = 16
"""Lists in lists deeper than this are refused; nothing Waypost speaks nests deeper than 5."""

MAX_LISTS = 8_192
"""Lists in one item, and items of a list that is split: more are refused. An empty list is one byte on the wire and a
hundred in memory; a mebibyte of them would keep the loop busy for a second. The most that honest peers send are the
envelopes of a packet, some 3,500 in a mebibyte."""


class RlpError(DecodeError):
    """The bytes are not RLP of the expected shape."""


def encode(item: Encodable) -> bytes:
    """The RLP of an item."""
    if isinstance(item, bytes):
        size = len(item)
        if size == 1 and item[0] < 0x80:
            return item
        if size < 56:
            return bytes((0x80 + size,)) + item
        return _long(0xB7, size) + item
    if isinstance(item, int):
        if item < 0:
            raise ValueError(f"{item} is negative; RLP has no negative integers")
        return encode(int_to_bytes(item))
    if isinstance(item, str):
        return encode(item.encode())
    if isinstance(item, (bytearray, memoryview)):
        return encode(bytes(item))
    return encode_list([encode(each) for each in item])


def encode_list(encoded: Sequence[bytes]) -> bytes:
    """The RLP of a list whose items are encoded already."""
    body = b"".join(encoded)
    size = len(body)
    if size < 56:
        return bytes((0xC0 + size,)) + body
    return _long(0xF7, size) + body


def decode(data: bytes) -> Item:
    """The one item that `data` is the RLP of; RlpError if it is anything else."""
    item, end = decode_prefix(data)
    if end != len(data):
        raise RlpError(f"{len(data) - end} bytes follow the item")
    return item


def decode_list(data: bytes) -> list[Item]:
    """The items of the list that `data` is the RLP of."""
    return as_list(decode(data))


def decode_prefix(data: bytes) -> tuple[Item, int]:
    """The first item in `data`, and where it ends. For EIP-8 and others that allow bytes to follow."""
    return _item(data, 0, len(data), 0, [MAX_LISTS])


def split_list(data: bytes) -> list[bytes]:
    """The items of a list, each still encoded: for records that are kept as they came.

    The items' own insides are not looked at.
    """
    if not data or data[0] < 0xC0:
        raise RlpError("not a list")
    _, start, end = _span(data, 0, len(data))
    if end != len(data):
        raise RlpError(f"{len(data) - end} bytes follow the list")
    items: list[bytes] = []
    while start < end:
        if len(items) == MAX_LISTS:
            raise RlpError(f"the list has more than {MAX_LISTS} items")
        _, _, item_end = _span(data, start, end)
        items.append(data[start:item_end])
        start = item_end
    return items


def as_bytes(item: Item, size: int | None = None) -> bytes:
    """The item if it is a string (of that size); RlpError otherwise."""
    if not isinstance(item, bytes):
        raise RlpError("found a list, expected a string")
    if size is not None and len(item) != size:
        raise RlpError(f"found a string of {len(item)} bytes, expected {size}")
    return item


def as_list(item: Item, size: int | None = None) -> list[Item]:
    """The item if it is a list (of that many items); RlpError otherwise."""
    if not isinstance(item, list):
        raise RlpError("found a string, expected a list")
    if size is not None and len(item) != size:
        raise RlpError(f"found a list of {len(item)} items, expected {size}")
    return item


def as_int(item: Item, max_bytes: int = 8) -> int:
    """The item as an integer of at most that many bytes, without leading zeros; RlpError otherwise."""
    if not isinstance(item, bytes):
        raise RlpError("found a list, expected an integer")
    if len(item) > max_bytes:
        raise RlpError(f"found an integer of {len(item)} bytes, expected at most {max_bytes}")
    if item[:1] == b"\0":
        raise RlpError("found an integer with a leading zero")
    return int.from_bytes(item, "big")


def int_to_bytes(value: int) -> bytes:
    """Big endian, no leading zeros; zero is the empty string."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def _long(base: int, size: int) -> bytes:
    length = int_to_bytes(size)
    return bytes((base + len(length),)) + length


def _span(data: bytes, at: int, limit: int) -> tuple[bool, int, int]:
    """Whether the item at `at` is a list, where its content starts, and where it ends."""
    if at >= limit:
        raise RlpError("an item is missing")
    first = data[at]
    if first < 0x80:
        return False, at, at + 1
    is_list = first >= 0xC0
    short_size = first - (0xC0 if is_list else 0x80)
    if short_size < 56:
        start, end = at + 1, at + 1 + short_size
        if end > limit:
            raise RlpError(f"an item of {short_size} bytes runs past the end")
        if short_size == 1 and not is_list and data[start] < 0x80:
            raise RlpError("a single byte below 0x80 is encoded as a string of one byte")
        return is_list, start, end
    start = at + 1 + short_size - 55
    if start > limit:
        raise RlpError("a length runs past the end")
    if data[at + 1] == 0:
        raise RlpError("a length has a leading zero")
    size = int.from_bytes(data[at + 1 : start], "big")
    if size < 56:
        raise RlpError(f"a length of {size} is written in the long form")
    if size > limit - start:
        raise RlpError(f"an item of {size} bytes runs past the end")
    return is_list, start, start + size


def _item(data: bytes, at: int, limit: int, depth: int, lists_left: list[int]) -> tuple[Item, int]:
    is_list, start, end = _span(data, at, limit)
    if not is_list:
        return data[start:end], end
    if depth >= MAX_DEPTH:
        raise RlpError(f"lists nest deeper than {MAX_DEPTH}")
    lists_left[0] -= 1
    if lists_left[0] < 0:
        raise RlpError(f"there are more than {MAX_LISTS} lists")
    items: list[Item] = []
    while start < end:
        # The commonest items, short strings, without the cost of two calls.
        first = data[start]
        if first < 0x80:
            items.append(data[start : start + 1])
            start += 1
        elif 0x82 <= first < 0xB8:
            next_start = start + first - 0x7F
            if next_start > end:
                raise RlpError(f"an item of {first - 0x80} bytes runs past the end")
            items.append(data[start + 1 : next_start])
            start = next_start
        else:
            item, start = _item(data, start, end, depth + 1, lists_left)
            items.append(item)
    return items, end
