"""Backfill: final blocks in ranges, several requests in flight, results in strict order.

How many blocks to ask for adapts to the endpoint: a larger range when an answer was small and quick, half of it when
the endpoint refused. What an endpoint suggests in its refusal counts only if it is smaller than what just failed.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from offchain.chain.answer import Logs
from offchain.chain.events import TOPICS
from offchain.chain.ledger import Chunk
from offchain.chain.rpc import BadAnswer, BadContent, Endpoint, Rpc, RpcError, Unreachable
from offchain.types import Address

GOOD_ANSWER: Final = 2 * 1024 * 1024
"""Bytes; a larger answer is not asked for again."""

GOOD_TIME: Final = 2.0
"""Seconds; a slower answer is not asked for again."""

MAX_RANGE: Final = 1_000_000
"""Blocks."""

MAX_TIMEOUTS: Final = 2
"""How often in a row a range that got no answer in time is halved, before the endpoint is given up."""

_TOPIC_FILTER: Final = [["0x" + topic.hex() for topic in TOPICS.values()]]
_SUGGESTION: Final = re.compile(r"0x([0-9a-f]{1,16})\s*,\s*0x([0-9a-f]{1,16})", re.IGNORECASE)
_LIMIT: Final = re.compile(r"(?:up to|limited to(?: a)?|max(?:imum)?(?: is)?|exceeds?)[^0-9]{0,40}([0-9][0-9_,]{0,9})")


@dataclass(slots=True)
class RangeSize:
    """How many blocks to ask for. Pure."""

    blocks: int

    def succeeded(self, blocks: int, size: int, seconds: float) -> None:
        """An answer for so many blocks came, with so many bytes, after so many seconds."""
        if size > GOOD_ANSWER or seconds > GOOD_TIME:
            self.blocks = max(1, min(self.blocks, blocks * 2 // 3))
        elif blocks >= self.blocks and size < GOOD_ANSWER // 2:
            self.blocks = min(self.blocks * 3 // 2 + 1, MAX_RANGE)

    def failed(self, blocks: int, message: str = "") -> None:
        """So many blocks were refused."""
        suggested = suggestion(message)
        self.blocks = (
            suggested if suggested is not None and suggested < blocks else max(1, min(self.blocks, blocks // 2))
        )


def suggestion(message: str) -> int | None:
    """How many blocks an endpoint's refusal proposes, if it does."""
    if found := _SUGGESTION.search(message):
        first, last = int(found[1], 16), int(found[2], 16)
        return last - first + 1 if last >= first else None
    if found := _LIMIT.search(message.lower()):
        return int(found[1].replace(",", "").replace("_", "")) or None
    return None


def log_filter(contracts: list[Address], first: int, last: int) -> dict[str, object]:
    """The eth_getLogs filter for a range of blocks."""
    return {
        "address": ["0x" + contract.hex() for contract in contracts],
        "topics": _TOPIC_FILTER,
        "fromBlock": hex(first),
        "toBlock": hex(last),
    }


def block_filter(contracts: list[Address], block_hash: bytes) -> dict[str, object]:
    """The eth_getLogs filter for one block, which cannot be mistaken for its sibling."""
    return {
        "address": ["0x" + contract.hex() for contract in contracts],
        "topics": _TOPIC_FILTER,
        "blockHash": "0x" + block_hash.hex(),
    }


class Backfill:
    """Fetches the logs of contracts from one endpoint."""

    def __init__(
        self, rpc: Rpc, endpoint: Endpoint, contracts: list[Address], *, range_blocks: int, in_flight: int
    ) -> None:
        self._rpc = rpc
        self._endpoint = endpoint
        self._contracts = contracts
        self._size = RangeSize(max(range_blocks, 1))
        self._in_flight = max(in_flight, 1)

    async def chunks(self, first: int, last: int) -> AsyncIterator[Chunk]:
        """The logs of all blocks from first to last, in order. ChainError if the endpoint cannot give them."""
        async for batch in self.batches(first, last):
            for chunk in batch:
                yield chunk

    async def batches(self, first: int, last: int) -> AsyncIterator[list[Chunk]]:
        """The same, with what has arrived while the caller was busy in one piece, so that it is dealt with at once.

        A piece is of `in_flight` answers at most, while as many are asked for.
        """
        tasks: deque[asyncio.Task[list[Chunk]]] = deque()
        found: list[Chunk] = []
        try:
            while True:
                # Before what was found is given out: the endpoint is to work on the next while the caller does on this.
                while first <= last and len(tasks) < self._in_flight:
                    upto = min(first + self._size.blocks - 1, last)
                    tasks.append(asyncio.create_task(self._fetch(first, upto)))
                    first = upto + 1
                if found:
                    yield found
                if not tasks:
                    return
                found = await tasks[0]
                tasks.popleft()
                while tasks and tasks[0].done() and tasks[0].exception() is None:
                    found = found + tasks.popleft().result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _fetch(self, first: int, last: int, timeouts: int = 0) -> list[Chunk]:
        """The chunks of a range, split as often as the endpoint wants."""
        blocks = last - first + 1
        started = time.monotonic()
        try:
            reply = await self._rpc.ask(
                "eth_getLogs",
                [log_filter(self._contracts, first, last)],
                Logs,  # type: ignore[type-abstract]
                endpoint=self._endpoint,
            )
        except BadContent:
            raise
        except (RpcError, Unreachable, BadAnswer) as error:
            if isinstance(error, Unreachable):
                timeouts += 1
                if timeouts > MAX_TIMEOUTS or time.monotonic() - started < GOOD_TIME:
                    raise
            if blocks == 1:
                raise
            self._size.failed(blocks, str(error))
            return await self._split(first, last, timeouts)
        self._size.succeeded(blocks, reply.size, reply.seconds)
        return [Chunk(first, last, reply.value)]

    async def _split(self, first: int, last: int, timeouts: int) -> list[Chunk]:
        chunks = []
        while first <= last:
            step = min(self._size.blocks, max((last - first + 1) // 2, 1))
            upto = min(first + step - 1, last)
            chunks += await self._fetch(first, upto, timeouts)
            first = upto + 1
        return chunks
