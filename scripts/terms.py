"""The terms of a token-curated registry, in the order in which the contracts have them.

Amounts are in base units of the token (18 decimals here), shares in 1/10,000, periods in seconds. What each figure
means is said in interfaces/IParameters.sol.
"""

from __future__ import annotations

from typing import NamedTuple

TOKEN = 10**18
HOUR = 3_600
DAY = 24 * HOUR


class ListingTerms(NamedTuple):
    min_deposit: int = 1_000 * TOKEN
    apply_period: int = 3 * DAY
    exit_delay: int = 7 * DAY
    exit_window: int = 7 * DAY
    grace_period: int = 30 * DAY


class VotingTerms(NamedTuple):
    quorum: int = 10_000 * TOKEN
    threshold: int = 5_000
    voter_share: int = 4_000
    bounty: int = 200
    slash: int = 100
    commit_period: int = 3 * DAY
    reveal_period: int = 2 * DAY
    cooldown: int = 7 * DAY
    claim_window: int = 90 * DAY


class Terms(NamedTuple):
    listing: ListingTerms = ListingTerms()
    voting: VotingTerms = VotingTerms()

    def changed(self, **figures: int) -> Terms:
        """These terms with some figures replaced, by name. KeyError for a name there is none of."""
        listing = {name: figures.pop(name) for name in ListingTerms._fields if name in figures}
        voting = {name: figures.pop(name) for name in VotingTerms._fields if name in figures}
        if figures:
            raise KeyError(f"no such figure: {', '.join(figures)}")
        return Terms(self.listing._replace(**listing), self.voting._replace(**voting))

    def figures(self) -> dict[str, int]:
        """All figures by name."""
        return {**self.listing._asdict(), **self.voting._asdict()}

    @classmethod
    def of(cls, listing: tuple, voting: tuple) -> Terms:
        """From what the contract's views return."""
        return cls(ListingTerms(*listing), VotingTerms(*voting))


DEFAULT = Terms()

MINIMUM = Terms(
    ListingTerms(min_deposit=TOKEN, apply_period=HOUR, exit_delay=HOUR, exit_window=HOUR, grace_period=DAY),
    VotingTerms(
        quorum=TOKEN,
        threshold=5_000,
        voter_share=0,
        bounty=0,
        slash=0,
        commit_period=HOUR,
        reveal_period=HOUR,
        cooldown=0,
        claim_window=DAY,
    ),
)

MAXIMUM = Terms(
    ListingTerms(
        min_deposit=1_000_000 * TOKEN,
        apply_period=30 * DAY,
        exit_delay=60 * DAY,
        exit_window=60 * DAY,
        grace_period=180 * DAY,
    ),
    VotingTerms(
        quorum=1_000_000 * TOKEN,
        threshold=9_000,
        voter_share=9_000,
        bounty=1_000,
        slash=2_500,
        commit_period=30 * DAY,
        reveal_period=30 * DAY,
        cooldown=90 * DAY,
        claim_window=180 * DAY,
    ),
)
