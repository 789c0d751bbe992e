"""The blocks that an endpoint calls final, safe or latest, and those at a height: each with a header that is true."""

from __future__ import annotations

from typing import Final

from offchain.chain.header import Header, HeaderError, RawHeader, parse_header
from offchain.chain.rpc import BadAnswer, Endpoint, Rpc, RpcError
from offchain.errors import ChainError, ConfigError

ASSUMED_FINAL_DEPTH: Final = 64
"""Blocks below the head that are taken for final on a chain without that notion, if the user asked for less anyway."""


class Tags:
    """Asks for headers. Every one is rebuilt from its fields; ChainError if an endpoint has none that is true."""

    def __init__(self, rpc: Rpc, finality: str) -> None:
        self.confirmations = confirmations(finality)
        self._rpc = rpc
        self._must_be_named = finality in ("finalized", "safe")

    async def final(self, endpoint: Endpoint) -> Header:
        """The last final block; on a chain without that notion one that is deep enough, if the user asked for less."""
        try:
            final = await self.find(endpoint, "finalized")
        except RpcError:
            final = None
        if final is not None:
            return final
        if self._must_be_named:
            raise ChainError(f"{endpoint.name} does not know which block is final")
        head = await self.header(endpoint, "latest")
        depth = max(ASSUMED_FINAL_DEPTH, self.confirmations)
        return await self.header(endpoint, hex(max(head.number - depth, 0)))

    async def header(self, endpoint: Endpoint, block: str) -> Header:
        """The header of a block, by tag or height."""
        header = await self.find(endpoint, block)
        if header is None:
            raise BadAnswer(f"{endpoint.name} has no block {block}")
        return header

    async def find(self, endpoint: Endpoint, block: str) -> Header | None:
        """The same; None if the endpoint says that there is no such block."""
        raw = await self._rpc.find("eth_getBlockByNumber", [block, False], RawHeader, endpoint=endpoint)
        try:
            return None if raw is None else parse_header(raw)
        except HeaderError as error:
            raise BadAnswer(f"{endpoint.name}: {error}") from None


def confirmations(finality: str) -> int:
    """How many blocks must be on top of one: 0 for the named finalities. ConfigError if it is neither."""
    if finality in ("finalized", "safe", "latest"):
        return 0
    if not (finality.isascii() and finality.isdigit()):
        raise ConfigError(f"{finality!r} is not a finality: expected finalized, safe, latest or a number")
    return int(finality)
