"""Changes to the user's policy, and what they would do. Pure: a policy in, a policy out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from offchain.contact import Contact
from offchain.errors import ConfigError, DecodeError
from offchain.trust.policy import OwnNode, Policy
from offchain.types import Address, Kind, NodeId, ProviderId, parse_kind

ACTIONS = ("trust", "untrust", "block", "unblock")
MAX_LABEL = 64


@dataclass(frozen=True, slots=True)
class Preview:
    """What a change does to the nodes of a kind."""

    kind: Kind
    before: tuple[NodeId, ...]
    """Trusted without it."""
    leaving: tuple[NodeId, ...]
    joining: tuple[NodeId, ...]

    @property
    def stay(self) -> int:
        """How many of those trusted before stay."""
        return len(self.before) - len(self.leaving)

    @property
    def empties(self) -> bool:
        """Whether nothing would be left of something."""
        return bool(self.before) and self.stay + len(self.joining) == 0

    @property
    def summary(self) -> str:
        """One sentence."""
        text = f"{self.stay} of {len(self.before)} {self.kind} nodes stay"
        return text + (f", {len(self.joining)} join" if self.joining else "")

    @classmethod
    def between(cls, kind: Kind, before: Iterable[NodeId], after: Iterable[NodeId]) -> Preview:
        """From the trusted nodes with and without a change."""
        old, new = sorted(before), set(after)
        return cls(kind, tuple(old), tuple(node for node in old if node not in new), tuple(sorted(new - set(old))))


def edit_provider(policy: Policy, action: str, provider: ProviderId) -> Policy:
    """The policy after an action; equal to it if nothing changes. To trust a provider unblocks it, and the reverse."""
    if action == "trust":
        return replace(policy, chosen=policy.chosen | {provider}, blocked=policy.blocked - {provider})
    if action == "untrust":
        return replace(policy, chosen=policy.chosen - {provider})
    if action == "block":
        return replace(policy, blocked=policy.blocked | {provider}, chosen=policy.chosen - {provider})
    return replace(policy, blocked=policy.blocked - {provider})


def use_curators(policy: Policy, wanted: Sequence[str], known: Mapping[str, Address], threshold: int | None) -> Policy:
    """The policy with these curators, by name or address; without a threshold, all of them must accept.

    ConfigError for one that the deployment does not name, for nobody follows its verdicts, and for an unusable number.
    """
    addresses = {"0x" + address.hex(): address for address in known.values()} | dict(known)
    strange = [each for each in wanted if each not in addresses and each.lower() not in addresses]
    if strange:
        shown = ", ".join(f"{name} (0x{address.hex()})" for name, address in known.items())
        raise ConfigError(f"{strange[0][:42]!r} is no curator of this deployment; known: {shown or 'none'}")
    curators = tuple(dict.fromkeys(addresses.get(each) or addresses[each.lower()] for each in wanted))
    needed = len(curators) if threshold is None else threshold
    if not 1 <= needed <= len(curators):
        raise ConfigError(f"the threshold is {needed}, expected 1 to {len(curators)}, the number of curators")
    return replace(policy, curators=curators, threshold=needed)


def add_own(policy: Policy, url: str, kind: str, label: str) -> tuple[Policy, OwnNode]:
    """The policy with an own node, in place of an earlier entry of the same node. ConfigError if the text is none."""
    try:
        contact, name = Contact.parse(url), parse_kind(kind)
    except (DecodeError, ValueError) as error:
        raise ConfigError(f"{url[:40]!r} as {kind} cannot be used: {error}") from None
    if len(label) > MAX_LABEL or not label.isprintable():
        raise ConfigError(f"a label has at most {MAX_LABEL} printable characters")
    own = OwnNode(name, contact.node_id, url.strip(), label)
    return replace(policy, own=(*_without(policy, own), own)), own


def remove_own(policy: Policy, what: str) -> tuple[Policy, OwnNode]:
    """The policy without an own node, named by its id, enode, record or label. ConfigError if none or several are."""
    found = [own for own in policy.own if what in names_of(own)]
    if not found:
        known = ", ".join(own.label or "0x" + own.node_id.hex()[:16] for own in policy.own) or "none"
        raise ConfigError(f"{what[:40]!r} is none of your own nodes; known: {known}")
    if len(found) > 1:
        raise ConfigError(f"{what[:40]!r} is the name of {len(found)} of your own nodes: say which by node id")
    return replace(policy, own=_without(policy, found[0])), found[0]


def names_of(own: OwnNode) -> set[str]:
    """Everything by which a user may call an own node."""
    names = {own.node_id.hex(), "0x" + own.node_id.hex(), own.url, own.label} - {""}
    try:
        contact = Contact.parse(own.url)
    except DecodeError:
        return names
    return names | {contact.enode}


def _without(policy: Policy, own: OwnNode) -> tuple[OwnNode, ...]:
    return tuple(each for each in policy.own if (each.kind, each.node_id) != (own.kind, own.node_id))
