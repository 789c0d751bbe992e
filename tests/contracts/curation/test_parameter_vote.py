"""Terms changed by vote: propose, challenge, resolve, apply."""

import pytest
from brownie import TestToken

from scripts.deploy_token_curator import deploy
from scripts.terms import DEFAULT, TOKEN
from tests.contracts.errors import reverts_with
from tests.support.curation import AGAINST, FOR, URI, Play, endow, pass_time

STAKE = 1_000 * TOKEN
ENOUGH = 20_000 * TOKEN
NEW = DEFAULT.changed(quorum=5_000 * TOKEN)
OTHER = DEFAULT.changed(quorum=6_000 * TOKEN)
PROPOSED, CHALLENGED, UPHELD, CLOSED = 1, 2, 3, 4


@pytest.fixture(scope="module")
def play(registry, guardian, provider, admin, treasury, challenger, alice, bob, resolver):
    """Deployed with `by=vote`."""
    token = TestToken.deploy(10**9 * TOKEN, {"from": guardian})
    play = Play(deploy(guardian, registry, token, treasury=treasury, by_vote=True), registry)
    endow(play, guardian, (admin, challenger, alice, bob, resolver))
    return play


@pytest.fixture
def proposal(vote, admin):
    return vote.propose(NEW, URI, {"from": admin}).return_value


def contest(play, proposal, challenger, *votes, resolver):
    poll = play.vote.challenge(proposal, URI, {"from": challenger}).return_value
    play.poll(poll, *votes)
    return play.vote.resolve(proposal, {"from": resolver})


def test_nobody_owns_the_parameters_but_the_vote(play, parameters, vote, guardian):
    assert parameters.owner() == vote
    with reverts_with("OwnableUnauthorizedAccount", guardian):
        parameters.schedule(NEW, {"from": guardian})
    with reverts_with("OwnableUnauthorizedAccount", vote.address):
        vote.acceptParameters({"from": guardian})


def test_an_unchallenged_proposal_is_applied_and_its_stake_goes_back(play, parameters, vote, admin, stranger):
    tx = vote.propose(NEW, URI, {"from": admin})
    ends = tx.timestamp + DEFAULT.listing.apply_period
    event = tx.events["Proposed"]
    assert (event["stake"], event["version"], event["challengeEnd"], event["terms"]) == (STAKE, 1, ends, NEW)
    assert vote.proposalCount() == event["proposalId"] == 1
    assert play.reserve(vote) == STAKE
    with reverts_with("ChallengePeriodRuns", 1, ends):
        vote.applyTerms(1, NEW, {"from": stranger})
    pass_time(DEFAULT.listing.apply_period)
    with reverts_with("WrongTerms", 1):
        vote.applyTerms(1, OTHER, {"from": stranger})
    before = play.balance(admin)

    vote.applyTerms(1, NEW, {"from": stranger})

    assert play.balance(admin) == before + STAKE
    assert vote.proposalOf(1)[5] == CLOSED
    pass_time(parameters.DELAY())
    parameters.execute(NEW, {"from": stranger})
    assert play.terms == NEW
    with reverts_with("WrongState", 1, CLOSED):
        vote.applyTerms(1, NEW, {"from": stranger})


def test_a_proposal_out_of_range_is_refused_when_it_is_made(vote, admin):
    with reverts_with("OutOfRange", "slash", 2_501, 0, 2_500):
        vote.propose(DEFAULT.changed(slash=2_501), URI, {"from": admin})


def test_a_proposal_of_todays_terms_is_refused_when_it_is_made(vote, admin):
    """It could be neither applied nor overtaken, and its stake would stay for as long as the terms do."""
    with reverts_with("TermsUnchanged", 1):
        vote.propose(DEFAULT, URI, {"from": admin})


def test_a_proposal_that_is_voted_down_costs_its_stake(play, vote, proposal, admin, challenger, alice, resolver):
    before = play.balance(challenger)

    tx = contest(play, proposal, challenger, (alice, FOR, ENOUGH), resolver=resolver)

    assert dict(tx.events["ProposalResolved"]) == {"proposalId": proposal, "pollId": 1, "upheld": False}
    assert play.balance(challenger) == before + 2 * STAKE - STAKE * 4_200 // 10_000
    assert play.reserve(vote) == 0
    with reverts_with("WrongState", proposal, CLOSED):
        vote.applyTerms(proposal, NEW, {"from": admin})


def test_a_proposal_that_is_upheld_pays_its_proposer(
    play, parameters, vote, proposal, admin, challenger, alice, resolver
):
    before = play.balance(admin)

    contest(play, proposal, challenger, (alice, AGAINST, ENOUGH), resolver=resolver)

    assert play.balance(admin) == before + 2 * STAKE - STAKE * 4_200 // 10_000
    assert play.reserve(vote) == 0
    vote.applyTerms(proposal, NEW, {"from": resolver})
    assert parameters.scheduled()[1] > 0
    assert play.balance(admin) == before + 2 * STAKE - STAKE * 4_200 // 10_000


def test_a_draw_keeps_the_terms_and_gives_the_stakes_back(play, vote, proposal, admin, challenger, resolver):
    before = play.balance(admin), play.balance(challenger)

    contest(play, proposal, challenger, resolver=resolver)

    assert (play.balance(admin), play.balance(challenger)) == (before[0] + STAKE, before[1] + STAKE)
    assert vote.proposalOf(proposal)[5] == CLOSED


def test_a_challenge_comes_in_time_and_once(play, vote, proposal, challenger, bob):
    poll = vote.challenge(proposal, URI, {"from": challenger}).return_value
    assert vote.proposalOf(proposal)[6] == poll
    with reverts_with("WrongState", proposal, CHALLENGED):
        vote.challenge(proposal, URI, {"from": bob})
    second = vote.propose(OTHER, URI, {"from": bob}).return_value
    pass_time(DEFAULT.listing.apply_period)
    with reverts_with("ChallengePeriodOver", second, vote.proposalOf(second)[3]):
        vote.challenge(second, URI, {"from": challenger})


def test_a_proposal_that_others_overtook_is_closed_not_applied(play, parameters, vote, proposal, admin, bob, stranger):
    """Applied later, it would take back what nobody proposed to take back."""
    second = vote.propose(OTHER, URI, {"from": bob}).return_value
    pass_time(DEFAULT.listing.apply_period)
    with reverts_with("NotOvertaken", second):
        vote.discard(second, {"from": stranger})
    vote.applyTerms(proposal, NEW, {"from": stranger})
    with reverts_with("AlreadyScheduled", *parameters.scheduled()):
        vote.applyTerms(second, OTHER, {"from": stranger})
    pass_time(parameters.DELAY())
    parameters.execute(NEW, {"from": stranger})
    with reverts_with("Overtaken", second, 2):
        vote.applyTerms(second, OTHER, {"from": stranger})
    before = play.balance(bob)

    tx = vote.discard(second, {"from": stranger})

    assert dict(tx.events["ProposalClosed"]) == {"proposalId": second, "scheduled": False}
    assert play.balance(bob) == before + STAKE
    with reverts_with("WrongState", second, CLOSED):
        vote.discard(second, {"from": stranger})


def test_a_vote_is_not_over_before_its_time(play, vote, proposal, challenger, resolver):
    with reverts_with("WrongState", proposal, PROPOSED):
        vote.resolve(proposal, {"from": resolver})
    poll = vote.challenge(proposal, URI, {"from": challenger}).return_value
    with reverts_with("PollStillRuns", poll, play.box.pollOf(poll)[1]):
        vote.resolve(proposal, {"from": resolver})
    with reverts_with("WrongState", 99, 0):
        vote.resolve(99, {"from": resolver})


def test_uris_are_bounded(vote, admin, proposal, challenger):
    with reverts_with("UriTooLong", 257):
        vote.propose(OTHER, "x" * 257, {"from": admin})
    with reverts_with("UriTooLong", 257):
        vote.challenge(proposal, "x" * 257, {"from": challenger})
