"""What each of the user's curators says of a provider, and how many of them must say yes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from offchain.chain.events import VerdictStatus
from offchain.trust.policy import Policy
from offchain.types import Address, KindId, ProviderId

if TYPE_CHECKING:
    from offchain.trust.trusted_set import TrustedSet


class Says(Enum):
    """What a curator's verdict comes to."""

    ACCEPTS = "accepts"
    ACCEPTS_SOON = "accepts, which is not final yet"
    REJECTS = "rejects"
    NOTHING = "says nothing"


@dataclass(frozen=True, slots=True)
class Voice:
    """A curator on a provider."""

    curator: Address
    says: Says
    until: int | None = None
    """Unix time at which the verdict ends; None if it has no end, or there is none."""


def voices(trust: TrustedSet, provider: ProviderId, kind: KindId, now: float) -> tuple[Voice, ...]:
    """Every curator of the policy: a yes counts when it is final, a no as soon as the head shows it."""
    found = []
    for curator in trust.policy.curators:
        head = trust.verdict_in_force(trust.head, curator, provider, kind, now)
        final = trust.verdict_in_force(trust.adopted, curator, provider, kind, now)
        if head is None:
            found.append(Voice(curator, Says.NOTHING))
        elif head.status != VerdictStatus.ACCEPTED:
            found.append(Voice(curator, Says.REJECTS, head.until or None))
        else:
            settled = final is not None and final.status == VerdictStatus.ACCEPTED
            found.append(Voice(curator, Says.ACCEPTS if settled else Says.ACCEPTS_SOON, head.until or None))
    return tuple(found)


def rule(policy: Policy) -> str:
    """Whose word it takes, in a sentence."""
    needed, there = policy.threshold, len(policy.curators)
    if not there:
        return "you have no curators: only providers that you chose, and your own nodes, are trusted"
    if needed > there:
        return f"{needed} curators must accept a provider, and you have {there}: none is accepted by them"
    if there == 1:
        return "one curator decides alone: whom it accepts is trusted, and nobody checks it"
    if needed == 1:
        return f"each of your {there} curators decides alone: one that accepts is enough"
    return f"{needed} of your {there} curators must accept a provider"
