"""Why a node is trusted for a kind, or why not: the chain of reasons in sentences that people understand."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from offchain.chain.events import RemovalReason, VerdictStatus
from offchain.chain.facts import Facts, Listing, Origin, Removal
from offchain.trust.freshness import Freshness
from offchain.trust.voices import Voice, rule, voices
from offchain.types import Address, Kind, KindId, NodeId, ProviderId, node_address

if TYPE_CHECKING:
    from offchain.trust.trusted_set import TrustedSet


@dataclass(frozen=True, slots=True)
class Explanation:
    """Whether a node is trusted for a kind, and every step that led there."""

    trusted: bool
    summary: str
    """The reason that decided."""
    reasons: tuple[str, ...]
    """All steps, in order."""
    state: Freshness = Freshness.NEVER
    provider: ProviderId | None = None
    """Who lists it, or did."""
    block: int | None = None
    """Where it was listed, or removed."""
    tx: bytes | None = None
    """By which transaction."""
    expires_at: int | None = None
    own: bool = False
    proven_block: int | None = None
    proven_age: float | None = None
    """Seconds since the facts were proven."""
    voices: tuple[Voice, ...] = ()
    """What each of the user's curators says of the provider that lists it."""


def explain(trust: TrustedSet, kind: Kind, node_id: NodeId, now: float) -> Explanation:
    """The whole chain of reasons."""
    trusted = trust.is_trusted(kind, node_id)
    own = next((each for each in trust.policy.own if (each.kind, each.node_id) == (kind, node_id)), None)
    listing = _listing(trust.adopted, kind, node_id)
    at_head = _listing(trust.head, kind, node_id)
    steps: list[str] = []
    decisive: str | None = None
    origin: Origin | None = None
    said: tuple[Voice, ...] = ()

    if own is not None:
        decisive = "your own node" + (f" ({own.label})" if own.label else "")
        steps.append(decisive)
    if listing is None:
        text, origin = _not_listed(trust, kind, node_id, at_head)
        steps.append(text)
        decisive = decisive or text
    else:
        origin = listing.origin
        steps.append(_listed(listing))
        accepted, text = _provider(trust, trust.adopted, origin.provider, origin.kind, now)
        steps.append(text)
        said = voices(trust, origin.provider, origin.kind, now)
        if origin.provider not in trust.policy.chosen | trust.policy.blocked:
            steps += [*map(_said, said), rule(trust.policy)]
        good = f"listed by provider {origin.provider}, {text}" if accepted else None
        bad = None if accepted else f"listed by provider {origin.provider}, {text}"
        if listing.expires_at <= now:
            bad = f"its listing by provider {origin.provider} expired at {_time(listing.expires_at)}"
            steps.append(bad)
        else:
            steps.append(f"its listing lasts until {_time(listing.expires_at)}")
        suspended, since = _suspended(trust, node_id, listing, at_head, accepted, now)
        if suspended:
            bad, origin = suspended, since or origin
            steps.append(suspended)
        if trust.is_withheld(kind, node_id):
            bad = "it was suspended, and what suspended it was taken back; it counts again once the head is proven"
            steps.append(bad)
        if node_id in trust.policy.blocked_nodes:
            bad = "you blocked this node"
            steps.append(bad)
        decisive = decisive or bad or good
    state, age = trust.state(now), None if trust.proven_at is None else now - trust.proven_at
    text = _proof(trust, state, age, now)
    steps.append(text)
    shipped = trust.shipped is not None and now < trust.shipped.until
    if (state is Freshness.EXPIRED or (state is Freshness.NEVER and not shipped)) and own is None:
        decisive = text
    return Explanation(
        trusted,
        decisive or steps[0],
        tuple(steps),
        state,
        origin.provider if origin else None,
        origin.block if origin else None,
        origin.tx if origin else None,
        listing.expires_at if listing else None,
        own is not None,
        trust.proven_block,
        age,
        said,
    )


def worth(trust: TrustedSet, now: float) -> str:
    """How far answers can be relied on, and why."""
    return _proof(trust, trust.state(now), None if trust.proven_at is None else now - trust.proven_at, now)


def _listing(facts: Facts, kind: Kind, node_id: NodeId) -> Listing | None:
    """The node's listing, if it is for that kind and under that very id."""
    listing = facts.listing(node_address(node_id))
    if listing is None or listing.node_id != node_id or facts.kind_name(listing.origin.kind) != kind:
        return None
    return listing


def _listed(listing: Listing) -> str:
    origin = listing.origin
    return f"listed by provider {origin.provider} in block {origin.block}, transaction 0x{origin.tx.hex()}"


def _removed(removal: Removal) -> str:
    origin = removal.origin
    if removal.reason == RemovalReason.EXPIRED:
        return f"removed in block {origin.block}: its listing by provider {origin.provider} had expired"
    return f"removed in block {origin.block} by provider {origin.provider}"


def _not_listed(trust: TrustedSet, kind: Kind, node_id: NodeId, at_head: Listing | None) -> tuple[str, Origin | None]:
    if at_head is not None:
        text = f"listed by provider {at_head.origin.provider} in block {at_head.origin.block}, which is not final yet"
        return text, at_head.origin
    node = node_address(node_id)
    other = trust.adopted.listing(node)
    if other is not None and other.node_id == node_id:
        name = trust.adopted.kind_name(other.origin.kind)
        return f"listed by provider {other.origin.provider}, but for {name}, not for {kind}", other.origin
    removal = trust.head.removal(node)
    if removal is not None and removal.node_id == node_id:
        return _removed(removal), removal.origin
    return "not in the registry", None


def _suspended(
    trust: TrustedSet, node_id: NodeId, listing: Listing, at_head: Listing | None, accepted: bool, now: float
) -> tuple[str | None, Origin | None]:
    """What the head says against the node that is not final yet."""
    if at_head is None or at_head.origin != listing.origin:
        removal = trust.head.removal(node_address(node_id))
        if removal is not None:
            return _removed(removal), removal.origin
        return "no longer listed at the head of the chain", None
    origin = listing.origin
    if accepted:
        still, text = _provider(trust, trust.head, origin.provider, origin.kind, now)
        if not still:
            return f"listed by provider {origin.provider}, {text}", None
    return None, None


def _provider(trust: TrustedSet, facts: Facts, provider: ProviderId, kind: KindId, now: float) -> tuple[bool, str]:
    """Whether the policy accepts the provider, and a clause that says so."""
    policy = trust.policy
    if provider in policy.blocked:
        return False, "which you blocked"
    if provider in policy.chosen:
        return True, "which you chose"
    if not policy.curators:
        return False, "which you did not choose; you have no curators"
    accepting: list[Address] = []
    rejecting: list[Address] = []
    for curator in policy.curators:
        verdict = trust.verdict_in_force(facts, curator, provider, kind, now)
        if verdict is not None:
            (accepting if verdict.status == VerdictStatus.ACCEPTED else rejecting).append(curator)
    if len(accepting) >= policy.threshold:
        return True, f"which {_curators(accepting)} accept{'s' if len(accepting) == 1 else ''}"
    if accepting:
        return False, f"which {len(accepting)} of your curators accept, {policy.threshold} are needed"
    if rejecting:
        return False, f"which {_curators(rejecting)} reject{'s' if len(rejecting) == 1 else ''}"
    return False, "which no curator of yours accepts"


def _said(voice: Voice) -> str:
    return f"curator 0x{voice.curator.hex()} {voice.says.value}" + (
        f" until {_time(voice.until)}" if voice.until else ""
    )


def _curators(addresses: list[Address]) -> str:
    names = ["0x" + address.hex() for address in addresses]
    return f"curator {names[0]}" if len(names) == 1 else f"curators {', '.join(names)}"


def _proof(trust: TrustedSet, state: Freshness, age: float | None, now: float) -> str:
    if age is None and trust.shipped is not None:
        text = f"from the snapshot that came with this software, of block {trust.shipped.block}"
        if now < trust.shipped.until:
            return f"{text}, {_age(now - trust.shipped.at)} old; {trust.alarm or 'nothing was proven yet'}"
        return f"the snapshot that came with this software is {_age(now - trust.shipped.at)} old: too old to be used"
    if age is None:
        return trust.alarm or "nothing was proven yet, so only your own nodes are trusted"
    text = f"proven complete at block {trust.proven_block}, {_age(age)} ago"
    if state == Freshness.EXPIRED:
        return f"the last proof is {_age(age)} old, so only your own nodes are trusted"
    if state == Freshness.TAMPERED:
        return f"frozen at what was {text}, because {trust.alarm}"
    if state == Freshness.STALE:
        return f"{text}; nothing newer is adopted until there is a new proof"
    return text


def _time(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return f"the end of time ({seconds})"


def _age(seconds: float) -> str:
    seconds = max(seconds, 0.0)
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
