"""Fetching a branch of the chain: headers and logs that the follower wants, many at a time where many are missing.

What was fetched ahead is only used under its own hash, so a reorganisation in between does no harm: what does not fit
is asked for one by one, by hash.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from offchain.chain import events
from offchain.chain.events import PlainLog, RawLog
from offchain.chain.header import Header, HeaderError, RawHeader, parse_header
from offchain.chain.ranges import block_filter, log_filter
from offchain.chain.rpc import BadAnswer, Endpoint, Rpc, RpcError
from offchain.errors import DecodeError
from offchain.types import Address

WORTH_IT: Final = 3
"""Blocks from which on they are asked for together."""

AT_ONCE: Final = 100
"""Calls in one batch; many endpoints refuse more."""


class BranchSource:
    """Headers and logs of one branch, from one endpoint."""

    def __init__(self, rpc: Rpc, endpoint: Endpoint, contracts: list[Address]) -> None:
        self._rpc = rpc
        self._endpoint = endpoint
        self._contracts = contracts
        self._headers: dict[bytes, Header] = {}
        self._logs: dict[bytes, list[RawLog]] | None = None

    async def fetch_headers(self, first: int, last: int) -> None:
        """Fetch headers ahead, by number. An endpoint that does not answer batches is asked one by one later."""
        numbers = list(range(first, last + 1))
        for start in range(0, len(numbers), AT_ONCE):
            params = [[hex(number), False] for number in numbers[start : start + AT_ONCE]]
            try:
                raws = await self._rpc.batch("eth_getBlockByNumber", params, RawHeader, endpoint=self._endpoint)
            except (RpcError, BadAnswer):
                return
            for raw in raws:
                if raw is not None:
                    header = self._parse(raw)
                    self._headers[header.hash] = header

    async def header(self, block_hash: bytes) -> Header | None:
        """The header with that hash, None if the endpoint has none."""
        if block_hash in self._headers:
            return self._headers[block_hash]
        params = ["0x" + block_hash.hex(), False]
        raw = await self._rpc.find("eth_getBlockByHash", params, RawHeader, endpoint=self._endpoint)
        if raw is None:
            return None
        header = self._parse(raw)
        if header.hash != block_hash:
            raise BadAnswer(f"{self._endpoint.name} sent block {header} when asked for {block_hash[:4].hex()}")
        return header

    async def fetch_logs(self, first: int, last: int) -> None:
        """Fetch logs ahead, by range. Those that are missing are noticed by the registry's versions, and asked for."""
        try:
            raws = await self._rpc.call(
                "eth_getLogs", [log_filter(self._contracts, first, last)], list[RawLog], endpoint=self._endpoint
            )
        except (RpcError, BadAnswer):
            return
        self._logs = defaultdict(list)
        for raw in raws:
            try:
                self._logs[bytes.fromhex(raw.blockHash[2:])].append(raw)
            except ValueError:
                raise BadAnswer(f"{self._endpoint.name}: a log's block hash is not hexadecimal") from None

    async def logs(self, header: Header, *, anew: bool = False) -> tuple[PlainLog, ...]:
        """The logs of a block; by its hash if they were not fetched ahead, or are wanted anew."""
        if self._logs is not None and not anew:
            found = self._logs.get(header.hash, [])
            if found or not any(header.may_have_logs_of(contract) for contract in self._contracts):
                return self._plain(found)
        raws = await self._rpc.call(
            "eth_getLogs", [block_filter(self._contracts, header.hash)], list[RawLog], endpoint=self._endpoint
        )
        return self._plain(raws)

    def _plain(self, raws: list[RawLog]) -> tuple[PlainLog, ...]:
        try:
            return events.plain_logs(raws)
        except DecodeError as error:
            raise BadAnswer(f"{self._endpoint.name}: {error}") from None

    def _parse(self, raw: RawHeader) -> Header:
        try:
            return parse_header(raw)
        except HeaderError as error:
            raise BadAnswer(f"{self._endpoint.name}: {error}") from None
