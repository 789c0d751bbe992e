"""Where the contracts keep things, from the committed storage layout: for readers by eth_getProof."""

from __future__ import annotations

import json

from offchain.hashing import keccak256
from tests.support.registry import ABI


def slot_number(contract: str, variable: str) -> int:
    """The slot of a state variable."""
    document = json.loads((ABI / f"{contract}.json").read_text())
    slot: int = document["storage"][variable]["slot"]
    return slot


def mapping_slot(slot: int | str, *keys: int | str | bytes) -> str:
    """The slot of a mapping's value; several keys for a mapping of mappings."""
    place = _word(slot)
    for key in keys:
        place = keccak256(_word(key) + place)
    return "0x" + place.hex()


def _word(value: int | str | bytes) -> bytes:
    if isinstance(value, str):
        value = bytes.fromhex(value.removeprefix("0x"))
    return value.to_bytes(32, "big") if isinstance(value, int) else value.rjust(32, b"\0")


def words(web3, contract, slot: str | int) -> int:
    """The raw content of a slot."""
    return int.from_bytes(
        web3.eth.get_storage_at(contract.address, int(slot, 16) if isinstance(slot, str) else slot), "big"
    )
