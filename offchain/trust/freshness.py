"""How long what was proven is believed. No news is not good news."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Freshness(Enum):
    """What consumers are told, and get."""

    FRESH = "FRESH"
    """The proof is young: everything."""
    STALE = "STALE"
    """It is older: what was proven, nothing new."""
    EXPIRED = "EXPIRED"
    """It is too old: only the user's own nodes."""
    TAMPERED = "TAMPERED"
    """Endpoints contradict their own proofs, or each other: frozen at what was proven last."""
    NEVER = "NEVER"
    """Nothing was ever proven: what a snapshot in date says that came with the software, else only own nodes."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Ages of the proof, in seconds."""

    fresh_for: float = 1_800.0
    keep_for: float = 86_400.0


def freshness(now: float, proven_at: float | None, alarm: str | None, limits: Limits) -> Freshness:
    """The state at a time (Unix seconds). An alarm does not make an old proof last longer."""
    if proven_at is None:
        return Freshness.TAMPERED if alarm else Freshness.NEVER
    age = now - proven_at
    if age > limits.keep_for:
        return Freshness.TAMPERED if alarm else Freshness.EXPIRED
    if alarm:
        return Freshness.TAMPERED
    return Freshness.FRESH if age <= limits.fresh_for else Freshness.STALE
