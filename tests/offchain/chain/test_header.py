"""Headers are what their hash says they are."""

import json
from pathlib import Path

import msgspec
import pytest

from offchain.chain.header import HeaderError, RawHeader, parse_header

ANVIL = json.loads((Path(__file__).parents[2] / "vectors" / "chain" / "anvil.json").read_text())
EMPTY_TRIE = "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421"
MAINNET_GENESIS = {
    # Source: the genesis block of Ethereum's main network.
    "hash": "0xd4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3",
    "parentHash": "0x" + "00" * 32,
    "sha3Uncles": "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347",
    "miner": "0x" + "00" * 20,
    "stateRoot": "0xd7f8974fb5ac78d9ac099b9ad5018bedc2ce0a72dad1827a1709da30580f0544",
    "transactionsRoot": EMPTY_TRIE,
    "receiptsRoot": EMPTY_TRIE,
    "logsBloom": "0x" + "00" * 256,
    "difficulty": "0x400000000",
    "number": "0x0",
    "gasLimit": "0x1388",
    "gasUsed": "0x0",
    "timestamp": "0x0",
    "extraData": "0x11bbe8db4e347b4e8c937c1c8370e4b5ed33adb3db69cbdb7a38e1e50b1b82fa",
    "mixHash": "0x" + "00" * 32,
    "nonce": "0x0000000000000042",
}


def header(document, **changes):
    return parse_header(msgspec.convert({**document, **changes}, RawHeader))


def test_rebuilds_the_hash_of_the_main_networks_first_block():
    assert header(MAINNET_GENESIS).hash.hex() == MAINNET_GENESIS["hash"][2:]


@pytest.mark.parametrize("name", ["genesis", "header"])
def test_rebuilds_the_hash_of_a_block_with_all_later_forks_fields(name):
    found = header(ANVIL[name])

    assert found.number == int(ANVIL[name]["number"], 16)
    assert found.state_root.hex() == ANVIL[name]["stateRoot"][2:]
    assert found.timestamp == int(ANVIL[name]["timestamp"], 16)


@pytest.mark.parametrize("field", [name for name in RawHeader.__struct_fields__ if name in ANVIL["header"]])
def test_refuses_a_header_with_any_field_changed(field):
    value = ANVIL["header"][field]
    changed = value[:-1] + ("0" if value[-1] != "0" else "1") if len(value) > 2 else "0x01"

    with pytest.raises(HeaderError):
        header(ANVIL["header"], **{field: changed})


@pytest.mark.parametrize("field", RawHeader.__struct_fields__)
@pytest.mark.parametrize("value", ["", "0", "zz", "0xzz", "0x" + "1" * 3000])
def test_refuses_noise_in_a_field_with_the_one_error(field, value):
    with pytest.raises(HeaderError):
        header(ANVIL["header"], **{field: value})


def test_refuses_a_later_forks_field_without_an_earlier_ones():
    with pytest.raises(HeaderError, match="later fork"):
        header(ANVIL["header"], withdrawalsRoot=None)
