"""The trusted set against a model simple enough to be obviously right."""

import itertools

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from offchain.chain.checkpoint import Proven
from offchain.chain.commitment import Commitment
from offchain.chain.events import NodesAdded, NodesRemoved, NodesRenewed, VerdictChanged, decode, plain_log
from offchain.chain.facts import FactsError
from offchain.chain.header import Header
from offchain.chain.ledger import EVERYTHING, NOTHING, Chunk, Ledger
from offchain.chain.news import Update
from offchain.trust.freshness import Freshness, Limits
from offchain.trust.policy import OwnNode, Policy
from offchain.trust.trusted_set import TrustedSet
from offchain.types import Kind
from tests.support.chain import (
    CURATOR,
    OTHER_CURATOR,
    REGISTRY,
    FakeChain,
    kind_created,
    node_id,
    node_ids,
    nodes_added,
    nodes_removed,
    nodes_renewed,
    verdict_changed,
)

MAILSERVER, PUSHSERVER = Kind("mailserver"), Kind("pushserver")
KINDS = {1: MAILSERVER, 2: PUSHSERVER}
NOW = 1_700_000_000.0
LIMITS = Limits(fresh_for=100.0, keep_for=1_000.0)
NODES = range(6)
BOTH = (CURATOR, OTHER_CURATOR)


class World:
    """A chain, the ledger that follows it, a clock, and the set under test."""

    def __init__(self, policy):
        self.now = NOW
        self.chain = FakeChain()
        self.chain.mine(kind_created(1, "mailserver"), kind_created(2, "pushserver"))
        self.ledger = Ledger(REGISTRY, BOTH, 1)
        chunk = Chunk(1, 1, tuple(plain_log(log) for log in self.chain.blocks[1].logs))
        self.ledger.add_chunk(chunk)
        self.ledger.proven(1, 1)
        self.proven = Proven(1, b"", NOW)
        self.trusted = TrustedSet(policy, LIMITS, clock=lambda: self.now)
        self.tell(EVERYTHING)

    def block(self, *said):
        """Mine a block and see it at the head."""
        return self.tell(self.ledger.switch(0, [self._read(self.chain.mine(*said), self.ledger.commitment)]))

    def _read(self, block, before):
        header = Header(block.number, block.hash, b"", 0, b"")
        return self.ledger.make_block(header, [plain_log(log) for log in block.logs], before)

    def prove(self, keep=0, final=None):
        """Have all but the highest blocks proven."""
        number = self.ledger.blocks[-1].header.number - keep if self.ledger.blocks else self.ledger.stage_block
        number = max(number, self.ledger.adopted_block)
        self.proven = Proven(number, b"", self.now)
        touched, _ = self.ledger.proven(number, number if final is None else final)
        return self.tell(touched)

    def settle(self, *said):
        """A block that is proven and final at once."""
        return [*self.block(*said), *self.prove()]

    def reorganise(self, depth, *blocks):
        """Replace the highest blocks."""
        self.chain.drop(depth)
        kept = self.ledger.blocks[: len(self.ledger.blocks) - depth]
        before, added = kept[-1].commitment if kept else self.ledger.stage_commitment, []
        for said in blocks:
            added.append(self._read(self.chain.mine(*said), before))
            before = added[-1].commitment
        return self.tell(self.ledger.switch(depth, added))

    def tell(self, touched, alarm=None):
        head = self.ledger.blocks[-1].header.number if self.ledger.blocks else self.ledger.stage_block
        return self.trusted.apply(Update(self.ledger.adopted, self.ledger.head, touched, self.proven, alarm, head))

    def is_trusted(self, number, kind=MAILSERVER):
        return self.trusted.is_trusted(kind, node_id(number))

    def why(self, number, kind=MAILSERVER):
        return self.trusted.why(kind, node_id(number))


@pytest.fixture
def world():
    """Provider 1 is accepted by the user's curator; provider 2 is not."""
    world = World(Policy(curators=(CURATOR,)))
    world.settle(verdict_changed(1, 1))
    return world


def summed(changes):
    """Changes as (number, trusted) pairs."""
    numbers = {node_id(number): number for number in range(100)}
    return {(numbers[change.node_id], change.trusted) for change in changes}


def test_trusts_a_node_of_an_accepted_provider(world):
    changes = world.settle(nodes_added(1, node_ids(1)), nodes_added(2, node_ids(2)))

    assert summed(changes) == {(1, True)}
    assert world.is_trusted(1)
    assert not world.is_trusted(1, PUSHSERVER)
    assert not world.is_trusted(2)
    assert f"listed by provider 1, which curator 0x{CURATOR.hex()} accepts" == world.why(1)
    assert world.why(2) == "listed by provider 2, which no curator of yours accepts"
    assert world.why(3) == "not in the registry"


def test_an_addition_counts_only_when_it_is_proven(world):
    assert world.block(nodes_added(1, node_ids(1))) == []
    assert not world.is_trusted(1)
    assert world.why(1) == "listed by provider 1 in block 3, which is not final yet"

    assert summed(world.prove()) == {(1, True)}


def test_a_removal_counts_at_once_and_says_who_and_where(world):
    world.settle(nodes_added(1, node_ids(1)))

    (change,) = world.block(nodes_removed(1, node_ids(1)))

    assert not change.trusted
    assert change.reason == "removed in block 4 by provider 1"
    assert change.block == 4
    assert not world.is_trusted(1)
    assert world.prove() == []
    assert world.why(1) == "removed in block 4 by provider 1"


def test_a_removal_that_is_reorganised_away_never_was(world):
    world.settle(nodes_added(1, node_ids(1)))
    world.block(nodes_removed(1, node_ids(1)))

    assert summed(world.reorganise(1, ())) == {(1, True)}
    assert world.is_trusted(1)


def test_an_adopted_addition_that_is_reorganised_away_is_gone():
    world = World(Policy(chosen=frozenset({1})))
    world.block(nodes_added(1, node_ids(1)))
    world.prove(final=1)
    assert world.is_trusted(1)

    assert summed(world.reorganise(1, ())) == {(1, False)}


def test_a_listing_that_moved_to_another_provider_counts_only_when_that_is_proven(world):
    world.settle(nodes_added(1, node_ids(1)))
    world.trusted.set_policy(Policy(chosen=frozenset({1, 2})))

    assert summed(world.block(nodes_removed(1, node_ids(1)), nodes_added(2, node_ids(1)))) == {(1, False)}
    assert summed(world.prove()) == {(1, True)}
    assert world.why(1) == "listed by provider 2, which you chose"


def test_a_node_that_moves_to_another_kind_is_withdrawn_for_the_first(world):
    world.settle(nodes_added(1, node_ids(1)))

    world.settle(nodes_removed(1, node_ids(1)), nodes_added(1, node_ids(1), kind=2))

    assert world.is_trusted(1, PUSHSERVER)
    assert not world.is_trusted(1, MAILSERVER)
    assert world.why(1, MAILSERVER) == "listed by provider 1, but for pushserver, not for mailserver"


def test_a_verdict_that_is_taken_back_counts_at_once_and_one_that_is_given_when_proven(world):
    world.settle(nodes_added(1, node_ids(1)), nodes_added(2, node_ids(2)))

    assert summed(world.block(verdict_changed(1, 2), verdict_changed(2, 1))) == {(1, False)}
    assert world.why(1) == f"listed by provider 1, which curator 0x{CURATOR.hex()} rejects"
    assert summed(world.prove()) == {(2, True)}


def test_the_verdict_for_the_kind_comes_before_the_one_for_all_kinds(world):
    world.settle(nodes_added(1, node_ids(1)), nodes_added(1, node_ids(2), kind=2), verdict_changed(1, 2, kind=1))

    assert not world.is_trusted(1)
    assert world.is_trusted(2, PUSHSERVER)


def test_when_the_verdict_for_the_kind_is_over_the_one_for_all_kinds_counts_again(world):
    world.settle(nodes_added(1, node_ids(1)), verdict_changed(1, 2, kind=1, until=int(NOW) + 10))
    assert not world.is_trusted(1)
    world.now = world.trusted.next_deadline()
    assert world.now == NOW + 10

    assert summed(world.trusted.advance()) == {(1, True)}


def test_two_of_two_curators_are_needed_when_the_policy_says_so():
    world = World(Policy(curators=BOTH, threshold=2))
    world.settle(nodes_added(1, node_ids(1)), verdict_changed(1, 1))
    assert world.why(1) == "listed by provider 1, which 1 of your curators accept, 2 are needed"

    assert summed(world.settle(verdict_changed(1, 1, curator=OTHER_CURATOR))) == {(1, True)}


def test_a_verdict_ends_by_the_clock(world):
    world.settle(nodes_added(2, node_ids(2)), verdict_changed(2, 1, until=int(NOW) + 50))
    assert world.is_trusted(2)

    world.now = NOW + 50

    assert not world.is_trusted(2)
    assert summed(world.trusted.advance()) == {(2, False)}


def test_a_listing_ends_by_the_clock_even_if_nobody_calls(world):
    world.settle(nodes_added(1, node_ids(1), expires_at=int(NOW) + 30))
    assert world.is_trusted(1)
    assert world.trusted.next_deadline() == NOW + 30
    world.now = NOW + 30

    assert not world.is_trusted(1)
    assert world.why(1) == "its listing by provider 1 expired at 2023-11-14 22:13 UTC"
    assert summed(world.trusted.advance()) == {(1, False)}
    assert world.trusted.advance() == []


def test_a_renewal_counts_when_it_is_proven(world):
    world.settle(nodes_added(1, node_ids(1), expires_at=int(NOW) + 30))
    world.block(nodes_renewed(1, node_ids(1), expires_at=int(NOW) + 60))
    world.now = NOW + 30
    assert not world.is_trusted(1)

    world.prove()

    assert world.is_trusted(1)


def test_the_policy_blocks_chooses_and_adds(world):
    world.settle(nodes_added(1, node_ids(1, 2)), nodes_added(2, node_ids(3)))
    own = OwnNode(MAILSERVER, node_id(9), label="at home")

    changes = world.trusted.set_policy(
        Policy(chosen=frozenset({2}), blocked=frozenset({1}), own=(own,), curators=(CURATOR,))
    )

    assert summed(changes) == {(1, False), (2, False), (3, True), (9, True)}
    assert world.why(1) == "listed by provider 1, which you blocked"
    assert world.why(9) == "your own node (at home)"
    assert summed(world.trusted.set_policy(Policy(blocked_nodes=frozenset({node_id(1)}), chosen=frozenset({1})))) == {
        (2, True),
        (3, False),
        (9, False),
    }
    assert world.why(1) == "you blocked this node"


def test_an_own_node_stays_trusted_whatever_the_chain_says(world):
    world.trusted.set_policy(Policy(curators=(CURATOR,), own=(OwnNode(MAILSERVER, node_id(1)),)))

    assert world.settle(nodes_added(1, node_ids(1))) == []
    assert world.settle(nodes_removed(1, node_ids(1))) == []
    assert world.is_trusted(1)
    assert world.trusted.nodes(MAILSERVER)[0].own is not None


def test_lists_who_is_trusted_with_provider_and_expiry(world):
    world.settle(nodes_added(1, node_ids(1, 2), expires_at=int(NOW) + 9))

    assert {(node.node_id, node.provider, node.expires_at) for node in world.trusted.nodes(MAILSERVER)} == {
        (node_id(1), 1, int(NOW) + 9),
        (node_id(2), 1, int(NOW) + 9),
    }
    world.now = NOW + 9
    assert world.trusted.nodes(MAILSERVER) == []


def test_what_is_trusted_gets_stale_then_expires_and_comes_back_with_a_proof(world):
    world.settle(nodes_added(1, node_ids(1)))
    world.trusted.set_policy(Policy(curators=(CURATOR,), own=(OwnNode(MAILSERVER, node_id(9)),)))
    assert world.trusted.state() is Freshness.FRESH

    world.now = NOW + 101
    assert (world.trusted.state(), world.is_trusted(1)) == (Freshness.STALE, True)
    world.now = NOW + 1_000.5
    assert (world.trusted.state(), world.is_trusted(1), world.is_trusted(9)) == (Freshness.EXPIRED, False, True)
    assert summed(world.trusted.advance()) == {(1, False)}
    assert world.why(1) == "the last proof is 17 min old, so only your own nodes are trusted"

    assert summed(world.prove()) == {(1, True)}
    assert world.trusted.state() is Freshness.FRESH


def test_nothing_listed_is_trusted_before_anything_was_proven():
    trusted = TrustedSet(Policy(own=(OwnNode(MAILSERVER, node_id(9)),)), LIMITS, clock=lambda: NOW)

    assert trusted.state() is Freshness.NEVER
    assert trusted.is_trusted(MAILSERVER, node_id(9))
    assert trusted.why(MAILSERVER, node_id(1)) == "nothing was proven yet, so only your own nodes are trusted"


def test_an_alarm_freezes_what_was_proven_and_says_why(world):
    world.settle(nodes_added(1, node_ids(1)))

    assert world.tell(NOTHING, alarm="somebody lied") == []

    assert world.trusted.state() is Freshness.TAMPERED
    assert world.is_trusted(1)
    assert "somebody lied" in world.trusted.explain(MAILSERVER, node_id(1)).reasons[-1]
    world.now = NOW + 1_001
    assert not world.is_trusted(1)


def test_a_key_listed_under_two_ids_in_turn_leaves_none_behind():
    """The chain checks only the end of an id. Both ids must go when the key goes."""
    world = World(Policy(chosen=frozenset({1})))
    true = node_id(1)
    false = b"\xff" * 12 + true[12:]
    world.settle(nodes_added(1, [true]))
    assert world.trusted.is_trusted(MAILSERVER, true)

    world.block(nodes_removed(1, [true]))
    world.block(nodes_added(1, [false]))
    world.block(nodes_removed(1, [false]))
    world.prove()

    assert not world.trusted.is_trusted(MAILSERVER, true)
    assert not world.trusted.is_trusted(MAILSERVER, false)
    assert world.trusted.nodes(MAILSERVER) == []


def test_explains_the_whole_chain_of_reasons(world):
    world.settle(nodes_added(1, node_ids(1)))

    found = world.trusted.explain(MAILSERVER, node_id(1))

    assert found.trusted
    assert (found.provider, found.block, found.proven_block) == (1, 3, 3)
    assert found.tx is not None
    assert len(found.reasons) == 6
    assert found.reasons[0] == f"listed by provider 1 in block 3, transaction 0x{found.tx.hex()}"
    assert found.reasons[-1] == "proven complete at block 3, 0 s ago"


class TrustMachine(RuleBasedStateMachine):
    """Random histories, reorganisations, proofs, policies and time; the model folds everything anew each time."""

    providers = st.integers(1, 2)
    kinds = st.sampled_from(sorted(KINDS))
    lives = st.sampled_from([40, 5_000, 5_000])
    picks = st.lists(st.integers(0, 5), min_size=1, max_size=3)

    @initialize(policy=st.sampled_from([Policy(curators=(CURATOR,)), Policy(curators=BOTH, threshold=2)]))
    def start(self, policy):
        self.world = World(policy)
        self.policy = policy
        self.proven_at = NOW
        self.adopted = 1
        self.listener = set()
        """Fed from the returned changes alone."""
        self.world.trusted.set_policy(policy)
        for curator in BOTH:
            self._block(verdict_changed(1, 1, curator=curator))
        self._block(nodes_added(1, node_ids(0, 1)), nodes_added(2, node_ids(2), kind=2))
        self.prove(0, True)

    @rule(provider=providers, picks=picks, kind=kinds, life=lives)
    def add(self, provider, picks, kind, life):
        free = [node for node in NODES if self.world.ledger.head.listing(node_id(node)[12:]) is None]
        nodes = {free[pick % len(free)] for pick in picks} if free else ()
        if nodes:
            self._block(nodes_added(provider, node_ids(*sorted(nodes)), kind, int(self.world.now) + life))

    @rule(pick=st.integers(0, 5), reason=st.integers(0, 1))
    def remove(self, pick, reason):
        listing = self._listed(pick)
        if listing is not None:
            self._block(nodes_removed(listing.origin.provider, [listing.node_id], listing.origin.kind, reason))

    @rule(pick=st.integers(0, 5), life=lives)
    def renew(self, pick, life):
        listing = self._listed(pick)
        if listing is not None:
            self._block(
                nodes_renewed(
                    listing.origin.provider, [listing.node_id], listing.origin.kind, int(self.world.now) + life
                )
            )

    @rule(pick=st.integers(0, 5), provider=providers, kind=kinds, life=lives)
    def move(self, pick, provider, kind, life):
        listing = self._listed(pick)
        if listing is not None:
            self._block(
                nodes_removed(listing.origin.provider, [listing.node_id], listing.origin.kind),
                nodes_added(provider, [listing.node_id], kind, int(self.world.now) + life),
            )

    @rule(what=st.sampled_from(["add", "remove"]), provider=providers, node=st.sampled_from(NODES), kind=kinds)
    def try_what_the_contract_may_refuse(self, what, provider, node, kind):
        maker = {"add": nodes_added, "remove": nodes_removed}[what]
        self._block(maker(provider, node_ids(node), kind))

    @rule(
        provider=providers,
        status=st.integers(0, 2),
        kind=st.integers(0, 2),
        life=st.sampled_from([None, None, 40, 300]),
        curator=st.sampled_from(BOTH),
    )
    def judge(self, provider, status, kind, life, curator):
        until = 0 if life is None else int(self.world.now) + life
        self._block(verdict_changed(provider, status, kind, until, curator=curator))

    @rule(depth=st.integers(1, 4), keep=st.integers(0, 3))
    def reorganise(self, depth, keep):
        """Some blocks are replaced by the first of them, or by none."""
        depth = min(depth, len(self.world.ledger.blocks))
        if depth:
            dropped = self.world.ledger.blocks[-depth:]
            again = [self._said(block) for block in dropped[:keep]]
            self.adopted = min(self.adopted, dropped[0].header.number - 1)
            self._hear(self.world.reorganise(depth, *again))

    @rule(keep=st.integers(0, 2), final=st.booleans())
    def prove(self, keep, final):
        blocks = self.world.ledger.blocks
        if blocks:
            number = max(blocks[-1].header.number - keep, self.world.ledger.adopted_block)
            self.adopted = max(self.adopted, number)
        self.proven_at = self.world.now
        self._hear(self.world.prove(keep, None if final else self.world.ledger.stage_block))

    @rule(seconds=st.sampled_from([1, 39, 40, 60, 300, 950]))
    def wait(self, seconds):
        self.world.now += seconds
        self._hear(self.world.trusted.advance())

    @rule(
        curators=st.sampled_from([(), (CURATOR,), BOTH, BOTH]),
        threshold=st.integers(1, 2),
        chosen=st.sampled_from([(), (), (1,), (2,), (1, 2)]),
        blocked=st.sampled_from([(), (), (), (1,)]),
        blocked_nodes=st.sets(st.sampled_from(NODES), max_size=1),
        own=st.sets(st.sampled_from(NODES), max_size=1),
    )
    def choose(self, curators, threshold, chosen, blocked, blocked_nodes, own):
        self.policy = Policy(
            curators,
            threshold,
            frozenset(chosen),
            frozenset(blocked),
            frozenset(node_ids(*blocked_nodes)),
            tuple(OwnNode(MAILSERVER, node) for node in node_ids(*own)),
        )
        self._hear(self.world.trusted.set_policy(self.policy))

    @invariant()
    def the_set_and_the_listener_have_what_the_model_has(self):
        if not hasattr(self, "world"):
            return
        expected = self._model()
        trusted = self.world.trusted
        for kind, node in itertools.product(KINDS.values(), NODES):
            pair = (kind, node_id(node))
            assert trusted.is_trusted(*pair) == (pair in expected)
            assert trusted.explain(*pair).trusted == (pair in expected)
        assert {(kind, each.node_id) for kind in KINDS.values() for each in trusted.nodes(kind)} == expected
        assert self.listener == expected
        assert sum(trusted.count(kind) for kind in KINDS.values()) == len(expected)

    def _listed(self, pick):
        listings = sorted(self.world.ledger.head.all_listings(), key=lambda each: each.node_id)
        return listings[pick % len(listings)] if listings else None

    def _block(self, *said):
        try:
            self._hear(self.world.block(*said))
        except FactsError:
            self.world.chain.blocks.pop()  # The contract would have refused it.

    def _said(self, block):
        makers = {
            NodesAdded: lambda e: nodes_added(e.provider, e.nodes, e.kind, e.expires_at),
            NodesRemoved: lambda e: nodes_removed(e.provider, e.nodes, e.kind),
            NodesRenewed: lambda e: nodes_renewed(e.provider, e.nodes, e.kind, e.expires_at),
            VerdictChanged: lambda e: verdict_changed(e.provider, e.status, e.kind, e.until, curator=e.curator),
        }
        return [makers[type(event)](event) for event in block.events]

    def _hear(self, changes):
        for change in changes:
            pair = (change.kind, change.node_id)
            assert (pair in self.listener) != change.trusted
            self.listener ^= {pair}

    def _model(self):
        """Who is trusted, from all events of the true chain and nothing else."""
        now = self.world.now
        own = {(each.kind, each.node_id) for each in self.policy.own}
        if now >= self.proven_at + LIMITS.keep_for:
            return own
        adopted, head = self._fold(self.adopted), self._fold(len(self.world.chain.blocks) - 1)
        listed = set()
        for node, (kind, provider, expires_at, added) in adopted[0].items():
            there = head[0].get(node)
            if (
                there is not None
                and there[3] == added
                and now < expires_at
                and self._accepts(adopted[1], provider, kind)
                and self._accepts(head[1], provider, kind)
                and node not in self.policy.blocked_nodes
            ):
                listed.add((KINDS[kind], node))
        return own | listed

    def _fold(self, upto):
        nodes, verdicts = {}, {}
        for block in self.world.chain.blocks[2 : upto + 1]:
            for log in block.logs:
                event = plain_event(log)
                if isinstance(event, NodesAdded):
                    for node in event.nodes:
                        nodes[node] = (event.kind, event.provider, event.expires_at, (block.number, event.at.index))
                elif isinstance(event, VerdictChanged):
                    verdicts[event.curator, event.provider, event.kind] = (event.status, event.until)
                else:
                    for node in [node for node in nodes if node[12:] in event.nodes]:
                        if isinstance(event, NodesRemoved):
                            del nodes[node]
                        else:
                            kind, provider, _, added = nodes[node]
                            nodes[node] = (kind, provider, event.expires_at, added)
        return nodes, verdicts

    def _accepts(self, verdicts, provider, kind):
        if provider in self.policy.blocked:
            return False
        if provider in self.policy.chosen:
            return True
        voices = 0
        for curator in self.policy.curators:
            for each in (kind, 0):
                status, until = verdicts.get((curator, provider, each), (0, 0))
                if status != 0 and (until == 0 or self.world.now < until):
                    voices += status == 1
                    break
        return voices >= self.policy.threshold


def plain_event(log):
    return decode(plain_log(log))


TestTrust = TrustMachine.TestCase
TestTrust.settings = settings(max_examples=80, stateful_step_count=40)


def test_a_commitment_is_carried_from_block_to_block(world):
    world.block(nodes_added(1, node_ids(1)))

    assert world.ledger.commitment == world.chain.head.commitment
    assert world.ledger.commitment_at(1) is None or isinstance(world.ledger.commitment_at(1), Commitment)


def test_news_after_a_listing_ended_tells_of_that_too(world):
    world.settle(nodes_added(1, node_ids(1), expires_at=int(NOW) + 30))
    world.now = NOW + 31

    assert summed(world.block(nodes_added(1, node_ids(2)))) == {(1, False)}


def test_gives_no_changes_when_none_are_wanted(world):
    world.block(nodes_added(1, node_ids(1)))
    world.ledger.proven(3, 3)
    update = Update(world.ledger.adopted, world.ledger.head, EVERYTHING, Proven(3, b"", NOW), None, 3)

    assert world.trusted.apply(update, wanted=False) == []
    assert world.is_trusted(1)
