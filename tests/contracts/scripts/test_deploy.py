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
    for contract, block in ((registry, chain.height - 1), (owner_curator, chain.height)):
        entry = document["contracts"][contract._name]
        assert (entry["address"], entry["block"]) == (contract.address, block)
        assert entry["transaction"] == contract.tx.txid
        assert entry["arguments"] == "0x" + str(guardian)[2:].lower().zfill(64)
    assert "pending" not in document
    assert registry.owner() == owner_curator.owner() == guardian


def test_without_an_account_the_first_of_a_local_chain_deploys():
    registry, _ = deploy.main()

    assert registry.owner() == accounts[0]


def test_a_dry_run_sends_nothing(tmp_path, capsys):
    height, path = chain.height, tmp_path / "here.json"

    assert deploy.main(record=str(path), dry_run="yes") is None

    assert chain.height == height
    assert not path.exists()
    said = capsys.readouterr().out
    assert "would deploy NodeRegistry to chain 31337 at 0x" in said
    assert "would deploy OwnerCurator to chain 31337 at 0x" in said
    assert "together about" in said


def test_a_dry_run_names_the_addresses_that_follow(tmp_path, capsys, guardian):
    deploy.main(dry_run=True, account=guardian)
    said = capsys.readouterr().out

    registry, owner_curator = deploy.main(account=guardian)

    assert registry.address in said
    assert owner_curator.address in said


def test_what_is_deployed_already_is_refused(tmp_path, guardian):
    path = tmp_path / "here.json"
    deploy.main(record=path, account=guardian)
    height = chain.height

    with pytest.raises(Refusal, match="has both already"):
        deploy.main(record=path, account=guardian)

    assert chain.height == height


def test_a_record_of_a_chain_that_is_gone_gives_way_on_local_chains(tmp_path, guardian):
    path = tmp_path / "here.json"
    deploy.main(record=path, account=guardian)
    document = json.loads(path.read_text())
    for entry in document["contracts"].values():
        entry["address"] = "0x" + "12" * 20
    path.write_text(json.dumps(document))

    registry, _ = deploy.main(record=path, account=guardian)

    assert json.loads(path.read_text())["contracts"]["NodeRegistry"]["address"] == registry.address


@pytest.fixture
def path(tmp_path, guardian):
    """The record of a deployment."""
    deploy.main(record=tmp_path / "here.json", account=guardian)
    return tmp_path / "here.json"


def test_a_recorded_contract_is_found(tmp_path, guardian):
    path = tmp_path / "here.json"
    contracts = deploy.main(record=path, account=guardian)

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
def test_a_record_of_something_else_is_refused(path, change, reason):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))

    with pytest.raises(Refusal, match=reason):
        contract_of("NodeRegistry", path)


def test_without_a_record_it_says_how_to_get_one(tmp_path):
    with pytest.raises(Refusal, match="brownie run deploy main"):
        contract_of("NodeRegistry", tmp_path / "none.json")
