"""The fold of many logs into a layer of facts.

The same as decoding each and applying it, but an addition of one node, which is what nearly every log of a long history
is, is taken in at once: no event is built, and its provider and kind are those of an event decoded before. Logs that
were read in C are folded there too, from one that is something else to the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from offchain.chain.events import UINT32_MAX, NodesAdded, PlainLog, decode
from offchain.chain.facts import Facts, Listing, Origin
from offchain.chain.native import native
from offchain.types import KindId, NodeAddress, ProviderId

Lists = dict[bytes, tuple[ProviderId, KindId]]
"""The list that the topics of an addition name, for those that were decoded."""

Listings = dict[NodeAddress, Listing | None]

_SIZE: Final = 3 * 32 + 5 * 32
"""Bytes of the addition of one node: event, provider, kind; version, expiry, offset and length of the array, node."""

_ONE: Final = (96).to_bytes(32, "big") + (1).to_bytes(32, "big")
"""The offset and length of an array of one."""

_TOO_LARGE: Final = (1 << 512) - 1 - (UINT32_MAX << 256 | UINT32_MAX)
"""What may not be set in version and expiry."""


def fold(layer: Facts, logs: Sequence[PlainLog]) -> None:
    """Take in logs in their order. DecodeError at the first that cannot be, with those before it taken in."""
    packed = native is not None and isinstance(logs, native.Logs)
    (_fold_packed if packed else _fold_one_by_one)(layer, logs)  # type: ignore[arg-type]


def _fold_packed(layer: Facts, logs: native.Logs) -> None:
    lists: Lists = {}
    below = _below(layer)
    at = logs.fold(0, layer.listings, below, lists, Origin, Listing)
    while at < len(logs):
        _take(layer, logs[at], lists)
        at = logs.fold(at + 1, layer.listings, below, lists, Origin, Listing)


def _fold_one_by_one(layer: Facts, logs: Sequence[PlainLog]) -> None:
    lists: Lists = {}
    listings, number = layer.listings, int.from_bytes
    layers = [listings, *_below(layer)]
    for log in logs:
        payload = log.payload
        if (
            (named := lists.get(payload[:96])) is not None
            and len(payload) == _SIZE
            and payload[160:224] == _ONE
            and not (numbers := number(payload[96:160], "big")) & _TOO_LARGE
            and log.topic_count == 3
        ):
            node: NodeAddress = payload[236:]  # type: ignore[assignment]
            for each in layers:
                if node in each:
                    break
            else:
                provider, kind = named
                origin = Origin(provider, kind, log.block, log.index, log.tx)
                listings[node] = Listing(payload[224:], numbers & UINT32_MAX, origin)  # type: ignore[arg-type]
                continue
        _take(layer, log, lists)


def _take(layer: Facts, log: PlainLog, lists: Lists) -> None:
    """Decode a log and apply it."""
    event = decode(log)
    layer.apply(event)
    if isinstance(event, NodesAdded):
        lists[log.payload[:96]] = event.provider, event.kind


def _below(layer: Facts) -> list[Listings]:
    return [below.listings for below in layer.all_below() if below.listings]
