"""The Node program tests/interop/rlpx-peer: RLPx by @ethereumjs/devp2p, told what to do by lines of JSON."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from offchain.keys import PublicKey

PROGRAM = Path(__file__).parents[1] / "interop" / "rlpx-peer" / "peer.mjs"
MODULES = Path(__file__).parents[2] / "node_modules" / "@ethereumjs" / "devp2p"
PATIENCE = 20.0

needs_devp2p = pytest.mark.skipif(
    shutil.which("node") is None or not MODULES.exists(), reason="needs Node and its packages (make setup)"
)


class Foreign:
    """The Node program, by its standard input and output."""

    def __init__(self, process):
        self._process = process
        self.port = 0

    @classmethod
    async def start(cls, key, *capabilities):
        process = await asyncio.create_subprocess_exec(
            "node",
            str(PROGRAM),
            key.to_bytes().hex(),
            *capabilities,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=16 * 1024 * 1024,
        )
        foreign = cls(process)
        listening = await foreign.heard("listening")
        foreign.key = PublicKey.from_bytes(bytes.fromhex(listening["id"]))
        foreign.port = listening["port"]
        return foreign

    async def do(self, command, **arguments):
        self._process.stdin.write(json.dumps({"do": command, **arguments}).encode() + b"\n")
        await self._process.stdin.drain()

    async def heard(self, event):
        """The next event of that name; an error in its place fails the test."""
        async with asyncio.timeout(PATIENCE):
            while True:
                line = await self._process.stdout.readline()
                assert line, "the program ended"
                found = json.loads(line)
                if found["event"] == event:
                    return found
                assert found["event"] != "error", found

    async def stop(self):
        if self._process.returncode is None:
            await self.do("quit")
        async with asyncio.timeout(PATIENCE):
            await self._process.wait()
