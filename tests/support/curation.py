"""A token-curated registry as tests play with it: people, time, and whole contests in one line."""

from __future__ import annotations

from brownie import chain

from scripts.deploy_token_curator import Curation
from scripts.terms import TOKEN, Terms

URI = "https://evidence.example"
AGAINST, FOR = 0, 1
"""Choices: against the challenge, for it."""

OPEN, LOST, WON, DRAWN = range(4)
"""IBallotBox.Outcome, as the challenger sees it."""

NOT_LISTED, APPLIED, LISTED = range(3)
"""ITokenCurator.State."""

NONE, ACCEPTED, REJECTED = range(3)
"""ICurator.Status."""


def salt_of(voter, poll: int) -> bytes:
    """A salt that is another one for each voter and poll."""
    return bytes.fromhex(str(voter)[2:]).rjust(28, b"\0") + poll.to_bytes(4, "big")


def pass_time(seconds: int) -> None:
    """Let so much time pass."""
    chain.sleep(seconds)
    chain.mine()


class Play:
    """The contracts with short ways to use them. Providers have number `provider`, kind 1 unless said."""

    def __init__(self, made: Curation, registry) -> None:
        self.made, self.registry = made, registry
        self.token, self.box, self.parameters, self.curator, self.vote, self.lens = made

    @property
    def terms(self) -> Terms:
        """Today's."""
        version = self.parameters.current()[0]
        return Terms.of(self.parameters.listingTerms(version), self.parameters.votingTerms(version))

    def apply(self, provider: int, kind: int = 1, amount: int | None = None):
        amount = self.terms.listing.min_deposit if amount is None else amount
        return self.curator.applyFor(provider, kind, amount, URI, {"from": self.registry.adminOf(provider)})

    def list(self, provider: int, kind: int = 1, amount: int | None = None):
        """Apply, wait, finalise."""
        self.apply(provider, kind, amount)
        pass_time(self.terms.listing.apply_period)
        return self.curator.finalise([(provider, kind)], {"from": self.registry.adminOf(provider)})

    def challenge(self, provider: int, challenger, kind: int = 1) -> int:
        """Returns the poll."""
        return self.curator.challenge(provider, kind, URI, {"from": challenger}).return_value

    def commit(self, poll: int, voter, choice: int, weight: int):
        commitment = self.box.commitmentOf(poll, voter, choice, salt_of(voter, poll))
        return self.box.commit(poll, commitment, weight, {"from": voter})

    def reveal(self, poll: int, voter, choice: int, weight: int):
        return self.box.reveal(poll, choice, weight, salt_of(voter, poll), {"from": voter})

    def until_reveal(self, poll: int) -> None:
        pass_time(max(0, self.box.pollOf(poll)[0] - chain[-1].timestamp))

    def until_end(self, poll: int) -> None:
        pass_time(max(0, self.box.pollOf(poll)[1] - chain[-1].timestamp))

    def poll(self, poll: int, *votes: tuple) -> None:
        """Commit and reveal (voter, choice, weight), and wait for the end."""
        for voter, choice, weight in votes:
            self.commit(poll, voter, choice, weight)
        self.until_reveal(poll)
        for voter, choice, weight in votes:
            self.reveal(poll, voter, choice, weight)
        self.until_end(poll)

    def contest(self, provider: int, challenger, *votes: tuple, kind: int = 1, resolver=None):
        """A challenge from beginning to end; returns the poll and the transaction that resolved it."""
        poll = self.challenge(provider, challenger, kind)
        self.poll(poll, *votes)
        return poll, self.curator.resolve(provider, kind, {"from": resolver or challenger})

    def listing(self, provider: int, kind: int = 1) -> dict:
        return dict(self.curator.listingOf(provider, kind).dict())

    def verdict(self, provider: int, kind: int = 1) -> tuple:
        return tuple(self.curator.verdict(provider, kind))

    def balance(self, who) -> int:
        """What somebody has in the ballot box."""
        return self.box.accountOf(who)[0]

    def reserve(self, consumer=None) -> int:
        return self.box.consumerOf(consumer or self.curator)[1]

    def change_terms(self, owner, **figures):
        """Schedule other terms and execute them after the delay."""
        terms = self.terms.changed(**figures)
        self.parameters.schedule(terms, {"from": owner})
        pass_time(self.parameters.DELAY())
        return self.parameters.execute(terms, {"from": owner})


def endow(play: Play, owner, people, held: int = 100_000 * TOKEN, spare: int = 100_000 * TOKEN) -> None:
    """Give each tokens in the ballot box and besides, with approvals for all that takes them."""
    for who in people:
        if who != owner:
            play.token.transfer(who, held + spare, {"from": owner})
        for spender in (play.box, play.curator, play.vote):
            play.token.approve(spender, 2**255, {"from": who})
        play.box.deposit(held, {"from": who})
