"""Proving at the head: whether the logs of new blocks are all there, without waiting until the blocks are final.

A header's bloom filter, which its hash covers, says which contracts can have logs in a block. Where ours may, the
head's state is asked for the log commitment: an endpoint that hides a removal is caught within one block. Curators have
no commitment; the root of their storage says whether anything changed since their verdicts were compared.
"""

from __future__ import annotations

from collections.abc import Sequence

from offchain.chain.commitment import Commitment
from offchain.chain.facts import Facts
from offchain.chain.header import Header, RawHeader, parse_header
from offchain.chain.ledger import Block
from offchain.chain.prover import check_commitment, check_verdicts, fetch_slots, verdict_keys
from offchain.chain.rpc import BadAnswer, Endpoint, Rpc, RpcError
from offchain.errors import DecodeError
from offchain.types import Address


class Attestor:
    """Compares what an endpoint sent with the state it proves. Contradiction if they differ."""

    def __init__(self, rpc: Rpc, registry: Address, curators: Sequence[tuple[Address, int]]) -> None:
        self._rpc = rpc
        self._registry = registry
        self._curators = curators
        """Address and first block."""
        self._compared: dict[Address, object] = {}
        """For a curator: the root of its storage and the verdicts that were found equal to it."""

    def concerns(self, blocks: Sequence[Block]) -> bool:
        """Whether there are, or may be, logs of ours in these blocks."""
        contracts = [self._registry, *(address for address, _ in self._curators)]
        return any(
            block.logs or any(block.header.may_have_logs_of(contract) for contract in contracts) for block in blocks
        )

    async def check(self, endpoint: Endpoint, header: Header, ours: Commitment, facts: Facts) -> bytes:
        """Have the facts after a block proven; the registry's code hash. BadAnswer if the proof does not hold."""
        code_hash = await check_commitment(self._rpc, endpoint, header, self._registry, ours)
        for address, first in self._curators:
            if first > header.number:
                continue
            account, _ = await fetch_slots(self._rpc, endpoint, header, address, [bytes(32)])
            verdicts = {key: verdict for key, verdict in facts.all_verdicts().items() if key[0] == address}
            equal = (account.storage_root, verdicts, len(facts.all_providers()), len(facts.all_kinds()))
            if self._compared.get(address) != equal:
                await check_verdicts(self._rpc, endpoint, header, address, verdict_keys(address, facts), facts)
                self._compared[address] = equal
        return code_hash

    async def check_head(self, endpoint: Endpoint, header: Header, ours: Commitment, facts: Facts) -> bool:
        """Like `check`, of a block that may be gone by now. False if the endpoint cannot say."""
        try:
            await self.check(endpoint, header, ours, facts)
        except RpcError:
            return False
        except BadAnswer:
            if await self._is_gone(endpoint, header):
                return False
            raise
        return True

    async def _is_gone(self, endpoint: Endpoint, header: Header) -> bool:
        """Whether there is another block at that height now."""
        try:
            raw = await self._rpc.find(
                "eth_getBlockByNumber", [hex(header.number), False], RawHeader, endpoint=endpoint
            )
            return raw is None or parse_header(raw).hash != header.hash
        except (RpcError, DecodeError):
            return False
