"""Terms: bounded, versioned, timelocked."""

import brownie
import pytest
from brownie import Parameters

from offchain.hashing import keccak256
from scripts.terms import DAY, DEFAULT, HOUR, MAXIMUM, MINIMUM, TOKEN, Terms
from tests.contracts.errors import reverts_with
from tests.support.curation import pass_time

ZERO = "0x" + "00" * 32


@pytest.fixture
def deploy(guardian):
    def made(terms=DEFAULT, minimum=MINIMUM, maximum=MAXIMUM, delay=DAY):
        return Parameters.deploy(terms, minimum, maximum, delay, guardian, {"from": guardian})

    return made


def test_the_first_version_holds_from_the_start(parameters, play):
    assert parameters.current()[0] == 1
    assert Terms.of(parameters.listingTerms(1), parameters.votingTerms(1)) == play.terms == DEFAULT
    assert parameters.scheduled() == (ZERO, 0)
    minimum, maximum = parameters.ranges()
    assert (Terms.of(*minimum), Terms.of(*maximum)) == (MINIMUM, MAXIMUM)


def test_new_terms_wait_for_the_delay_and_then_anyone_executes_them(parameters, guardian, stranger):
    terms = DEFAULT.changed(quorum=5 * TOKEN, min_deposit=2_000 * TOKEN)
    tx = parameters.schedule(terms, {"from": guardian})
    event = tx.events["TermsScheduled"]
    ready = tx.timestamp + parameters.DELAY()
    assert (event["readyAt"], event["terms"]) == (ready, terms)
    with reverts_with("NotReady", event["termsHash"], ready):
        parameters.execute(terms, {"from": stranger})
    with reverts_with("AlreadyScheduled", event["termsHash"], ready):
        parameters.schedule(DEFAULT.changed(quorum=6 * TOKEN), {"from": guardian})

    pass_time(parameters.DELAY())
    tx = parameters.execute(terms, {"from": stranger})

    assert parameters.current() == (2, tx.timestamp + terms.listing.grace_period)
    assert (tx.events["ParametersSet"]["version"], tx.events["ParametersSet"]["terms"]) == (2, terms)
    assert Terms.of(parameters.listingTerms(2), parameters.votingTerms(2)) == terms
    assert Terms.of(parameters.listingTerms(1), parameters.votingTerms(1)) == DEFAULT
    with reverts_with("NotScheduled", event["termsHash"]):
        parameters.execute(terms, {"from": stranger})


def test_what_is_scheduled_can_be_taken_back(parameters, guardian, stranger):
    terms = DEFAULT.changed(quorum=5 * TOKEN)
    scheduled = parameters.schedule(terms, {"from": guardian}).events["TermsScheduled"]["termsHash"]
    with reverts_with("OwnableUnauthorizedAccount", stranger):
        parameters.cancel(scheduled, {"from": stranger})
    other = keccak256(b"other terms")
    with reverts_with("NotScheduled", other):
        parameters.cancel(other, {"from": guardian})

    tx = parameters.cancel(scheduled, {"from": guardian})

    assert tx.events["TermsCancelled"]["termsHash"] == scheduled
    with brownie.reverts(revert_pattern="NotScheduled: .*"):  # Brownie shows bytes that are text as text
        parameters.cancel(ZERO, {"from": guardian})
    pass_time(parameters.DELAY())
    with reverts_with("NotScheduled", scheduled):
        parameters.execute(terms, {"from": guardian})


def test_only_the_owner_schedules(parameters, stranger):
    with reverts_with("OwnableUnauthorizedAccount", stranger):
        parameters.schedule(DEFAULT.changed(quorum=5 * TOKEN), {"from": stranger})


def test_terms_that_hold_already_are_refused(parameters, guardian):
    with reverts_with("TermsUnchanged", 1):
        parameters.schedule(DEFAULT, {"from": guardian})


def test_lowering_the_deposit_starts_no_grace(play, parameters, guardian):
    before = parameters.current()[1]
    play.change_terms(guardian, min_deposit=500 * TOKEN)
    assert parameters.current()[1] == before


def test_versions_that_are_not_there(parameters):
    for version in (0, 2, 2**256 - 1):
        for view in (
            parameters.listingTerms,
            parameters.votingTerms,
            parameters.packedListing,
            parameters.packedVoting,
        ):
            with reverts_with("UnknownVersion", version):
                view(version)


@pytest.mark.parametrize("delay", [0, HOUR - 1, 30 * DAY + 1])
def test_the_delay_is_bounded(deploy, delay):
    with reverts_with("InvalidDelay", delay):
        deploy(delay=delay)


@pytest.mark.parametrize(
    ("name", "shown", "least", "most"),
    [
        ("min_deposit", "minDeposit", 0, TOKEN),
        ("commit_period", "commitPeriod", 0, HOUR),
        ("quorum", "quorum", 0, TOKEN),
        ("threshold", "threshold", 4_999, 10_000),
        ("threshold", "threshold", 5_000, 10_001),
        ("voter_share", "voterShare", 0, 10_001),
        ("bounty", "bounty", 0, 10_001),
        ("slash", "slash", 0, 5_001),
        ("reveal_period", "revealPeriod", 2 * HOUR, HOUR),
        ("claim_window", "claimWindow", 0, DAY),
    ],
)
def test_ranges_are_never_wider_than_the_code_allows(deploy, name, shown, least, most):
    with reverts_with("InvalidRange", shown, least, most):
        deploy(minimum=MINIMUM.changed(**{name: least}), maximum=MAXIMUM.changed(**{name: most}))


def test_the_first_terms_are_in_range_too(deploy):
    with reverts_with("OutOfRange", "quorum", TOKEN - 1, TOKEN, MAXIMUM.voting.quorum):
        deploy(terms=DEFAULT.changed(quorum=TOKEN - 1))


def test_packed_terms_say_the_same(parameters, guardian, play):
    packed = parameters.latestListing()
    assert packed & 2**96 - 1 == DEFAULT.listing.min_deposit
    assert packed >> 192 & 0xFFFF == 1
    assert packed >> 208 == parameters.current()[1]
    assert parameters.packedListing(1) == packed & 2**192 - 1
    assert parameters.latestVoting() == (1, parameters.packedVoting(1))
