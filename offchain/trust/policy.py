"""The user's policy: whom to believe. Separate from what the chain says; never changed by it."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from offchain.hashing import keccak256
from offchain.types import Address, Kind, NodeId, ProviderId


@dataclass(frozen=True, slots=True)
class OwnNode:
    """A node that the user added by hand; always trusted, and marked as the user's own."""

    kind: Kind
    node_id: NodeId
    url: str = ""
    """Where it is: an enode URL or a record ("enr:...")."""
    label: str = ""
    """What the user calls it."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A listed node is trusted if its provider is chosen, or enough curators accept it, and neither is blocked."""

    curators: tuple[Address, ...] = ()
    """Whose verdicts count."""
    threshold: int = 1
    """How many of them must accept a provider."""
    chosen: frozenset[ProviderId] = frozenset()
    """Providers that the user trusts whatever curators say."""
    blocked: frozenset[ProviderId] = frozenset()
    """Providers that the user does not trust whatever curators say."""
    blocked_nodes: frozenset[NodeId] = frozenset()
    own: tuple[OwnNode, ...] = field(default=())

    def digest(self) -> bytes:
        """32 bytes, the same for policies under which the same listed nodes are trusted."""
        sets = (self.curators, self.chosen, self.blocked, self.blocked_nodes)
        return keccak256(msgspec.msgpack.encode((self.threshold, *(sorted(each) for each in sets))))

    def __post_init__(self) -> None:
        if self.threshold < 1:
            raise ValueError(f"the threshold is {self.threshold}, expected at least 1")
        if len(set(self.curators)) != len(self.curators):
            raise ValueError("a curator is named twice; one voice counts once")
