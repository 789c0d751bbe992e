"""The token-curated registry as it should be: plain Python, one class, no chain.

Every method is a call of the contracts at a time `now`. It raises `Refused(<name of the error>)` and changes nothing,
or carries the call out. Votes are remembered with what was committed, so that what is locked, owed and owned is
computed here from what people did, not from how the contracts keep it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from scripts.terms import Terms

UNIT = 10_000
NOT_LISTED, APPLIED, LISTED = range(3)
NONE, ACCEPTED, REJECTED = range(3)
OPEN, AGAINST, FOR, DRAW = range(4)


class Refused(Exception):
    """The contract would revert with the error of this name."""


@dataclass
class Listing:
    deposit: int = 0
    state: int = NOT_LISTED
    ready_at: int = 0
    cool_until: int = 0
    poll: int = 0
    version: int = 0
    challenge_version: int = 0


@dataclass
class Vote:
    weight: int
    bond: int
    choice: int
    copied: bool = False
    revealed: bool = False
    claimed: bool = False


@dataclass
class Poll:
    challenger: str
    stake: int
    terms: Terms
    commit_end: int
    reveal_end: int
    votes: dict[str, Vote] = field(default_factory=dict)
    outcome: int = OPEN
    pool: int = 0
    weight_left: int = 0
    claim_end: int = 0
    whole: int = 0
    """The pool as it was when the poll was closed."""
    paid: int = 0
    """How much of it was claimed."""

    def side(self, choice: int) -> int:
        """The weight revealed for a choice."""
        return sum(vote.weight for vote in self.votes.values() if vote.revealed and vote.choice == choice)

    @property
    def committed(self) -> int:
        return sum(vote.weight for vote in self.votes.values())

    @property
    def bonds(self) -> int:
        return sum(vote.bond for vote in self.votes.values())


class Model:
    """Accounts, listings, polls and terms."""

    def __init__(self, terms: Terms, now: int, admins: dict[int, str], treasury: object, kinds: int = 1) -> None:
        self.admins, self.treasury, self.kinds = admins, str(treasury), kinds
        self.balances: dict[str, int] = {}
        self.locks: dict[str, tuple[int, int]] = {}
        self.listings: dict[tuple[int, int], Listing] = {}
        self.verdicts: dict[tuple[int, int], tuple[int, int]] = {}
        self.polls: dict[int, Poll] = {}
        self.versions: list[Terms] = [terms]
        self.grace_ends = now + terms.listing.grace_period
        self.reserve = 0
        self.surplus = 0

    @property
    def terms(self) -> Terms:
        return self.versions[-1]

    def listing(self, key: tuple[int, int]) -> Listing:
        return self.listings.setdefault(key, Listing())

    def stake(self, key: tuple[int, int]) -> int:
        return self.versions[self.listing(key).version - 1].listing.min_deposit

    def total(self) -> int:
        """All tokens that should be in the ballot box, the surplus apart."""
        polls = sum(poll.pool if poll.outcome else poll.bonds for poll in self.polls.values())
        return sum(self.balances.values()) + self.reserve + polls

    # Accounts

    def deposit(self, who: str, amount: int, now: int) -> None:
        _refuse(amount == 0, "ZeroAmount")
        self._credit(who, amount)

    def withdraw(self, who: str, amount: int, now: int) -> None:
        _refuse(amount == 0, "ZeroAmount")
        _refuse(amount > self.available(who, now), "InsufficientBalance")
        self.balances[who] -= amount

    def available(self, who: str, now: int) -> int:
        locked, until = self.locks.get(who, (0, 0))
        return self.balances.get(who, 0) - (locked if now < until else 0)

    def must_be_locked(self, who: str, now: int) -> int:
        """The largest weight, less its bond, that the voter committed to a poll that may still be revealed in."""
        return max(
            (
                poll.votes[who].weight - poll.votes[who].bond
                for poll in self.polls.values()
                if who in poll.votes and now < poll.reveal_end
            ),
            default=0,
        )

    def sweep_surplus(self, now: int) -> None:
        _refuse(self.surplus == 0, "NothingToSweep")
        self._credit(self.treasury, self.surplus)
        self.surplus = 0

    # Listings

    def apply(self, who: str, key: tuple[int, int], amount: int, now: int) -> None:
        self._only_admin(who, key)
        listing = self.listing(key)
        _refuse(listing.state != NOT_LISTED, "WrongState")
        _refuse(now < listing.cool_until, "CoolingDown")
        _refuse(listing.deposit + amount < self.terms.listing.min_deposit, "DepositTooSmall")
        listing.deposit += amount
        self.reserve += amount
        listing.state, listing.ready_at = APPLIED, now + self.terms.listing.apply_period
        listing.version = len(self.versions)

    def finalise(self, keys: list[tuple[int, int]], now: int) -> None:
        ready = []
        for key in dict.fromkeys(keys):
            listing = self.listing(key)
            if listing.state == APPLIED and not listing.poll and now >= listing.ready_at and key[1] <= self.kinds:
                ready.append(key)
        _refuse(not ready, "NothingToFinalise")
        for key in ready:
            listing = self.listing(key)
            listing.state, listing.ready_at = LISTED, 0
            self.verdicts[key] = (ACCEPTED, self.stake(key))

    def top_up(self, who: str, key: tuple[int, int], amount: int, now: int) -> None:
        self._only_admin(who, key)
        _refuse(amount == 0, "ZeroAmount")
        listing = self.listing(key)
        _refuse(listing.state == NOT_LISTED, "WrongState")
        _refuse(listing.poll != 0, "UnderChallenge")
        listing.deposit += amount
        self.reserve += amount
        if listing.deposit >= self.terms.listing.min_deposit:
            self._renew(key)

    def take(self, who: str, key: tuple[int, int], amount: int, now: int) -> None:
        """TokenCurator.withdraw."""
        self._only_admin(who, key)
        _refuse(amount == 0, "ZeroAmount")
        listing = self.listing(key)
        _refuse(listing.poll != 0, "UnderChallenge")
        _refuse(amount > listing.deposit, "WithdrawalTooLarge")
        left = listing.deposit - amount
        _refuse(listing.state != NOT_LISTED and left < self.terms.listing.min_deposit, "DepositTooSmall")
        listing.deposit = left
        self.reserve -= amount
        self._credit(who, amount)
        if listing.state != NOT_LISTED:
            self._renew(key)

    def announce_exit(self, who: str, key: tuple[int, int], now: int) -> None:
        self._only_admin(who, key)
        listing = self.listing(key)
        _refuse(listing.state != LISTED, "WrongState")
        _refuse(listing.poll != 0, "UnderChallenge")
        terms = self.versions[listing.version - 1].listing
        _refuse(listing.ready_at != 0 and now < listing.ready_at + terms.exit_window, "ExitAlreadyAnnounced")
        listing.ready_at = now + terms.exit_delay

    def exit(self, who: str, key: tuple[int, int], now: int) -> None:
        self._only_admin(who, key)
        listing = self.listing(key)
        _refuse(listing.state != LISTED, "WrongState")
        _refuse(listing.poll != 0, "UnderChallenge")
        window = self.versions[listing.version - 1].listing.exit_window
        ready = listing.ready_at
        _refuse(ready == 0 or not ready <= now < ready + window, "ExitNotReady")
        self._end(key, now)

    def lapse(self, key: tuple[int, int], now: int) -> None:
        listing = self.listing(key)
        _refuse(listing.state != LISTED, "WrongState")
        _refuse(listing.poll != 0, "UnderChallenge")
        enough = listing.deposit >= self.terms.listing.min_deposit
        _refuse(enough or now < self.grace_ends, "NotLapsed")
        self._end(key, now)

    # Challenges

    def challenge(self, who: str, key: tuple[int, int], now: int) -> int:
        listing = self.listing(key)
        _refuse(listing.state == NOT_LISTED, "WrongState")
        _refuse(listing.poll != 0, "UnderChallenge")
        _refuse(now < listing.cool_until, "CoolingDown")
        terms = self.terms
        commit_end = now + terms.voting.commit_period
        poll = len(self.polls) + 1
        self.polls[poll] = Poll(who, self.stake(key), terms, commit_end, commit_end + terms.voting.reveal_period)
        self.reserve += self.stake(key)
        listing.poll, listing.challenge_version = poll, len(self.versions)
        return poll

    def commit(self, who: str, number: int, choice: int, weight: int, now: int, copied: bool = False) -> None:
        poll = self._open(number)
        _refuse(now >= poll.commit_end, "CommitPeriodOver")
        _refuse(weight == 0 or weight % UNIT != 0, "InvalidWeight")
        _refuse(who in poll.votes, "AlreadyCommitted")
        bond = weight * poll.terms.voting.slash // UNIT
        locked, until = self.locks.get(who, (0, 0))
        needed = max(locked if now < until else 0, weight - bond)
        _refuse(needed + bond > self.balances.get(who, 0), "InsufficientBalance")
        poll.votes[who] = Vote(weight, bond, choice, copied)
        self.balances[who] -= bond
        self.locks[who] = (needed, max(until, poll.reveal_end))

    def reveal(self, who: str, number: int, choice: int, weight: int, now: int) -> None:
        poll = self.polls.get(number)
        open_ = poll is not None and poll.outcome == OPEN
        _refuse(not open_ or not poll.commit_end <= now < poll.reveal_end, "NotInRevealPeriod")
        vote = poll.votes.get(who)
        _refuse(vote is None or vote.revealed, "NotCommitted")
        _refuse(vote.copied or (choice, weight) != (vote.choice, vote.weight), "WrongReveal")
        vote.revealed = True

    def resolve(self, who: str, key: tuple[int, int], now: int) -> int:
        listing = self.listing(key)
        _refuse(listing.poll == 0, "NotUnderChallenge")
        poll = self.polls[listing.poll]
        _refuse(now < poll.reveal_end, "PollStillRuns")
        voting = poll.terms.voting
        votes_for, votes_against = poll.side(1), poll.side(0)
        turnout = votes_for + votes_against
        reward, bounty = poll.stake * voting.voter_share // UNIT, poll.stake * voting.bounty // UNIT
        rest = poll.stake - reward - bounty
        if turnout < voting.quorum or votes_for == votes_against:
            poll.outcome, poll.weight_left, paid = DRAW, turnout, poll.stake
            poll.pool = sum(vote.bond for vote in poll.votes.values() if vote.revealed)
            self._credit(self.treasury, poll.bonds - poll.pool)
            self._credit(poll.challenger, poll.stake)
        else:
            passed = votes_for * UNIT >= turnout * voting.threshold
            poll.outcome, poll.weight_left = (FOR, votes_for) if passed else (AGAINST, votes_against)
            poll.pool = reward + poll.bonds
            self._credit(who, bounty)
            paid = reward + bounty
            if passed:
                self._credit(poll.challenger, poll.stake + rest)
                listing.deposit -= poll.stake
                paid = 2 * poll.stake
            else:
                listing.deposit += rest
        self.reserve -= paid
        poll.whole = poll.pool
        poll.claim_end = now + voting.claim_window
        listing.poll, listing.cool_until = 0, now + voting.cooldown
        if poll.outcome == FOR:
            if listing.state == LISTED:
                self.verdicts[key] = (REJECTED, 0)
            listing.state, listing.ready_at = NOT_LISTED, 0
        elif listing.state == APPLIED or (listing.ready_at and listing.ready_at < now):
            listing.ready_at = now
        return poll.outcome

    def claimable(self, number: int, who: str) -> int:
        poll = self.polls.get(number)
        vote = poll.votes.get(who) if poll else None
        if vote is None or not vote.revealed or vote.claimed or poll.outcome == OPEN:
            return 0
        if poll.outcome != DRAW and vote.choice != (poll.outcome == FOR):
            return 0
        return poll.pool * vote.weight // poll.weight_left

    def claim(self, number: int, who: str, now: int) -> int:
        amount = self.claimable(number, who)
        _refuse(amount == 0, "NothingToClaim")
        poll = self.polls[number]
        poll.votes[who].claimed = True
        poll.pool -= amount
        poll.paid += amount
        poll.weight_left -= poll.votes[who].weight
        self._credit(who, amount)
        return amount

    def sweep(self, number: int, now: int) -> None:
        poll = self.polls.get(number)
        _refuse(poll is None or poll.outcome == OPEN or poll.pool == 0, "NothingToSweep")
        _refuse(now < poll.claim_end, "ClaimsStillOpen")
        self._credit(self.treasury, poll.pool)
        poll.pool = 0

    def set_terms(self, terms: Terms, now: int) -> None:
        if terms.listing.min_deposit > self.terms.listing.min_deposit:
            self.grace_ends = now + terms.listing.grace_period
        self.versions.append(terms)

    # Inside

    def _only_admin(self, who: str, key: tuple[int, int]) -> None:
        _refuse(self.admins.get(key[0]) != who, "NotProviderAdmin")

    def _open(self, number: int) -> Poll:
        poll = self.polls.get(number)
        _refuse(poll is None or poll.outcome != OPEN, "UnknownPoll")
        return poll

    def _renew(self, key: tuple[int, int]) -> None:
        listing = self.listing(key)
        listing.version = len(self.versions)
        if listing.state == LISTED:
            self.verdicts[key] = (ACCEPTED, self.stake(key))

    def _end(self, key: tuple[int, int], now: int) -> None:
        listing = self.listing(key)
        listing.state, listing.ready_at = NOT_LISTED, 0
        listing.cool_until = now + self.terms.voting.cooldown
        self.verdicts[key] = (NONE, 0)

    def _credit(self, who: str, amount: int) -> None:
        self.balances[who] = self.balances.get(who, 0) + amount


def _refuse(condition: bool, error: str) -> None:
    if condition:
        raise Refused(error)
