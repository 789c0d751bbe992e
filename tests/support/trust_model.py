"""Who is to be trusted, worked out from a chain of objects anew each time: short enough to be checked by eye."""

from dataclasses import dataclass

ACCEPTED = 1


@dataclass(frozen=True)
class Entry:
    """A node in a provider's list."""

    provider: int
    expires_at: int
    place: tuple
    """Block and index of the log that listed it."""


@dataclass(frozen=True)
class View:
    """What a chain says after one of its blocks."""

    listed: dict
    """By node id."""
    verdicts: dict
    """By curator and provider: status, and until when."""

    @classmethod
    def of(cls, blocks):
        listed, verdicts = {}, {}
        for block in blocks:
            for index, said in enumerate(block.said):
                name = said.event.__name__
                if name == "NodesAdded":
                    expires_at, ids = said.values
                    place = (block.number, index)
                    listed.update({node: Entry(said.indexed[0], expires_at, place) for node in ids})
                elif name == "NodesRemoved":
                    gone = {bytes.fromhex(address[2:]) for address in said.values[1]}
                    listed = {node: entry for node, entry in listed.items() if node[12:] not in gone}
                elif name == "NodesRenewed":
                    renewed = {bytes.fromhex(address[2:]) for address in said.values[1]}
                    for node, entry in listed.items():
                        if node[12:] in renewed:
                            listed[node] = Entry(entry.provider, said.values[0], entry.place)
                elif name == "VerdictChanged":
                    verdicts[said.contract, said.indexed[0]] = said.values[:2]
        return cls(listed, verdicts)

    def accepts(self, provider, policy, now):
        """Whether the policy accepts the provider."""
        if provider in policy.blocked or provider in policy.chosen:
            return provider not in policy.blocked
        verdicts = [self.verdicts.get((curator, provider), (0, 0)) for curator in policy.curators]
        return sum(status == ACCEPTED and not 0 < until <= now for status, until in verdicts) >= policy.threshold


def trusted(adopted, head, policy, now):
    """The nodes that are trusted: by the adopted view and the one at the head, in the policy's eyes."""
    own = {each.node_id for each in policy.own}
    return own | {
        node
        for node, entry in adopted.listed.items()
        if node in head.listed
        and head.listed[node].place == entry.place
        and now < entry.expires_at
        and node not in policy.blocked_nodes
        and adopted.accepts(entry.provider, policy, now)
        and head.accepts(entry.provider, policy, now)
    }


def removable(view, provider):
    """The nodes that a provider can remove or renew, in order."""
    return sorted(node for node, entry in view.listed.items() if entry.provider == provider)
