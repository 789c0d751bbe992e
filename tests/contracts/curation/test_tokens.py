"""Tokens that do not behave: nothing is credited that did not come, and nothing is entered twice."""

import pytest
from brownie import FalseToken, FeeToken, LyingToken, NoReturnToken, ReentrantToken

from scripts.deploy_token_curator import deploy
from scripts.terms import TOKEN
from tests.contracts.errors import reverts_with
from tests.support.curation import LISTED, URI, Play, pass_time

STAKE = 1_000 * TOKEN


@pytest.fixture
def with_token(registry, provider, guardian, admin, treasury):
    """The contracts with another token; the admin has some and approved it."""

    def made(kind):
        token = kind.deploy(10**6 * TOKEN, {"from": admin})
        play = Play(deploy(guardian, registry, token, treasury=treasury), registry)
        if hasattr(token, "approve"):
            for spender in (play.box, play.curator, play.vote):
                token.approve(spender, 2**255, {"from": admin})
        return play

    return made


def test_a_fee_on_transfer_is_refused(with_token, admin):
    play = with_token(FeeToken)
    with reverts_with("TransferMismatch", STAKE, STAKE - STAKE // 100):
        play.box.deposit(STAKE, {"from": admin})
    with reverts_with("TransferMismatch", STAKE, STAKE - STAKE // 100):
        play.apply(1)


def test_a_token_that_returns_false_is_refused(with_token, admin):
    play = with_token(FalseToken)
    for call in (lambda: play.box.deposit(STAKE, {"from": admin}), lambda: play.apply(1)):
        with reverts_with("SafeERC20FailedOperation", play.token.address):
            call()


def test_a_token_that_lies_is_refused(with_token, admin):
    play = with_token(LyingToken)
    for call in (lambda: play.box.deposit(STAKE, {"from": admin}), lambda: play.apply(1)):
        with reverts_with("TransferMismatch", STAKE, 0):
            call()


def test_a_token_that_returns_nothing_works(with_token, admin):
    play = with_token(NoReturnToken)
    play.list(1)
    play.box.deposit(5, {"from": admin})
    play.box.withdraw(5, {"from": admin})

    assert play.listing(1)["state"] == LISTED
    assert play.token.balanceOf(play.box) == play.box.totalTokens() == STAKE


@pytest.mark.parametrize("entry", ["withdraw", "deposit", "sweepSurplus", "depositAndCommit"])
def test_the_ballot_box_is_not_entered_again(with_token, admin, entry):
    """In the middle of a deposit the balance is ahead of the books: nobody may book the difference."""
    play = with_token(ReentrantToken)
    arguments = {"depositAndCommit": (1, 1, b"\1" * 32, 10_000), "sweepSurplus": ()}.get(entry, (1,))
    play.token.arm(play.box, getattr(play.box, entry).encode_input(*arguments), {"from": admin})

    play.box.deposit(STAKE, {"from": admin})

    assert not play.token.went()
    assert _selector(play.token.answer()) == _selector_of("ReentrancyGuardReentrantCall()")
    assert play.balance(admin) == play.box.totalTokens() == play.token.balanceOf(play.box) == STAKE


@pytest.mark.parametrize(
    "entry", ["applyFor", "topUp", "withdraw", "challenge", "finalise", "exit", "lapse", "announceExit"]
)
def test_the_curator_is_not_entered_again(with_token, admin, entry):
    """In the middle of a challenge the listing must not move away from under it."""
    play = with_token(ReentrantToken)
    play.list(1, amount=2 * STAKE)
    arguments = {"applyFor": (1, 0, STAKE, URI), "challenge": (1, 1, URI), "finalise": ([(1, 1)],)}
    arguments |= {"topUp": (1, 1, 1), "withdraw": (1, 1, 1)}
    call = getattr(play.curator, entry).encode_input(*arguments.get(entry, (1, 1)))
    play.token.arm(play.curator, call, {"from": admin})

    play.challenge(1, admin)

    assert not play.token.went()
    assert _selector(play.token.answer()) == _selector_of("ReentrancyGuardReentrantCall()")


def test_what_may_be_entered_in_the_middle_does_no_harm(with_token, admin, guardian):
    """A surplus swept in the middle of an application takes the deposit away, and the application fails."""
    play = with_token(ReentrantToken)
    play.token.arm(play.box, play.box.sweepSurplus.encode_input(), {"from": admin})
    with reverts_with("TransferMismatch", STAKE, 0):
        play.apply(1)
    assert play.box.totalTokens() == play.token.balanceOf(play.box) == 0

    play.token.arm(play.token, play.token.totalSupply.encode_input(), {"from": admin})
    play.list(1)
    play.token.arm(play.curator, play.curator.resolve.encode_input(1, 1), {"from": admin})
    poll = play.challenge(1, admin)
    assert _selector(play.token.answer()) == _selector_of("NotUnderChallenge(uint256,uint256)")
    play.until_end(poll)
    play.curator.resolve(1, 1, {"from": guardian})
    play.token.arm(play.box, play.box.withdraw.encode_input(STAKE), {"from": admin})
    play.box.withdraw(STAKE, {"from": admin})
    assert play.token.balanceOf(play.box) == play.box.totalTokens() == STAKE
    pass_time(1)


def _selector(data) -> str:
    return bytes(data).hex()[:8]


def _selector_of(error: str) -> str:
    from offchain.hashing import keccak256

    return keccak256(error.encode())[:4].hex()
