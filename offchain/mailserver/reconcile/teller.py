"""Answers another server's questions, and remembers nothing of them: who asks costs nothing between questions."""

from __future__ import annotations

from collections.abc import Iterator

from offchain.mailserver.reconcile.packets import Ask, Divided, Envelopes, Fetch, Listed, Tell, Told
from offchain.mailserver.reconcile.summary import Summary

TELL_BYTES = 128 * 1024
"""An answer ends with the range that reaches this size; the other ranges are asked for again."""

MAX_LOOKED_AT = 200_000
"""It also ends with the range for which so many envelopes were looked at."""

SLICE_BYTES = 128 * 1024
"""A packet of envelopes ends with the one that reaches this size."""


def tell(summary: Summary, ask: Ask) -> Tell:
    """What we have in the first of the ranges, at least in one. StorageError if the archive cannot be read."""
    answers: list[Told] = []
    size = looked_at = 0
    for question in ask.questions:
        told, looked = summary.tell(question)
        answers.append(told)
        size += _size(told)
        looked_at += looked
        if size >= TELL_BYTES or looked_at >= MAX_LOOKED_AT:
            break
    return Tell(ask.number, tuple(answers))


def deliver(summary: Summary, fetch: Fetch) -> Iterator[Envelopes]:
    """The envelopes asked for, packet by packet. StorageError if the archive cannot be read."""
    batch: list[bytes] = []
    size = 0
    for at in range(0, len(fetch.positions), 32):
        for raw in summary.get_many(fetch.positions[at : at + 32]):
            if raw is None:
                continue
            if batch and size + len(raw) > SLICE_BYTES:
                yield Envelopes(fetch.number, False, tuple(batch))
                batch, size = [], 0
            batch.append(raw)
            size += len(raw)
    yield Envelopes(fetch.number, True, tuple(batch))


def _size(told: Told) -> int:
    if isinstance(told, Listed):
        return 4 + 37 * len(told.positions)
    return 4 + 56 * len(told.parts) if isinstance(told, Divided) else 1
