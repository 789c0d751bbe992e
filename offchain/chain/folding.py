"""The fold of many logs into a layer of facts.

The same as decoding each and applying it, but an addition of one node, which is what nearly every log of a long history
is, is taken in at once: no event is built, and what the contract's encoding fixes is compared in one go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from offchain.chain.events import BATCH_HEAD, BATCH_ZEROS, TOPICS, UINT24_MAX, NodesAdded, PlainLog, decode
from offchain.chain.facts import Facts, Listing, Origin
from offchain.types import NodeAddress

_SINGLE: Final = 3 * 32 + 5 * 32
"""Bytes of topics and data when one node is added."""


def fold(layer: Facts, logs: Iterable[PlainLog]) -> None:
    """Take in logs in their order. DecodeError at the first that cannot be, with those before it taken in."""
    listings, added, unpack, number = layer.listings, TOPICS[NodesAdded], BATCH_HEAD.unpack_from, int.from_bytes
    layers = [listings, *(below.listings for below in layer.all_below() if below.listings)]
    for log in logs:
        payload = log.payload
        if (
            len(payload) == _SINGLE
            and log.topic_count == 3
            and payload.startswith(added)
            and not number(payload[32:224], "big") & BATCH_ZEROS
        ):
            provider, kind, _, expires_at, offset, count = unpack(payload, 32)
            node: NodeAddress = payload[236:]  # type: ignore[assignment]
            if offset == 96 and count == 1 and 0 < provider <= UINT24_MAX and 0 < kind <= UINT24_MAX:
                for each in layers:
                    if node in each:
                        break
                else:
                    origin = Origin(provider, kind, log.block, log.index, log.tx)
                    listings[node] = Listing(payload[224:], expires_at, origin)  # type: ignore[arg-type]
                    continue
        layer.apply(decode(log))
