"""Block headers. What an endpoint says of a block is believed as far as the block's hash, rebuilt here, covers it.

    hash = keccak256(rlp(parentHash, sha3Uncles, miner, stateRoot, transactionsRoot, receiptsRoot, logsBloom,
                         difficulty, number, gasLimit, gasUsed, timestamp, extraData, mixHash, nonce, later...))

Later forks added, in this order: baseFeePerGas (EIP-1559), withdrawalsRoot (4895), blobGasUsed and excessBlobGas
(4844), parentBeaconBlockRoot (4788), requestsHash (7685). A header has a prefix of these.
"""

from __future__ import annotations

from binascii import unhexlify
from dataclasses import dataclass, field

import msgspec

from offchain import rlp
from offchain.errors import DecodeError
from offchain.hashing import keccak256

MAX_NUMBER = 2**63 - 1


class HeaderError(DecodeError):
    """What an endpoint sent is not a header, or not the one whose hash it names."""


class RawHeader(msgspec.Struct, frozen=True, gc=False):
    """A block as JSON-RPC writes it, without its transactions."""

    hash: str
    parentHash: str
    sha3Uncles: str
    miner: str
    stateRoot: str
    transactionsRoot: str
    receiptsRoot: str
    logsBloom: str
    difficulty: str
    number: str
    gasLimit: str
    gasUsed: str
    timestamp: str
    extraData: str
    mixHash: str
    nonce: str
    baseFeePerGas: str | None = None
    withdrawalsRoot: str | None = None
    blobGasUsed: str | None = None
    excessBlobGas: str | None = None
    parentBeaconBlockRoot: str | None = None
    requestsHash: str | None = None


@dataclass(frozen=True, slots=True)
class Header:
    """A block's place in the chain, and its state."""

    number: int
    hash: bytes
    parent: bytes
    timestamp: int
    """Unix time."""
    state_root: bytes
    bloom: bytes | None = field(default=None, compare=False, repr=False)
    """Of the addresses and topics of its logs; None if it was not kept."""

    def may_have_logs_of(self, contract: bytes) -> bool:
        """Whether there can be logs of a contract in the block. The header's hash covers this: nobody can deny it."""
        if self.bloom is None:
            return True
        digest = keccak256(contract)
        bits = (int.from_bytes(digest[at : at + 2], "big") % 2048 for at in (0, 2, 4))
        return all(self.bloom[255 - bit // 8] >> bit % 8 & 1 for bit in bits)

    def __str__(self) -> str:
        return f"{self.number} ({self.hash[:4].hex()})"


def parse_header(raw: RawHeader) -> Header:
    """The header, if its hash is that of its contents; HeaderError otherwise."""
    fields: list[rlp.Encodable] = [
        _bytes(raw.parentHash, 32),
        _bytes(raw.sha3Uncles, 32),
        _bytes(raw.miner, 20),
        _bytes(raw.stateRoot, 32),
        _bytes(raw.transactionsRoot, 32),
        _bytes(raw.receiptsRoot, 32),
        _bytes(raw.logsBloom, 256),
        _int(raw.difficulty),
        _int(raw.number),
        _int(raw.gasLimit),
        _int(raw.gasUsed),
        _int(raw.timestamp),
        _bytes(raw.extraData, None),
        _bytes(raw.mixHash, 32),
        _bytes(raw.nonce, 8),
    ]
    later = [
        None if raw.baseFeePerGas is None else _int(raw.baseFeePerGas),
        None if raw.withdrawalsRoot is None else _bytes(raw.withdrawalsRoot, 32),
        None if raw.blobGasUsed is None else _int(raw.blobGasUsed),
        None if raw.excessBlobGas is None else _int(raw.excessBlobGas),
        None if raw.parentBeaconBlockRoot is None else _bytes(raw.parentBeaconBlockRoot, 32),
        None if raw.requestsHash is None else _bytes(raw.requestsHash, 32),
    ]
    present = [field for field in later if field is not None]
    if later[: len(present)] != present:
        raise HeaderError("the header has a later fork's field without an earlier one's")
    claimed = _bytes(raw.hash, 32)
    rebuilt = keccak256(rlp.encode([*fields, *present]))
    if rebuilt != claimed:
        raise HeaderError(f"the header hashes to {rebuilt.hex()}, not to {claimed.hex()} as claimed")
    number, timestamp = _int(raw.number), _int(raw.timestamp)
    if number > MAX_NUMBER or timestamp > MAX_NUMBER:
        raise HeaderError("the header's number or time is out of range")
    parent, state_root, bloom = _bytes(raw.parentHash, 32), _bytes(raw.stateRoot, 32), _bytes(raw.logsBloom, 256)
    return Header(number, claimed, parent, timestamp, state_root, bloom)


def _bytes(text: str, size: int | None) -> bytes:
    if text[:2] != "0x":
        raise HeaderError("a field of the header is not hexadecimal")
    try:
        value = unhexlify(text[2:])
    except ValueError:
        raise HeaderError("a field of the header is not hexadecimal") from None
    if size is not None and len(value) != size:
        raise HeaderError(f"a field of the header has {len(value)} bytes, expected {size}")
    return value


def _int(text: str) -> int:
    if text[:2] != "0x" or len(text) > 66 or not text[2:].isalnum():  # int() takes signs and underscores
        raise HeaderError("a number of the header is not hexadecimal")
    try:
        return int(text[2:], 16)
    except ValueError:
        raise HeaderError("a number of the header is not hexadecimal") from None
