"""Terms under a vote, against a Python model: propose, challenge, vote, resolve, apply, discard, execute.

Anybody tries anything, with terms in and out of range, rightly and wrongly, by the clock. After every step: all terms
that hold or ever held are within the ranges (Bounds); a version is never altered (SnapshotStable); nobody but the vote
can schedule anything (AuthLocality); the stakes of open proposals are the vote's reserve, and tokens are conserved
(Solvency). At the end of every run everything open is brought to its end by calls anyone may make (Liveness).
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

import pytest
from brownie import TestToken, web3

from scripts.deploy_token_curator import deploy
from scripts.terms import DAY, HOUR, MAXIMUM, MINIMUM, TOKEN, ListingTerms, Terms, VotingTerms
from tests.support.curation import URI, Play, endow, salt_of
from tests.support.depth import play_examples
from tests.support.wire import Reverted, Wire

FIRST = Terms(
    ListingTerms(100 * TOKEN, 2 * HOUR, HOUR, 2 * HOUR, DAY),
    VotingTerms(50 * TOKEN, 5_000, 4_000, 200, 1_000, HOUR, HOUR, HOUR, DAY),
)
PROPOSED, CHALLENGED, UPHELD, CLOSED = 1, 2, 3, 4
WEIGHT = 60 * TOKEN
SEEN: Counter = Counter()
"""How often each step was carried out or refused, and why."""

WEIGHTS = {
    "propose": 6, "challenge": 5, "vote": 9, "resolve": 5, "apply": 7, "discard": 4, "execute": 6, "seize": 2,
    "cancel": 1, "wait": 6,
}  # fmt: skip


@dataclass
class Proposal:
    terms: Terms
    proposer: str
    stake: int
    version: int
    challenge_end: int
    state: int = PROPOSED
    challenger: str = ""
    poll: int = 0
    commit_end: int = 0
    reveal_end: int = 0
    votes: tuple[int, int] = (0, 0)
    """Weight against and for the challenge, revealed."""


class TermsMachine:
    """Steps that proposers, challengers, voters and strangers take."""

    def __init__(self, play: Play, people, seed: int) -> None:
        self.play, self.people, self.draw = play, people, random.Random(seed)
        self.vote, self.parameters, self.box = play.vote, play.parameters, play.box
        self.wire = Wire(web3.provider.endpoint_uri, *(each.abi for each in (self.vote, self.parameters, self.box)))
        self.versions, self.proposals = [play.terms], {}
        self.scheduled: tuple[Terms, int] | None = None
        self.delay = play.parameters.DELAY()
        self.tokens = play.box.totalTokens()

    def run(self, steps: int) -> None:
        for _ in range(steps):
            name = self.draw.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
            getattr(self, f"_{name}")()
            self._check()
        self._everything_comes_to_an_end()

    def _check(self) -> None:
        wanted = [(self.parameters.current,), (self.parameters.scheduled,), (self.vote.proposalCount,)]
        wanted += [(self.box.consumerOf, self.vote.address), (self.box.totalTokens,), (self.parameters.owner,)]
        wanted += [(self.parameters.listingTerms, number) for number in range(1, len(self.versions) + 1)]
        wanted += [(self.parameters.votingTerms, number) for number in range(1, len(self.versions) + 1)]
        wanted += [(self.vote.proposalOf, number) for number in self.proposals]
        (version, _), (_, ready), count, (_, reserve), total, owner, *rest = self.wire.read(*wanted)
        many = len(self.versions)
        held = [Terms.of(*pair) for pair in zip(rest[:many], rest[many : 2 * many], strict=True)]
        assert version == many
        assert held == self.versions
        assert all(within(terms) for terms in held)
        assert ready == (self.scheduled[1] if self.scheduled else 0)
        assert owner == self.vote.address
        assert count == len(self.proposals)
        for each, shown in zip(self.proposals.values(), rest[2 * many :], strict=True):
            assert shown[:2] == (each.proposer, each.stake)
            assert (shown[3], shown[4], shown[5], shown[6]) == (each.challenge_end, each.version, each.state, each.poll)
        stakes = {PROPOSED: 1, CHALLENGED: 2, UPHELD: 0, CLOSED: 0}
        assert reserve == sum(each.stake * stakes[each.state] for each in self.proposals.values())
        assert total == self.tokens

    # Steps

    def _propose(self) -> None:
        terms = self._terms()
        error = self._fault(terms)
        if self._do("propose", error, self.vote.propose, terms, URI, by=(who := self._who())):
            stake, now = self.versions[-1].listing.min_deposit, self.wire.now()
            end = now + self.versions[-1].listing.apply_period
            self.proposals[len(self.proposals) + 1] = Proposal(terms, str(who), stake, len(self.versions), end)
            self.tokens += stake

    def _challenge(self) -> None:
        number, each = self._some(PROPOSED)
        error = None
        if each is None or each.state != PROPOSED:
            error = "WrongState"
        elif self.wire.now() >= each.challenge_end:
            error = "ChallengePeriodOver"
        if self._do("challenge", error, self.vote.challenge, number, URI, by=(who := self._who())):
            voting, now = self.versions[each.version - 1].voting, self.wire.now()
            each.state, each.challenger = CHALLENGED, str(who)
            each.poll = self.wire.read((self.box.pollCount,))[0]
            each.commit_end = now + voting.commit_period
            each.reveal_end = each.commit_end + voting.reveal_period
            self.tokens += each.stake

    def _vote(self) -> None:
        """A voter commits, the reveal period begins, and the vote is revealed, or sometimes not."""
        _, each = self._some(CHALLENGED)
        if each is None or each.state != CHALLENGED or self.wire.now() >= each.commit_end:
            return
        who, choice = self._who(), self.draw.randint(0, 1)
        if self.wire.read((self.box.ballotOf, each.poll, who.address))[0][0]:
            return
        salt = salt_of(who, each.poll)
        commitment = self.box.commitmentOf(each.poll, who, choice, salt)
        self.wire.send(who, self.box.commit, each.poll, commitment, WEIGHT)
        SEEN["vote", "done"] += 1
        if self.draw.random() < 0.8:
            self.wire.pass_time(each.commit_end - self.wire.now())
            self.wire.send(who, self.box.reveal, each.poll, choice, WEIGHT, salt)
            against, for_ = each.votes
            each.votes = (against + WEIGHT * (1 - choice), for_ + WEIGHT * choice)

    def _resolve(self) -> None:
        number, each = self._some(CHALLENGED)
        if each is not None and each.state == CHALLENGED and self.draw.random() < 0.7:
            self.wire.pass_time(max(0, each.reveal_end - self.wire.now()))
        error = None
        if each is None or each.state != CHALLENGED:
            error = "WrongState"
        elif self.wire.now() < each.reveal_end:
            error = "PollStillRuns"
        if self._do("resolve", error, self.vote.resolve, number):
            each.state = UPHELD if self._upheld(each) else CLOSED

    def _apply(self) -> None:
        number, each = self._some(self.draw.choice((PROPOSED, UPHELD)))
        terms = each.terms if each is not None and self.draw.random() < 0.9 else self._terms()
        if each is not None and each.state == PROPOSED and self.draw.random() < 0.6:
            self.wire.pass_time(max(0, each.challenge_end - self.wire.now()))
        error = self._standing(each)
        if error is None and terms != each.terms:
            error = "WrongTerms"
        elif error is None and each.version != len(self.versions):
            error = "Overtaken"
        elif error is None and self.scheduled:
            error = "AlreadyScheduled"
        if self._do("apply", error, self.vote.applyTerms, number, terms):
            each.state = CLOSED
            self.scheduled = (terms, self.wire.now() + self.delay)

    def _discard(self) -> None:
        overtaken = [
            number
            for number, each in self.proposals.items()
            if each.state in (PROPOSED, UPHELD) and each.version != len(self.versions)
        ]
        number, each = self._some(PROPOSED)
        if overtaken:
            number = self.draw.choice(overtaken)
            each = self.proposals[number]
        error = self._standing(each) or (None if each.version != len(self.versions) else "NotOvertaken")
        if self._do("discard", error, self.vote.discard, number):
            each.state = CLOSED

    def _execute(self) -> None:
        terms = self.scheduled[0] if self.scheduled and self.draw.random() < 0.9 else self._terms()
        if self.scheduled and self.draw.random() < 0.7:
            self.wire.pass_time(max(0, self.scheduled[1] - self.wire.now()))
        error = None
        if self.scheduled is None or terms != self.scheduled[0]:
            error = "NotScheduled"
        elif self.wire.now() < self.scheduled[1]:
            error = "NotReady"
        if self._do("execute", error, self.parameters.execute, terms):
            self.versions.append(terms)
            self.scheduled = None

    def _seize(self) -> None:
        """Terms by decree, and taking over the parameters: nobody can any more."""
        self._do("seize", "OwnableUnauthorizedAccount", self.parameters.schedule, self._terms())
        who = self._who()
        self._do("seize", "OwnableUnauthorizedAccount", self.parameters.transferOwnership, who.address, by=who)

    def _cancel(self) -> None:
        digest = b"\1" * 32
        self._do("cancel", "OwnableUnauthorizedAccount", self.parameters.cancel, digest)

    def _wait(self) -> None:
        self.wire.pass_time(self.draw.choice((60, HOUR, 2 * HOUR, 5 * HOUR)))

    # The end

    def _everything_comes_to_an_end(self) -> None:
        stranger = self.people[0]
        self.wire.pass_time(max(each.voting.commit_period + each.voting.reveal_period for each in self.versions))
        self.wire.pass_time(max(each.listing.apply_period for each in self.versions) + self.delay)
        for number, each in self.proposals.items():
            if each.state == CHALLENGED:
                self.wire.send(stranger, self.vote.resolve, number)
                each.state = UPHELD if self._upheld(each) else CLOSED
        while waiting := {key: each for key, each in self.proposals.items() if each.state in (PROPOSED, UPHELD)}:
            if self.scheduled:
                self.wire.pass_time(max(0, self.scheduled[1] - self.wire.now()))
                self.wire.send(stranger, self.parameters.execute, self.scheduled[0])
                self.versions.append(self.scheduled[0])
                self.scheduled = None
            number, each = next(iter(waiting.items()))
            if each.version != len(self.versions):
                self.wire.send(stranger, self.vote.discard, number)
            else:
                self.wire.send(stranger, self.vote.applyTerms, number, each.terms)
                self.scheduled = (each.terms, self.wire.now() + self.delay)
            each.state = CLOSED
        assert self.wire.read((self.box.consumerOf, self.vote.address))[0][1] == 0
        self._check()

    # Inside

    def _do(self, name: str, error: str | None, function, *arguments, by=None) -> bool:
        """The chain must refuse just when the model does, and with the same error."""
        sender = by or self._who()
        if error is None:
            self.wire.send(sender, function, *arguments)
        else:
            with pytest.raises(Reverted, match=f"^{error}$"):
                self.wire.send(sender, function, *arguments)
        SEEN[name, error or "done"] += 1
        return error is None

    def _upheld(self, each: Proposal) -> bool:
        voting = self.versions[each.version - 1].voting
        against, for_ = each.votes
        if against + for_ < voting.quorum or against == for_:
            return False
        return for_ * 10_000 < (against + for_) * voting.threshold

    def _standing(self, each: Proposal | None) -> str | None:
        """Why a proposal does not stand; None if it does."""
        if each is None or each.state not in (PROPOSED, UPHELD):
            return "WrongState"
        return "ChallengePeriodRuns" if each.state == PROPOSED and self.wire.now() < each.challenge_end else None

    def _fault(self, terms: Terms) -> str | None:
        if not within(terms, shares=False):
            return "OutOfRange"
        if not within(terms):
            return "SharesExceedStake"
        return "TermsUnchanged" if terms == self.versions[-1] else None

    def _terms(self) -> Terms:
        """Today's with a figure or two replaced: by a bound, by something in between, or by something beyond."""
        low, high, figures = MINIMUM.figures(), MAXIMUM.figures(), {}
        kept = ("commit_period", "reveal_period", "apply_period", "claim_window")
        for name in self.draw.sample([name for name in low if name not in kept], self.draw.randint(1, 2)):
            inside = self.draw.randint(low[name], min(high[name], 2 * self.versions[-1].figures()[name] + 10))
            beyond = self.draw.choice((max(0, low[name] - 1), high[name] + 1))
            figures[name] = self.draw.choice((low[name], inside, inside, inside, beyond))
            if name in ("min_deposit", "quorum"):
                figures[name] = min(figures[name], 200 * TOKEN)  # what people here can pay
        return self.versions[-1].changed(**figures)

    def _some(self, state: int) -> tuple[int, Proposal | None]:
        """A proposal, rather one in a state; now and then one that there is not."""
        fitting = [number for number, each in self.proposals.items() if each.state == state]
        if fitting and self.draw.random() < 0.85:
            number = self.draw.choice(fitting)
        else:
            number = self.draw.randint(1, len(self.proposals) + 1)
        return number, self.proposals.get(number)

    def _who(self):
        return self.draw.choice(self.people)


def within(terms: Terms, shares: bool = True) -> bool:
    """Whether every figure is in its range, and the shares are not more than the stake."""
    low, high = MINIMUM.figures(), MAXIMUM.figures()
    inside = all(low[name] <= value <= high[name] for name, value in terms.figures().items())
    return inside and (not shares or terms.voting.voter_share + terms.voting.bounty <= 10_000)


@pytest.fixture(scope="module")
def governed(registry, guardian, admin, treasury, challenger, alice, bob):
    token = TestToken.deploy(10**9 * TOKEN, {"from": guardian})
    made = deploy(guardian, registry, token, terms=FIRST, delay=HOUR, treasury=treasury, by_vote=True)
    play = Play(made, registry)
    endow(play, guardian, (admin, challenger, alice, bob), held=100_000 * TOKEN, spare=1_000_000 * TOKEN)
    return play


def test_terms_change_as_the_model_says_and_never_leave_their_ranges(governed, admin, challenger, alice, bob):
    SEEN.clear()

    play_examples(
        lambda seed, steps: TermsMachine(governed, (admin, challenger, alice, bob), seed).run(steps),
        examples=4, steps=40,
    )  # fmt: skip

    if sum(SEEN.values()) >= 3_000:
        for name in WEIGHTS.keys() - {"wait", "vote", "seize", "cancel"}:
            assert SEEN[name, "done"], f"{name} was never carried out"
            assert any(count for (step, how), count in SEEN.items() if step == name and how != "done"), name
