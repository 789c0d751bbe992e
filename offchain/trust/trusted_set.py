"""Who is trusted: chain facts seen through the user's policy, and what changed.

A listed node is trusted for its kind when, in the adopted facts AND at the head,

    it is in the list of a provider, by the same addition, and not expired;
    that provider is chosen by the user, or accepted by at least `threshold` of the user's curators;
    neither the provider nor the node is blocked by the user;

and the proof of the adopted facts is not too old. So an addition counts when it is final and proven, a removal as soon
as the head shows it, and a removal that is reorganised away never was. The user's own nodes are trusted always.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from offchain.chain.events import VerdictStatus
from offchain.chain.facts import Facts, Listing, Verdict
from offchain.chain.ledger import EVERYTHING, Touched
from offchain.chain.listings import gather
from offchain.chain.news import Update
from offchain.trust.explain import Explanation, explain, worth
from offchain.trust.freshness import Freshness, Limits, freshness
from offchain.trust.policy import OwnNode, Policy
from offchain.types import Kind, KindId, NodeAddress, NodeId, ProviderId, node_address

FOREVER: Final = float("inf")
NOT_TRUSTED: Final = 0.0

_NOBODY: Final[dict[NodeId, float]] = {}


class TrustChange(NamedTuple):
    """A node began or ceased to be trusted for a kind."""

    kind: Kind
    node_id: NodeId
    trusted: bool
    reason: str
    """One sentence for people."""
    block: int | None
    """The head when it was seen; None if no block caused it."""
    seen_at: float
    """Unix time."""


@dataclass(frozen=True, slots=True)
class TrustedNode:
    """A node that is trusted now."""

    kind: Kind
    node_id: NodeId
    provider: ProviderId | None
    """Who lists it; None if it is only the user's own."""
    expires_at: int | None
    """Unix time at which the listing ends."""
    own: OwnNode | None
    """The user's entry, if it is an own node."""


@dataclass(frozen=True, slots=True)
class Shipped:
    """Facts that came with the software, believed as far as the software is, until something is proven."""

    facts: Facts
    block: int
    at: float
    """Unix time of that block."""
    until: float
    """Unix time from which they are too old."""


class TrustedSet:
    """The user's view of the chain. A fold: each step returns what it changed."""

    def __init__(self, policy: Policy, limits: Limits | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self.policy = policy
        self.version = 0
        """Counts the steps that changed something."""
        self.adopted = Facts()
        self.head = self.adopted
        self.block: int | None = None
        self.proven_at: float | None = None
        self.proven_block: int | None = None
        self.alarm: str | None = None
        self.shipped: Shipped | None = None
        self._limits = limits or Limits()
        self._clock = clock
        self._until: dict[Kind, dict[NodeId, float]] = {}
        self._serves_until = NOT_TRUSTED
        self._accepted: dict[tuple[ProviderId, KindId], float] = {}
        self._served = False
        self._retreating = False
        self._settled = True
        """Whether nothing that was taken back is in doubt."""
        self._withheld: set[tuple[Kind, NodeId]] = set()
        """Nodes that were not trusted before a retreat, and would be only because of it."""
        self._content_deadline = FOREVER
        self._advanced_at = 0.0
        self._rebuild(self._clock())

    # Asking

    def is_trusted(self, kind: Kind, node_id: NodeId) -> bool:
        """Whether the node is trusted for the kind now."""
        now = self._clock()
        if now < self._content_deadline and now < self._serves_until:
            return node_id in self._until.get(kind, _NOBODY)  # Nothing has ended: who is there is trusted.
        until = self._until.get(kind, _NOBODY).get(node_id, NOT_TRUSTED)
        return now < until and (now < self._serves_until or until == FOREVER)

    def why(self, kind: Kind, node_id: NodeId) -> str:
        """One sentence: why the node is trusted for the kind, or why not."""
        return self.explain(kind, node_id).summary

    def explain(self, kind: Kind, node_id: NodeId) -> Explanation:
        """The whole chain of reasons."""
        return explain(self, kind, node_id, self._clock())

    def worth(self) -> str:
        """One sentence: how far the answers can be relied on, and why."""
        return worth(self, self._clock())

    def state(self, now: float | None = None) -> Freshness:
        """How much the answers are worth."""
        return freshness(self._clock() if now is None else now, self.proven_at, self.alarm, self._limits)

    def nodes(self, kind: Kind) -> list[TrustedNode]:
        """All nodes trusted for the kind now."""
        own = {each.node_id: each for each in self.policy.own if each.kind == kind}
        found = []
        for node_id in self._until.get(kind, ()):
            if self.is_trusted(kind, node_id):
                listing = self.adopted.listing(node_address(node_id))
                listed = listing is not None and listing.node_id == node_id
                found.append(
                    TrustedNode(
                        kind,
                        node_id,
                        listing.origin.provider if listed and listing else None,
                        listing.expires_at if listed and listing else None,
                        own.get(node_id),
                    )
                )
        return found

    def is_withheld(self, kind: Kind, node_id: NodeId) -> bool:
        """Whether the node would be trusted only because an endpoint took back what was said before."""
        return (kind, node_id) in self._withheld

    def withheld(self) -> frozenset[tuple[Kind, NodeId]]:
        """All who are withheld now, for the next process to know."""
        return frozenset(self._withheld)

    def count(self, kind: Kind) -> int:
        """How many nodes are trusted for the kind now."""
        now = self._clock()
        if now < min(self._content_deadline, self._serves_until):
            return len(self._until.get(kind, ()))
        return sum(self.is_trusted(kind, node_id) for node_id in self._until.get(kind, ()))

    def next_deadline(self) -> float:
        """Unix time at which `advance` has something to do; infinity if never."""
        return min(self._content_deadline, self._proof_deadline())

    def accepted_until(self, facts: Facts, provider: ProviderId, kind: KindId, now: float) -> float:
        """Until when the policy accepts a provider for a kind, by these facts; 0 if it does not now."""
        policy = self.policy
        if provider in policy.blocked:
            return NOT_TRUSTED
        if provider in policy.chosen:
            return FOREVER
        ends = []
        for curator in policy.curators:
            verdict = self.verdict_in_force(facts, curator, provider, kind, now)
            if verdict is not None and verdict.status == VerdictStatus.ACCEPTED:
                ends.append(verdict.until or FOREVER)
        if len(ends) < policy.threshold:
            return NOT_TRUSTED
        return sorted(ends, reverse=True)[policy.threshold - 1]

    @staticmethod
    def verdict_in_force(
        facts: Facts, curator: bytes, provider: ProviderId, kind: KindId, now: float
    ) -> Verdict | None:
        """A curator's verdict for the kind or, if that is None or over, the one for all kinds; None if neither is."""
        for each in (kind, KindId(0)):
            verdict = facts.verdict((curator, provider, each))  # type: ignore[arg-type]
            if (
                verdict is not None
                and verdict.status != VerdictStatus.NONE
                and (not verdict.until or now < verdict.until)
            ):
                return verdict
        return None

    # Changing

    def apply(self, update: Update, *, wanted: bool = True) -> list[TrustChange]:
        """Take in what the chain says. If the changes are not wanted, none are returned, which is cheaper."""
        now = self._clock()
        self.adopted, self.head, self.block = update.adopted, update.head, update.block
        self.proven_at = update.proven.at if update.proven else None
        self.proven_block = update.proven.block if update.proven else None
        self.alarm = update.alarm
        touched = update.touched
        if self.shipped is not None:
            touched = EVERYTHING
            self._see_shipped(update)
        self._set_service()
        if update.settled and self._withheld:
            self._withheld.clear()
            touched = EVERYTHING
        self._withheld |= update.withheld
        self._settled, self._retreating = update.settled, update.retreat
        try:
            return self._take(touched, now, wanted)
        finally:
            self._retreating = False

    def _see_shipped(self, update: Update) -> None:
        """What is proven replaces what was shipped; before that, the head may already say who was removed since."""
        if update.proven is not None:
            self.shipped = None
        elif self.shipped is not None:
            self.adopted = self.shipped.facts
            if update.block < self.shipped.block:
                self.head = self.shipped.facts

    def _take(self, touched: Touched, now: float, wanted: bool) -> list[TrustChange]:
        if now >= self._content_deadline or self._serves(now) != self._served:
            touched = EVERYTHING
        if touched.nodes is None or touched.providers is None:
            return self._rebuild(now, wanted=wanted)
        nodes = set(touched.nodes)
        if touched.providers:
            self._accepted.clear()
            self._content_deadline = float(min(self._content_deadline, self._verdicts_end(now)))
            nodes.update(
                each.node_id for each in self.adopted.all_listings() if each.origin.provider in touched.providers
            )
        return self._reconsider(nodes, now) if nodes else []

    def ship(self, shipped: Shipped) -> None:
        """Believe these facts until something is proven."""
        self.shipped = shipped
        self.adopted = self.head = shipped.facts
        self._rebuild(self._clock(), block=False)

    def set_policy(self, policy: Policy) -> list[TrustChange]:
        """Let the user see the same facts differently. While they are in doubt nobody becomes trusted by that."""
        self.policy = policy
        self._retreating = not self._settled
        try:
            return self._rebuild(self._clock(), block=False)
        finally:
            self._retreating = False

    def advance(self) -> list[TrustChange]:
        """Let time pass: listings and verdicts end, proofs grow old. Call at `next_deadline`."""
        now = self._clock()
        return self._rebuild(now, block=False) if now >= self.next_deadline() else []

    # Inside

    def _listed_until(self, listing: Listing, now: float) -> float:
        """Until when the listing makes its node trusted; 0 if it does not now."""
        node_id = listing.node_id
        at_head = self.head.listing(node_address(node_id))
        if at_head is None or at_head.origin != listing.origin or at_head.node_id != node_id:
            return NOT_TRUSTED
        if node_id in self.policy.blocked_nodes:
            return NOT_TRUSTED
        origin = listing.origin
        until = min(self._provider_until(origin.provider, origin.kind, now), listing.expires_at)
        return until if now < until else NOT_TRUSTED

    def _reconsider(self, nodes: Iterable[bytes], now: float) -> list[TrustChange]:
        """Look again at some nodes, named by id or by address."""
        changes: list[TrustChange] = []
        own = {(each.kind, each.node_id) for each in self.policy.own}
        for name in nodes:
            node = NodeAddress(name[-20:])
            listing = self.adopted.listing(node)
            removal = self.adopted.removal(node)
            ids = {NodeId(name)} if len(name) == 32 else set()
            if removal is not None:
                ids.add(removal.node_id)
            listed_as = None
            if listing is not None:
                kind = self.adopted.kind_name(listing.origin.kind)
                if kind is not None:
                    listed_as = (kind, listing.node_id)
                    self._set(*listed_as, self._listed_until(listing, now), own, now, changes)
                ids.add(listing.node_id)
            # A key is in one list at most: whatever else it was trusted for, it is not any more.
            for other, known in self._until.items():
                for node_id in ids:
                    if node_id in known and (other, node_id) != listed_as:
                        self._set(other, node_id, NOT_TRUSTED, own, now, changes)
        if changes:
            self.version += 1
        return changes

    def _set(
        self,
        kind: Kind,
        node_id: NodeId,
        until: float,
        own: set[tuple[Kind, NodeId]],
        now: float,
        changes: list[TrustChange],
    ) -> None:
        if (kind, node_id) in own:
            until = FOREVER
        elif until and self._is_withheld(kind, node_id, self._until):
            until = NOT_TRUSTED
        known = self._until.get(kind)
        if known is None:
            known = self._until[kind] = {}
        before = known.get(node_id, NOT_TRUSTED)
        if until == before:
            return
        if until:
            known[node_id] = until
            self._content_deadline = float(min(self._content_deadline, until))
        else:
            del known[node_id]
        # If nothing but own nodes is served, nobody was told of this one and nobody is to be told now.
        if self._served and bool(until) != bool(before):
            reason = self.explain(kind, node_id).summary
            changes.append(TrustChange(kind, node_id, bool(until), reason, self.block, now))

    def _rebuild(self, now: float, *, block: bool = True, wanted: bool = True) -> list[TrustChange]:
        """Look again at everything."""
        served = self._served
        before = self._until
        self._set_service()
        self._accepted.clear()
        until: dict[Kind, dict[NodeId, float]] = {}
        names = self.adopted.all_kinds()
        by_id: dict[KindId, dict[NodeId, float]] = {kind: until.setdefault(name, {}) for kind, name in names.items()}
        apart = self.adopted.relisted() | self.head.relisted()
        ends = [self._verdicts_end(now), self._rebuild_base(by_id, apart, now)]
        for node in apart:
            listing = self.adopted.listing(node)
            end = self._listed_until(listing, now) if listing is not None else NOT_TRUSTED
            if end and listing is not None and listing.origin.kind in by_id:
                by_id[listing.origin.kind][listing.node_id] = end
                ends.append(end)
        if self._retreating or self._withheld:
            for kind, known in until.items():
                for node_id in [each for each in known if self._is_withheld(kind, each, before)]:
                    del known[node_id]
        for own in self.policy.own:
            until.setdefault(own.kind, {})[own.node_id] = FOREVER
        self._until = until
        self._served = self._serves(now)
        self._advanced_at = now
        self._content_deadline = float(min(ends))
        if not wanted:
            self.version += 1
            return []
        changes = self._differences(before, served, now, self.block if block else None)
        if changes:
            self.version += 1
        return changes

    def _is_withheld(self, kind: Kind, node_id: NodeId, before: dict[Kind, dict[NodeId, float]]) -> bool:
        """Whether the node would be trusted only since an endpoint took back what it, or another one, had said."""
        if self._retreating and node_id not in before.get(kind, _NOBODY):
            self._withheld.add((kind, node_id))
        return (kind, node_id) in self._withheld

    def _rebuild_base(self, by_id: dict[KindId, dict[NodeId, float]], apart: set[NodeAddress], now: float) -> float:
        """The nodes that adopted facts and the head see alike, which are nearly all; when the first of them ends."""

        def list_of(provider: ProviderId, kind: KindId) -> tuple[dict[NodeId, float], float] | None:
            accepted = self._provider_until(provider, kind, now)
            return (by_id[kind], accepted) if now < accepted and kind in by_id else None

        # Nothing is below the base: it hides nobody. Two integers are compared sooner than an integer and the time.
        first = gather(self.adopted.base().listings, apart, math.floor(now), list_of)
        for node_id in self.policy.blocked_nodes:
            for known in by_id.values():
                known.pop(node_id, None)
        return first

    def _provider_until(self, provider: ProviderId, kind: KindId, now: float) -> float:
        """Until when a provider is accepted for a kind both by the adopted facts and at the head; 0 if it is not."""
        accepted = self._accepted.get((provider, kind))
        if accepted is None:
            accepted = self.accepted_until(self.adopted, provider, kind, now)
            if accepted and self.head is not self.adopted:
                accepted = min(accepted, self.accepted_until(self.head, provider, kind, now))
            self._accepted[provider, kind] = accepted
        return accepted

    def _differences(
        self, before: dict[Kind, dict[NodeId, float]], served: bool, now: float, block: int | None
    ) -> list[TrustChange]:
        """What a consumer who knew the one view must be told to know the other."""
        changes: list[TrustChange] = []
        reasons: dict[tuple[ProviderId, KindId, Kind, bool], str] = {}
        for kind in sorted({*before, *self._until}):
            old, new = before.get(kind, _NOBODY), self._until.get(kind, _NOBODY)
            if not served:
                old = {node: end for node, end in old.items() if end == FOREVER}
            if not self._served:
                new = {node: end for node, end in new.items() if end == FOREVER}
            for node_id in old:
                if node_id not in new:
                    reason = self._reason(kind, node_id, False, reasons, now)
                    changes.append(TrustChange(kind, node_id, False, reason, block, now))
            for node_id in new:
                if node_id not in old:
                    reason = self._reason(kind, node_id, True, reasons, now)
                    changes.append(TrustChange(kind, node_id, True, reason, block, now))
        return changes

    def _reason(
        self,
        kind: Kind,
        node_id: NodeId,
        trusted: bool,
        known: dict[tuple[ProviderId, KindId, Kind, bool], str],
        now: float,
    ) -> str:
        """Why a node is trusted, or not. Thousands change for what concerns their provider: they share a sentence."""
        node = node_address(node_id)
        listing = self.adopted.listing(node)
        if (
            listing is None
            or listing.node_id != node_id
            or listing.expires_at <= now
            or node_id in self.policy.blocked_nodes
            or self._until.get(kind, _NOBODY).get(node_id) == FOREVER
            or (self.head is not self.adopted and self.head.listing(node) != listing)
        ):
            return self.explain(kind, node_id).summary
        key = (listing.origin.provider, listing.origin.kind, kind, trusted)
        if key not in known:
            known[key] = self.explain(kind, node_id).summary
        return known[key]

    def _serves(self, now: float) -> bool:
        return now < self._serves_until

    def _set_service(self) -> None:
        if self.proven_at is not None:
            self._serves_until = self.proven_at + self._limits.keep_for
        else:
            self._serves_until = NOT_TRUSTED if self.shipped is None else self.shipped.until

    def _proof_deadline(self) -> float:
        """When the age of the proof changes something next."""
        if self.proven_at is None:
            until = FOREVER if self.shipped is None else self.shipped.until
            return until if until > self._advanced_at else FOREVER
        ends = (self.proven_at + self._limits.fresh_for, self.proven_at + self._limits.keep_for)
        return min((end for end in ends if end > self._advanced_at), default=FOREVER)

    def _verdicts_end(self, now: float) -> float:
        """When the next verdict of one of the user's curators ends."""
        curators = frozenset(self.policy.curators)
        return min(
            (
                verdict.until
                for facts in ((self.adopted,) if self.head is self.adopted else (self.adopted, self.head))
                for (curator, _, _), verdict in facts.all_verdicts().items()
                if curator in curators and now < verdict.until
            ),
            default=FOREVER,
        )
