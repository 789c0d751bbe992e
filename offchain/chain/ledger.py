"""What is proven, what is final, what the head says, and what an update touched. No I/O.

    base      facts under a proven commitment, final: what the database holds as tables
    stage     final blocks that are not proven yet: chunks of a backfill
    blocks    above that, one by one: they may be reorganised away
    adopted   the facts from which additions count
    head      the facts at the head, from which removals count

`adopted` is the base, or with a finality of "latest" or a number of confirmations the proven blocks above it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from offchain.chain.commitment import Commitment, advance_all
from offchain.chain.events import (
    TOPICS,
    Event,
    NodesAdded,
    NodesRemoved,
    NodesRenewed,
    PlainLog,
    VerdictChanged,
    decode,
)
from offchain.chain.facts import Facts
from offchain.chain.folding import fold, merge
from offchain.chain.header import Header
from offchain.chain.native import native
from offchain.errors import DecodeError
from offchain.types import Address, NodeAddress, ProviderId


class LogsError(DecodeError):
    """The logs of a range are not in order, not in the range, or not of the contracts asked for."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Final blocks, fetched together."""

    first: int
    last: int
    logs: Sequence[PlainLog]


@dataclass(frozen=True, slots=True)
class Block:
    """A block that is not final, with its events."""

    header: Header
    logs: tuple[PlainLog, ...]
    events: tuple[Event, ...]
    commitment: Commitment
    """After it."""


@dataclass(frozen=True, slots=True)
class Touched:
    """What an update may have changed; None stands for anything."""

    nodes: frozenset[bytes] | None = frozenset()
    """Full ids where the events say them, addresses otherwise; an address is the end of an id."""
    providers: frozenset[ProviderId] | None = frozenset()
    """Those on which a curator changed its verdict."""

    def __or__(self, other: Touched) -> Touched:
        if self.nodes is None or other.nodes is None or self.providers is None or other.providers is None:
            return EVERYTHING
        return Touched(self.nodes | other.nodes, self.providers | other.providers)


EVERYTHING = Touched(None, None)
NOTHING = Touched()


def touched_by(events: Iterable[Event]) -> Touched:
    """What these events may change."""
    nodes: set[bytes] = set()
    providers: set[ProviderId] = set()
    removed: set[NodeAddress] = set()
    for event in events:
        if isinstance(event, (NodesAdded, NodesRenewed)):
            nodes.update(event.nodes)
        elif isinstance(event, NodesRemoved):
            # One key may be listed under two ids one after the other, since only the id's end is checked on chain. Of
            # two removals the facts remember the later; so that no id escapes, all is looked at again.
            if not removed.isdisjoint(event.nodes):
                return EVERYTHING
            removed.update(event.nodes)
            nodes.update(event.nodes)
        elif isinstance(event, VerdictChanged):
            providers.add(event.provider)
    return Touched(frozenset(nodes), frozenset(providers))


class Ledger:
    """Facts over a chain whose end may change."""

    def __init__(self, registry: Address, curators: Sequence[Address], start: int) -> None:
        self.registry = registry
        self.contracts = frozenset((registry, *curators))
        self._addresses = b"".join((registry, *curators))
        self.start = start
        """The first block that is of interest."""
        self.base = Facts()
        self.base_block = start - 1
        """The base holds all up to this block."""
        self.base_commitment = Commitment()
        self.stage = Facts(self.base)
        self.stage_block = start - 1
        self.stage_commitment = Commitment()
        self.blocks: list[Block] = []
        self.adopted = self.base
        self.adopted_block = start - 1
        self.head = Facts(self.stage)

    @property
    def commitment(self) -> Commitment:
        """At the head."""
        return self.blocks[-1].commitment if self.blocks else self.stage_commitment

    def commitment_at(self, number: int) -> Commitment | None:
        """After that block; None if it is above the head or inside what is no longer told apart."""
        if number == self.stage_block:
            return self.stage_commitment
        index = number - self.stage_block - 1
        return self.blocks[index].commitment if 0 <= index < len(self.blocks) else None

    # Taking in

    def restore(self, base: Facts, base_block: int, commitment: Commitment) -> None:
        """Begin from what a checkpoint holds."""
        self.base, self.base_block, self.base_commitment = base, base_block, commitment
        self.discard_stage()

    def restore_stage(self, layer: Facts, block: int, commitment: Commitment) -> None:
        """Put back what was taken in after the base, and not proven."""
        merge(self.stage, layer)
        self.stage_block, self.stage_commitment = block, commitment

    def check_chunks(self, chunks: Iterable[Chunk]) -> list[Commitment]:
        """The commitments after each of the next chunks; DecodeError if their logs cannot be right. Changes nothing."""
        commitments, commitment = list[Commitment](), self.stage_commitment
        for chunk in chunks:
            commitment = self.check(chunk.logs, chunk.first, chunk.last, commitment)
            commitments.append(commitment)
        return commitments

    def add_chunk(self, chunk: Chunk, commitment: Commitment | None = None) -> Facts:
        """Take in the next final blocks; the layer that they are, for a checkpoint to write down.

        The commitment is what `check_chunks` says, if it was asked already. DecodeError if the logs cannot be right; if
        they are in order, but unknown or against those before, the stage is forgotten: who can say which one is false?
        """
        if self.blocks or chunk.first != self.stage_block + 1:
            raise ValueError(f"found a chunk from {chunk.first}, expected one from {self.stage_block + 1}")
        commitment = commitment or self.check_chunks([chunk])[0]
        try:
            layer = fold(self.stage, chunk.logs)
        except DecodeError:
            self.discard_stage()
            raise
        self.stage_block, self.stage_commitment = chunk.last, commitment
        return layer

    def make_block(self, header: Header, logs: Sequence[PlainLog], before: Commitment) -> Block:
        """A block from its logs. DecodeError if they cannot be right."""
        commitment = self.check(logs, header.number, header.number, before)
        for log in logs:
            if log.block_hash != header.hash:
                raise LogsError(f"a log says it is in block {log.block_hash.hex()}, expected {header.hash.hex()}")
        return Block(header, tuple(logs), tuple([decode(log) for log in logs]), commitment)

    def switch(self, dropped: int, added: Sequence[Block]) -> Touched:
        """Take the last `dropped` blocks away and put others there. DecodeError if the events contradict each other."""
        gone = self.blocks[len(self.blocks) - dropped :] if dropped else []
        kept = self.blocks[: len(self.blocks) - dropped]
        events = [event for block in added for event in block.events]
        # What is adopted may be the very layer of the head; it must not grow with what is not proven.
        head = self._fold(kept) if gone or (events and self.adopted is self.head) else self.head
        try:
            for event in events:
                head.apply(event)
        except DecodeError:
            self.head = self._fold(self.blocks)
            raise
        self.head = head
        self.blocks = [*kept, *added]
        if gone and self.adopted_block > self.stage_block + len(kept):
            self._adopt(self.stage_block + len(kept))
        return touched_by(event for block in gone for event in block.events) | touched_by(events)

    def proven(self, number: int, final: int) -> tuple[Touched, Facts | None]:
        """The commitment after block `number` is proven, and blocks up to `final` stay.

        What it touched, and the layer that the base took in beside the chunks, for a checkpoint to write down; None if
        the base did not move.
        """
        touched = self._between(self.adopted_block, number)
        absorbed: Facts | None = None
        if number >= self.stage_block:
            if self.base_block < self.stage_block:
                touched = EVERYTHING
            count = min(number, final) - self.stage_block
            layer = self._fold(self.blocks[: max(count, 0)])
            merge(self.stage, layer)
            if count > 0:
                self.stage_block += count
                self.stage_commitment = self.blocks[count - 1].commitment
                self.blocks = self.blocks[count:]
            if self.base_block != self.stage_block:
                absorbed = layer
            self.base.absorb(self.stage)
            self.base_block, self.base_commitment = self.stage_block, self.stage_commitment
            self.stage = Facts(self.base)
            self.head = self._fold(self.blocks)
        self._adopt(number)
        return touched, absorbed

    def discard_stage(self) -> None:
        """Go back to the base: what came after it was not true."""
        self.stage = Facts(self.base)
        self.stage_block, self.stage_commitment = self.base_block, self.base_commitment
        self.blocks = []
        self.head = Facts(self.stage)
        self.adopted, self.adopted_block = self.base, self.base_block

    def check(self, logs: Sequence[PlainLog], first: int, last: int, commitment: Commitment) -> Commitment:
        """The commitment after these logs; DecodeError if they are out of order, foreign, or some are missing."""
        if native is not None and isinstance(logs, native.Logs):
            found = logs.check(self._addresses, TOPICS[VerdictChanged], first, last, *commitment)
            if found is not None:
                return Commitment(*found)
        registry, contracts = self.registry, self.contracts
        block, index = first, -1
        ours: list[PlainLog] = []
        for log in logs:
            if log.block != block or log.index <= index:
                if not block < log.block <= last:
                    raise LogsError(
                        f"a log is at {log.block}:{log.index}, after {block}:{index}, in blocks {first} to {last}"
                    )
                block = log.block
            index = log.index
            if log.address == registry:
                ours.append(log)
            elif log.address not in contracts:
                raise LogsError(f"a log is of contract {log.address.hex()}, which was not asked for")
            elif log.payload[:32] != TOPICS[VerdictChanged]:
                # No commitment is over it, and it would be taken for an event of the registry.
                raise LogsError(f"a log of curator {log.address.hex()} has the topic {log.payload[:32].hex()}")
        return advance_all(commitment, ours)

    def view(self, number: int) -> Facts:
        """The facts after that block, which is the end of the stage or above it."""
        count = number - self.stage_block
        if count >= len(self.blocks):
            return self.head
        return self._fold(self.blocks[:count]) if count > 0 else self.stage

    # Inside

    def _between(self, after: int, upto: int) -> Touched:
        """What the blocks in (after, upto] touched, as far as they are kept one by one."""
        if after < self.stage_block and self.base_block < self.stage_block:
            return EVERYTHING
        events = (event for block in self.blocks if after < block.header.number <= upto for event in block.events)
        return touched_by(events)

    def _adopt(self, number: int) -> None:
        """Let additions up to block `number` count."""
        count = number - self.stage_block
        self.adopted_block = max(number, self.base_block)
        if count <= 0:
            self.adopted = self.base
        elif count >= len(self.blocks):
            self.adopted = self.head
        else:
            self.adopted = self._fold(self.blocks[:count])

    def _fold(self, blocks: Iterable[Block]) -> Facts:
        layer = Facts(self.stage)
        for block in blocks:
            for event in block.events:
                layer.apply(event)
        return layer
