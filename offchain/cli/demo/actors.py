"""Processes of the demonstration: started, listened to, and stopped without exception.

Each runs in a process group of its own, which the guardian is told of: no way of ending leaves one behind. What a
process prints goes to its log file; lines of JSON on its standard output are events that others can wait for.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from offchain.cli.demo import guardian
from offchain.errors import LocalError

GRACE = 3.0
"""Seconds that a process has to end when asked, before it is killed."""

TAIL = 12
"""Lines of a log that are shown when a process failed."""

MAX_LINE = 1 << 20
"""Bytes of the longest line that a process may print."""

MAX_EVENTS = 20_000
"""Events kept per process; older ones are forgotten."""


class ActorFailed(LocalError):
    """A process ended, or did not say in time what was waited for."""


class Actor:
    """A running process and what it has said."""

    def __init__(
        self, name: str, process: asyncio.subprocess.Process, log: Path, on_end: Callable[[int], None]
    ) -> None:
        self.name = name
        self.log = log
        self.events: list[dict[str, Any]] = []
        self.ended = False
        self._process = process
        self._on_end = on_end
        self._news = asyncio.Event()
        self._reader = asyncio.create_task(self._read(), name=f"read {name}")

    @property
    def pid(self) -> int:
        """Its process id, which is its process group's too."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._process.returncode

    async def wait_for(
        self, test: Callable[[dict[str, Any]], bool], what: str, within: float, *, since: int = 0
    ) -> dict[str, Any]:
        """The first event from index `since` on that passes the test. ActorFailed if it ends or stays silent."""
        deadline = time.monotonic() + within
        seen = since
        while True:
            self._news.clear()
            for event in self.events[seen:]:
                seen += 1
                if test(event):
                    return event
            if self.ended:
                raise ActorFailed(f"{self.name} ended with code {self.code} before {what}\n{self.tail()}")
            left = deadline - time.monotonic()
            try:
                await asyncio.wait_for(self._news.wait(), max(left, 0))
            except TimeoutError:
                raise ActorFailed(f"{self.name}: no {what} within {within:g} s\n{self.tail()}") from None

    async def ready(self, within: float = 20.0) -> dict[str, Any]:
        """The line in which it says that it is ready."""
        return await self.wait_for(lambda event: event.get("event") == "ready", "it was ready", within)

    async def end(self, within: float) -> int:
        """Wait until it has ended and everything it said was read; its exit code."""
        try:
            await asyncio.wait_for(asyncio.shield(self._reader), within)
            return await asyncio.wait_for(self._process.wait(), 5.0)
        except TimeoutError:
            raise ActorFailed(f"{self.name} did not end within {within:g} s\n{self.tail()}") from None

    def kill(self) -> None:
        """kill -9, now."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    async def stop(self) -> None:
        """Ask it to end, and kill it if it does not."""
        if not self.ended:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), GRACE)
        if not self.ended:
            self.kill()
        await asyncio.gather(self._reader, return_exceptions=True)

    def tail(self) -> str:
        """The last lines of its log, for people."""
        with contextlib.suppress(OSError):
            lines = self.log.read_text(errors="replace").splitlines()[-TAIL:]
            return f"the end of {self.log}:\n" + "\n".join(f"  | {line}" for line in lines)
        return f"(no log at {self.log})"

    async def _read(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        with self.log.open("ab", buffering=0) as log:
            try:
                while line := await stream.readline():
                    log.write(line)
                    self._take(line)
            except ValueError:
                log.write(f"printed more than {MAX_LINE} bytes in a line; killed\n".encode())
                self.kill()
        await self._process.wait()
        # At once, while the number can't be another's: what it started and left behind goes too.
        self.kill()
        self.ended = True
        self._on_end(self.pid)
        self._news.set()

    def _take(self, line: bytes) -> None:
        if not line.startswith(b"{"):
            return
        try:
            event = json.loads(line)
        except ValueError:
            return
        self.events.append(event)
        del self.events[:-MAX_EVENTS]
        self._news.set()


class Troupe:
    """All processes of one demonstration. Leaving it stops every one of them."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = dict(environment)
        self._actors: list[Actor] = []
        self._guardian: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Troupe:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._guardian = await asyncio.create_subprocess_exec(
            sys.executable,
            "-IS",
            str(Path(guardian.__file__)),
            stdin=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await asyncio.gather(*(actor.stop() for actor in self._actors))
        assert self._guardian is not None
        assert self._guardian.stdin is not None
        self._guardian.stdin.close()
        await self._guardian.wait()

    @property
    def running(self) -> list[Actor]:
        """The processes that have not ended."""
        return [actor for actor in self._actors if not actor.ended]

    async def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Actor:
        """Start a process; its standard error goes to logs/<name>.log with what it prints."""
        log = self._folder / f"{name.replace(' ', '-')}.log"
        with log.open("ab", buffering=0) as errors:
            errors.write(f"$ {' '.join(command)}\n".encode())
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
                cwd=cwd,
                env={**self._environment, **(environment or {})},
                limit=MAX_LINE,
            )
        self._tell("+", process.pid)
        actor = Actor(name, process, log, lambda group: self._tell("-", group))
        self._actors.append(actor)
        return actor

    async def run(
        self,
        name: str,
        command: Sequence[str],
        *,
        within: float = 60.0,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        codes: frozenset[int] = frozenset({0}),
    ) -> Actor:
        """Start a process and wait for its end. ActorFailed unless it ends with one of the codes."""
        actor = await self.start(name, command, cwd=cwd, environment=environment)
        code = await actor.end(within)
        if code not in codes:
            raise ActorFailed(f"{name} ended with code {code}\n{actor.tail()}")
        return actor

    def _tell(self, sign: str, group: int) -> None:
        assert self._guardian is not None
        assert self._guardian.stdin is not None
        self._guardian.stdin.write(f"{sign} {group}\n".encode())
