import json

import pytest
from brownie import accounts, chain

from scripts import deploy
from scripts.session import Refusal, contract_of


def test_deploys_and_records_address_and_block(tmp_path, guardian):
    path = tmp_path / "sub" / "here.json"

    registry, owner_curator = deploy.main(record=str(path), account=guardian)

    document = json.loads(path.read_text())
    assert document["chainId"] == chain.id
    assert document["contracts"]["NodeRegistry"] == {"address": registry.address, "block": chain.height - 1}
    assert document["contracts"]["OwnerCurator"] == {"address": owner_curator.address, "block": chain.height}
    assert registry.owner() == owner_curator.owner() == guardian


def test_without_an_account_the_first_of_a_local_chain_deploys():
    registry, _ = deploy.main()

    assert registry.owner() == accounts[0]


def test_a_dry_run_sends_nothing(tmp_path, capsys):
    height, path = chain.height, tmp_path / "here.json"

    assert deploy.main(record=str(path), dry_run="yes") is None

    assert chain.height == height
    assert not path.exists()
    assert "would deploy NodeRegistry and OwnerCurator" in capsys.readouterr().out


def test_a_recorded_contract_is_found(tmp_path, contracts, guardian):
    path = deploy.write_record(contracts, tmp_path / "here.json")

    assert contract_of("NodeRegistry", path) == contracts[0]
    assert contract_of("OwnerCurator", path) == contracts[1]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda document: document.update(chainId=1), "is of chain 1"),
        (lambda document: document.pop("contracts"), "is no record of a deployment"),
        (lambda document: document["contracts"]["NodeRegistry"].update(address="0x12"), "is no record of a deployment"),
        (
            lambda document: document["contracts"]["NodeRegistry"].update(address="0x" + "12" * 20),
            "was the chain started anew",
        ),
    ],
)
def test_a_record_of_something_else_is_refused(tmp_path, contracts, change, reason):
    path = deploy.write_record(contracts, tmp_path / "here.json")
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))

    with pytest.raises(Refusal, match=reason):
        contract_of("NodeRegistry", path)


def test_without_a_record_it_says_how_to_get_one(tmp_path):
    with pytest.raises(Refusal, match="brownie run deploy main"):
        contract_of("NodeRegistry", tmp_path / "none.json")
