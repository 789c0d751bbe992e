"""A layer of facts as bytes: what a database keeps of final blocks.

    layer      = msgpack array of the fields of `_Layer`
    listings   columns, since there may be very many: the ids of all nodes one after the other, and for each run of
               nodes that were listed together and expire together how many they are, who listed them, and until when
    gone       nodes that the layer took out of the list of a layer below

A layer above others says only what changed; read over those below it, it gives the facts at its end.
"""

from __future__ import annotations

import struct
from itertools import islice
from typing import Annotated, Final

import msgspec

from offchain.chain.events import RemovalReason, VerdictStatus
from offchain.chain.facts import Enr, Facts, Listing, Origin, Provider, Removal, Settings, Verdict
from offchain.chain.listings import columns
from offchain.errors import DecodeError
from offchain.types import Address, Kind, KindId, NodeAddress, NodeId, ProviderId

_Bytes20 = Annotated[bytes, msgspec.Meta(min_length=20, max_length=20)]
_Bytes32 = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]


class LayerError(DecodeError):
    """The bytes are not a layer of facts."""


class _Listings(msgspec.Struct, frozen=True, array_like=True):
    nodes: bytes
    counts: list[int]
    origins: list[Origin]
    expires_at: list[int]


class _Layer(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    listings: _Listings
    gone: list[_Bytes20]
    removals: list[tuple[_Bytes32, RemovalReason, Origin]]
    verdicts: list[tuple[_Bytes20, int, int, VerdictStatus, int, bytes, int, bytes]]
    """The key, then the verdict; its weight as bytes, since msgpack has no numbers of 128 bits."""
    providers: list[tuple[int, Provider]]
    kinds: list[tuple[int, str]]
    operators: list[tuple[int, _Bytes20, bool]]
    enrs: list[tuple[_Bytes20, Enr]]
    settings: Settings | None


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(_Layer)


def encode(layer: Facts) -> bytes:
    """The bytes of one layer, without those below it."""
    return _encoder.encode(
        _Layer(
            _Listings(*columns(layer.listings)),
            [node for node, listing in layer.listings.items() if listing is None],
            [(each.node_id, each.reason, each.origin) for each in layer.removals.values() if each is not None],
            [
                (*key, each.status, each.until, each.weight.to_bytes(16, "big"), each.block, each.tx)
                for key, each in layer.verdicts.items()
                if each is not None
            ],
            [(key, each) for key, each in layer.providers.items() if each is not None],
            [(key, name) for key, name in layer.kinds.items() if name is not None],
            [(*key, bool(allowed)) for key, allowed in layer.operators.items()],
            [(node, each) for node, each in layer.enrs.items() if each is not None],
            layer.settings_here,
        )
    )


def decode(encoded: bytes) -> Facts:
    """The layer that `encode` was given, with nothing below it; LayerError if the bytes are none."""
    try:
        found = _decoder.decode(encoded)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise LayerError(f"not a layer of facts: {error}") from None
    counts = found.listings.counts
    if not len(counts) == len(found.listings.origins) == len(found.listings.expires_at) or min(counts, default=1) < 1:
        raise LayerError("the columns of the listings do not fit each other")
    layer = Facts()
    listings = layer.listings
    listings.update(dict.fromkeys(map(NodeAddress, found.gone)))
    nodes = iter(_split(found.listings.nodes, sum(counts)))
    for count, origin, expires_at in zip(
        found.listings.counts, found.listings.origins, found.listings.expires_at, strict=True
    ):
        for node_id in islice(nodes, count):
            listings[NodeAddress(node_id[12:])] = Listing(node_id, expires_at, origin)
    for removed, reason, origin in found.removals:
        layer.removals[NodeAddress(removed[12:])] = Removal(NodeId(removed), reason, origin)
    for curator, provider, kind, status, until, weight, block, tx in found.verdicts:
        verdict = Verdict(status, until, int.from_bytes(weight, "big"), block, tx)
        layer.verdicts[Address(curator), ProviderId(provider), KindId(kind)] = verdict
    layer.providers.update({ProviderId(key): each for key, each in found.providers})
    layer.kinds.update({KindId(key): Kind(name) for key, name in found.kinds})
    layer.operators.update({(ProviderId(key), Address(who)): allowed or None for key, who, allowed in found.operators})
    layer.enrs.update({NodeAddress(node): each for node, each in found.enrs})
    layer.settings_here = found.settings
    return layer


def _split(nodes: bytes, count: int) -> tuple[NodeId, ...]:
    if len(nodes) != 32 * count:
        raise LayerError(f"found {len(nodes)} bytes of {count} node ids")
    return struct.unpack("32s" * count, nodes)
