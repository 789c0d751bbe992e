"""What off-chain code knows of the contracts is what the compiler says of them."""

import json

from brownie import BallotBox, DiscoveryLens, NodeRegistry, OwnerCurator, Parameters, ParameterVote, TokenCurator

from scripts import export_abi
from scripts.session import ROOT
from tests.support.registry import interface


def test_the_committed_files_are_up_to_date():
    for name, text in export_abi.exported().items():
        assert (export_abi.TARGET / f"{name}.json").read_text() == text, "run: python -m scripts.export_abi"


def test_brownie_compiles_the_same_interface():
    for container in (
        NodeRegistry, OwnerCurator, TokenCurator, BallotBox, Parameters, ParameterVote, DiscoveryLens,
    ):  # fmt: skip
        brownies = json.loads((ROOT / "build" / "contracts" / f"{container._name}.json").read_text())["abi"]
        assert _members(interface(container._name)) == _members(brownies)


def _members(abi):
    return sorted(json.dumps(entry, sort_keys=True) for entry in abi)
