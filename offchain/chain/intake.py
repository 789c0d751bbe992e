"""Takes what a backfill brings into the ledger, and writes it down.

Hashing and writing are done in a thread, so that the next answers are received meanwhile. A thread is given both at
once: the writing of what was taken in last, and the checking of what comes next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from offchain.chain.checkpoint import Checkpoint, Staged
from offchain.chain.commitment import Commitment
from offchain.chain.facts import Facts
from offchain.chain.folding import merge
from offchain.chain.header import Header
from offchain.chain.ledger import Chunk, Ledger

LARGE: Final = 200
"""Logs or listings above which a thread is worth its while."""

_Unwritten = tuple[Facts, Staged]


class Intake:
    """One backfill, of which the database is one step behind: `finish` it, and `flush` it if it ends otherwise."""

    def __init__(self, ledger: Ledger, checkpoint: Checkpoint) -> None:
        self._ledger = ledger
        self._checkpoint = checkpoint
        self._unwritten: _Unwritten | None = None

    async def take(self, chunks: Sequence[Chunk], header: Header | None) -> int:
        """Take in the next chunks, the last of which may end with a known block. How many logs they have.

        DecodeError if they cannot be right; StorageError if what came before cannot be written.
        """
        count = sum(len(chunk.logs) for chunk in chunks)
        before, self._unwritten = self._unwritten, None
        if count > LARGE or _is_large(before):
            commitments = await asyncio.to_thread(self._write_and_check, before, chunks)
        else:
            commitments = self._write_and_check(before, chunks)
        layer = self._ledger.add_chunk(chunks[0], commitments[0])
        for chunk, commitment in zip(chunks[1:], commitments[1:], strict=True):
            merge(layer, self._ledger.add_chunk(chunk, commitment))
        self._unwritten = layer, Staged(chunks[-1].last, commitments[-1].word, header)
        return count

    async def finish(self) -> None:
        """Write down what is not yet. StorageError if that cannot be."""
        if _is_large(self._unwritten):
            before, self._unwritten = self._unwritten, None
            await asyncio.to_thread(self._write, before)
        self.flush()

    def flush(self) -> None:
        """The same at once, for an end in which there is nothing to wait for."""
        before, self._unwritten = self._unwritten, None
        self._write(before)

    def _write_and_check(self, before: _Unwritten | None, chunks: Sequence[Chunk]) -> list[Commitment]:
        self._write(before)
        return self._ledger.check_chunks(chunks)

    def _write(self, unwritten: _Unwritten | None) -> None:
        if unwritten is not None:
            self._checkpoint.add_stage(*unwritten)


def _is_large(unwritten: _Unwritten | None) -> bool:
    return unwritten is not None and len(unwritten[0].listings) > LARGE
