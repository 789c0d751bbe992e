import pytest
from brownie import chain, web3

from tests.contracts.errors import reverts_with
from tests.support.registry import DAY
from tests.support.storage import mapping_slot, slot_number, words

NONE, ACCEPTED, REJECTED = 0, 1, 2
ALL_KINDS = 0


def test_nothing_is_said_of_anybody_at_first(owner_curator):
    assert owner_curator.verdict(1, ALL_KINDS) == (NONE, 0, 0)


def test_the_owner_gives_a_verdict_and_it_is_said_once(owner_curator, guardian, now):
    tx = owner_curator.setVerdict(7, 1, ACCEPTED, now + DAY, {"from": guardian})

    assert owner_curator.verdict(7, 1) == (ACCEPTED, now + DAY, 0)
    assert len(tx.logs) == 1
    assert dict(tx.events["VerdictChanged"]) == {
        "providerId": 7,
        "kind": 1,
        "status": ACCEPTED,
        "until": now + DAY,
        "weight": 0,
    }


def test_verdicts_for_kinds_are_apart(owner_curator, guardian):
    owner_curator.setVerdict(7, ALL_KINDS, ACCEPTED, 0, {"from": guardian})
    owner_curator.setVerdict(7, 2, REJECTED, 0, {"from": guardian})

    assert owner_curator.verdict(7, ALL_KINDS)[0] == ACCEPTED
    assert owner_curator.verdict(7, 2)[0] == REJECTED
    assert owner_curator.verdict(7, 1)[0] == NONE


def test_verdicts_change_and_are_withdrawn(owner_curator, guardian):
    for status in (ACCEPTED, REJECTED, ACCEPTED, NONE):
        owner_curator.setVerdict(7, 1, status, 0, {"from": guardian})
        assert owner_curator.verdict(7, 1) == (status, 0, 0)


def test_the_end_of_a_verdict_is_moved(owner_curator, guardian, now):
    """A list that is renewed from time to time: the same word again, for longer, then without end."""
    for until in (now + DAY, now + 2 * DAY, 0):
        owner_curator.setVerdict(7, 1, ACCEPTED, until, {"from": guardian})
        assert owner_curator.verdict(7, 1) == (ACCEPTED, until, 0)
    with reverts_with("VerdictUnchanged", 7, 1):
        owner_curator.setVerdict(7, 1, ACCEPTED, 0, {"from": guardian})


def test_the_same_verdict_again_is_refused(owner_curator, guardian):
    with reverts_with("VerdictUnchanged", 7, 1):
        owner_curator.setVerdict(7, 1, NONE, 0, {"from": guardian})
    owner_curator.setVerdict(7, 1, ACCEPTED, 0, {"from": guardian})
    with reverts_with("VerdictUnchanged", 7, 1):
        owner_curator.setVerdict(7, 1, ACCEPTED, 0, {"from": guardian})


def test_an_end_lies_ahead_and_belongs_to_a_verdict(owner_curator, guardian, now):
    with reverts_with("InvalidUntil", 7, 1, now):
        owner_curator.setVerdict(7, 1, ACCEPTED, now, {"from": guardian})
    with reverts_with("InvalidUntil", 7, 1, now + DAY):
        owner_curator.setVerdict(7, 1, NONE, now + DAY, {"from": guardian})


def test_provider_zero_is_nobody(owner_curator, guardian):
    with reverts_with("InvalidProvider"):
        owner_curator.setVerdict(0, 1, ACCEPTED, 0, {"from": guardian})


def test_a_batch_is_all_or_nothing(owner_curator, guardian, now):
    entries = [(1, 0, ACCEPTED, 0), (2, 1, REJECTED, now + DAY), (3, 0, ACCEPTED, 0)]

    tx = owner_curator.setVerdicts(entries, {"from": guardian})

    assert len(tx.events["VerdictChanged"]) == 3
    assert [owner_curator.verdict(provider, kind)[:2] for provider, kind, _, _ in entries] == [
        (status, until) for _, _, status, until in entries
    ]
    with reverts_with("VerdictUnchanged", 3, 0):
        owner_curator.setVerdicts([(1, 0, NONE, 0), (3, 0, ACCEPTED, 0)], {"from": guardian})
    assert owner_curator.verdict(1, 0)[0] == ACCEPTED


def test_a_batch_is_not_empty(owner_curator, guardian):
    with reverts_with("EmptyBatch"):
        owner_curator.setVerdicts([], {"from": guardian})


def test_a_verdict_that_is_over_is_still_there_for_clients_to_judge(owner_curator, guardian, now):
    owner_curator.setVerdict(7, 1, ACCEPTED, now + DAY, {"from": guardian})
    chain.sleep(2 * DAY)
    chain.mine()

    assert owner_curator.verdict(7, 1) == (ACCEPTED, now + DAY, 0)


@pytest.mark.parametrize(("provider", "kind"), [(1, 0), (7, 3), (2**24 - 1, 2**24 - 1), (2**256 - 1, 2**256 - 1)])
def test_a_verdict_is_one_slot_where_the_contract_says(owner_curator, guardian, now, provider, kind):
    owner_curator.setVerdict(provider, kind, REJECTED, now + DAY, {"from": guardian})
    slot = mapping_slot(slot_number("OwnerCurator", "_verdicts"), provider, kind)

    word = words(web3, owner_curator, slot)

    assert str(owner_curator.verdictSlot(provider, kind)) == slot
    assert (word & 0xFF, word >> 8 & (1 << 64) - 1, word >> 72) == (REJECTED, now + DAY, 0)


def test_the_verdicts_mapping_is_slot_zero_of_every_curator():
    assert slot_number("OwnerCurator", "_verdicts") == 0
