"""Why a node is trusted or not, in sentences (rule T10): for each reason that there is, the one that decides."""

from dataclasses import replace

import pytest

from offchain.chain.checkpoint import Proven
from offchain.chain.events import decode, plain_log
from offchain.chain.facts import Facts
from offchain.chain.ledger import EVERYTHING
from offchain.chain.news import Update
from offchain.trust.explain import worth
from offchain.trust.freshness import Freshness, Limits
from offchain.trust.policy import OwnNode, Policy
from offchain.trust.trusted_set import Shipped, TrustedSet
from offchain.types import MAILSERVER, Kind
from tests.support.chain import (
    CURATOR,
    GENESIS_TIME,
    OTHER_CURATOR,
    FakeChain,
    kind_created,
    node_id,
    nodes_added,
    nodes_removed,
    verdict_changed,
)

NOW = GENESIS_TIME + 1_000.0
SOON = int(NOW) + 60
NODE = node_id(1)
POLICY = Policy(curators=(CURATOR,))
BOTH = Policy(curators=(CURATOR, OTHER_CURATOR), threshold=2)
C, D = "0x" + CURATOR.hex(), "0x" + OTHER_CURATOR.hex()


def facts_of(blocks, below=None):
    facts = Facts(below)
    for block in blocks:
        for log in block.logs:
            facts.apply(decode(plain_log(log)))
    return facts


def seen(final, *, head=(), policy=POLICY, age=0.0, alarm=None, now=NOW):
    """The trusted set over blocks that are adopted and blocks that are not; what a block says is a list."""
    chain = FakeChain.started()
    for said in final:
        chain.mine(*said)
    adopted = facts_of(chain.blocks)
    proven = Proven(chain.head.number, b"", NOW - age)
    height = len(chain.blocks)
    for said in head:
        chain.mine(*said)
    trusted = TrustedSet(policy, Limits(100.0, 1_000.0), clock=lambda: now)
    trusted.apply(
        Update(adopted, facts_of(chain.blocks[height:], adopted), EVERYTHING, proven, alarm, chain.head.number)
    )
    return trusted


LISTED = [nodes_added(1, [NODE])]
BY_ANOTHER = [nodes_added(2, [NODE])]
EXPIRES = [nodes_added(1, [NODE], expires_at=SOON)]
REMOVED = [nodes_removed(1, [NODE])]
BY_PROVIDER = "listed by provider 1, which "

CASES = {
    "accepted by the curator": (seen([LISTED]), True, BY_PROVIDER + f"curator {C} accepts"),
    "accepted by both": (
        seen([LISTED, [verdict_changed(1, 1, curator=OTHER_CURATOR)]], policy=BOTH),
        True,
        BY_PROVIDER + f"curators {C}, {D} accept",
    ),
    "one of two needed": (seen([LISTED], policy=BOTH), False, BY_PROVIDER + "1 of your curators accept, 2 are needed"),
    "rejected": (
        seen([LISTED, [verdict_changed(1, 2)]]),
        False,
        BY_PROVIDER + f"curator {C} rejects",
    ),
    "no verdict": (
        seen([BY_ANOTHER]),
        False,
        "listed by provider 2, which no curator of yours accepts",
    ),
    "chosen": (seen([BY_ANOTHER], policy=Policy(chosen=frozenset({2}))), True, "listed by provider 2, which you chose"),
    "not chosen and no curators": (
        seen([LISTED], policy=Policy()),
        False,
        BY_PROVIDER + "you did not choose; you have no curators",
    ),
    "blocked provider": (
        seen([LISTED], policy=replace(POLICY, blocked=frozenset({1}))),
        False,
        BY_PROVIDER + "you blocked",
    ),
    "blocked node": (
        seen([LISTED], policy=replace(POLICY, blocked_nodes=frozenset({NODE}))),
        False,
        "you blocked this node",
    ),
    "own": (seen([], policy=Policy(own=(OwnNode(MAILSERVER, NODE, label="mine"),))), True, "your own node (mine)"),
    "own and removed": (
        seen([LISTED, REMOVED], policy=Policy(own=(OwnNode(MAILSERVER, NODE),))),
        True,
        "your own node",
    ),
    "unknown": (seen([]), False, "not in the registry"),
    "not final": (seen([], head=[LISTED]), False, "listed by provider 1 in block 4, which is not final yet"),
    "removed": (seen([LISTED, REMOVED]), False, "removed in block 5 by provider 1"),
    "removed at the head": (seen([LISTED], head=[REMOVED]), False, "removed in block 5 by provider 1"),
    "removed since it had expired": (
        seen([EXPIRES, [nodes_removed(1, [NODE], reason=1)]]),
        False,
        "removed in block 5: its listing by provider 1 had expired",
    ),
    "listed anew at the head": (seen([LISTED], head=[REMOVED, LISTED]), False, "removed in block 5 by provider 1"),
    "rejected at the head": (
        seen([LISTED], head=[[verdict_changed(1, 2)]]),
        False,
        BY_PROVIDER + f"curator {C} rejects",
    ),
    "another kind": (
        seen([[kind_created(2, "pushserver"), nodes_added(1, [NODE], kind=2)]]),
        False,
        "listed by provider 1, but for pushserver, not for mailserver",
    ),
    "expired": (
        seen([EXPIRES], now=SOON),
        False,
        "its listing by provider 1 expired at 2023-11-14 22:31 UTC",
    ),
    "proof too old": (
        seen([LISTED], age=7_200.0),
        False,
        "the last proof is 2 h old, so only your own nodes are trusted",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_reason_that_decides_is_the_summary_and_agrees_with_the_answer(case):
    trusted, answer, summary = CASES[case]

    found = trusted.explain(MAILSERVER, NODE)

    assert (found.summary, found.trusted) == (summary, answer)
    assert trusted.is_trusted(MAILSERVER, NODE) is answer
    assert trusted.why(MAILSERVER, NODE) == summary
    assert any(summary.endswith(reason) for reason in found.reasons)


@pytest.mark.parametrize(
    ("age", "alarm", "state", "says"),
    [
        (5.0, None, Freshness.FRESH, "proven complete at block 4, 5 s ago"),
        (150.0, None, Freshness.STALE, "proven complete at block 4, 2 min ago; nothing newer is adopted"),
        (
            5.0,
            "node7 lied",
            Freshness.TAMPERED,
            "frozen at what was proven complete at block 4, 5 s ago, because node7 lied",
        ),
        (2_000.0, None, Freshness.EXPIRED, "the last proof is 33 min old, so only your own nodes are trusted"),
    ],
)
def test_the_last_reason_says_how_far_the_answer_can_be_relied_on(age, alarm, state, says):
    trusted = seen([LISTED], age=age, alarm=alarm)

    found = trusted.explain(MAILSERVER, NODE)

    assert found.reasons[-1].startswith(says)
    assert (found.state, found.proven_block, found.proven_age) == (state, 4, age)
    assert worth(trusted, NOW) == trusted.worth() == found.reasons[-1]


def test_before_anything_was_proven_the_snapshot_that_was_shipped_is_named():
    chain = FakeChain.started()
    chain.mine(*LISTED)
    trusted = TrustedSet(POLICY, clock=lambda: NOW)
    assert trusted.why(MAILSERVER, NODE) == "nothing was proven yet, so only your own nodes are trusted"

    trusted.ship(Shipped(facts_of(chain.blocks), 4, NOW - 7_200, NOW + 1))
    found = trusted.explain(MAILSERVER, NODE)

    assert (found.trusted, found.state) == (True, Freshness.NEVER)
    assert found.reasons[-1] == (
        "from the snapshot that came with this software, of block 4, 2 h old; nothing was proven yet"
    )


def test_says_where_the_listing_is():
    found = seen([LISTED]).explain(MAILSERVER, NODE)

    assert (found.provider, found.block, found.own, found.expires_at) == (1, 4, False, 2_000_000_000)
    assert found.reasons[0] == f"listed by provider 1 in block 4, transaction 0x{found.tx.hex()}"
    assert "its listing lasts until 2033-05-18 03:33 UTC" in found.reasons


def test_a_listing_for_one_kind_says_nothing_of_another():
    assert not seen([LISTED]).explain(Kind("pushserver"), NODE).trusted
