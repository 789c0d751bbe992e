"""Records in answers: as many to a packet as fit."""

from __future__ import annotations

from collections.abc import Iterable

from offchain.discovery.packet import MAX_MESSAGE_SIZE

RECORDS_BUDGET = MAX_MESSAGE_SIZE - 24
"""Bytes of records in one packet: what its request id, total and list headers leave."""


def batches(records: Iterable[bytes]) -> list[tuple[bytes, ...]]:
    """The records, packet by packet; one empty packet if there are none."""
    full: list[list[bytes]] = [[]]
    room = RECORDS_BUDGET
    for raw in records:
        if len(raw) > room:
            full.append([])
            room = RECORDS_BUDGET
        full[-1].append(raw)
        room -= len(raw)
    return [tuple(batch) for batch in full]
