"""The secrets of committed votes, in a file that is only ever added to.

A vote whose salt is lost cannot be revealed, and costs its bond. So a secret is on the disk, and read back, before the
commitment is sent; nothing is ever overwritten or removed; a line cut off by a crash spoils no other. One JSON object
per line. Whoever reads the file knows the votes before they are revealed: it is for its owner's eyes only.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Secret:
    """What a voter must remember of a commitment."""

    chain_id: int
    ballot_box: str
    poll: int
    voter: str
    choice: int
    """0 against the challenge, 1 for it."""
    weight: int
    """Base units of the token."""
    salt: str
    """64 hex digits after 0x."""


def default_path() -> Path:
    """Beside the other files of the command line."""
    home = os.environ.get("WAYPOST_HOME")
    return (Path(home) if home else Path.home() / ".waypost") / "ballots.jsonl"


def keep(path: Path, secret: Secret) -> None:
    """Add a secret, and return only when it is on the disk and reads back. OSError if it cannot be."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        # A line break first, in case the last line was cut off.
        os.write(descriptor, b"\n" + json.dumps(asdict(secret)).encode() + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    if secret not in read(path):
        raise OSError(f"{path} does not hold what was written to it")


def read(path: Path) -> list[Secret]:
    """All secrets, the oldest first; lines that are none are passed over."""
    try:
        lines = path.read_text("utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    secrets = []
    for line in lines:
        try:
            secrets.append(Secret(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return secrets


def of(path: Path, chain_id: int, ballot_box: str, voter: str) -> list[Secret]:
    """A voter's secrets in one ballot box."""
    return [
        secret
        for secret in read(path)
        if (secret.chain_id, secret.ballot_box.lower(), secret.voter.lower())
        == (chain_id, ballot_box.lower(), voter.lower())
    ]
