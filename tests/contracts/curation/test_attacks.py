"""What went wrong in earlier registries, played again: each attack, and what it finds here."""

import pytest
from brownie import Parameters, chain

from scripts.terms import DAY, DEFAULT, MAXIMUM, MINIMUM, TOKEN
from tests.contracts.errors import reverts_with
from tests.support.curation import (
    ACCEPTED,
    AGAINST,
    DRAWN,
    FOR,
    LISTED,
    LOST,
    NOT_LISTED,
    REJECTED,
    URI,
    WON,
    pass_time,
    salt_of,
)

STAKE = 1_000 * TOKEN
ENOUGH = 20_000 * TOKEN
"""More than the quorum."""


def test_vote_copying(play, box, listed, challenger, alice, bob):
    """PLCR: a commitment did not name its voter. The copier revealed with the victim's salt and was paid like it."""
    poll = play.challenge(listed, challenger)
    salt = salt_of(alice, poll)
    commitment = box.commitmentOf(poll, alice, FOR, salt)
    box.commit(poll, commitment, ENOUGH, {"from": alice})

    box.commit(poll, commitment, ENOUGH, {"from": bob})
    play.until_reveal(poll)
    box.reveal(poll, FOR, ENOUGH, salt, {"from": alice})

    for choice in (FOR, AGAINST):
        with reverts_with("WrongReveal", poll, bob):
            box.reveal(poll, choice, ENOUGH, salt, {"from": bob})


def test_a_commitment_is_for_one_poll_choice_and_weight(play, box, listed, rival_provider, challenger, alice):
    play.list(rival_provider)
    first, second = play.challenge(listed, challenger), play.challenge(rival_provider, challenger)
    salt = salt_of(alice, first)
    for poll in (first, second):
        box.commit(poll, box.commitmentOf(first, alice, FOR, salt), ENOUGH, {"from": alice})
    play.until_reveal(second)

    with reverts_with("WrongReveal", second, alice):
        box.reveal(second, FOR, ENOUGH, salt, {"from": alice})
    for choice, weight, wrong in ((AGAINST, ENOUGH, salt), (FOR, 2 * ENOUGH, salt), (FOR, ENOUGH, b"\1" * 32)):
        with reverts_with("WrongReveal", first, alice):
            box.reveal(first, choice, weight, wrong, {"from": alice})
    box.reveal(first, FOR, ENOUGH, salt, {"from": alice})


def test_invalid_option(play, box, listed, challenger, alice):
    """PLCR: votes for an option that was neither counted for neither side, but in the turnout, and were stranded."""
    poll = play.challenge(listed, challenger)
    box.commit(poll, box.commitmentOf(poll, alice, 2, b"\1" * 32), ENOUGH, {"from": alice})
    play.until_reveal(poll)

    for choice in (2, 255):
        with reverts_with("InvalidChoice", choice):
            box.reveal(poll, choice, ENOUGH, b"\1" * 32, {"from": alice})

    play.until_end(poll)
    tx = play.curator.resolve(listed, 1, {"from": challenger})
    assert tx.events["ChallengeResolved"]["outcome"] == DRAWN


def test_unanimous_for_removal_with_the_highest_threshold(play, guardian, listed, challenger, alice):
    """AdChain: with a quorum of 100 and a strict comparison, a unanimous vote in favour did not pass."""
    highest = play.parameters.ranges()[1][1][1]
    play.change_terms(guardian, threshold=highest)

    _, tx = play.contest(listed, challenger, (alice, FOR, ENOUGH))

    assert tx.events["ChallengeResolved"]["outcome"] == WON
    assert play.verdict(listed)[0] == REJECTED


@pytest.mark.parametrize(("against", "outcome"), [(4_000, WON), (4_001, LOST)])
def test_reaching_the_threshold_is_enough(play, guardian, listed, challenger, alice, bob, against, outcome):
    play.change_terms(guardian, threshold=6_000)
    weight = 10_000

    _, tx = play.contest(
        listed, challenger, (alice, FOR, 6_000 * weight * 10**15), (bob, AGAINST, against * weight * 10**15)
    )

    assert tx.events["ChallengeResolved"]["outcome"] == outcome


def test_unbounded_parameter(play, parameters, guardian):
    """AdChain: any parameter could be voted to anything, such as a commit period of for ever."""
    minimum, maximum = play.parameters.ranges()
    names = list(play.terms.figures())
    lowest, highest = [*minimum[0], *minimum[1]], [*maximum[0], *maximum[1]]
    for name, low, high in zip(names, lowest, highest, strict=True):
        words = name.split("_")
        shown = words[0] + "".join(word.title() for word in words[1:])
        for value in (low - 1, high + 1) if low else (high + 1,):
            with reverts_with("OutOfRange", shown, value, low, high):
                parameters.schedule(play.terms.changed(**{name: value}), {"from": guardian})


def test_shares_of_more_than_the_stake(guardian):
    """Each in its range, and together more than there is: closing a poll would always fail."""
    wide = MAXIMUM.changed(voter_share=10_000, bounty=10_000)

    with reverts_with("SharesExceedStake", 9_000, 1_001):
        Parameters.deploy(
            DEFAULT.changed(voter_share=9_000, bounty=1_001), MINIMUM, wide, DAY, guardian, {"from": guardian}
        )
    parameters = Parameters.deploy(DEFAULT, MINIMUM, wide, DAY, guardian, {"from": guardian})
    with reverts_with("SharesExceedStake", 9_000, 1_001):
        parameters.schedule(DEFAULT.changed(voter_share=9_000, bounty=1_001), {"from": guardian})


def test_raising_the_minimum_deposit_delists_nobody_at_once(play, curator, guardian, listed, admin, stranger, alice):
    """AdChain: with the minimum raised, anybody "challenged" listing after listing, and each was removed at once."""
    changed = play.change_terms(guardian, min_deposit=2 * STAKE)
    grace_ends = changed.events["ParametersSet"]["graceEndsAt"]

    with reverts_with("NotLapsed", listed, 1, grace_ends):
        curator.lapse(listed, 1, {"from": stranger})
    assert play.verdict(listed) == (ACCEPTED, 0, STAKE)
    pass_time(play.terms.listing.grace_period - 60)
    with reverts_with("NotLapsed", listed, 1, grace_ends):
        curator.lapse(listed, 1, {"from": stranger})
    tx = curator.topUp(listed, 1, STAKE, {"from": admin})
    assert tx.events["VerdictChanged"]["weight"] == 2 * STAKE
    pass_time(120)
    with reverts_with("NotLapsed", listed, 1, grace_ends):
        curator.lapse(listed, 1, {"from": stranger})


def test_after_the_grace_a_listing_lapses_and_loses_nothing(play, curator, guardian, listed, admin, stranger):
    play.change_terms(guardian, min_deposit=2 * STAKE)
    curator.topUp(listed, 1, STAKE // 2, {"from": admin})
    pass_time(play.terms.listing.grace_period)

    tx = curator.lapse(listed, 1, {"from": stranger})

    assert len(tx.events["VerdictChanged"]) == len(tx.events["Lapsed"]) == 1
    assert play.verdict(listed) == (0, 0, 0)
    before = play.balance(admin)
    curator.withdraw(listed, 1, STAKE + STAKE // 2, {"from": admin})
    assert play.balance(admin) == before + STAKE + STAKE // 2
    with reverts_with("WrongState", listed, 1, NOT_LISTED):
        curator.lapse(listed, 1, {"from": stranger})


def test_lowering_and_raising_again_gives_the_whole_grace_again(play, curator, guardian, listed, stranger):
    """Or else a raise that was taken back would have used up the grace of the next."""
    play.change_terms(guardian, min_deposit=2 * STAKE)
    play.change_terms(guardian, min_deposit=STAKE)
    pass_time(play.terms.listing.grace_period)
    play.change_terms(guardian, min_deposit=2 * STAKE)

    with reverts_with("NotLapsed", listed, 1, play.parameters.current()[1]):
        curator.lapse(listed, 1, {"from": stranger})
    assert play.parameters.current()[1] > chain[-1].timestamp + play.terms.listing.grace_period - DAY


def test_a_challenge_after_a_raise_is_for_the_stake_the_listing_had(play, guardian, listed, challenger, alice):
    """Deposit drift: the challenger staked by the new minimum, the listing by the old, and the difference was lost."""
    for minimum in (3 * STAKE, STAKE // 2):
        play.change_terms(guardian, min_deposit=minimum)
        assert play.curator.stakeOf(listed, 1) == STAKE
    before = play.token.balanceOf(challenger)

    poll = play.challenge(listed, challenger)

    assert play.token.balanceOf(challenger) == before - STAKE
    assert tuple(play.curator.challengeOf(poll)) == (challenger, STAKE)
    play.poll(poll, (alice, FOR, ENOUGH))
    play.curator.resolve(listed, 1, {"from": alice})
    assert play.listing(listed)["deposit"] == 0


def test_exit_escape(play, curator, listed, admin, challenger, alice):
    """AdChain: seeing a challenge come, a bad listing left with its deposit in the block before."""
    with reverts_with("ExitNotReady", listed, 1, 0, play.terms.listing.exit_window):
        curator.exit(listed, 1, {"from": admin})
    curator.announceExit(listed, 1, {"from": admin})

    poll = play.challenge(listed, challenger)
    pass_time(play.terms.listing.exit_delay)

    with reverts_with("UnderChallenge", listed, 1, poll):
        curator.exit(listed, 1, {"from": admin})
    with reverts_with("UnderChallenge", listed, 1, poll):
        curator.announceExit(listed, 1, {"from": admin})


def test_an_exit_under_a_challenge_that_failed_has_its_window(play, curator, listed, admin, challenger, alice):
    curator.announceExit(listed, 1, {"from": admin})
    poll = play.challenge(listed, challenger)
    play.poll(poll, (alice, AGAINST, ENOUGH))
    pass_time(play.terms.listing.exit_delay + play.terms.listing.exit_window)
    curator.resolve(listed, 1, {"from": alice})

    curator.exit(listed, 1, {"from": admin})

    assert play.listing(listed)["state"] == NOT_LISTED


def test_an_exit_whose_time_has_not_come_keeps_it_through_a_challenge(play, curator, listed, admin, challenger, alice):
    """Or else a friend's challenge would let a listing leave before the others could challenge it."""
    ready = curator.announceExit(listed, 1, {"from": admin}).events["ExitAnnounced"]["readyAt"]

    _, tx = play.contest(listed, challenger, (alice, AGAINST, ENOUGH))

    assert tx.timestamp < ready == play.listing(listed)["readyAt"]
    with reverts_with("ExitNotReady", listed, 1, ready, ready + play.terms.listing.exit_window):
        curator.exit(listed, 1, {"from": admin})


def test_withdraw_under_challenge(play, curator, listed, admin, challenger):
    """The stake must be there when the vote is over, and what was beyond it is not moved meanwhile either."""
    curator.topUp(listed, 1, STAKE, {"from": admin})
    poll = play.challenge(listed, challenger)

    for call in (curator.withdraw, curator.topUp):
        with reverts_with("UnderChallenge", listed, 1, poll):
            call(listed, 1, 1, {"from": admin})


def test_a_challenge_is_not_challenged(play, curator, listed, challenger, rival, guardian):
    poll = play.challenge(listed, challenger)

    with reverts_with("UnderChallenge", listed, 1, poll):
        curator.challenge(listed, 1, URI, {"from": rival})
    play.change_terms(guardian, min_deposit=2 * STAKE, grace_period=DAY)
    pass_time(DAY)
    with reverts_with("UnderChallenge", listed, 1, poll):
        curator.lapse(listed, 1, {"from": rival})


def test_lock_list_griefing(play, box, provider, rival_provider, challenger, alice):
    """PLCR kept a linked list of locks: long ones could not be walked, and forged places in it freed tokens.

    One number per voter: committing to many polls costs the same each time, whatever the order of their ends.
    """
    polls = []
    for kind in range(6):
        play.apply((provider, rival_provider)[kind % 2], kind)
        polls.append(play.challenge((provider, rival_provider)[kind % 2], challenger, kind))
    weights = [5, 1, 4, 2, 6, 3]
    gas = [
        play.commit(poll, alice, FOR, weight * 1_000 * TOKEN).gas_used
        for poll, weight in zip(polls, weights, strict=True)
    ]

    assert max(gas[1:]) - min(gas[1:]) < 3_000
    bonds = sum(weights) * 1_000 * TOKEN // 100
    assert play.balance(alice) == 100_000 * TOKEN - bonds
    assert box.availableOf(alice) == play.balance(alice) - 5_940 * TOKEN
    play.until_end(polls[-1])
    assert box.availableOf(alice) == play.balance(alice)


def test_committing_again_loses_nothing(play, box, listed, challenger, alice):
    """PLCR: a second commitment to a poll lost the first one's tokens."""
    poll = play.challenge(listed, challenger)
    play.commit(poll, alice, FOR, ENOUGH)
    account = box.accountOf(alice)

    with reverts_with("AlreadyCommitted", poll, alice):
        play.commit(poll, alice, AGAINST, ENOUGH)

    assert box.accountOf(alice) == account


def test_reapplication_spam(play, curator, provider, challenger, alice):
    """A refused applicant applied again in the next block, until the voters were tired."""
    play.apply(provider)
    _, tx = play.contest(provider, challenger, (alice, FOR, ENOUGH))
    cool_until = tx.timestamp + play.terms.voting.cooldown

    with reverts_with("CoolingDown", provider, 1, cool_until):
        play.apply(provider)


def test_challenge_spam(play, curator, listed, challenger, rival, alice):
    """Challenge after challenge would keep a listing from leaving, and its admin from its deposit."""
    _, tx = play.contest(listed, challenger, (alice, AGAINST, ENOUGH))
    cool_until = tx.timestamp + play.terms.voting.cooldown

    with reverts_with("CoolingDown", listed, 1, cool_until):
        play.challenge(listed, rival)
    pass_time(play.terms.voting.cooldown)
    play.challenge(listed, rival)


def test_claim_twice(play, box, listed, challenger, alice, bob, stranger):
    poll, _ = play.contest(listed, challenger, (alice, FOR, ENOUGH), (bob, FOR, ENOUGH))
    reward = box.claimable(poll, alice)
    before = play.balance(alice)

    box.claim(poll, alice, {"from": stranger})

    assert play.balance(alice) == before + reward
    for voter in (alice, challenger, stranger):
        with reverts_with("NothingToClaim", poll, voter):
            box.claim(poll, voter, {"from": alice})
    assert box.claimable(poll, alice) == 0


def test_rounding(play, box, listed, challenger, alice, bob, carol, guardian):
    """Rounding down left tokens behind for ever; here who claims last takes what rounding left."""
    unit = 10_000
    play.change_terms(guardian, quorum=TOKEN, voter_share=3_333, slash=0)
    votes = [(alice, FOR, 3 * TOKEN + unit), (bob, FOR, 7 * TOKEN), (carol, FOR, 11 * TOKEN - unit)]
    poll, tx = play.contest(listed, challenger, *votes)
    pool = tx.events["PollClosed"]["pool"]
    assert pool == STAKE * 3_333 // 10_000
    total = sum(weight for _, _, weight in votes)

    paid = []
    for voter, _, weight in votes:
        amount = box.claim(poll, voter, {"from": voter}).events["RewardClaimed"]["amount"]
        assert abs(amount - pool * weight // total) < len(votes)
        paid.append(amount)

    assert sum(paid) == pool
    assert box.countOf(poll)[2:] == (0, 0)


@pytest.mark.parametrize("votes", [(), ((AGAINST, 5_000), (FOR, 4_999)), ((AGAINST, 20_000), (FOR, 20_000))])
def test_zero_winning_votes(play, listed, challenger, alice, bob, votes):
    """A vote that nobody won left the stakes where nobody could get them. No votes, too few, a tie: all go back."""
    stakes = play.reserve()
    before = play.balance(challenger)

    cast = [(who, choice, weight * TOKEN) for who, (choice, weight) in zip((alice, bob), votes, strict=False)]
    poll, tx = play.contest(listed, challenger, *cast, resolver=bob)

    assert tx.events["ChallengeResolved"]["outcome"] == DRAWN
    assert play.balance(challenger) == before + STAKE
    assert play.reserve() == stakes == STAKE
    assert play.verdict(listed) == (ACCEPTED, 0, STAKE)
    assert play.listing(listed)["state"] == LISTED
    for who, _, weight in cast:
        assert play.box.claimable(poll, who) == weight // 100


def test_a_challenge_that_its_parties_forgot_is_resolved_by_anyone_for_a_bounty(
    play, curator, listed, challenger, alice, resolver
):
    poll = play.challenge(listed, challenger)
    play.poll(poll, (alice, FOR, ENOUGH))
    pass_time(365 * DAY)
    before = play.balance(resolver)

    curator.resolve(listed, 1, {"from": resolver})

    assert play.balance(resolver) == before + STAKE * 200 // 10_000


def test_a_parameter_change_leaves_an_open_challenge_alone(play, guardian, listed, challenger, alice, bob):
    poll = play.challenge(listed, challenger)
    before = play.box.pollOf(poll)
    play.commit(poll, alice, FOR, ENOUGH)
    play.change_terms(
        guardian, quorum=1_000_000 * TOKEN, threshold=9_000, voter_share=0, bounty=1_000, slash=2_500, cooldown=0
    )

    assert play.box.pollOf(poll)[:4] == before[:4]
    play.until_reveal(poll)
    play.reveal(poll, alice, FOR, ENOUGH)
    play.until_end(poll)
    tx = play.curator.resolve(listed, 1, {"from": bob})

    assert tx.events["ChallengeResolved"]["outcome"] == WON
    assert tx.events["PollClosed"]["pool"] == STAKE * 4_000 // 10_000 + ENOUGH // 100
    assert tx.events["PollClosed"]["bounty"] == STAKE * 200 // 10_000
    assert play.listing(listed)["coolUntil"] == tx.timestamp + 7 * DAY
