"""The loops over all listings, of which there may be very many: in C where that is built, and the same in Python."""

from __future__ import annotations

import math
from collections.abc import Callable

from offchain.chain.facts import Listing, Origin
from offchain.chain.native import native_listings as native
from offchain.types import KindId, NodeAddress, NodeId, ProviderId

Listings = dict[NodeAddress, Listing | None]

Columns = tuple[bytes, list[int], list[Origin], list[int]]
"""The ids of all nodes one after the other; and for each run of nodes that were listed together and expire together how
many they are, who listed them, and until when."""

ListOf = Callable[[ProviderId, KindId], tuple[dict[NodeId, float], float] | None]
"""Where the nodes go that a provider lists for a kind, and until when it is accepted; None if it is not."""


def columns(listings: Listings) -> Columns:
    """The listings that there are, in their order."""
    return columns_in_python(listings) if native is None else native.columns(listings, Listing, Origin)


def gather(listings: Listings, apart: set[NodeAddress], now: int, list_of: ListOf) -> float:
    """Put the nodes whose listing lasts at `now` where `list_of` says, with the time at which one of the two ends.

    Those `apart` are left out; whatever else the dictionary holds must be a listing, not None. Gives the first of these
    times, infinity if there are none.
    """
    if native is None:
        return gather_in_python(listings, apart, now, list_of)
    return native.gather(listings, apart, now, list_of, Listing, Origin)


def columns_in_python(listings: Listings) -> Columns:
    """`columns`, without C."""
    nodes, counts, origins, ends = list[NodeId](), list[int](), list[Origin](), list[int]()
    origin, expires_at = None, 0
    for each in listings.values():
        if each is None:
            continue
        nodes.append(each.node_id)
        if each.origin is origin and each.expires_at == expires_at:
            counts[-1] += 1
            continue
        origin, expires_at = each.origin, each.expires_at
        counts.append(1)
        origins.append(origin)
        ends.append(expires_at)
    return b"".join(nodes), counts, origins, ends


def gather_in_python(listings: Listings, apart: set[NodeAddress], now: int, list_of: ListOf) -> float:
    """`gather`, without C."""
    by, of, found, first = ProviderId(0), KindId(0), None, math.inf
    for node, listing in listings.items():
        if node in apart:
            continue
        origin = listing.origin  # type: ignore[union-attr]
        if origin.provider != by or origin.kind != of:
            by, of = origin.provider, origin.kind
            found = list_of(by, of)
        if found is not None and now < (expires_at := listing.expires_at):  # type: ignore[union-attr]
            known, accepted = found
            known[listing.node_id] = until = min(expires_at, accepted)  # type: ignore[union-attr]
            first = min(first, until)
    return first
