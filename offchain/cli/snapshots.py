"""Snapshots as files: what `waypost export` and `waypost import` do."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from offchain.chain import snapshot
from offchain.chain.rpc import Rpc
from offchain.cli.daemon import lock_home
from offchain.cli.knowledge import caught_up, open_trust
from offchain.cli.output import Output
from offchain.cli.running import run
from offchain.cli.settings import Settings
from offchain.errors import ConfigError

MAX_FILE = 1 << 30
"""Bytes of the longest file that is read."""


def export_to(settings: Settings, output: Output, file: Path, wait: float) -> dict[str, Any]:
    """Catch up, read the history once more, and write it; what was written."""

    async def main() -> snapshot.Snapshot:
        async with open_trust(settings) as trust:
            await caught_up(trust, output, wait)
            return await trust.snapshot()

    found = run(main)
    data = snapshot.encode(found)
    draft = file.with_name(file.name + ".tmp")
    try:
        with draft.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(file)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        raise ConfigError(f"{file} cannot be written: {error.strerror}") from None
    return {"file": str(file), "block": found.block, "events": len(found.logs), "bytes": len(data)}


def import_from(settings: Settings, file: Path) -> dict[str, Any]:
    """Have the content of a file proven, and begin the home folder's database with it."""
    try:
        if file.stat().st_size > MAX_FILE:
            raise ConfigError(f"{file} is larger than {MAX_FILE} bytes")
        found = snapshot.decode(file.read_bytes())
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
    chain = settings.chain()

    async def main() -> Any:
        async with Rpc(chain.rpc, timeout=chain.request_timeout) as rpc:
            return await snapshot.adopt(rpc, chain, found, time.time())

    with lock_home(settings.home):
        proven = run(main)
    return {"events": len(found.logs), "block": found.block, "provenBlock": proven.block, "provenAt": proven.at}
