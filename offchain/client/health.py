"""How nodes did lately, kept over restarts, so that a node that failed is not the first to be asked again.

    {"version": 1, "nodes": {"0x..": {"failures": 3, "misbehaved": false, "reason": "", "failedAt": .., "retryAt": ..}}}

Times are Unix seconds. Nothing depends on the file: one that is missing, damaged or from a clock that was wrong costs a
connection or two.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offchain.types import NodeId

log = logging.getLogger("offchain.client")

VERSION = 1
MAX_NODES = 1_000
MAX_REASON = 200

FORGIVEN_AFTER = 3_600.0
"""Seconds after which one failure is forgotten, and after as long again the next."""

SAVE_PAUSE = 2.0
"""Seconds between two writings at least."""


@dataclass(frozen=True, slots=True)
class Health:
    """A node that failed."""

    node_id: NodeId
    failures: int
    """In a row."""
    misbehaved: bool
    """It broke the protocol."""
    reason: str
    failed_at: float
    """The last time."""
    retry_at: float
    """Not to be tried before."""


def forgiven(failures: int, failed_at: float, now: float) -> int:
    """How many failures are left after so much time."""
    return max(0, failures - int(max(0.0, now - failed_at) // FORGIVEN_AFTER))


def load(path: Path) -> list[Health]:
    """What the file says; nothing if it is of no use."""
    try:
        document = json.loads(path.read_text())
        if document["version"] != VERSION:
            raise ValueError(f"version {document['version']}")
        return [_read(node_id, each) for node_id, each in document["nodes"].items()][:MAX_NODES]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        log.warning("%s is not used: %s", path, error)
        return []


def save(path: Path, healths: Iterable[Health]) -> None:
    """Replace the file. OSError if that is not possible."""
    nodes = {
        "0x" + each.node_id.hex(): {
            "failures": each.failures,
            "misbehaved": each.misbehaved,
            "reason": each.reason[:MAX_REASON],
            "failedAt": each.failed_at,
            "retryAt": each.retry_at,
        }
        for each in healths
    }
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps({"version": VERSION, "nodes": nodes}))
    draft.replace(path)


async def keep(path: Path, health: Callable[[], list[Health]], changed: Callable[[], Any]) -> None:
    """Write the file whenever something changed, and once more when cancelled. A disk that refuses is told of once."""
    refused = False
    saved: list[Health] | None = None

    def write() -> None:
        nonlocal refused, saved
        now = health()
        if now == saved:
            return
        try:
            save(path, now)
            saved, refused = now, False
        except OSError as error:
            if not refused:
                log.warning("%s cannot be written: %s", path, error)
            refused = True

    try:
        while True:
            await changed()
            write()
            await asyncio.sleep(SAVE_PAUSE)
            write()
    finally:
        write()


def _read(node_id: str, value: Any) -> Health:
    identity = bytes.fromhex(node_id.removeprefix("0x"))
    if len(identity) != 32:
        raise ValueError(f"{node_id} is not a node id")
    failures, misbehaved = value["failures"], value["misbehaved"]
    if type(failures) is not int or not 0 < failures < 1_000 or type(misbehaved) is not bool:
        raise ValueError(f"{failures!r} failures")
    reason = str(value["reason"])[:MAX_REASON]
    return Health(NodeId(identity), failures, misbehaved, reason, _time(value["failedAt"]), _time(value["retryAt"]))


def _time(value: Any) -> float:
    time = float(value)
    if not 0 <= time < 1e11:
        raise ValueError(f"{time} is not a time")
    return time
