"""The Node program of tests/interop/discv5-peer, from Python."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

from offchain.enr import Enr

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "tests" / "interop" / "discv5-peer" / "peer.mjs"
PATIENCE = 30.0


def available() -> bool:
    """Whether Node and the package are there."""
    return shutil.which("node") is not None and (ROOT / "node_modules" / "@chainsafe" / "discv5").exists()


class Discv5Peer:
    """@chainsafe/discv5 nodes, one or more, in a process of their own. An asynchronous context manager."""

    def __init__(self, count: int = 1) -> None:
        self._count = count

    async def __aenter__(self) -> Discv5Peer:
        self._process = await asyncio.create_subprocess_exec(
            "node",
            str(PROGRAM),
            str(self._count),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 22,
        )
        self._ids = itertools.count(1)
        first = await self._line()
        self.record = Enr.parse(first["enr"])
        self.records = [Enr.parse(text) for text in first["enrs"]]
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(5):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def do(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Carry out a command, of node number `node` if given; its result. RuntimeError with what went wrong."""
        assert self._process.stdin is not None
        number = next(self._ids)
        self._process.stdin.write(json.dumps({"id": number, "do": name, **arguments}).encode() + b"\n")
        await self._process.stdin.drain()
        answer = await self._line()
        assert answer.pop("id") == number
        if "error" in answer:
            raise RuntimeError(f"{name}: {answer['error']}")
        return answer

    async def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            line = await self._process.stdout.readline()
        document: dict[str, Any] = json.loads(line)
        return document
