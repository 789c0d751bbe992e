"""Which blocks make up the head of the chain. No I/O: it is told headers and logs, and says what it wants next.

A chain is known by its parent hashes and by nothing else: nodes differ in what they announce on a reorganisation, and
some say nothing. A new head that does not continue ours is followed back, parent by parent, to the block that both
have. Only when the whole new branch has arrived, with its logs, does the view change: in one step, from one consistent
chain to another. Logs are asked for by block hash, so they cannot belong to a sibling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from offchain.chain.header import Header
from offchain.errors import ChainError

Body = TypeVar("Body")

MAX_BRANCH = 4_096
"""Headers that a new branch may have before it is given up: the caller should catch up by ranges instead."""

REGRESSIONS = 3
"""How often in a row a head must be named that is an ancestor of ours before we believe that the chain went back to it.
Endpoints behind one address lag behind each other; a chain that really goes back is a development chain."""


class ReorgBelowFinal(ChainError):
    """The chain contradicts a block that was final. Nothing can be said any more; somebody must look."""


class BrokenBranch(ChainError):
    """What an endpoint sent as a parent is not one."""


@dataclass(frozen=True, slots=True)
class WantHeader:
    """Ask for the header with this hash."""

    hash: bytes


@dataclass(frozen=True, slots=True)
class WantBody:
    """Ask for the logs of this block."""

    header: Header


@dataclass(frozen=True, slots=True)
class Switch(Generic[Body]):
    """The view changed."""

    dropped: tuple[Header, ...]
    """Blocks that are no longer part of the chain, highest first."""
    added: tuple[tuple[Header, Body], ...]
    """Blocks that are now, lowest first."""


@dataclass(slots=True)
class Follower(Generic[Body]):
    """The chain from the last final block to the head."""

    final: Header
    """Blocks at and below it do not change."""
    blocks: list[Header] = field(default_factory=list)
    """Above it, lowest first, each the parent of the next."""

    _branch: list[Header] = field(default_factory=list)
    """Of the new head: highest first, down to where it is known how it joins."""
    _bodies: dict[bytes, Body] = field(default_factory=dict)
    _joined: bool = False
    _regressions: int = 0

    @property
    def head(self) -> Header:
        """The highest block of the chain as we see it."""
        return self.blocks[-1] if self.blocks else self.final

    def at(self, number: int) -> Header | None:
        """Our block at that height, None if it is below the final one or above the head."""
        if number == self.final.number:
            return self.final
        index = number - self.final.number - 1
        return self.blocks[index] if 0 <= index < len(self.blocks) else None

    def offer(self, header: Header) -> Switch[Body] | None:
        """Say what an endpoint takes for the head. A Switch only if the chain went back to one of our blocks."""
        if header.hash == self.head.hash:
            self._regressions = 0
            self._abandon()
            return None
        ours = self.at(header.number)
        if ours is not None and ours.hash == header.hash:
            self._regressions += 1
            if self._regressions < REGRESSIONS or header.number < self.final.number:
                return None
            self._abandon()
            return self._switch(header.number, ())
        self._regressions = 0
        if header.number < self.final.number or (self._branch and self._branch[0].hash == header.hash):
            return None
        if header.number == self.final.number:
            raise ReorgBelowFinal(f"an endpoint has block {header} where {self.final} was final")
        if header.parent in (each.hash for each in self._branch[:1]):
            self._branch.insert(0, header)
        else:
            known = self._bodies
            self._abandon()
            self._bodies = known
            self._branch = [header]
        self._bodies.pop(header.hash, None)  # A body completes a branch: one of a new head is always wanted.
        self._join()
        return None

    def wants(self) -> WantHeader | WantBody | None:
        """What to fetch next; None if nothing is outstanding."""
        if not self._branch:
            return None
        if not self._joined:
            return WantHeader(self._branch[-1].parent)
        return WantBody(self.lacking()[0])

    def gap(self) -> tuple[int, int] | None:
        """The heights between our head and the branch, first and last: what a chain that only grew would fill."""
        if not self._branch or self._joined:
            return None
        first, last = self.head.number + 1, self._branch[-1].number - 1
        return (first, last) if first <= last else None

    def lacking(self) -> list[Header]:
        """The blocks of a joined branch whose logs are missing, lowest first."""
        if not self._joined:
            return []
        return [header for header in reversed(self._branch) if header.hash not in self._bodies]

    def take_header(self, header: Header) -> None:
        """A header that was wanted. BrokenBranch if it is not the one."""
        if not self._branch or self._joined or header.hash != self._branch[-1].parent:
            return
        if header.number != self._branch[-1].number - 1:
            child = self._branch[-1]
            self._abandon()
            raise BrokenBranch(f"block {child} names a parent with the number {header.number}")
        self._branch.append(header)
        self._join()

    def take_body(self, header: Header, body: Body) -> Switch[Body] | None:
        """The logs of a block that were wanted; the Switch, if with them the branch is complete."""
        if not self._joined or header not in self._branch:
            return None
        self._bodies[header.hash] = body
        if any(each.hash not in self._bodies for each in self._branch):
            return None
        added = tuple((each, self._bodies[each.hash]) for each in reversed(self._branch))
        ancestor = self._branch[-1].number - 1
        self._abandon()
        return self._switch(ancestor, added)

    def give_up(self) -> None:
        """Forget the branch that is being fetched: its endpoint cannot deliver it."""
        self._abandon()

    def finalize(self, number: int) -> list[Header]:
        """Make the blocks up to that height final; those that it newly concerns."""
        count = min(max(number - self.final.number, 0), len(self.blocks))
        passed, self.blocks = self.blocks[:count], self.blocks[count:]
        if passed:
            self.final = passed[-1]
            self._abandon()
        return passed

    def _join(self) -> None:
        lowest = self._branch[-1]
        below = self.at(lowest.number - 1)
        if below is not None and below.hash == lowest.parent:
            self._joined = True
        elif lowest.number - 1 <= self.final.number:
            final = self.final
            self._abandon()
            raise ReorgBelowFinal(f"block {lowest} does not descend from {final}, which was final")
        elif len(self._branch) > MAX_BRANCH:
            self._abandon()
            raise BrokenBranch(f"a branch has more than {MAX_BRANCH} blocks")

    def _switch(self, ancestor: int, added: Sequence[tuple[Header, Body]]) -> Switch[Body]:
        keep = ancestor - self.final.number
        dropped = tuple(reversed(self.blocks[keep:]))
        self.blocks = [*self.blocks[:keep], *(header for header, _ in added)]
        self._regressions = 0
        return Switch(dropped, tuple(added))

    def _abandon(self) -> None:
        self._branch = []
        self._bodies = {}
        self._joined = False
