"""Applying, topping up, withdrawing, leaving."""

import functools

from brownie import chain, interface

from scripts.terms import TOKEN
from tests.contracts.errors import reverts_with
from tests.support.curation import (
    ACCEPTED,
    AGAINST,
    APPLIED,
    FOR,
    LISTED,
    NONE,
    NOT_LISTED,
    REJECTED,
    URI,
    pass_time,
)

STAKE = 1_000 * TOKEN


def test_an_application_waits_and_then_is_accepted_by_anyone(play, provider, curator, resolver):
    tx = play.apply(provider)
    ready = tx.timestamp + play.terms.listing.apply_period

    assert play.listing(provider) == {
        "deposit": STAKE, "state": APPLIED, "readyAt": ready, "coolUntil": 0, "pollId": 0, "version": 1,
        "challengeVersion": 0,
    }  # fmt: skip
    assert play.verdict(provider) == (NONE, 0, 0)
    assert play.reserve() == STAKE
    assert dict(tx.events["Applied"]) == {
        "providerId": provider, "kind": 1, "version": 1, "amount": STAKE, "readyAt": ready, "uri": URI,
    }  # fmt: skip
    pass_time(play.terms.listing.apply_period)
    tx = curator.finalise([(provider, 1)], {"from": resolver})
    assert play.verdict(provider) == (ACCEPTED, 0, STAKE)
    assert play.listing(provider)["state"] == LISTED
    assert dict(tx.events["Finalised"]) == {"providerId": provider, "kind": 1}
    assert dict(tx.events["VerdictChanged"]) == {
        "providerId": provider, "kind": 1, "status": ACCEPTED, "until": 0, "weight": STAKE,
    }  # fmt: skip


def test_only_the_providers_admin_may_touch_its_listing(play, curator, listed, stranger, operator, rival):
    """A two-level registry let anyone withdraw anybody's listing."""
    for caller in (stranger, operator, rival):
        for call in (
            lambda by: curator.applyFor(listed, 0, STAKE, URI, by),
            lambda by: curator.topUp(listed, 1, STAKE, by),
            lambda by: curator.withdraw(listed, 1, 1, by),
            lambda by: curator.announceExit(listed, 1, by),
            lambda by: curator.exit(listed, 1, by),
        ):
            with reverts_with("NotProviderAdmin", listed, caller):
                call({"from": caller})


def test_the_deposit_goes_with_the_provider_to_its_next_admin(play, curator, registry, listed, admin, newcomer):
    registry.transferAdmin(listed, newcomer, {"from": admin})
    registry.acceptAdmin(listed, {"from": newcomer})

    with reverts_with("NotProviderAdmin", listed, admin):
        curator.announceExit(listed, 1, {"from": admin})
    curator.announceExit(listed, 1, {"from": newcomer})
    pass_time(play.terms.listing.exit_delay)
    curator.exit(listed, 1, {"from": newcomer})
    before = play.balance(newcomer)
    curator.withdraw(listed, 1, STAKE, {"from": newcomer})
    assert play.balance(newcomer) == before + STAKE


def test_a_deposit_below_the_minimum_is_refused(play, provider):
    with reverts_with("DepositTooSmall", STAKE - 1, STAKE):
        play.apply(provider, amount=STAKE - 1)
    with reverts_with("DepositTooSmall", 0, STAKE):
        play.apply(provider, amount=0)


def test_a_listing_is_applied_for_once(play, provider):
    play.apply(provider)
    with reverts_with("WrongState", provider, 1, APPLIED):
        play.apply(provider)
    pass_time(play.terms.listing.apply_period)
    play.curator.finalise([(provider, 1)], {"from": play.registry.adminOf(provider)})
    with reverts_with("WrongState", provider, 1, LISTED):
        play.apply(provider)


def test_kinds_are_listed_apart(play, provider):
    play.list(provider, kind=0, amount=2 * STAKE)
    play.apply(provider, kind=1)

    assert play.verdict(provider, 0) == (ACCEPTED, 0, STAKE)
    assert play.verdict(provider, 1) == (NONE, 0, 0)


def test_an_application_for_a_kind_that_does_not_exist_waits_for_it(play, curator, registry, provider, stranger):
    play.apply(provider, kind=2)
    pass_time(play.terms.listing.apply_period)
    with reverts_with("NothingToFinalise"):
        curator.finalise([(provider, 2)], {"from": stranger})

    registry.createKind("pushserver", {"from": stranger})
    curator.finalise([(provider, 2)], {"from": stranger})

    assert play.verdict(provider, 2)[0] == ACCEPTED


def test_a_batch_passes_over_what_is_not_ready(play, curator, provider, rival_provider, stranger):
    play.apply(provider)
    pass_time(play.terms.listing.apply_period)
    play.apply(rival_provider)

    with reverts_with("NothingToFinalise"):
        curator.finalise([(rival_provider, 1), (rival_provider, 7), (99, 1)], {"from": stranger})
    with reverts_with("NothingToFinalise"):
        curator.finalise([], {"from": stranger})
    tx = curator.finalise([(rival_provider, 1), (provider, 1), (provider, 1)], {"from": stranger})

    assert len(tx.events["Finalised"]) == len(tx.events["VerdictChanged"]) == 1
    assert [play.verdict(each)[0] for each in (provider, rival_provider)] == [ACCEPTED, NONE]


def test_topping_up_and_withdrawing_leave_the_verdict_alone(play, curator, listed, admin):
    tx = curator.topUp(listed, 1, 500, {"from": admin})
    assert dict(tx.events["DepositChanged"]) == {"providerId": listed, "kind": 1, "version": 1, "deposit": STAKE + 500}
    assert "VerdictChanged" not in tx.events
    before = play.balance(admin)

    with reverts_with("DepositTooSmall", STAKE - 1, STAKE):
        curator.withdraw(listed, 1, 501, {"from": admin})
    tx = curator.withdraw(listed, 1, 500, {"from": admin})

    assert "VerdictChanged" not in tx.events
    assert play.balance(admin) == before + 500
    assert play.listing(listed)["deposit"] == play.reserve() == STAKE
    assert play.verdict(listed) == (ACCEPTED, 0, STAKE)


def test_amounts_of_nothing_are_refused(curator, listed, admin):
    for call in (curator.topUp, curator.withdraw):
        with reverts_with("ZeroAmount"):
            call(listed, 1, 0, {"from": admin})
    with reverts_with("WithdrawalTooLarge", STAKE, STAKE + 1):
        curator.withdraw(listed, 1, STAKE + 1, {"from": admin})


def test_what_is_not_there_is_neither_topped_up_nor_challenged_nor_left(curator, provider, admin, challenger):
    with reverts_with("WrongState", provider, 1, NOT_LISTED):
        curator.topUp(provider, 1, 1, {"from": admin})
    for call in (curator.announceExit, curator.exit):
        with reverts_with("WrongState", provider, 1, NOT_LISTED):
            call(provider, 1, {"from": admin})
    with reverts_with("WrongState", provider, 1, NOT_LISTED):
        curator.challenge(provider, 1, URI, {"from": challenger})
    with reverts_with("WithdrawalTooLarge", 0, 1):
        curator.withdraw(provider, 1, 1, {"from": admin})


def test_an_exit_is_announced_waits_and_is_made_in_its_window(play, curator, listed, admin):
    terms = play.terms.listing
    with reverts_with("ExitNotReady", listed, 1, 0, terms.exit_window):
        curator.exit(listed, 1, {"from": admin})
    tx = curator.announceExit(listed, 1, {"from": admin})
    ready = tx.timestamp + terms.exit_delay
    assert dict(tx.events["ExitAnnounced"]) == {"providerId": listed, "kind": 1, "readyAt": ready}
    with reverts_with("ExitNotReady", listed, 1, ready, ready + terms.exit_window):
        curator.exit(listed, 1, {"from": admin})
    assert play.verdict(listed)[0] == ACCEPTED

    pass_time(terms.exit_delay)
    tx = curator.exit(listed, 1, {"from": admin})

    assert len(tx.events["VerdictChanged"]) == len(tx.events["Exited"]) == 1
    assert play.verdict(listed) == (NONE, 0, 0)
    curator.withdraw(listed, 1, STAKE, {"from": admin})
    assert play.listing(listed)["deposit"] == play.reserve() == 0


def test_an_exit_that_was_let_lapse_must_be_announced_again(play, curator, listed, admin):
    """Or else an exit announced on the first day would be ready for ever, and the delay none."""
    terms = play.terms.listing
    ready = curator.announceExit(listed, 1, {"from": admin}).timestamp + terms.exit_delay
    with reverts_with("ExitAlreadyAnnounced", listed, 1, ready):
        curator.announceExit(listed, 1, {"from": admin})
    pass_time(terms.exit_delay + terms.exit_window)

    with reverts_with("ExitNotReady", listed, 1, ready, ready + terms.exit_window):
        curator.exit(listed, 1, {"from": admin})
    curator.announceExit(listed, 1, {"from": admin})
    with reverts_with("ExitAlreadyAnnounced", listed, 1, play.listing(listed)["readyAt"]):
        curator.announceExit(listed, 1, {"from": admin})


def test_who_left_applies_again_after_the_cool_down_with_what_is_still_there(play, curator, listed, admin):
    curator.announceExit(listed, 1, {"from": admin})
    pass_time(play.terms.listing.exit_delay)
    cool_until = curator.exit(listed, 1, {"from": admin}).timestamp + play.terms.voting.cooldown

    with reverts_with("CoolingDown", listed, 1, cool_until):
        play.apply(listed)
    pass_time(play.terms.voting.cooldown)
    play.list(listed, amount=0)

    assert play.verdict(listed) == (ACCEPTED, 0, STAKE)
    assert play.reserve() == STAKE


def test_who_was_voted_out_stays_rejected_until_accepted_again(play, listed, challenger, alice):
    play.contest(listed, challenger, (alice, FOR, 20_000 * TOKEN))
    assert play.verdict(listed) == (REJECTED, 0, 0)
    pass_time(play.terms.voting.cooldown)

    play.apply(listed)
    assert play.verdict(listed) == (REJECTED, 0, 0)
    pass_time(play.terms.listing.apply_period)
    play.curator.finalise([(listed, 1)], {"from": alice})

    assert play.verdict(listed) == (ACCEPTED, 0, STAKE)


def test_a_refused_application_leaves_the_verdict_as_it_was(play, provider, challenger, alice):
    play.apply(provider)

    _, tx = play.contest(provider, challenger, (alice, FOR, 20_000 * TOKEN))

    assert "VerdictChanged" not in tx.events
    assert play.verdict(provider) == (NONE, 0, 0)
    assert play.listing(provider)["state"] == NOT_LISTED


def test_an_application_that_stood_is_ready_at_once(play, curator, provider, challenger, alice):
    play.apply(provider)
    poll = play.challenge(provider, challenger)
    pass_time(play.terms.listing.apply_period)
    with reverts_with("NothingToFinalise"):
        curator.finalise([(provider, 1)], {"from": alice})

    play.commit(poll, alice, AGAINST, 20_000 * TOKEN) if chain[-1].timestamp < play.box.pollOf(poll)[0] else None
    play.until_end(poll)
    curator.resolve(provider, 1, {"from": alice})
    curator.finalise([(provider, 1)], {"from": alice})

    assert play.verdict(provider) == (ACCEPTED, 0, STAKE)


def test_uris_are_bounded(play, curator, provider, admin, challenger):
    curator.applyFor(provider, 1, STAKE, "x" * 256, {"from": admin})
    with reverts_with("UriTooLong", 257):
        curator.applyFor(provider, 0, STAKE, "x" * 257, {"from": admin})
    with reverts_with("UriTooLong", 257):
        curator.challenge(provider, 1, "x" * 257, {"from": challenger})
    poll = play.challenge(provider, challenger)
    with reverts_with("UriTooLong", 257):
        curator.submitEvidence(poll, "x" * 257, {"from": challenger})


def test_evidence_is_added_by_anyone_while_the_challenge_is_open(play, curator, listed, challenger, stranger, alice):
    tx = curator.challenge(listed, 1, "https://logs.example", {"from": challenger})
    poll = tx.return_value
    assert (tx.events["Challenged"]["uri"], tx.events["Challenged"]["challenger"]) == (
        "https://logs.example",
        challenger,
    )

    tx = curator.submitEvidence(poll, "https://answer.example", {"from": stranger})
    said = {"pollId": poll, "account": stranger, "uri": "https://answer.example"}
    assert dict(tx.events["EvidenceSubmitted"]) == said
    with reverts_with("NoOpenChallenge", poll + 1):
        curator.submitEvidence(poll + 1, URI, {"from": stranger})

    play.poll(poll, (alice, AGAINST, 20_000 * TOKEN))
    curator.resolve(listed, 1, {"from": alice})
    with reverts_with("NoOpenChallenge", poll):
        curator.submitEvidence(poll, URI, {"from": stranger})


def test_several_calls_go_in_one_transaction(play, curator, provider, challenger, alice):
    play.apply(provider)
    poll = play.challenge(provider, challenger)
    play.poll(poll, (alice, AGAINST, 20_000 * TOKEN))

    curator.multicall(
        [curator.resolve.encode_input(provider, 1), curator.finalise.encode_input([(provider, 1)])], {"from": alice}
    )

    assert play.verdict(provider) == (ACCEPTED, 0, STAKE)


def test_says_which_interfaces_it_has(curator, owner_curator):
    """By ERC-165, in which an interface's id is of the functions that it adds to those it inherits."""
    both = interface.ICurator.selectors
    for contract, own in ((curator, interface.ITokenCurator), (owner_curator, interface.IOwnerCurator)):
        for functions in ({"0x01ffc9a7"}, both.keys() - {"0x01ffc9a7"}, own.selectors.keys() - both.keys()):
            assert contract.supportsInterface(interface_id(functions))
        assert not contract.supportsInterface("0xffffffff")
    assert not curator.supportsInterface(interface_id(interface.IOwnerCurator.selectors.keys() - both.keys()))


def interface_id(selectors) -> str:
    return f"0x{functools.reduce(int.__xor__, (int(each, 16) for each in selectors)):08x}"


def test_the_stake_is_what_a_challenger_must_put_up(play, curator, listed, rival_provider):
    assert curator.stakeOf(listed, 1) == STAKE
    assert curator.stakeOf(rival_provider, 1) == 0
