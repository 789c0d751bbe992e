"""The token-curated registry: be listed, challenge, vote, be paid, change the terms.

    brownie run token_curator show 1                                 a provider's listings, challenges and votes
    brownie run token_curator apply 1 kind=mailserver uri=https://example.org/why
    brownie run token_curator finalise 1 kind=mailserver             after the application's time, by anyone
    brownie run token_curator top_up 1 500 kind=mailserver           amounts are in whole tokens: 500, 0.25
    brownie run token_curator withdraw 1 500 kind=mailserver         what is beyond the minimum, or all when not listed
    brownie run token_curator announce_exit 1 kind=mailserver        then, after the delay and within the window:
    brownie run token_curator exit 1 kind=mailserver
    brownie run token_curator lapse 1 kind=mailserver                a deposit stayed below a raised minimum

    brownie run token_curator challenge 1 kind=mailserver uri=https://example.org/evidence
    brownie run token_curator evidence 7 uri=https://example.org/more     on the challenge with poll 7
    brownie run token_curator deposit 1000                           tokens to vote with
    brownie run token_curator commit 7 remove 1000                   or: keep; the secret goes to a file first
    brownie run token_curator reveal                                 all that can be revealed now; or: reveal 7
    brownie run token_curator resolve 1 kind=mailserver              by anyone, for a bounty
    brownie run token_curator claim 7                                one's share; or: claim 7 0x7099...79C8
    brownie run token_curator sweep 7                                what nobody claimed in time, to the treasury
    brownie run token_curator take_out 1000                          tokens that no vote locks

    brownie run token_curator terms                                  what holds now, and its ranges
    brownie run token_curator propose quorum=20000 slash=50          by the role; or, where a vote governs, with a stake
    brownie run token_curator execute quorum=20000 slash=50          after the delay, by anyone
    brownie run token_curator challenge_terms 3 uri=...              proposal 3; then commit, reveal, resolve_terms 3,
    brownie run token_curator apply_terms 3 quorum=20000 slash=50    and, if it stood, apply_terms and execute

Options: see scripts/session.py; and `kind` ("all" without it), `uri`, `salts` (the file with the secrets of votes;
~/.waypost/ballots.jsonl without it).
"""

from __future__ import annotations

import secrets as random_bytes
from decimal import Decimal, InvalidOperation
from pathlib import Path

from brownie import TestToken, chain
from eth_abi import encode
from eth_utils import keccak

from scripts import ballot_secrets
from scripts.ballot_secrets import Secret
from scripts.session import (
    Refusal,
    Session,
    address,
    command,
    kind_or_all,
    kind_text,
    number,
    present,
    provider_of,
    utc,
)
from scripts.terms import ListingTerms, Terms

CHOICES = {"keep": 0, "remove": 1}
STATES = ("not listed", "applied for", "listed")
STATUSES = ("no verdict", "accepted", "rejected")
OUTCOMES = ("open", "failed", "succeeded", "undecided")
AMOUNTS = frozenset({"min_deposit", "quorum"})


# Listings


@command
def apply(provider, *, kind="all", uri="", amount=None, **options):
    """Apply for a listing, with the minimum deposit unless `amount` says more."""
    world = _World(options)
    provider, kind = world.listing(provider, kind)
    held = world.curator.listingOf(provider, kind)[0]
    least = max(0, world.terms().listing.min_deposit - held)
    tokens = world.amount(amount) if amount is not None else least
    words = f"apply for provider {provider}, {kind_text(kind)}, with {world.shown(tokens)} at stake"
    return world.pay(tokens, world.curator, "applyFor", provider, kind, tokens, str(uri), words=words)


@command
def finalise(provider, *, kind="all", **options):
    """Make a listing of an application that nobody challenged in time."""
    world = _World(options)
    listing = world.listing(provider, kind)
    return world.send(world.curator, "finalise", [listing], words=f"finalise the application of provider {listing[0]}")


@command
def top_up(provider, tokens, *, kind="all", **options):
    """Add to a listing's deposit."""
    world = _World(options)
    (provider, kind), amount = world.listing(provider, kind), world.amount(tokens)
    words = f"add {world.shown(amount)} to the deposit of provider {provider}, {kind_text(kind)}"
    return world.pay(amount, world.curator, "topUp", provider, kind, amount, words=words)


@command
def withdraw(provider, tokens, *, kind="all", **options):
    """Take from a listing's deposit into one's account in the ballot box."""
    world = _World(options)
    (provider, kind), amount = world.listing(provider, kind), world.amount(tokens)
    words = f"take {world.shown(amount)} from the deposit of provider {provider}, {kind_text(kind)}"
    return world.send(world.curator, "withdraw", provider, kind, amount, words=words)


@command
def announce_exit(provider, *, kind="all", **options):
    """Say that a provider will leave."""
    return _World(options).change("announceExit", provider, kind, "announce that {} will leave")


@command
def exit(provider, *, kind="all", **options):
    """Leave, as announced. The deposit is then there to withdraw."""
    return _World(options).change("exit", provider, kind, "take {} off the list")


@command
def lapse(provider, *, kind="all", **options):
    """Remove a listing whose deposit stayed below a raised minimum."""
    return _World(options).change("lapse", provider, kind, "remove {} for too small a deposit")


# Challenges


@command
def challenge(provider, *, kind="all", uri="", **options):
    """Challenge an application or a listing. Returns the poll (None in a dry run)."""
    world = _World(options)
    provider, kind = world.listing(provider, kind)
    if not uri:
        raise Refusal("say where the evidence is: uri=https://...; voters will want to read it")
    stake = world.curator.stakeOf(provider, kind)
    words = f"challenge provider {provider}, {kind_text(kind)}, with {world.shown(stake)} at stake"
    sent = world.pay(stake, world.curator, "challenge", provider, kind, str(uri), words=words)
    return world.tell_poll(sent.events["Challenged"]["pollId"]) if sent else None


@command
def evidence(poll, *, uri, **options):
    """Say something on an open challenge."""
    world = _World(options)
    words = f"submit {uri} on the challenge with poll {poll}"
    return world.send(world.curator, "submitEvidence", number(poll, "poll"), str(uri), words=words)


@command
def resolve(provider, *, kind="all", **options):
    """Decide a challenge by its vote. The sender gets the bounty. Returns the outcome in a word."""
    world = _World(options)
    provider, kind = world.listing(provider, kind)
    sent = world.send(world.curator, "resolve", provider, kind, words=f"resolve the challenge of provider {provider}")
    if sent is None:
        return None
    outcome = OUTCOMES[sent.events["ChallengeResolved"]["outcome"]]
    print(f"the challenge {outcome}: {world.verdict(provider, kind)}")
    return outcome


# Votes


@command
def deposit(tokens, **options):
    """Bring tokens to vote with."""
    world = _World(options)
    amount = world.amount(tokens)
    return world.pay(amount, world.box, "deposit", amount, words=f"bring {world.shown(amount)} to the ballot box")


@command
def take_out(tokens, **options):
    """Take out tokens that no vote locks."""
    world = _World(options)
    amount = world.amount(tokens)
    return world.send(world.box, "withdraw", amount, words=f"take {world.shown(amount)} out of the ballot box")


@command
def commit(poll, choice, tokens, *, salts=None, **options):
    """Commit a vote, "remove" (for the challenge) or "keep" (against it). Returns its secret.

    The secret is written to the file before anything is sent, and the file is only ever added to.
    """
    world = _World(options)
    poll, weight = number(poll, "poll"), world.amount(tokens)
    if choice not in CHOICES:
        raise Refusal(f"found {choice!r}, expected remove (the challenge is right) or keep (it is not)")
    unit = world.box.WEIGHT_UNIT()
    if weight % unit:
        raise Refusal(f"{world.shown(weight)} is no multiple of {unit} base units")
    secret = Secret(
        chain.id, world.box.address, poll, str(world.sender), CHOICES[choice], weight, "0x" + random_bytes.token_hex(32)
    )
    commitment = world.box.commitmentOf(poll, world.sender, secret.choice, secret.salt)
    path = Path(salts) if salts else ballot_secrets.default_path()
    if not world.session.dry_run:
        try:
            ballot_secrets.keep(path, secret)
        except OSError as error:
            raise Refusal(f"the vote was not sent, for its secret could not be kept in {path}: {error}") from None
    sent = world.send(
        world.box, "commit", poll, commitment, weight, words=f"commit {world.shown(weight)} to poll {poll}"
    )
    if sent is not None:
        begins, ends = map(utc, world.box.pollOf(poll)[:2])
        print(f"the secret is in {path}: keep it; reveal from {begins}, before {ends}")
    return secret


@command
def reveal(poll=None, *, salts=None, **options):
    """Reveal one's votes: in one poll, or in all in whose reveal period we are. Returns how many."""
    world = _World(options)
    path = Path(salts) if salts else ballot_secrets.default_path()
    wanted = None if poll is None else number(poll, "poll")
    pending = [
        secret
        for secret in ballot_secrets.of(path, chain.id, world.box.address, str(world.sender))
        if wanted in (None, secret.poll) and world.can_reveal(secret, strict=wanted is not None)
    ]
    if not pending:
        raise Refusal(f"no vote of {world.sender} that could be revealed now is in {path}")
    for secret in pending:
        side = "remove" if secret.choice else "keep"
        world.send(
            world.box, "reveal", secret.poll, secret.choice, secret.weight, secret.salt,
            words=f"reveal in poll {secret.poll}: {side}, {world.shown(secret.weight)}",
        )  # fmt: skip
    return len(pending)


@command
def claim(poll, voter=None, **options):
    """Pay a voter's share of a poll into the voter's account; one's own unless said."""
    world = _World(options)
    poll, who = number(poll, "poll"), address(voter) if voter else str(world.sender)
    share = world.shown(world.box.claimable(poll, who))
    return world.send(world.box, "claim", poll, who, words=f"pay {share} of poll {poll} to {who}")


@command
def sweep(poll, **options):
    """Pay what nobody claimed in time to the treasury."""
    world = _World(options)
    return world.send(world.box, "sweep", number(poll, "poll"), words=f"sweep what is left of poll {poll}")


# Terms


@command
def terms(**options):
    """Print the terms of today and the ranges they can be changed in. Returns them."""
    world = _World(options)
    today = world.terms()
    minimum, maximum = (Terms.of(*each).figures() for each in world.parameters.ranges())
    print(f"version {world.parameters.current()[0]}, changed by {'a vote' if world.by_vote() else 'a role'}")
    for name, value in today.figures().items():
        show = world.shown if name in AMOUNTS else str
        print(f"  {name:14} {show(value):>20}   {show(minimum[name])} to {show(maximum[name])}")
    return today


@command
def propose(*figures, uri="", **options):
    """Schedule changed terms, as the role; or propose them with a stake, where a vote governs. `name=value` each."""
    world = _World(options)
    changed = world.changed(figures)
    if not world.by_vote():
        words = f"schedule {' '.join(figures)}; anyone can execute it from {utc(present() + world.parameters.DELAY())}"
        return world.send(world.parameters, "schedule", changed, words=words)
    stake = world.terms().listing.min_deposit
    words = f"propose {' '.join(figures)} with {world.shown(stake)} at stake"
    sent = world.pay(stake, world.vote, "propose", changed, str(uri), words=words)
    if sent is None:
        return None
    made = sent.events["Proposed"]
    print(f"proposal {made['proposalId']}; it can be challenged before {utc(made['challengeEnd'])}")
    return made["proposalId"]


@command
def execute(*figures, **options):
    """Let scheduled terms hold."""
    world = _World(options)
    return world.send(world.parameters, "execute", world.changed(figures), words=f"execute {' '.join(figures)}")


@command
def challenge_terms(proposal, *, uri="", **options):
    """Challenge proposed terms. Returns the poll (None in a dry run)."""
    world = _World(options)
    proposal = number(proposal, "proposal")
    stake = world.vote.proposalOf(proposal)[1]
    words = f"challenge proposal {proposal} with {world.shown(stake)} at stake"
    sent = world.pay(stake, world.vote, "challenge", proposal, str(uri), words=words)
    return world.tell_poll(sent.events["ProposalChallenged"]["pollId"]) if sent else None


@command
def resolve_terms(proposal, **options):
    """Decide a challenged proposal by its vote."""
    world = _World(options)
    proposal = number(proposal, "proposal")
    return world.send(world.vote, "resolve", proposal, words=f"resolve the challenge of proposal {proposal}")


@command
def apply_terms(proposal, *figures, **options):
    """Schedule a proposal that stood."""
    world = _World(options)
    proposal = number(proposal, "proposal")
    words = f"schedule proposal {proposal}"
    return world.send(world.vote, "applyTerms", proposal, world.changed(figures), words=words)


@command
def show(provider, **options):
    """Print a provider's listings and what can be done about each."""
    world = _World(options)
    provider, silent = provider_of(world.session.registry, provider), True
    for kind in range(world.session.registry.kindCount() + 1):
        deposit, state, ready, cool, poll, version, *_ = world.curator.listingOf(provider, kind)
        if not (state or deposit or cool):
            continue
        silent = False
        print(f"provider {provider}, {kind_text(kind)}: {STATES[state]}, {world.verdict(provider, kind)}")
        print(f"  deposit {world.shown(deposit)}, stake {world.shown(world.curator.stakeOf(provider, kind))}")
        for line in world.advice(state, ready, cool, poll, version):
            print(f"  {line}")
    if silent:
        print(f"provider {provider}: never applied for")


class _World:
    """The contracts of the deployment, and what all commands do with them."""

    def __init__(self, options: dict) -> None:
        self.session = Session.open(**options)
        self.sender = self.session.sender
        self.curator = self.session.contract("TokenCurator")
        self.box = self.session.contract("BallotBox")
        self.parameters = self.session.contract("Parameters")
        self.vote = self.session.contract("ParameterVote")
        self.token = TestToken.at(self.box.token(), persist=False)  # for the interface of ERC-20
        self._decimals = self.token.decimals()

    def send(self, contract, function: str, *arguments, words: str):
        return self.session.send(contract, function, *arguments, words=words)

    def pay(self, amount: int, contract, function: str, *arguments, words: str):
        """Send what takes tokens of the sender: first let the contract take so much, and no more, if it may not yet.

        What the contract itself has against it, or too few tokens, is a Refusal before anything is sent.
        """
        self.session.check(contract, function, *arguments)
        held = self.token.balanceOf(self.sender)
        if held < amount:
            raise Refusal(f"{self.sender} has {self.shown(held)}, and {self.shown(amount)} are needed")
        if self.token.allowance(self.sender, contract) < amount:
            allow = f"let {contract._name} take {self.shown(amount)}"
            self.send(self.token, "approve", contract, amount, words=allow)
            if self.session.dry_run:
                print(f"would {words}\n  {contract._name}.{function}, which takes the tokens after that")
                return None
        return self.send(contract, function, *arguments, words=words)

    def change(self, function: str, provider, kind, words: str):
        """Send what concerns a listing and says nothing more; `words` have a place for its name."""
        provider, kind = self.listing(provider, kind)
        named = f"provider {provider}, {kind_text(kind)},"
        return self.send(self.curator, function, provider, kind, words=words.format(named))

    def amount(self, text) -> int:
        """Base units from whole tokens in words."""
        try:
            exact = Decimal(str(text)) * 10**self._decimals
        except InvalidOperation:
            raise Refusal(f"{text!r} is no amount: expected tokens, like 500 or 0.25") from None
        if not exact.is_finite() or exact < 0 or exact != exact.to_integral_value():
            raise Refusal(f"{text!r} is no amount: expected at most {self._decimals} decimals, and not below zero")
        return int(exact)

    def shown(self, amount: int) -> str:
        """An amount in whole tokens."""
        return f"{(Decimal(amount) / 10**self._decimals).normalize():,f} {self.token.symbol()}"

    def listing(self, provider, kind) -> tuple[int, int]:
        """A listing's provider and kind; Refusal if the registry knows no such."""
        registry = self.session.registry
        return provider_of(registry, provider), kind_or_all(registry, kind)

    def terms(self) -> Terms:
        version = self.parameters.current()[0]
        return Terms.of(self.parameters.listingTerms(version), self.parameters.votingTerms(version))

    def by_vote(self) -> bool:
        return self.parameters.owner() == self.vote.address

    def changed(self, figures) -> Terms:
        """Today's terms with some figures replaced, from words."""
        wanted = {}
        for word in figures:
            name, equals, value = str(word).partition("=")
            if not equals:
                raise Refusal(f"found {word!r}, expected name=value; `token_curator terms` shows the names")
            wanted[name] = self.amount(value) if name in AMOUNTS else number(value, name)
        try:
            return self.terms().changed(**wanted)
        except KeyError as error:
            raise Refusal(f"{error.args[0]}; `token_curator terms` shows the names") from None

    def verdict(self, provider: int, kind: int) -> str:
        status, _, weight = self.curator.verdict(provider, kind)
        return f"{STATUSES[status]}, weight {self.shown(weight)}" if weight else STATUSES[status]

    def tell_poll(self, poll: int) -> int:
        print(f"poll {poll}: {self._ends(poll)}")
        return poll

    def _ends(self, poll: int) -> str:
        commit_end, reveal_end = map(utc, self.box.pollOf(poll)[:2])
        return f"commit before {commit_end}, then reveal before {reveal_end}"

    def can_reveal(self, secret: Secret, strict: bool) -> bool:
        """Whether the secret is of a vote that is committed and not revealed; when strict, at any time."""
        commit_end, reveal_end = self.box.pollOf(secret.poll)[:2]
        if self.box.ballotOf(secret.poll, self.sender)[0] != 1:
            return False
        if not self._is_the_one(secret):
            return False  # of an attempt that was never sent
        return strict or commit_end <= present() < reveal_end

    def _is_the_one(self, secret: Secret) -> bool:
        commitment = bytes(self.box.commitmentOf(secret.poll, self.sender, secret.choice, secret.salt))
        sealed = int.from_bytes(keccak(encode(["bytes32", "uint256"], [commitment, secret.weight])), "big") >> 8
        return self.box.ballotOf(secret.poll, self.sender)[1] == sealed

    def advice(self, state: int, ready: int, cool: int, poll: int, version: int):
        """What can be done about a listing, and when."""
        now = present()
        if poll:
            commit_end, reveal_end = self.box.pollOf(poll)[:2]
            step = "commit" if now < commit_end else "reveal" if now < reveal_end else "resolve"
            yield f"challenged, poll {poll}: {self._ends(poll)}; now: {step}"
            committed, (remove, keep) = self.box.pollOf(poll)[4], self.box.countOf(poll)[2:]
            revealed = f"{self.shown(remove)} to remove, {self.shown(keep)} to keep"
            yield f"committed {self.shown(committed)}; revealed {revealed}"
            return
        if state == 1:
            yield f"finalise {'now' if now >= ready else f'from {utc(ready)}'}"
        if state == 2 and ready:
            lapses = ready + ListingTerms(*self.parameters.listingTerms(version)).exit_window
            when = "let lapse; announce it again" if now >= lapses else f"from {utc(ready)}, before {utc(lapses)}"
            yield f"exit announced: {when}"
        if now < cool:
            yield f"cools down until {utc(cool)}"
