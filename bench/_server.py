"""A mail server in a process of its own, for the benchmarks that ask it over TCP."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from offchain.config import MailserverConfig
from offchain.keys import PrivateKey
from offchain.mailserver.server import Mailserver

KEY = PrivateKey(b"\x01" * 32)


class Nobody:
    """Trusts no other server."""

    def is_trusted(self, kind: str, node_id: bytes) -> bool:
        return False

    def why(self, kind: str, node_id: bytes) -> str:
        return "this is a benchmark"


@dataclass(frozen=True, slots=True)
class Running:
    """A server that runs."""

    port: int
    pid: int

    def memory(self) -> int:
        """Bytes of memory of its own: without the archive's files, which the system maps and may take back."""
        for line in Path(f"/proc/{self.pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("this system does not say how much memory a process uses")

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100


@contextmanager
def running(folder: Path, **config: Any) -> Iterator[Running]:
    """A mail server with an archive in the folder; `config` are fields of MailserverConfig."""
    command = [sys.executable, __file__, str(folder), json.dumps(config)]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        yield Running(json.loads(server.stdout.readline())["port"], server.pid)
    finally:
        server.stdin.close()
        server.wait(30)
        server.stdout.close()


async def _serve(config: MailserverConfig) -> None:
    async with Mailserver(KEY, config, Nobody()) as server:
        print(json.dumps({"port": server.port}), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    asyncio.run(_serve(MailserverConfig(Path(sys.argv[1]), **json.loads(sys.argv[2]))))
