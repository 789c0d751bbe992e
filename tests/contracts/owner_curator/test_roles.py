import pytest

from tests.contracts.errors import reverts_with
from tests.support.registry import interface


@pytest.fixture
def permitted(owner_curator, guardian, curator):
    owner_curator.setCurator(curator, True, {"from": guardian})
    return curator


def test_the_owner_lets_others_give_verdicts(owner_curator, guardian, curator):
    tx = owner_curator.setCurator(curator, True, {"from": guardian})

    assert owner_curator.isCurator(curator)
    assert dict(tx.events["CuratorSet"]) == {"account": curator, "allowed": True}
    owner_curator.setVerdict(1, 0, 1, 0, {"from": curator})
    owner_curator.setVerdicts([(2, 0, 1, 0)], {"from": curator})


def test_nobody_else_gives_verdicts(owner_curator, stranger):
    with reverts_with("NotCurator", stranger):
        owner_curator.setVerdict(1, 0, 1, 0, {"from": stranger})
    with reverts_with("NotCurator", stranger):
        owner_curator.setVerdicts([(1, 0, 1, 0)], {"from": stranger})


def test_a_curator_lets_nobody_in(owner_curator, permitted, stranger):
    with reverts_with("OwnableUnauthorizedAccount", permitted):
        owner_curator.setCurator(stranger, True, {"from": permitted})


def test_a_former_curator_gives_no_verdicts(owner_curator, guardian, permitted):
    owner_curator.setCurator(permitted, False, {"from": guardian})

    with reverts_with("NotCurator", permitted):
        owner_curator.setVerdict(1, 0, 1, 0, {"from": permitted})


def test_a_change_that_changes_nothing_is_refused(owner_curator, guardian, permitted, stranger):
    with reverts_with("CuratorUnchanged", permitted):
        owner_curator.setCurator(permitted, True, {"from": guardian})
    with reverts_with("CuratorUnchanged", stranger):
        owner_curator.setCurator(stranger, False, {"from": guardian})


def test_the_owner_is_replaced_in_two_steps(owner_curator, guardian, newcomer, stranger):
    owner_curator.transferOwnership(newcomer, {"from": guardian})
    assert owner_curator.owner() == guardian
    with reverts_with("OwnableUnauthorizedAccount", stranger):
        owner_curator.acceptOwnership({"from": stranger})

    owner_curator.acceptOwnership({"from": newcomer})

    with reverts_with("NotCurator", guardian):
        owner_curator.setVerdict(1, 0, 1, 0, {"from": guardian})
    owner_curator.setVerdict(1, 0, 1, 0, {"from": newcomer})


def test_says_what_it_is(owner_curator):
    def interface_id(*functions):
        from offchain.hashing import keccak256

        number = 0
        for signature in functions:
            number ^= int.from_bytes(keccak256(signature.encode())[:4], "big")
        return number.to_bytes(4, "big")

    curator_id = interface_id("verdict(uint256,uint256)", "verdictSlot(uint256,uint256)")
    assert owner_curator.supportsInterface("0x01ffc9a7")
    assert owner_curator.supportsInterface(curator_id)
    assert not owner_curator.supportsInterface("0xffffffff")
    assert {"verdict", "verdictSlot"} <= {entry.get("name") for entry in interface("OwnerCurator")}
