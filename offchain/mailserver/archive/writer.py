"""The archive's one writer: many callers wait, one commit serves them all.

A commit takes as long for a thousand envelopes as for one, nearly: the disk must confirm it. So while one commit runs,
what arrives is gathered, and goes into the next.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from offchain.errors import StorageError, WaypostError
from offchain.mailserver.archive.base import Archivable, Archive

MAX_COMMIT = 4_000
"""Envelopes in one commit, more only if a single call brings more."""

MAX_WAITING_BYTES = 64 * 1024**2
"""Envelopes waiting for the disk; beyond it callers wait before theirs are taken, which slows down who sent them."""


@dataclass(eq=False, slots=True)
class _Job:
    envelopes: Sequence[Archivable]
    size: int
    done: asyncio.Future[list[bool]]


class ArchiveWriter:
    """Brings envelopes into an archive from many tasks. `run` must be running for `add` to return."""

    def __init__(self, archive: Archive, *, max_commit: int = MAX_COMMIT, max_waiting: int = MAX_WAITING_BYTES) -> None:
        self._archive = archive
        self._max_commit = max_commit
        self._max_waiting = max_waiting
        self._jobs: deque[_Job] = deque()
        self._waiting = 0
        self._changed = asyncio.Condition()
        self._stopping = False
        self.commits = 0
        """Commits so far: with the envelopes stored, how well gathering works."""

    async def add(self, envelopes: Sequence[Archivable]) -> list[bool]:
        """Store; returns once they are on disk, with whether each is new. StorageError if the disk refused."""
        if not envelopes:
            return []
        size = sum(len(envelope.raw) for envelope in envelopes)
        async with self._changed:
            await self._changed.wait_for(lambda: self._stopping or not self._waiting or self._fits(size))
            if self._stopping:
                raise StorageError("the archive takes no more: the server is stopping")
            job = _Job(envelopes, size, asyncio.get_running_loop().create_future())
            self._jobs.append(job)
            self._waiting += size
            self._changed.notify_all()
        return await job.done

    async def run(self) -> None:
        """Commit until `stop` is called and nothing is left."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, "archive-writer") as thread:
            try:
                while jobs := await self._next_jobs():
                    envelopes = [envelope for job in jobs for envelope in job.envelopes]
                    try:
                        added = await loop.run_in_executor(thread, self._archive.add_many, envelopes)
                    except WaypostError as error:
                        self._settle(jobs, error)
                    except BaseException:
                        self._settle(jobs, StorageError("the archive's writer has stopped"))
                        raise
                    else:
                        self.commits += 1
                        self._settle(jobs, added)
            finally:
                self._stopping = True
                self._settle(list(self._jobs), StorageError("the archive's writer has stopped"))

    async def stop(self) -> None:
        """Take no more; `run` ends when what was taken is stored."""
        async with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def _fits(self, size: int) -> bool:
        return self._waiting + size <= self._max_waiting

    async def _next_jobs(self) -> list[_Job]:
        async with self._changed:
            await self._changed.wait_for(lambda: self._jobs or self._stopping)
            jobs: list[_Job] = []
            count = 0
            while self._jobs and (not jobs or count + len(self._jobs[0].envelopes) <= self._max_commit):
                jobs.append(self._jobs.popleft())
                count += len(jobs[-1].envelopes)
                self._waiting -= jobs[-1].size
            self._changed.notify_all()
            return jobs

    @staticmethod
    def _settle(jobs: Sequence[_Job], outcome: list[bool] | Exception) -> None:
        at = 0
        for job in jobs:
            end = at + len(job.envelopes)
            if job.done.done():  # who waited has been cancelled
                pass
            elif isinstance(outcome, Exception):
                job.done.set_exception(outcome)
            else:
                job.done.set_result(outcome[at:end])
            at = end
