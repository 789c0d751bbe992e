"""Having an endpoint prove what its logs add up to: log commitment and verdicts, against a block's state root."""

from __future__ import annotations

import asyncio
from binascii import unhexlify
from collections.abc import Sequence

import msgspec

from offchain.chain.commitment import COMMITMENT_SLOT, Commitment, verdict_slot
from offchain.chain.facts import Facts, Verdict, VerdictKey
from offchain.chain.header import Header, HeaderError, RawHeader, parse_header
from offchain.chain.proof import EMPTY_CODE, Account, ProofError, prove_account, prove_slot
from offchain.chain.rpc import BadAnswer, Endpoint, Rpc
from offchain.errors import ChainError
from offchain.types import Address, KindId

SLOTS_AT_ONCE = 256
"""Slots asked for in one eth_getProof; many nodes refuse more than a thousand."""


class Contradiction(ChainError):
    """What an endpoint says now contradicts what it said before, or what others say: somebody tampered."""


class NoContract(Contradiction):
    """Nothing stands at a contract's address, and that is proven: a lie if it was there before, else a mistake."""


class NoQuorum(ChainError):
    """Too few endpoints answered to believe in a block."""


class RawSlot(msgspec.Struct, frozen=True):
    """A storage proof as JSON-RPC writes it. Its own claim of key and value is not looked at."""

    proof: list[str]


class RawProof(msgspec.Struct, frozen=True):
    """An account proof as JSON-RPC writes it (EIP-1186)."""

    accountProof: list[str]
    storageProof: list[RawSlot]


async def fetch_slots(
    rpc: Rpc, endpoint: Endpoint, header: Header, contract: Address, slots: Sequence[bytes]
) -> tuple[Account, list[bytes]]:
    """The account and the slots of a contract after a block, proven. BadAnswer if the proof does not hold."""
    words: list[bytes] = []
    account: Account | None = None
    for start in range(0, len(slots), SLOTS_AT_ONCE):
        part = slots[start : start + SLOTS_AT_ONCE]
        params = ["0x" + contract.hex(), ["0x" + slot.hex() for slot in part], hex(header.number)]
        raw = await rpc.call("eth_getProof", params, RawProof, endpoint=endpoint)
        try:
            account = prove_account(header.state_root, contract, _nodes(raw.accountProof))
            if account is None or account.code_hash == EMPTY_CODE:
                raise NoContract(
                    f"{endpoint.name}: there is no contract at 0x{contract.hex()} in block {header}; "
                    "check the deployment that the configuration names"
                )
            if len(raw.storageProof) != len(part):
                raise ProofError(f"found proofs of {len(raw.storageProof)} slots, expected {len(part)}")
            root = account.storage_root
            words += [
                prove_slot(root, slot, _nodes(each.proof)) for slot, each in zip(part, raw.storageProof, strict=True)
            ]
        except ProofError as error:
            raise BadAnswer(f"{endpoint.name}: a proof for block {header} does not hold: {error}") from None
    assert account is not None
    return account, words


async def check_commitment(rpc: Rpc, endpoint: Endpoint, header: Header, registry: Address, ours: Commitment) -> bytes:
    """Compare the commitment folded from logs with the proven one; returns the registry's code hash.

    Contradiction if they differ.
    """
    account, words = await fetch_slots(rpc, endpoint, header, registry, [COMMITMENT_SLOT])
    theirs = Commitment.from_word(words[0])
    if theirs != ours:
        raise Contradiction(
            f"{endpoint.name}: the registry's log commitment in block {header} is {theirs}, "
            f"but the logs it sent add up to {ours}: events were left out, altered, repeated or reordered"
        )
    return account.code_hash


async def check_verdicts(
    rpc: Rpc, endpoint: Endpoint, header: Header, curator: Address, keys: Sequence[VerdictKey], facts: Facts
) -> None:
    """Compare a curator's verdicts with the proven slots. Contradiction if one differs."""
    if not keys:
        return
    _, words = await fetch_slots(
        rpc, endpoint, header, curator, [verdict_slot(provider, kind) for _, provider, kind in keys]
    )
    for key, word in zip(keys, words, strict=True):
        if word != verdict_word(facts.verdict(key)):
            raise Contradiction(
                f"{endpoint.name}: curator 0x{curator.hex()} has another verdict on provider {key[1]} "
                f"in block {header} than the logs it sent say"
            )


def verdict_word(verdict: Verdict | None) -> bytes:
    """A verdict as its storage slot holds it (interfaces/ICurator.sol)."""
    if verdict is None:
        return bytes(32)
    return (int(verdict.status) | verdict.until << 8 | verdict.weight << 72).to_bytes(32, "big")


async def check_quorum(rpc: Rpc, endpoint: Endpoint, header: Header, quorum: int) -> list[str]:
    """Ask the other endpoints for the block at that height; the names of those that agree.

    Those that disagree are demoted if enough agree; otherwise Contradiction. NoQuorum if too few answered.
    """
    need = quorum or min(2, len(rpc.endpoints))
    agreeing, disagreeing = [endpoint.name], []
    if need > 1:
        others = [each for each in rpc.endpoints if each is not endpoint]
        headers = await asyncio.gather(*(_header_at(rpc, each, hex(header.number)) for each in others))
        for other, found in zip(others, headers, strict=True):
            if found is not None and found.hash == header.hash:
                agreeing.append(other.name)
            elif found is not None:
                disagreeing.append(other)
    if len(agreeing) >= need:
        for other in disagreeing:
            rpc.demote(other, f"has another block {header.number} than {len(agreeing)} others")
        return agreeing
    if disagreeing:
        names = ", ".join(other.name for other in disagreeing)
        raise Contradiction(f"{endpoint.name} has block {header}, which {names} contradict")
    raise NoQuorum(f"{len(agreeing)} endpoints have block {header}, expected {need} to agree")


async def _header_at(rpc: Rpc, endpoint: Endpoint, block: str) -> Header | None:
    try:
        raw = await rpc.find("eth_getBlockByNumber", [block, False], RawHeader, endpoint=endpoint)
        return None if raw is None else parse_header(raw)
    except (ChainError, HeaderError):
        return None


def verdict_keys(curator: Address, facts: Facts) -> list[VerdictKey]:
    """Every verdict that a curator may have given: on all providers, for all kinds."""
    kinds = [KindId(0), *facts.all_kinds()]
    stored = {(provider, kind) for key, provider, kind in facts.all_verdicts() if key == curator}
    stored.update((provider, kind) for provider in facts.all_providers() for kind in kinds)
    return [(curator, provider, kind) for provider, kind in sorted(stored)]


def _nodes(texts: list[str]) -> list[bytes]:
    try:
        return [unhexlify(text[2:]) for text in texts]
    except ValueError:
        raise ProofError("a node is not hexadecimal") from None
