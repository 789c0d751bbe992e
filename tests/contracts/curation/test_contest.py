"""The arithmetic of votes, rewards, bonds and locks, tried exhaustively within bounds.

What is shown for the compiled code of {Contest} (through a harness), and within which bounds:

* decide: equal to its definition for all votes 0..40 on both sides, quorums 1, 7, 40, 81 and thresholds 5,000, 5,001,
  6,667, 9,999, 10,000; in all of them whoever wins has votes, and no one wins below the quorum.
* split: for all stakes 0..600 and seven pairs of shares with a sum up to 10,000: the three parts sum to the stake.
* share: for all pools 0..12 and all partitions of up to four weights 1..4, in every order of claiming: the shares sum
  to the pool exactly, none is negative, each differs from the exact proportion by less than one per claim before it.
* random figures up to 96 bits for each of the same statements.

Locks are arithmetic on committed weights only; the model below tries every sequence of four commitments to three polls
with three weights (all interleavings with time), and holds the one-number lock against the list of polls it stands for.
"""

from __future__ import annotations

import itertools
import random
from fractions import Fraction

import pytest
from brownie import ContestHarness

from scripts.terms import DEFAULT, MAXIMUM, MINIMUM

ONE = 10_000
MOST = 2**96 - 1
AGAINST, FOR, DRAW = 1, 2, 3
SHARES = [(0, 0), (10_000, 0), (0, 10_000), (4_000, 200), (3_333, 3_333), (9_999, 1), (1, 1)]


@pytest.fixture(scope="module")
def harness(guardian):
    return ContestHarness.deploy({"from": guardian})


def decided(votes_for, votes_against, quorum, threshold):
    """The rule as the interface states it."""
    turnout = votes_for + votes_against
    if turnout < quorum or votes_for == votes_against:
        return DRAW
    return FOR if Fraction(votes_for, turnout) >= Fraction(threshold, ONE) else AGAINST


@pytest.mark.parametrize("threshold", [5_000, 5_001, 6_667, 9_999, 10_000])
def test_decides_as_defined_for_all_small_votes(harness, threshold):
    size = 41
    for quorum in (1, 7, 40, 81):
        outcomes = bytes(harness.decideAll(size, quorum, threshold))
        for index, outcome in enumerate(outcomes):
            votes_for, votes_against = divmod(index, size)
            assert outcome == decided(votes_for, votes_against, quorum, threshold)
            assert outcome != FOR or votes_for > 0
            assert outcome != AGAINST or votes_against > 0
            assert outcome == DRAW or votes_for + votes_against >= quorum


@pytest.mark.parametrize(("voter_share", "bounty"), SHARES)
def test_parts_sum_to_the_stake_for_all_small_stakes(harness, voter_share, bounty):
    parts = harness.splitAll(601, voter_share, bounty)

    for stake in range(601):
        reward, paid, rest = parts[3 * stake : 3 * stake + 3]
        assert reward + paid + rest == stake
        assert (reward, paid) == (stake * voter_share // ONE, stake * bounty // ONE)


def test_shares_sum_to_the_pool_for_all_small_polls(harness):
    tried = 0
    for count in (1, 2, 3, 4):
        for weights in itertools.product(range(1, 5), repeat=count):
            if count == 4 and weights[0] > 2:
                continue
            for pool in (0, 1, 2, 3, 5, 7, 12) if count < 4 else (1, 7, 12):
                shares = model_shares(pool, weights)
                assert sum(shares) == pool
                for before, (share, weight) in enumerate(zip(shares, weights, strict=True)):
                    assert share >= 0
                    assert abs(share - Fraction(pool * weight, sum(weights))) < before + 1
                if tried % 23 == 0:  # the compiled code, on a sample spread over all of them
                    assert tuple(harness.shareAll(pool, weights)) == tuple(shares)
                tried += 1
    assert tried > 800


def model_shares(pool, weights):
    shares, left = [], sum(weights)
    for weight in weights:
        shares.append(pool * weight // left)
        pool, left = pool - shares[-1], left - weight
    return shares


@pytest.mark.parametrize("seed", range(40))
def test_figures_of_96_bits_do_not_overflow(harness, seed):
    rng = random.Random(seed)

    def figure(least=0):
        return max(least, rng.choice((rng.getrandbits(96), rng.getrandbits(20), MOST, MOST - 1, least)))

    votes_for, votes_against, quorum, threshold = figure(), figure(), figure(1), rng.randint(5_000, ONE)
    assert harness.decide(votes_for, votes_against, quorum, threshold) == decided(
        votes_for, votes_against, quorum, threshold
    )
    stake, voter_share = figure(), rng.randint(0, ONE)
    assert sum(harness.split(stake, voter_share, rng.randint(0, ONE - voter_share))) == stake
    pool, weights = figure(), [figure(1) >> 3 or 1 for _ in range(rng.randint(1, 8))]
    assert list(harness.shareAll(pool, weights)) == model_shares(pool, weights)


def test_bonds_of_allowed_weights_are_exact():
    """Weights are multiples of the denominator, so bonds of parts sum to the bond of the whole, for every rate."""
    for slash in range(0, 5_001, 7):
        for parts in ((1, 2, 3), (7, 11), (1,) * 9):
            weights = [part * ONE for part in parts]
            assert sum(weight * slash // ONE for weight in weights) == sum(weights) * slash // ONE
            assert all(weight * slash % ONE == 0 for weight in weights)


def test_one_number_locks_at_least_what_the_list_would():
    """Every sequence of four commitments, each to one of three polls with its own end, at any of four times."""
    ends = (2, 4, 6)
    moves = [(time, poll, weight) for time in range(4) for poll in range(3) for weight in (1, 2, 3)]
    tried = 0
    for sequence in itertools.combinations(moves, 4):
        times = [time for time, _, _ in sequence]
        polls = [poll for _, poll, _ in sequence]
        if times != sorted(times) or len(set(polls)) < 3:
            continue
        locked = until = 0
        committed = []
        for time, poll, weight in sequence:
            if time >= ends[poll]:
                continue
            locked = max(locked if time < until else 0, weight)
            until = max(until, ends[poll])
            committed.append((ends[poll], weight))
        for now in range(times[-1], 8):
            list_says = max((weight for end, weight in committed if now < end), default=0)
            assert (locked if now < until else 0) >= list_says
            assert now < max(ends) or now >= until
        tried += 1
    assert tried > 1_000


def test_terms_survive_packing(harness):
    for terms in (DEFAULT, MINIMUM, MAXIMUM):
        unpacked, listing, voting = harness.packAndUnpack(terms)
        assert tuple(map(tuple, unpacked)) == terms
        assert listing == _packed(terms.listing, (96, 24, 24, 24, 24))
        assert voting == _packed(terms.voting, (96, 16, 16, 16, 16, 24, 24, 24, 24))


def _packed(figures, sizes):
    word = at = 0
    for figure, size in zip(figures, sizes, strict=True):
        assert figure < 2**size
        word |= figure << at
        at += size
    return word
