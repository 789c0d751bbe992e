"""The policy as a JSON file, replaced as a whole so that no reader ever sees half of it.

{"schemaVersion": 1, "curators": ["0x.."], "threshold": 1, "chosen": [1], "blocked": [2], "blockedNodes": ["0x.."],
 "own": [{"kind": "mailserver", "nodeId": "0x..", "url": "enode://..", "label": "mine"}]}
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from offchain.errors import ConfigError, StorageError
from offchain.trust.policy import OwnNode, Policy
from offchain.types import Address, NodeId, ProviderId, parse_kind

SCHEMA_VERSION = 1


class _Own(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kind: str
    nodeId: str
    url: str = ""
    label: str = ""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schemaVersion: int
    curators: list[str] = []
    threshold: int = 1
    chosen: list[int] = []
    blocked: list[int] = []
    blockedNodes: list[str] = []
    own: list[_Own] = []


def policy_to_json(policy: Policy) -> dict[str, Any]:
    """The document that stands for a policy."""
    return {
        "schemaVersion": SCHEMA_VERSION,
        "curators": ["0x" + curator.hex() for curator in policy.curators],
        "threshold": policy.threshold,
        "chosen": sorted(policy.chosen),
        "blocked": sorted(policy.blocked),
        "blockedNodes": sorted("0x" + node.hex() for node in policy.blocked_nodes),
        "own": [
            {"kind": own.kind, "nodeId": "0x" + own.node_id.hex(), "url": own.url, "label": own.label}
            for own in policy.own
        ],
    }


def policy_from_json(text: str | bytes) -> Policy:
    """The policy that a document stands for; ConfigError, saying what is wrong, if there is none."""
    try:
        file = msgspec.json.decode(text, type=_File)
        if file.schemaVersion != SCHEMA_VERSION:
            raise ValueError(f"schemaVersion is {file.schemaVersion}, expected {SCHEMA_VERSION}")
        return Policy(
            tuple(Address(_hex(each, 20)) for each in file.curators),
            file.threshold,
            frozenset(ProviderId(each) for each in file.chosen),
            frozenset(ProviderId(each) for each in file.blocked),
            frozenset(NodeId(_hex(each, 32)) for each in file.blockedNodes),
            tuple(OwnNode(parse_kind(own.kind), NodeId(_hex(own.nodeId, 32)), own.url, own.label) for own in file.own),
        )
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ConfigError(f"not a policy: {error}") from None


def load_policy(path: Path, default: Policy) -> Policy:
    """The policy in a file, the default if there is no file; ConfigError if it is unusable."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return default
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return policy_from_json(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def save_policy(path: Path, policy: Policy) -> None:
    """Replace the file; after this, even after a crash, it holds the old policy or the new one. StorageError if not."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(policy_to_json(policy), file, indent=2)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}") from error


def edit_policy(path: Path, default: Policy, change: Callable[[Policy], Policy]) -> Policy:
    """Change the policy as it is in the file now, and nobody else meanwhile; the new one. What it was when the user
    looked does not matter, so of two edits at the same instant none is lost. Errors as of `load_policy`, `save_policy`.
    """
    with _locked(path):
        policy = load_policy(path, default)
        changed = change(policy)
        if changed != policy:
            save_policy(path, changed)
        return changed


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Be the only one who edits. A file of its own is locked, since the policy's is replaced; dying lets go of it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.with_name(path.name + ".lock").open("a")
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _hex(text: str, size: int) -> bytes:
    value = bytes.fromhex(text.removeprefix("0x"))
    if len(value) != size:
        raise ValueError(f"{text!r} has {len(value)} bytes, expected {size}")
    return value
