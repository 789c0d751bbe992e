"""Prove the arithmetic of rewards, bonds, locks and packed terms with z3, for all figures of their full widths.

    make prove

A theorem is proven when z3 finds no counterexample to it; its premises must be satisfiable, so that it says something;
and its altered twin, a mistake that somebody could make, must be refuted, so that the proof could have failed. Rewards
and votes are whole numbers below 2^96, as TooManyTokens bounds them, and every product is shown to fit in 256 bits, so
that Solidity's checked arithmetic is that of whole numbers. Locks and packed terms are words of 256 bits.

Formulas are transcribed below the Solidity line that they stand for, which must be in the contract as it is quoted;
shifts and widths of packed terms are read from the contract itself.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from z3 import (
    UGE,
    UGT,
    ULE,
    ULT,
    And,
    BitVec,
    BitVecVal,
    BoolRef,
    If,
    Implies,
    Int,
    LShR,
    Not,
    Or,
    Solver,
    ZeroExt,
    sat,
    unsat,
)  # fmt: skip

CURATION = Path(__file__).parents[2] / "contracts" / "curation"
ONE = 10_000
MAX_SLASH = 5_000
TOKENS = 2**96
WORD = 2**256
TIMEOUT = 120_000
"""Milliseconds for one question."""


@dataclass
class Theorem:
    """For all figures: if the premises hold, so does the conclusion; and not the twin."""

    name: str
    premises: list[BoolRef]
    conclusion: BoolRef
    twin: BoolRef
    quotes: list[tuple[str, str]] = field(default_factory=list)
    """File and text of what is transcribed."""


def quotient(name: str, dividend, divisor):
    """Solidity's division as an unknown and what defines it; the divisor is above zero."""
    value = Int(name)
    return value, And(value * divisor <= dividend, dividend < value * divisor + divisor, value >= 0)


def between(least, value, most) -> BoolRef:
    return And(least <= value, value <= most)


# Rewards


def splitting() -> Iterator[Theorem]:
    stake, voters, resolver = Int("stake"), Int("voterShare"), Int("bountyShare")
    reward, is_reward = quotient("reward", stake * voters, ONE)
    bounty, is_bounty = quotient("bounty", stake * resolver, ONE)
    rest = stake - reward - bounty
    quotes = [
        ("Contest.sol", "reward = stake * voterShare / ONE;"),
        ("Contest.sol", "bounty = stake * bountyShare / ONE;"),
        ("Contest.sol", "rest = stake - reward - bounty;"),
    ]
    premises = [
        between(0, stake, TOKENS - 1), voters >= 0, resolver >= 0, voters + resolver <= ONE, is_reward, is_bounty,
    ]  # fmt: skip
    yield Theorem(
        "a stake's parts sum to it, and nothing underflows",
        premises,
        And(rest >= 0, reward + bounty + rest == stake, stake * voters < WORD, stake * resolver < WORD),
        reward + bounty + (stake - reward) == stake,
        quotes,
    )
    exact = stake * (ONE - voters - resolver)  # in parts of ONE
    yield Theorem(
        "rounding goes to the party that won, and is less than two base units",
        premises,
        And(rest * ONE >= exact, rest * ONE < exact + 2 * ONE),
        rest * ONE <= exact,
        quotes,
    )


def sharing() -> Iterator[Theorem]:
    pool, weight, left = Int("poolLeft"), Int("weight"), Int("weightLeft")
    share, is_share = quotient("share", pool * weight, left)
    premises = [between(0, pool, TOKENS - 1), between(1, weight, left), left < TOKENS, is_share]
    quotes = [
        ("Contest.sol", "return poolLeft * weight / weightLeft;"),
        ("BallotBox.sol", "count.weight -= uint96(ballot.content);"),
        ("BallotBox.sol", "count.other -= uint96(amount);"),
    ]
    yield Theorem(
        "a claim never exceeds what is left, whoever claims, in whatever order",
        premises,
        And(share >= 0, share <= pool, left - weight >= 0, pool * weight < WORD),
        share < pool,
        quotes,
    )
    yield Theorem(
        "when all have claimed nothing is left: by induction over any number of claims the shares sum to the pool",
        premises,
        Implies(left - weight == 0, pool - share == 0),
        Implies(left - weight == 1, pool - share == 0),
        quotes,
    )
    yield Theorem(
        "a claim is the exact proportion of what is left, rounded down",
        premises,
        And(share * left <= pool * weight, pool * weight < share * left + left),
        share * left == pool * weight,
        quotes,
    )


def bonding() -> Iterator[Theorem]:
    first, second, slash = Int("first"), Int("second"), Int("slash")  # weights in WEIGHT_UNITs
    bonds = []
    for name, units in (("one", first), ("other", second), ("both", first + second)):
        bonds.append(quotient(name, units * ONE * slash, ONE))
    (one, is_one), (other, is_other), (both, is_both) = bonds
    premises = [
        first >= 0, second >= 0, (first + second) * ONE < TOKENS, between(0, slash, MAX_SLASH),
        is_one, is_other, is_both,
    ]  # fmt: skip
    quotes = [
        ("Contest.sol", "return weight * slash / ONE;"),
        ("BallotBox.sol", "if (weight == 0 || weight % WEIGHT_UNIT != 0) revert InvalidWeight(weight);"),
        ("BallotBox.sol", "the.forfeited = Contest.bond(committed - the.weight, slash);"),
    ]
    yield Theorem(
        "bonds of parts sum to the bond of the whole: what was taken is what is divided",
        premises,
        And(one + other == both, one * 2 <= first * ONE, first * ONE * slash < WORD),
        one + other < both,
        quotes,
    )


def deciding() -> Iterator[Theorem]:
    votes_for, votes_against, quorum, threshold = map(Int, ("votesFor", "votesAgainst", "quorum", "threshold"))
    turnout = votes_for + votes_against
    draw = Or(turnout < quorum, votes_for == votes_against)
    won = And(Not(draw), votes_for * ONE >= turnout * threshold)
    lost = And(Not(draw), Not(votes_for * ONE >= turnout * threshold))
    premises = [
        votes_for >= 0, votes_against >= 0, turnout < TOKENS, quorum >= 1, between(ONE // 2, threshold, ONE),
    ]  # fmt: skip
    quotes = [
        ("Contest.sol", "if (turnout < quorum || votesFor == votesAgainst) return IBallotBox.Outcome.Draw;"),
        ("Contest.sol", "return votesFor * ONE >= turnout * threshold ?"),
    ]
    yield Theorem(
        "whoever wins has votes, and the challenge wins only with more than the other side",
        premises,
        And(
            Implies(won, votes_for > votes_against), Implies(lost, votes_against > 0),
            votes_for * ONE < WORD, turnout * threshold < WORD,
        ),
        Implies(lost, votes_against > votes_for),
        quotes,
    )  # fmt: skip
    yield Theorem(
        "a unanimous challenge with a quorum succeeds, whatever the threshold",
        premises,
        Implies(And(votes_against == 0, turnout >= quorum), won),
        Implies(And(votes_against == 0, turnout > quorum), lost),
        quotes,
    )


def dividing() -> Iterator[Theorem]:
    """What leaves the reserve and the bonds is what arrives, in each of the three ends of a poll."""
    stake, reward, bounty, bonds, kept = map(Int, ("stake", "reward", "bounty", "bonds", "kept"))
    rest = stake - reward - bounty
    premises = [
        *(figure >= 0 for figure in (reward, bounty, rest, bonds)), between(0, kept, bonds),
        2 * stake + bonds < TOKENS,
    ]  # fmt: skip
    ends = {  # pool, prize, bounty, forfeited; spent
        "draw": (kept, stake, 0, bonds - kept, stake),
        "for": (reward + bonds, stake + rest, bounty, 0, 2 * stake),
        "against": (reward + bonds, 0, bounty, 0, reward + bounty),
    }
    quotes = [
        ("BallotBox.sol", "the.spent = stake;"),
        ("BallotBox.sol", "the.pool = reward + Contest.bond(committed, slash);"),
        ("BallotBox.sol", "the.prize = stake + rest;"),
        ("BallotBox.sol", "the.spent = 2 * stake;"),
        ("BallotBox.sol", "the.spent = reward + the.bounty;"),
    ]
    yield Theorem(
        "a poll's end moves tokens and makes none; every part fits in its 96 bits",
        premises,
        And(
            *(
                And(sum(parts) == spent + bonds, *(between(0, part, TOKENS - 1) for part in parts))
                for *parts, spent in ends.values()
            )
        ),
        reward + bonds + stake + rest == 2 * stake + bonds,
        quotes,
    )


# Locks, on words of 256 bits


def locking() -> Iterator[Theorem]:
    """Induction over a voter's calls. `weight` less `bond` of any one poll that still runs stands for all of them."""
    balance, locked, until, now, amount = (
        BitVec(name, 256) for name in ("balance", "locked", "until", "now", "amount")
    )
    need, end = BitVec("need", 256), BitVec("end", 256)  # of an arbitrary poll committed to before
    weight, bond, reveal_end = (BitVec(name, 256) for name in ("weight", "bond", "revealEnd"))
    small = [ULT(each, BitVecVal(TOKENS, 256)) for each in (balance, locked, need, weight, bond, amount)]
    times = [ULT(each, BitVecVal(2**64, 256)) for each in (until, now, end, reveal_end)]

    def sound(balance, locked, until, need, end, now):
        """What a running poll needs is locked until its end, and what is locked is there."""
        runs = ULT(now, end)
        return And(
            Implies(runs, And(ULT(now, until), UGE(until, end), UGE(locked, need))),
            Implies(ULT(now, until), UGE(balance, locked)),
        )

    held = If(ULT(now, until), locked, BitVecVal(0, 256))
    larger = If(ULT(held, weight - bond), weight - bond, held)
    later = If(ULT(until, reveal_end), reveal_end, until)
    before = sound(balance, locked, until, need, end, now)
    committing = [*small, *times, before, ULE(bond, weight), ULT(now, reveal_end), ULE(larger + bond, balance)]
    after = (balance - bond, larger, later)
    quotes = [
        ("BallotBox.sol", "uint256 locked = block.timestamp < lockedUntil ? account.locked : 0;"),
        ("BallotBox.sol", "if (locked < weight - bond) locked = weight - bond;"),
        ("BallotBox.sol", "if (locked + bond > balance) revert"),
        ("BallotBox.sol", "if (lockedUntil < poll.revealEnd) lockedUntil = poll.revealEnd;"),
        ("BallotBox.sol", "(account.balance, account.locked) = (uint96(balance - bond), uint96(locked));"),
    ]
    yield Theorem(
        "a commitment keeps every lock sound, its own too; balance and lock fit in 96 bits, the time in 64",
        committing,
        And(
            sound(*after, need, end, now), sound(*after, weight - bond, reveal_end, now),
            ULT(after[0], TOKENS), ULT(after[1], TOKENS), ULT(after[2], 2**64), ULE(bond, balance),
        ),
        sound(balance - bond, weight - bond, later, need, end, now),
        quotes,
    )  # fmt: skip
    available = If(ULT(now, until), balance - locked, balance)
    yield Theorem(
        "what can be withdrawn leaves every lock sound, and never underflows",
        [*small, *times, before, ULE(amount, available)],
        And(sound(balance - amount, locked, until, need, end, now), ULE(amount, balance), ULE(available, balance)),
        sound(balance - amount - 1, locked, until, need, end, now),
        [("BallotBox.sol", "return block.timestamp < the.lockedUntil ? the.balance - the.locked : the.balance;")],
    )
    then = BitVec("then", 256)
    yield Theorem(
        "time alone breaks no lock",
        [*small, *times, before, UGE(then, now)],
        sound(balance, locked, until, need, end, then),
        UGT(balance, locked),
    )


def timing() -> Iterator[Theorem]:
    now, commit, reveal, window = map(Int, ("now", "commitPeriod", "revealPeriod", "claimWindow"))
    yield Theorem(
        "the ends of a poll fit in 40 bits for 17,000 years",
        [
            between(0, now, 2**39 - 1), between(1, commit, 2**32 - 1), between(1, reveal, 2**32 - 1),
            between(0, window, 2**24 - 1),
        ],
        And(now + commit + reveal < 2**40, now + window < 2**40),
        now + commit + reveal < 2**39,
        [("BallotBox.sol", "if (commitPeriod > type(uint32).max || revealPeriod > type(uint32).max) revert")],
    )  # fmt: skip


# Packed terms, with shifts and widths as the contract has them

WIDTHS = {"minDeposit": 96, "quorum": 96, "threshold": 16, "voterShare": 16, "bounty": 16, "slash": 16}
"""Bits of a figure in IParameters; periods have 24."""


def packing() -> Iterator[Theorem]:
    source = (CURATION / "PackedTerms.sol").read_text()
    getters = {
        name: (int(bits), int(shift or 0))
        for name, bits, shift in re.findall(
            r"function (\w+)\(Packed\w+ word\)[^{]*\{\s*return uint(\d+)\(Packed\w+\.unwrap\(word\)(?: >> (\d+))?\)",
            source,
        )
    }
    inline = re.search(r"gracePeriod: uint(\d+)\(PackedListingTerms\.unwrap\(word\) >> (\d+)\)", source)
    getters["gracePeriod"] = (int(inline[1]), int(inline[2]))
    packs = re.findall(r"\.wrap\(\s*(uint256\(terms\.[^;]*)\);", source)
    for title, body in zip(("listing", "voting"), packs, strict=True):
        fields = re.findall(r"uint256\(terms\.(\w+)\)(?: << (\d+))?", body)
        figures = {name: BitVec(name, WIDTHS.get(name, 24)) for name, _ in fields}
        word = BitVecVal(0, 256)
        for name, shift in fields:
            word |= ZeroExt(256 - figures[name].size(), figures[name]) << int(shift or 0)
        yield _unpacked(
            f"the {len(fields)} figures of {title} terms come back as they were packed", figures, word, getters
        )
        if title == "listing":
            yield _versioned(source, figures, word, getters)


def _read(word, place: tuple[int, int]):
    """A getter: shift to the right, keep so many bits."""
    bits, shift = place
    return LShR(word, shift) & BitVecVal(2**bits - 1, 256)


def _unpacked(name, figures, word, getters) -> Theorem:
    same = [_read(word, getters[each]) == ZeroExt(256 - value.size(), value) for each, value in figures.items()]
    moved = {each: (bits, shift + 1) for each, (bits, shift) in getters.items()}
    twin = [_read(word, moved[each]) == ZeroExt(256 - value.size(), value) for each, value in figures.items()]
    return Theorem(name, [word == word], And(*same), And(*twin))


def _versioned(source, figures, word, getters) -> Theorem:
    shifts = re.search(r"uint256\(newVersion\) << (\d+) \| uint256\(newGraceEndsAt\) << (\d+)", source)
    version, grace = BitVec("newVersion", 16), BitVec("newGraceEndsAt", 40)
    whole = word | ZeroExt(240, version) << int(shifts[1]) | ZeroExt(216, grace) << int(shifts[2])
    same = [_read(whole, getters[each]) == ZeroExt(256 - value.size(), value) for each, value in figures.items()]
    added = [
        _read(whole, getters["version"]) == ZeroExt(240, version),
        _read(whole, getters["graceEndsAt"]) == ZeroExt(216, grace),
    ]
    wrong = word | ZeroExt(240, version) << int(shifts[1]) - 1
    beside = getters["gracePeriod"]
    return Theorem(
        "version and end of grace leave the listing terms beside them as they are",
        [word == word], And(*same, *added), _read(wrong, beside) == _read(word, beside),
    )  # fmt: skip


GROUPS: tuple[Callable[[], Iterator[Theorem]], ...] = (
    splitting, sharing, bonding, deciding, dividing, locking, timing, packing,
)  # fmt: skip


def main() -> None:
    theorems = [theorem for group in GROUPS for theorem in group()]
    start, failed = time.monotonic(), 0
    for theorem in theorems:
        began = time.monotonic()
        faults = list(_faults(theorem))
        failed += bool(faults)
        print(f"{'proven' if not faults else '; '.join(faults):8} {time.monotonic() - began:6.2f} s  {theorem.name}")
    print(f"{len(theorems) - failed} of {len(theorems)} in {time.monotonic() - start:.1f} s")
    sys.exit(bool(failed))


def _faults(theorem: Theorem) -> Iterator[str]:
    for file, text in theorem.quotes:
        if text not in (CURATION / file).read_text():
            yield f"{file} does not say {text!r} any more"
    if _ask(*theorem.premises) != sat:
        yield "the premises were not shown to be possible"
    if _ask(*theorem.premises, Not(theorem.conclusion)) != unsat:
        yield "NOT PROVEN"
    if _ask(*theorem.premises, Not(theorem.twin)) != sat:
        yield "its altered twin was not refuted"


def _ask(*claims: BoolRef):
    solver = Solver()
    solver.set("timeout", TIMEOUT)
    solver.add(*claims)
    return solver.check()


if __name__ == "__main__":
    main()
