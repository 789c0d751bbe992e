"""The inputs for explorers against what Brownie compiled, and deploys."""

import json

import pytest

from scripts.session import ROOT
from scripts.sources import SETTINGS, SOLC_VERSION, SOURCES, Mismatch, check_code, check_sent, compiled, standard_input


@pytest.fixture(scope="module")
def together():
    """The compiler's output for all inputs in one: seven runs of it would take long."""
    union = standard_input("NodeRegistry")
    for name in SOURCES:
        union["sources"].update(standard_input(name)["sources"])
    return compiled(union)


@pytest.mark.parametrize("name", SOURCES)
def test_an_input_compiles_to_what_brownie_deploys(together, name):
    built = json.loads((ROOT / "build" / "contracts" / f"{name}.json").read_text())

    assert together[name]["evm"]["bytecode"]["object"] == built["bytecode"]


@pytest.mark.parametrize("name", SOURCES)
def test_an_input_has_just_the_sources_that_the_code_commits_to(together, name):
    """The metadata, whose hash is at the end of the code, lists sources and settings."""
    metadata = json.loads(together[name]["metadata"])

    assert set(standard_input(name)["sources"]) == set(metadata["sources"])
    assert metadata["compiler"]["version"].startswith(f"{SOLC_VERSION}+")
    assert metadata["settings"]["evmVersion"] == SETTINGS["evmVersion"]
    assert metadata["settings"]["optimizer"] == SETTINGS["optimizer"]


def test_code_with_other_immutables_is_the_same_and_other_code_is_not(together):
    output = together["TokenCurator"]
    deployed = output["evm"]["deployedBytecode"]
    code = bytearray.fromhex(deployed["object"])
    for places in deployed["immutableReferences"].values():
        for place in places:
            code[place["start"] + 12 : place["start"] + 32] = b"\x77" * 20
    check_code(output, bytes(code))

    with pytest.raises(Mismatch, match="from byte 5 on"):
        check_code(output, bytes(code[:5]) + bytes([code[5] ^ 1]) + bytes(code[6:]))
    with pytest.raises(Mismatch, match="bytes, expected"):
        check_code(output, bytes(code) + b"\0")


def test_a_transaction_with_other_arguments_is_another(together):
    output = together["OwnerCurator"]
    sent = bytes.fromhex(output["evm"]["bytecode"]["object"]) + b"\1" * 32
    check_sent(output, sent, b"\1" * 32)

    with pytest.raises(Mismatch, match="other code or other arguments"):
        check_sent(output, sent, b"\2" * 32)
