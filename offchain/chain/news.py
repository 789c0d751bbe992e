"""What the watcher tells: the facts and what is known of their truth, how far it is, and what it counted. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field

from offchain.chain.checkpoint import Proven
from offchain.chain.facts import Facts
from offchain.chain.ledger import Touched
from offchain.types import Kind, NodeId


@dataclass(frozen=True, slots=True)
class Update:
    """The facts changed, or what is known of their truth did."""

    adopted: Facts
    """From which additions count."""
    head: Facts
    """From which removals count."""
    touched: Touched
    proven: Proven | None
    alarm: str | None
    """Why nothing more can be believed; None if all is well."""
    block: int
    """The head."""
    retreat: bool = False
    """Whether blocks were taken back with nothing in their place: whom this alone makes trusted again is withheld."""
    settled: bool = True
    """Whether the chain has gone on, proven, since the last retreat."""
    withheld: frozenset[tuple[Kind, NodeId]] = frozenset()
    """Whom an earlier process withheld."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the backfill is."""

    first: int
    block: int
    last: int
    logs: int


@dataclass(slots=True)
class Counters:
    """What happened since the start."""

    logs: int = 0
    heads: int = 0
    reorgs: int = 0
    deepest_reorg: int = 0
    proofs: int = 0
    sessions: int = 0
    lies: int = 0
    """Contradictions between endpoints, or of an endpoint with its own proofs."""
    agreeing: list[str] = field(default_factory=list)
    """Endpoints that agreed on the last final block."""
