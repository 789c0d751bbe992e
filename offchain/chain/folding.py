"""The fold of many logs into the stage, with a record of what they changed.

The same as decoding each and applying it, but an addition of one node, which is what nearly every log of a long history
is, is taken in at once: no event is built, and its provider and kind are those of an event decoded before. Logs that
were read in C are folded there too, from one that is something else to the next.

The stage is written at once, so each node is looked for in its large dictionary once only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from offchain.chain.events import UINT32_MAX, NodesAdded, PlainLog, decode
from offchain.chain.facts import Facts, Listing, Origin
from offchain.chain.listings import Listings
from offchain.chain.native import native
from offchain.types import KindId, NodeAddress, ProviderId

Lists = dict[bytes, tuple[ProviderId, KindId]]
"""The list that the topics of an addition name, for those that were decoded."""

_SIZE: Final = 3 * 32 + 5 * 32
"""Bytes of the addition of one node: event, provider, kind; version, expiry, offset and length of the array, node."""

_ONE: Final = (96).to_bytes(32, "big") + (1).to_bytes(32, "big")
"""The offset and length of an array of one."""

_TOO_LARGE: Final = (1 << 512) - 1 - (UINT32_MAX << 256 | UINT32_MAX)
"""What may not be set in version and expiry."""


def fold(stage: Facts, logs: Sequence[PlainLog]) -> Facts:
    """Take logs into the stage, in their order; what they changed, as a layer of its own.

    DecodeError at the first that cannot be; those before it are then in the stage.
    """
    changed = Facts()
    packed = native is not None and isinstance(logs, native.Logs)
    (_fold_packed if packed else _fold_one_by_one)(stage, changed, logs)  # type: ignore[arg-type]
    return changed


def merge(lower: Facts, upper: Facts) -> None:
    """Write a layer into the one below it, which is itself a layer."""
    lower.listings.update(upper.listings)
    lower.removals.update(upper.removals)
    lower.verdicts.update(upper.verdicts)
    lower.providers.update(upper.providers)
    lower.kinds.update(upper.kinds)
    lower.operators.update(upper.operators)
    lower.enrs.update(upper.enrs)
    if upper.settings_here is not None:
        lower.settings_here = upper.settings_here


def _fold_packed(stage: Facts, changed: Facts, logs: native.Logs) -> None:
    lists: Lists = {}
    at, below = 0, _below(stage)
    while (at := logs.fold(at, stage.listings, changed.listings, below, lists, Origin, Listing)) < len(logs):
        _take(stage, changed, logs[at], lists)
        at += 1


def _fold_one_by_one(stage: Facts, changed: Facts, logs: Sequence[PlainLog]) -> None:
    lists: Lists = {}
    number, listings, layers = int.from_bytes, stage.listings, [stage.listings, *_below(stage)]
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
                listing = Listing(payload[224:], numbers & UINT32_MAX, origin)  # type: ignore[arg-type]
                listings[node] = changed.listings[node] = listing
                continue
        _take(stage, changed, log, lists)


def _take(stage: Facts, changed: Facts, log: PlainLog, lists: Lists) -> None:
    """Decode a log and apply it."""
    event = decode(log)
    layer = Facts(stage)
    layer.apply(event)
    merge(stage, layer)
    merge(changed, layer)
    if isinstance(event, NodesAdded):
        lists[log.payload[:96]] = event.provider, event.kind


def _below(layer: Facts) -> list[Listings]:
    return [below.listings for below in layer.all_below() if below.listings]
