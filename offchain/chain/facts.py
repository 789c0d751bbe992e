"""Facts: what the registry's and the curators' events add up to. Facts are not trust.

Facts come in layers. The base holds what is proven; a layer above it holds only what later events changed, `None`
where they took something away. So a reorganisation is undone by dropping a layer, and proving one is writing it down.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import msgspec

from offchain.chain.events import (
    UINT24_MAX,
    AdditionsPaused,
    AdminTransferred,
    AdminTransferStarted,
    Event,
    KindCreated,
    NodeEnr,
    NodesAdded,
    NodesRemoved,
    NodesRenewed,
    OperatorSet,
    ProviderCreated,
    ProviderMetadata,
    RemovalReason,
    SuccessorAnnounced,
    VerdictChanged,
    VerdictStatus,
)
from offchain.errors import DecodeError
from offchain.types import Address, Kind, KindId, NodeAddress, NodeId, ProviderId

NO_ADDRESS: Final = Address(bytes(20))


class FactsError(DecodeError):
    """An event contradicts those before it: the contract cannot have emitted both."""


class Origin(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where and by whom something was said."""

    provider: ProviderId
    kind: KindId
    block: int
    log_index: int
    """Of the log in its block."""
    tx: bytes


class Listing(msgspec.Struct, frozen=True, gc=False):
    """A node in a provider's list."""

    node_id: NodeId
    expires_at: int
    """Unix time from which it no longer counts."""
    origin: Origin
    """When it was listed; renewals keep it."""


class Removal(msgspec.Struct, frozen=True, gc=False):
    """The last time a node left a list."""

    node_id: NodeId
    reason: RemovalReason
    origin: Origin


class Verdict(NamedTuple):
    """What a curator says of a provider for a kind."""

    status: VerdictStatus
    until: int
    """Unix time from which it no longer counts; 0 if it does not end."""
    weight: int
    block: int
    tx: bytes


class Provider(NamedTuple):
    """A provider."""

    admin: Address
    pending_admin: Address
    """Twenty zeros if nobody was offered it."""
    metadata_uri: str
    block: int
    tx: bytes


class Enr(NamedTuple):
    """A record that a provider published for a node; unchecked."""

    seq: int
    record: bytes


class Settings(NamedTuple):
    """What concerns the registry as a whole."""

    paused_until: int = 0
    successor: Address = NO_ADDRESS


VerdictKey = tuple[Address, ProviderId, KindId]
TABLES: Final = ("listings", "removals", "verdicts", "providers", "kinds", "operators", "enrs")


class Facts:
    """One layer of facts; reads fall through to the layers below."""

    def __init__(self, below: Facts | None = None) -> None:
        self.below = below
        self._chain: tuple[Facts, ...] = (self,) if below is None else (self, *below._layers())
        self.listings: dict[NodeAddress, Listing | None] = {}
        self.removals: dict[NodeAddress, Removal | None] = {}
        self.verdicts: dict[VerdictKey, Verdict | None] = {}
        self.providers: dict[ProviderId, Provider | None] = {}
        self.kinds: dict[KindId, Kind | None] = {}
        self.operators: dict[tuple[ProviderId, Address], bool | None] = {}
        self.enrs: dict[NodeAddress, Enr | None] = {}
        self.settings_here: Settings | None = None

    # Reading

    def listing(self, node: NodeAddress) -> Listing | None:
        """The node's listing, expired or not."""
        layer: Facts | None = self
        while layer is not None:
            if node in layer.listings:
                return layer.listings[node]
            layer = layer.below
        return None

    def removal(self, node: NodeAddress) -> Removal | None:
        """The last time the node left a list."""
        layer: Facts | None = self
        while layer is not None:
            if node in layer.removals:
                return layer.removals[node]
            layer = layer.below
        return None

    def verdict(self, key: VerdictKey) -> Verdict | None:
        """The verdict stored under the key itself."""
        layer: Facts | None = self
        while layer is not None:
            if key in layer.verdicts:
                return layer.verdicts[key]
            layer = layer.below
        return None

    def provider(self, provider: ProviderId) -> Provider | None:
        """The provider, None if there is none."""
        layer: Facts | None = self
        while layer is not None:
            if provider in layer.providers:
                return layer.providers[provider]
            layer = layer.below
        return None

    def kind_name(self, kind: KindId) -> Kind | None:
        """The name of a kind."""
        layer: Facts | None = self
        while layer is not None:
            if kind in layer.kinds:
                return layer.kinds[kind]
            layer = layer.below
        return None

    def enr(self, node: NodeAddress) -> Enr | None:
        """The record published for the node."""
        layer: Facts | None = self
        while layer is not None:
            if node in layer.enrs:
                return layer.enrs[node]
            layer = layer.below
        return None

    def settings(self) -> Settings:
        """What concerns the registry as a whole."""
        layer: Facts | None = self
        while layer is not None:
            if layer.settings_here is not None:
                return layer.settings_here
            layer = layer.below
        return Settings()

    def is_operator(self, provider: ProviderId, account: Address) -> bool:
        """Whether the account may manage the provider's nodes without being its admin."""
        layer: Facts | None = self
        while layer is not None:
            if (provider, account) in layer.operators:
                return bool(layer.operators[provider, account])
            layer = layer.below
        return False

    def all_kinds(self) -> dict[KindId, Kind]:
        """All kinds by id."""
        return dict(_merged(self, "kinds"))

    def all_providers(self) -> dict[ProviderId, Provider]:
        """All providers by id."""
        return dict(_merged(self, "providers"))

    def all_verdicts(self) -> dict[VerdictKey, Verdict]:
        """All verdicts there are."""
        return dict(_merged(self, "verdicts"))

    def all_listings(self) -> Iterable[Listing]:
        """All listings, expired ones included."""
        if self.below is None:
            return self.listings.values()  # type: ignore[return-value]
        return [listing for _, listing in _merged(self, "listings")]

    def listing_count(self) -> int:
        """How many listings there are, expired ones included."""
        apart = self.relisted()
        base = self.base().listings
        there = sum(self.listing(node) is not None for node in apart)
        return len(base) - sum(node in base for node in apart) + there

    def all_removals(self) -> Iterable[Removal]:
        """For every node that ever left a list, the last time it did."""
        return [removal for _, removal in _merged(self, "removals")]

    # Folding

    def apply(self, event: Event) -> None:
        """Take in one event; FactsError if it contradicts those before it."""
        handler = _HANDLERS.get(type(event))
        if handler is None:
            raise FactsError(f"{type(event).__name__} says nothing of the registry")
        handler(self, event)

    def absorb(self, layer: Facts) -> None:
        """Take in a layer that was built on this one, the base. The layer is of no use afterwards."""
        for name in TABLES:
            mine, theirs = getattr(self, name), getattr(layer, name)
            # Looking for the few that are gone takes longer than seeing that there are none.
            gone = [] if all(theirs.values()) else [key for key, value in theirs.items() if value is None]
            if mine:
                mine.update(theirs)
            else:
                mine = theirs
                setattr(self, name, mine)
            for key in gone:
                del mine[key]
        if layer.settings_here is not None:
            self.settings_here = layer.settings_here

    def base(self) -> Facts:
        """The lowest layer."""
        return self._layers()[-1]

    def all_below(self) -> tuple[Facts, ...]:
        """The layers below this one, from the next one down."""
        return self._chain[1:]

    def relisted(self) -> set[NodeAddress]:
        """The nodes whose listing in the base is not what this layer sees."""
        return {node for layer in self._layers()[:-1] for node in layer.listings}

    def _layers(self) -> tuple[Facts, ...]:
        """From this one down."""
        return self._chain

    def _nodes_added(self, event: NodesAdded) -> None:
        at = event.at
        origin = Origin(event.provider, event.kind, at.block, at.index, at.tx)
        expires_at, listings = event.expires_at, self.listings
        below = [layer.listings for layer in self._layers()[1:] if layer.listings]
        for node_id in event.nodes:
            node = node_id[12:]
            if node in listings:
                present = listings[node]  # type: ignore[index]
            else:
                present = None
                for layer in below:
                    if node in layer:
                        present = layer[node]  # type: ignore[index]
                        break
            if present is not None:
                raise FactsError(f"block {at.block} lists node {node.hex()}, which is listed already")
            listings[node] = Listing(node_id, expires_at, origin)  # type: ignore[index]

    def _held(self, event: NodesRemoved | NodesRenewed, node: NodeAddress) -> Listing:
        listing = self.listing(node)
        if listing is None or listing.origin.provider != event.provider or listing.origin.kind != event.kind:
            raise FactsError(
                f"block {event.at.block} names node {node.hex()} in the list of provider {event.provider} for kind "
                f"{event.kind}, where it is not"
            )
        return listing

    def _nodes_removed(self, event: NodesRemoved) -> None:
        at = event.at
        origin = Origin(event.provider, event.kind, at.block, at.index, at.tx)
        for node in event.nodes:
            listing = self._held(event, node)
            if self.below is None:
                del self.listings[node]
            else:
                self.listings[node] = None
            self.removals[node] = Removal(listing.node_id, event.reason, origin)

    def _nodes_renewed(self, event: NodesRenewed) -> None:
        for node in event.nodes:
            listing = self._held(event, node)
            self.listings[node] = Listing(listing.node_id, event.expires_at, listing.origin)

    def _node_enr(self, event: NodeEnr) -> None:
        self.enrs[event.node] = Enr(event.seq, event.enr)

    def _provider_created(self, event: ProviderCreated) -> None:
        if self.provider(event.provider) is not None:
            raise FactsError(f"block {event.at.block} creates provider {event.provider}, which there is already")
        at = event.at
        self.providers[event.provider] = Provider(event.admin, NO_ADDRESS, event.metadata_uri, at.block, at.tx)

    def _known(self, provider: ProviderId, at_block: int) -> Provider:
        found = self.provider(provider)
        if found is None:
            raise FactsError(f"block {at_block} changes provider {provider}, which there is not")
        return found

    def _provider_metadata(self, event: ProviderMetadata) -> None:
        found = self._known(event.provider, event.at.block)
        self.providers[event.provider] = found._replace(metadata_uri=event.metadata_uri)

    def _admin_transfer_started(self, event: AdminTransferStarted) -> None:
        found = self._known(event.provider, event.at.block)
        self.providers[event.provider] = found._replace(pending_admin=event.pending_admin)

    def _admin_transferred(self, event: AdminTransferred) -> None:
        found = self._known(event.provider, event.at.block)
        self.providers[event.provider] = found._replace(admin=event.new_admin, pending_admin=NO_ADDRESS)

    def _operator_set(self, event: OperatorSet) -> None:
        self._known(event.provider, event.at.block)
        self.operators[event.provider, event.operator] = True if event.allowed else None
        if not event.allowed and self.below is None:
            del self.operators[event.provider, event.operator]

    def _kind_created(self, event: KindCreated) -> None:
        if self.kind_name(event.kind) is not None:
            raise FactsError(f"block {event.at.block} creates kind {event.kind}, which there is already")
        self.kinds[event.kind] = event.name

    def _additions_paused(self, event: AdditionsPaused) -> None:
        self.settings_here = self.settings()._replace(paused_until=event.until)

    def _successor_announced(self, event: SuccessorAnnounced) -> None:
        self.settings_here = self.settings()._replace(successor=event.successor)

    def _verdict_changed(self, event: VerdictChanged) -> None:
        if event.provider > UINT24_MAX or event.kind > UINT24_MAX:
            return  # The registry has no such provider or kind, and never will.
        verdict = Verdict(event.status, event.until, event.weight, event.at.block, event.at.tx)
        self.verdicts[event.curator, event.provider, event.kind] = verdict


def _merged(facts: Facts, table: str) -> Iterator[tuple]:  # type: ignore[type-arg]
    """What a table holds, seen through all layers."""
    layers = facts._layers()
    if len(layers) == 1:
        yield from getattr(facts, table).items()
        return
    seen = {}
    for layer in reversed(layers):
        seen.update(getattr(layer, table))
    for key, value in seen.items():
        if value is not None:
            yield key, value


_HANDLERS: Final[dict[type[Event], Any]] = {
    NodesAdded: Facts._nodes_added,
    NodesRemoved: Facts._nodes_removed,
    NodesRenewed: Facts._nodes_renewed,
    NodeEnr: Facts._node_enr,
    ProviderCreated: Facts._provider_created,
    ProviderMetadata: Facts._provider_metadata,
    AdminTransferStarted: Facts._admin_transfer_started,
    AdminTransferred: Facts._admin_transferred,
    OperatorSet: Facts._operator_set,
    KindCreated: Facts._kind_created,
    AdditionsPaused: Facts._additions_paused,
    SuccessorAnnounced: Facts._successor_announced,
    VerdictChanged: Facts._verdict_changed,
}
