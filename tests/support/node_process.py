"""`waypost node run` as its operators run it: a process, and the record it prints."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offchain.enr import Enr
from offchain.keys import PrivateKey

STOP_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class NodeProcess:
    """A discovery node that runs."""

    process: subprocess.Popen[str]
    record: Enr
    ready: dict[str, Any]
    """What it said when it was ready."""

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        assert self.record.udp is not None
        return str(self.record.ip), self.record.udp


@contextmanager
def running_node(home: Path, *options: str, settings: str = "", key: PrivateKey | None = None) -> Iterator[NodeProcess]:
    """A node on loopback for as long as the block lasts; `settings` are more lines of [discovery]."""
    home.mkdir(exist_ok=True)
    (home / "config.toml").write_text(f'[discovery]\nhost = "127.0.0.1"\nlan = true\n{settings}')
    if key is not None and not (home / "node.key").exists():
        key.save(home / "node.key")
    program = shutil.which("waypost", path=str(Path(sys.executable).parent))
    assert program is not None
    process = subprocess.Popen(
        [program, "node", "run", "--json", "--home", str(home), *options],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        text=True,
    )
    assert process.stdout is not None
    try:
        ready = json.loads(process.stdout.readline())
        yield NodeProcess(process, Enr.parse(ready["enr"]), ready)
    finally:
        process.terminate()
        process.wait(STOP_PATIENCE)
        process.stdout.close()
