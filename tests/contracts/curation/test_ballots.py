"""Accounts, commitments, reveals and claims in the ballot box."""

import pytest
from brownie import BallotBox, TestToken, web3

from scripts.terms import HOUR, TOKEN
from tests.contracts.errors import reverts_with
from tests.support.curation import AGAINST, DRAWN, FOR, OPEN, pass_time, salt_of

STAKE = 1_000 * TOKEN
ENOUGH = 20_000 * TOKEN
ZERO = "0x" + "00" * 20


@pytest.fixture
def poll(play, listed, challenger):
    return play.challenge(listed, challenger)


def test_tokens_go_in_and_out(play, box, alice, stranger):
    held = play.token.balanceOf(alice)
    tx = box.deposit(5, {"from": alice})
    assert dict(tx.events["Deposited"]) == {"account": alice, "amount": 5}
    tx = box.withdraw(5, {"from": alice})
    assert dict(tx.events["Withdrawn"]) == {"account": alice, "amount": 5}
    assert play.token.balanceOf(alice) == held

    for call in (box.deposit, box.withdraw):
        with reverts_with("ZeroAmount"):
            call(0, {"from": alice})
    with reverts_with("InsufficientBalance", stranger, 0, 1):
        box.withdraw(1, {"from": stranger})


def test_a_vote_is_committed_with_a_bond_and_locked(play, box, poll, alice):
    balance, bond = play.balance(alice), ENOUGH // 100
    commitment = box.commitmentOf(poll, alice, FOR, salt_of(alice, poll))

    tx = play.commit(poll, alice, FOR, ENOUGH)

    assert dict(tx.events["VoteCommitted"]) == {
        "pollId": poll, "voter": alice, "commitment": commitment, "weight": ENOUGH,
    }  # fmt: skip
    end = box.pollOf(poll)[1]
    assert tuple(box.accountOf(alice)) == (balance - bond, ENOUGH - bond, end)
    assert box.availableOf(alice) == balance - ENOUGH
    with reverts_with("InsufficientBalance", alice, balance - ENOUGH, balance - ENOUGH + 1):
        box.withdraw(balance - ENOUGH + 1, {"from": alice})
    box.withdraw(balance - ENOUGH, {"from": alice})
    play.until_end(poll)
    box.withdraw(ENOUGH - bond, {"from": alice})
    assert play.balance(alice) == 0


def test_a_lock_lasts_until_the_last_of_overlapping_polls_ends(
    play, box, poll, guardian, rival_provider, challenger, alice
):
    """Also if the poll that was voted in last ends first, and the larger weight is in either."""
    play.apply(rival_provider)
    long_end = box.pollOf(poll)[1]
    play.change_terms(guardian, commit_period=HOUR, reveal_period=HOUR, slash=0)
    short = play.challenge(rival_provider, challenger)
    assert box.pollOf(short)[1] < long_end
    play.commit(poll, alice, FOR, ENOUGH)
    play.commit(short, alice, FOR, 2 * ENOUGH)
    balance = play.balance(alice)
    assert tuple(box.accountOf(alice)) == (balance, 2 * ENOUGH, long_end)

    play.until_end(short)
    assert box.availableOf(alice) <= balance - (ENOUGH - ENOUGH // 100)
    play.until_end(poll)
    assert box.availableOf(alice) == balance


def test_the_commitment_is_what_the_interface_says(play, box, poll, alice):
    from eth_abi import encode

    salt = b"\7" * 32
    said = encode(
        ["uint256", "address", "uint256", "address", "uint8", "bytes32"],
        [31337, box.address, poll, alice.address, 1, salt],
    )
    assert bytes(box.commitmentOf(poll, alice, 1, salt)) == bytes(web3.keccak(said))


def test_depositing_and_committing_go_in_one(play, box, poll, stranger, guardian):
    play.token.transfer(stranger, ENOUGH, {"from": guardian})
    play.token.approve(box, ENOUGH, {"from": stranger})
    commitment = box.commitmentOf(poll, stranger, FOR, b"\1" * 32)

    tx = box.depositAndCommit(ENOUGH, poll, commitment, ENOUGH, {"from": stranger})

    assert [event in tx.events for event in ("Deposited", "VoteCommitted")] == [True, True]
    assert box.availableOf(stranger) == 0


def test_what_cannot_be_committed(play, box, poll, alice):
    commitment = b"\1" * 32
    for unknown in (0, poll + 1):
        with reverts_with("UnknownPoll", unknown):
            box.commit(unknown, commitment, ENOUGH, {"from": alice})
    for weight in (0, 1, 9_999, ENOUGH + 1):
        with reverts_with("InvalidWeight", weight):
            box.commit(poll, commitment, weight, {"from": alice})
    with reverts_with("InvalidCommitment"):
        box.commit(poll, b"\0" * 32, ENOUGH, {"from": alice})
    balance = play.balance(alice)
    with reverts_with("InsufficientBalance", alice, balance, balance + 10_000):
        box.commit(poll, commitment, balance + 10_000, {"from": alice})
    end = box.pollOf(poll)[0]
    play.until_reveal(poll)
    with reverts_with("CommitPeriodOver", poll, end):
        box.commit(poll, commitment, ENOUGH, {"from": alice})


def test_votes_are_revealed_in_their_period_and_once(play, box, poll, alice, bob):
    play.commit(poll, alice, FOR, ENOUGH)
    commit_end, reveal_end = box.pollOf(poll)[:2]
    with reverts_with("NotInRevealPeriod", poll, commit_end, reveal_end):
        play.reveal(poll, alice, FOR, ENOUGH)
    play.until_reveal(poll)
    tx = play.reveal(poll, alice, FOR, ENOUGH)
    assert dict(tx.events["VoteRevealed"]) == {"pollId": poll, "voter": alice, "choice": FOR, "weight": ENOUGH}
    assert tuple(box.countOf(poll)) == (OPEN, 0, ENOUGH, 0)

    for voter in (alice, bob):
        with reverts_with("NotCommitted", poll, voter):
            play.reveal(poll, voter, FOR, ENOUGH)
    play.until_end(poll)
    with reverts_with("NotInRevealPeriod", poll, commit_end, reveal_end):
        play.reveal(poll, alice, FOR, ENOUGH)


def test_winners_share_the_reward_and_all_bonds(play, box, listed, challenger, alice, bob, carol, resolver):
    poll = play.challenge(listed, challenger)
    for voter, choice, weight in ((alice, FOR, 3 * ENOUGH), (bob, FOR, ENOUGH), (carol, AGAINST, ENOUGH)):
        play.commit(poll, voter, choice, weight)
    play.commit(poll, resolver, AGAINST, ENOUGH)  # and never reveals
    play.until_reveal(poll)
    for voter, choice, weight in ((alice, FOR, 3 * ENOUGH), (bob, FOR, ENOUGH), (carol, AGAINST, ENOUGH)):
        play.reveal(poll, voter, choice, weight)
    play.until_end(poll)
    play.curator.resolve(listed, 1, {"from": resolver})

    reward, bonds = STAKE * 4_000 // 10_000, 6 * ENOUGH // 100
    assert box.claimable(poll, alice) == (reward + bonds) * 3 // 4
    assert box.claimable(poll, bob) == (reward + bonds) // 4
    for loser in (carol, resolver, challenger):
        with reverts_with("NothingToClaim", poll, loser):
            box.claim(poll, loser, {"from": loser})


def test_those_who_kept_a_listing_share_alike(play, box, listed, challenger, alice, bob, carol):
    votes = ((alice, AGAINST, 3 * ENOUGH), (bob, AGAINST, ENOUGH), (carol, FOR, ENOUGH))
    poll, tx = play.contest(listed, challenger, *votes)
    pool = STAKE * 4_000 // 10_000 + 5 * ENOUGH // 100

    assert tx.events["PollClosed"]["pool"] == pool
    for voter, share in ((alice, pool * 3 // 4), (bob, pool // 4)):
        before = play.balance(voter)
        box.claim(poll, voter, {"from": carol})
        assert play.balance(voter) == before + share
    with reverts_with("NothingToClaim", poll, carol):
        box.claim(poll, carol, {"from": carol})
    assert play.listing(listed)["deposit"] == STAKE + STAKE * 5_800 // 10_000


def test_in_a_draw_bonds_go_back_to_those_who_revealed(play, box, poll, listed, alice, bob, treasury):
    play.commit(poll, alice, FOR, 10_000)
    play.commit(poll, bob, AGAINST, ENOUGH)  # and never reveals
    play.until_reveal(poll)
    play.reveal(poll, alice, FOR, 10_000)
    play.until_end(poll)
    before = play.balance(treasury)

    tx = play.curator.resolve(listed, 1, {"from": alice})

    assert tx.events["PollClosed"]["outcome"] == DRAWN
    assert dict(tx.events["BondsForfeited"]) == {"pollId": poll, "amount": ENOUGH // 100}
    assert play.balance(treasury) == before + ENOUGH // 100
    assert box.claimable(poll, alice) == 100
    assert box.claimable(poll, bob) == 0
    box.claim(poll, alice, {"from": bob})


def test_what_nobody_claims_goes_to_the_treasury_after_the_window(play, box, listed, challenger, alice, bob, treasury):
    poll, _ = play.contest(listed, challenger, (alice, FOR, ENOUGH), (bob, FOR, ENOUGH))
    box.claim(poll, alice, {"from": alice})
    left = box.claimable(poll, bob)
    with reverts_with("ClaimsStillOpen", poll, box.countOf(poll)[1]):
        box.sweep(poll, {"from": alice})
    pass_time(play.terms.voting.claim_window)
    before = play.balance(treasury)

    tx = box.sweep(poll, {"from": alice})

    assert dict(tx.events["Swept"]) == {"pollId": poll, "amount": left}
    assert play.balance(treasury) == before + left
    with reverts_with("NothingToSweep"):
        box.sweep(poll, {"from": alice})
    with reverts_with("NothingToClaim", poll, bob):
        box.claim(poll, bob, {"from": bob})


def test_an_open_poll_is_not_swept_and_pays_nothing(play, box, poll, alice):
    play.commit(poll, alice, FOR, ENOUGH)
    for number in (poll, poll + 1):
        with reverts_with("NothingToSweep"):
            box.sweep(number, {"from": alice})
        with reverts_with("NothingToClaim", number, alice):
            box.claim(number, alice, {"from": alice})
    play.until_reveal(poll)
    play.reveal(poll, alice, FOR, ENOUGH)
    with reverts_with("NothingToClaim", poll, alice):
        box.claim(poll, alice, {"from": alice})
    assert box.claimable(poll, alice) == 0


def test_tokens_sent_by_mistake_go_to_the_treasury(play, box, guardian, stranger, treasury):
    with reverts_with("NothingToSweep"):
        box.sweepSurplus({"from": stranger})
    play.token.transfer(box, 77, {"from": guardian})
    before = play.balance(treasury)

    tx = box.sweepSurplus({"from": stranger})

    assert dict(tx.events["SurplusSwept"]) == {"amount": 77}
    assert play.balance(treasury) == before + 77


def test_polls_are_only_for_consumers_and_only_their_own(play, box, poll, vote, stranger, curator):
    for call in (
        lambda by: box.startPoll(1, 1, 0, 1, by),
        lambda by: box.book(1, by),
        lambda by: box.pay(stranger, 1, by),
    ):
        with reverts_with("NotConsumer", stranger):
            call({"from": stranger})
    play.until_end(poll)
    with reverts_with("NotPollConsumer", poll, stranger):
        box.close(poll, 0, STAKE, stranger, stranger, {"from": stranger})
    with reverts_with("UnknownPoll", poll + 1):
        box.close(poll + 1, 0, STAKE, stranger, stranger, {"from": stranger})


def test_a_consumer_has_no_more_than_it_brought(play, guardian, treasury):
    """One that the owner should not have registered: it harms nobody else."""
    box = BallotBox.deploy(play.token, treasury, guardian, {"from": guardian})
    from brownie import HostileConsumer

    bad = HostileConsumer.deploy(box, {"from": guardian})
    box.registerConsumer(bad, {"from": guardian})
    play.token.approve(box, STAKE, {"from": guardian})
    box.deposit(STAKE, {"from": guardian})

    with reverts_with("TransferMismatch", 1, 0):
        bad.book(1, {"from": guardian})
    with reverts_with("InsufficientReserve", bad, 0, 1):
        bad.pay(guardian, 1, {"from": guardian})
    with reverts_with("ZeroAmount"):
        bad.pay(guardian, 0, {"from": guardian})
    with reverts_with("ZeroAmount"):
        bad.book(0, {"from": guardian})
    for periods in ((0, 1, 0), (1, 0, 0), (1, 1, 5_001), (2**32, 1, 0), (1, 2**32, 0)):
        with reverts_with("InvalidPoll"):
            bad.startPoll(*periods, 1, {"from": guardian})
    play.token.transfer(bad, 10, {"from": guardian})
    bad.bring(play.token, 10, {"from": guardian})
    bad.startPoll(60, 60, 0, 10, {"from": guardian})
    with reverts_with("PollStillRuns", 1, box.pollOf(1)[1]):
        bad.close(1, 0, 10, guardian, {"from": guardian})
    pass_time(120)
    with reverts_with("InsufficientReserve", bad, 10, STAKE):
        bad.close(1, 0, STAKE, guardian, {"from": guardian})
    bad.close(1, 0, 10, guardian, {"from": guardian})
    assert play.token.balanceOf(box) == box.totalTokens() == STAKE + 10


def test_consumers_are_contracts_that_the_owner_registers_once(play, box, curator, guardian, stranger):
    with reverts_with("OwnableUnauthorizedAccount", stranger):
        box.registerConsumer(curator, {"from": stranger})
    with reverts_with("AlreadyConsumer", curator.address):
        box.registerConsumer(curator, {"from": guardian})
    with reverts_with("NotContract", stranger):
        box.registerConsumer(stranger, {"from": guardian})
    assert box.consumerOf(curator)[0] == 1
    assert box.consumerOf(play.vote)[0] == 2


def test_a_ballot_box_needs_a_token_and_a_treasury(play, guardian, treasury, stranger):
    with reverts_with("NotContract", stranger):
        BallotBox.deploy(stranger, treasury, guardian, {"from": guardian})
    with reverts_with("OwnableInvalidOwner", ZERO):
        BallotBox.deploy(play.token, ZERO, guardian, {"from": guardian})


def test_more_tokens_than_can_be_counted_are_refused(guardian, treasury):
    most = 2**96 - 1
    token = TestToken.deploy(2**97, {"from": guardian})
    box = BallotBox.deploy(token, treasury, guardian, {"from": guardian})
    token.approve(box, 2**97, {"from": guardian})
    box.deposit(most, {"from": guardian})

    with reverts_with("TooManyTokens", most + 1, most):
        box.deposit(1, {"from": guardian})
    box.withdraw(most, {"from": guardian})


def test_votes_of_several_polls_are_revealed_in_one_transaction(play, box, listed, rival_provider, challenger, alice):
    play.list(rival_provider)
    polls = [play.challenge(listed, challenger), play.challenge(rival_provider, challenger)]
    for number in polls:
        play.commit(number, alice, FOR, ENOUGH)
    play.until_reveal(polls[1])

    box.multicall([box.reveal.encode_input(n, FOR, ENOUGH, salt_of(alice, n)) for n in polls], {"from": alice})

    assert [box.countOf(number)[2] for number in polls] == [ENOUGH, ENOUGH]
