"""Merkle-Patricia proofs (Yellow Paper, appendix D): what an account or a storage slot holds under a state root.

    key    = keccak256(address) or keccak256(slot), walked by its 64 nibbles
    node   = rlp of 17 items (branch) or 2 items (leaf, extension)
             named by keccak256 of it, or embedded where it would be named if it has less than 32 bytes
    path   = hex-prefix: high nibble of the first byte is 0/1 extension, 2/3 leaf
             odd: its low nibble is part of the path
    proof  = the nodes from the root down, as eth_getProof lists them (EIP-1186)

A proof is of presence or of absence; anything else, unused nodes included, is refused with `ProofError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from offchain import rlp
from offchain.errors import DecodeError
from offchain.hashing import keccak256
from offchain.types import Address

EMPTY_ROOT = keccak256(b"\x80")
EMPTY_CODE = keccak256(b"")
MAX_NODES = 65
"""A path has 64 nibbles; more nodes than that cannot be on it."""


class ProofError(DecodeError):
    """The nodes do not prove anything about the key under the root."""


@dataclass(frozen=True, slots=True)
class Account:
    """What the state holds of an account."""

    nonce: int
    balance: int
    storage_root: bytes
    code_hash: bytes


def prove_account(state_root: bytes, address: Address, proof: Sequence[bytes]) -> Account | None:
    """The account under that state root, None if it is proven not to exist; ProofError if nothing is proven."""
    value = prove(state_root, keccak256(address), proof)
    if value is None:
        return None
    try:
        nonce, balance, storage_root, code_hash = rlp.as_list(rlp.decode(value), 4)
        return Account(
            rlp.as_int(nonce, 32), rlp.as_int(balance, 32), rlp.as_bytes(storage_root, 32), rlp.as_bytes(code_hash, 32)
        )
    except rlp.RlpError as error:
        raise ProofError(f"not an account: {error}") from None


def prove_slot(storage_root: bytes, slot: bytes, proof: Sequence[bytes]) -> bytes:
    """The 32 bytes of a storage slot under that storage root; ProofError if nothing is proven."""
    value = prove(storage_root, keccak256(slot), proof)
    if value is None:
        return bytes(32)
    try:
        word = rlp.as_bytes(rlp.decode(value))
    except rlp.RlpError as error:
        raise ProofError(f"not a storage value: {error}") from None
    if not word or len(word) > 32 or word[0] == 0:
        raise ProofError(f"found a storage value of {len(word)} bytes, expected 1 to 32 without a leading zero")
    return word.rjust(32, b"\0")


def prove(root: bytes, key: bytes, proof: Sequence[bytes]) -> bytes | None:
    """The value at a 32-byte key of the trie with that root, None if proven absent; ProofError if nothing is proven."""
    if root == EMPTY_ROOT and list(proof) in ([], [b"\x80"]):
        return None
    if len(proof) > MAX_NODES:
        raise ProofError(f"found {len(proof)} nodes, expected at most {MAX_NODES}")
    path = key.hex()
    expected, used = root, 0
    try:
        while True:
            if used == len(proof):
                raise ProofError(f"the proof ends after {used} nodes")
            encoded = proof[used]
            if keccak256(encoded) != expected:
                raise ProofError(f"node {used} does not have the hash that names it")
            used += 1
            found = _descend(rlp.decode(encoded), path)
            if not isinstance(found, _Next):
                break
            expected, path = found.hash, found.path
    except rlp.RlpError as error:
        raise ProofError(f"node {used}: {error}") from None
    if used != len(proof):
        raise ProofError(f"{len(proof) - used} nodes follow the last one on the path")
    return found


@dataclass(frozen=True, slots=True)
class _Next:
    """The walk goes on in a node with this hash."""

    hash: bytes
    path: str


def _descend(node: rlp.Item, path: str) -> bytes | _Next | None:
    """Walk through a node and those embedded in it."""
    while True:
        items = rlp.as_list(node)
        if len(items) == 17:
            if not path:
                return rlp.as_bytes(items[16]) or None
            node, path = items[int(path[0], 16)], path[1:]
        elif len(items) == 2:
            is_leaf, part = _partial_path(rlp.as_bytes(items[0]))
            if is_leaf:
                return rlp.as_bytes(items[1]) if part == path else None
            if not part:
                raise ProofError("an extension has no path")
            if not path.startswith(part):
                return None
            node, path = items[1], path[len(part) :]
        else:
            raise ProofError(f"found a node of {len(items)} items, expected 2 or 17")
        if isinstance(node, bytes):
            if not node:
                return None
            return _Next(rlp.as_bytes(node, 32), path)


def _partial_path(encoded: bytes) -> tuple[bool, str]:
    nibbles = encoded.hex()
    flag = int(nibbles[0], 16) if nibbles else 4
    if flag > 3 or (flag in (0, 2) and nibbles[1] != "0"):
        raise ProofError(f"{nibbles[:2]!r} does not begin a path")
    return flag >= 2, nibbles[1:] if flag % 2 else nibbles[2:]
