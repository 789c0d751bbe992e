"""Watcher and trusted set together, against a model: whatever chain, endpoints and process do, the set is right.

Random histories with reorganisations of random depth, endpoints that fail, lag or lie, subscriptions that break, gaps,
restarts, kills between any two writes, policies that change, nights without any endpoint. After each step the set, and
what a listener who heard nothing but the changes makes of them, must equal the model's.

    WAYPOST_EXAMPLES=300 WAYPOST_STEPS=50 python -m pytest tests/offchain/trust/test_model.py     (as `make test-deep`)
"""

import asyncio
import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from offchain.config import ChainConfig, ContractRef
from offchain.trust import Freshness, OwnNode, Policy, TrustedNodes
from offchain.trust.nodes import Resync
from offchain.types import MAILSERVER
from tests.support.chain import (
    CHAIN_ID,
    CURATOR,
    OTHER_CURATOR,
    REGISTRY,
    FakeChain,
    FakeNode,
    FakeRpc,
    node_id,
    nodes_added,
    nodes_removed,
    nodes_renewed,
    provider_created,
    verdict_changed,
)
from tests.support.trust_model import View, removable, trusted
from tests.support.virtual_time import virtual_loop

EXAMPLES = int(os.environ.get("WAYPOST_EXAMPLES", "12"))
STEPS = int(os.environ.get("WAYPOST_STEPS", "20"))

HOUR = 3_600
PATIENCE = 2_000.0
"""Seconds of virtual time after which the set ought to have been right."""

STABLE = 20.0
"""Seconds of virtual time for which it must stay right."""

PROVIDERS = (1, 2, 3)
NODES = [node_id(number) for number in range(8)]

providers = st.sampled_from(PROVIDERS)
policies = st.builds(
    Policy,
    curators=st.sampled_from([(CURATOR,), (OTHER_CURATOR,), (CURATOR, OTHER_CURATOR), ()]),
    threshold=st.integers(1, 2),
    chosen=st.frozensets(providers, max_size=1),
    blocked=st.frozensets(providers, max_size=1),
    blocked_nodes=st.frozensets(st.sampled_from(NODES), max_size=1),
    own=st.sampled_from([(), (OwnNode(MAILSERVER, NODES[0]),), (OwnNode(MAILSERVER, node_id(99)),)]),
)
acts = st.lists(
    st.tuples(
        st.sampled_from(("add", "add", "add", "remove", "renew", "relist", "judge", "nothing")),
        providers,
        st.integers(0, 7),
        st.booleans(),
    ),
    max_size=4,
)
blocks = st.lists(acts, min_size=1, max_size=4)


def leaves_out(logs):
    return logs[:-1]


class TrustMachine(RuleBasedStateMachine):
    """One chain, three endpoints, one user."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.scope = virtual_loop()
        self.loop = self.scope.__enter__()
        self.chain = FakeChain.started(depth=3)
        self.chain.mine(provider_created(3), verdict_changed(1, 1, curator=OTHER_CURATOR))
        self.chain.pass_blocks(4)
        self.nodes = [FakeNode(self.chain) for _ in range(3)]
        self.policy = Policy(curators=(CURATOR,))
        self.lives = 0
        self.latest = self.mined_at = 0.0
        self.final = 0
        """The highest block that was ever called final."""
        self.adopted = self.chain.final.number
        """The block up to which all is adopted."""
        self.withheld, self.doubt = set(), 0
        """Who is trusted only because the chain went back, and the height at which that counts."""
        self.run(self.start(Path(self.folder.name) / "0"))
        self.run(self.settle())

    def teardown(self):
        self.run(self.stop())
        self.scope.__exit__(None, None, None)
        self.folder.cleanup()

    def run(self, work):
        return self.loop.run_until_complete(work)

    def clock(self):
        """The time of the head at least; it never goes back."""
        self.latest = max(self.latest, self.chain.time + self.loop.time() - self.mined_at)
        return self.latest

    # The process

    async def start(self, home):
        """Begin to follow, with the database in a folder."""
        self.home = home
        self.rpc = FakeRpc(*self.nodes)
        config = ChainConfig(
            rpc=tuple(endpoint.url for endpoint in self.rpc.endpoints),
            websocket=("ws://node0.example", "ws://node1.example"),
            chain_id=CHAIN_ID,
            registry=ContractRef(REGISTRY, 1),
            curators=(ContractRef(CURATOR, 1), ContractRef(OTHER_CURATOR, 1)),
            database=home / "chain.sqlite",
            range_blocks=20,
        )
        self.trusted = TrustedNodes(config, self.policy, clock=self.clock, rpc=self.rpc)
        await self.trusted.__aenter__()
        self.mirror = self.found()
        self.listener = asyncio.create_task(self.listen(self.trusted))
        await asyncio.sleep(0)

    async def listen(self, trusted):
        """Keep the set as somebody does who hears only of changes."""
        async for change in trusted.changes():
            if isinstance(change, Resync):
                self.mirror = self.found()
            else:
                assert change.trusted == (change.node_id not in self.mirror), "a change that is none"
                (self.mirror.add if change.trusted else self.mirror.discard)(change.node_id)

    async def stop(self):
        self.listener.cancel()
        await asyncio.gather(self.listener, return_exceptions=True)
        await self.trusted.__aexit__(None, None, None)

    # What is and what should be

    def found(self):
        return {node.node_id for node in self.trusted.nodes(MAILSERVER)}

    def expected(self):
        if self.trusted.state is Freshness.EXPIRED:
            return {own.node_id for own in self.policy.own}
        adopted, head = View.of(self.chain.blocks[: self.adopted + 1]), View.of(self.chain.blocks)
        return trusted(adopted, head, self.policy, self.clock()) - self.withheld

    def difference(self):
        """What is wrong at this moment; None if nothing is."""
        found, expected, status = self.found(), self.expected(), self.trusted.status()
        if found != expected:
            return f"{len(found - expected)} too many, {len(expected - found)} too few; {status}"
        return None

    def not_heard(self):
        """What a listener does not know; None if nothing. The clock may jump, and is looked at now and then."""
        found = self.found()
        return (
            None if self.mirror == found else f"a listener knows of {len(self.mirror)} nodes, {len(found)} are trusted"
        )

    async def until(self, what):
        """Wait until there is nothing wrong, and there stays nothing wrong."""
        await self.wait_until_none(lambda: what() or self.not_heard())
        stable = self.loop.time() + STABLE
        while self.loop.time() < stable:
            assert (wrong := what()) is None, wrong
            await asyncio.sleep(3.0)
        await self.wait_until_none(self.not_heard)

    async def wait_until_none(self, what):
        end = self.loop.time() + PATIENCE
        while (wrong := what()) is not None:
            assert self.loop.time() < end, wrong
            assert not self.listener.done() or self.listener.result()
            await asyncio.sleep(0.5)

    def not_settled(self):
        """What is wrong if all has been taken in that there is."""
        status, watcher = self.trusted.status(), self.trusted._watcher
        head = watcher.ledger.blocks[-1].header.hash if watcher.ledger.blocks else watcher.final and watcher.final.hash
        if head != self.chain.head.hash or (status["provenBlock"] or 0) < self.final or status["alarm"]:
            return f"not there yet: {status}"
        return self.difference()

    async def settle(self):
        """All that final blocks say is adopted, and all that the head says known; blocks come if one has to wait."""
        self.final = self.adopted = max(self.final, self.chain.final.number)
        for _ in range(600):
            if self.not_settled() is None:
                break
            await asyncio.sleep(0.5)
        if self.trusted.status()["alarm"]:  # It ends when the chain has gone on.
            self.mine([[]] * (self.chain.depth + 1))
            self.final = self.adopted = max(self.final, self.chain.final.number)
        await self.until(self.not_settled)
        assert self.trusted.state is Freshness.FRESH

    # The chain

    def mine(self, blocks, announced=False):
        """Blocks in which the contracts say what they can say."""
        for acts in blocks:
            said = []
            for act in acts:
                said += self.say(view_of(self.chain, said), act)
            self.chain.mine(*said)
            self.mined_at = self.loop.time()
            if announced:
                self.rpc.sockets.tell(self.chain.head.header)
        if self.chain.head.number >= self.doubt:
            self.withheld = set()

    def say(self, view, act):
        """What the contracts say of an act; nothing if they would refuse it."""
        what, provider, number, flag = act
        node, mine = NODES[number], removable(view, provider)
        soon = self.chain.time + 12 + 60 * (number + 1)
        if what == "add" and node not in view.listed:
            return [nodes_added(provider, [node], expires_at=soon if flag and number < 3 else 2_000_000_000)]
        if what == "judge":
            until = soon if number == 7 else 0
            return [verdict_changed(provider, number % 3, until=until, curator=OTHER_CURATOR if flag else CURATOR)]
        if what not in ("remove", "renew", "relist") or not mine:
            return []
        one = [mine[number % len(mine)]]
        if what == "renew":
            return [nodes_renewed(provider, one, expires_at=soon + HOUR)]
        relisted = [nodes_added(provider if flag else 1, one)] if what == "relist" else []
        return [nodes_removed(provider, one), *relisted]

    # Rules

    @rule(blocks=blocks, announced=st.booleans())
    def the_chain_goes_on(self, blocks, announced):
        self.mine(blocks, announced)
        self.run(self.settle())

    @rule(depth=st.integers(1, 3), blocks=blocks, announced=st.booleans(), instants=st.integers(0, 40))
    def blocks_are_replaced(self, depth, blocks, announced, instants):
        depth = min(depth, self.chain.head.number - self.final)
        height = self.chain.head.number
        self.chain.drop(depth)
        self.mine(blocks, announced)
        self.mine([[]] * max(height - self.chain.head.number, 0), announced)
        self.run(self.pass_instants(instants))
        self.run(self.settle())

    @rule(depth=st.integers(1, 3), between=st.integers(0, 40), blocks=blocks)
    def blocks_are_replaced_while_they_are_fetched(self, depth, between, blocks):
        self.mine(blocks)
        for _ in range(2):
            self.run(self.pass_instants(between))
            self.blocks_are_replaced(depth, blocks, True, between)

    @rule(depth=st.integers(1, 3))
    def the_chain_goes_back(self, depth):
        depth = min(depth, self.chain.head.number - self.final)
        if not depth:
            return
        before, self.doubt = self.found(), max(self.doubt, self.chain.head.number)
        self.chain.drop(depth)
        self.mined_at = self.loop.time()
        self.withheld |= self.expected() - before
        self.run(self.until(self.not_settled))

    @rule(policy=policies)
    def the_user_thinks_again(self, policy):
        before, self.policy = self.found(), policy
        if self.chain.head.number < self.doubt:
            self.withheld |= self.expected() - before - {own.node_id for own in policy.own}
        self.trusted.set_policy(policy)
        assert self.found() == self.expected()
        self.run(self.until(self.not_settled))

    @rule(blocks=blocks, count=st.sampled_from((0, 1, 60, 90)))
    def the_service_is_away(self, blocks, count):
        self.run(self.stop())
        self.run(self.start(self.home))
        assert self.found() == self.expected(), "a restart changed the set"
        self.run(self.stop())
        self.mine(blocks)
        self.mine([[]] * count)
        self.mine(blocks)
        self.run(self.start(self.home))
        self.run(self.settle())

    @rule(blocks=blocks, depth=st.integers(0, 2), instants=st.integers(0, 120))
    def the_process_is_killed(self, blocks, depth, instants):
        """At any instant: what is in the files then is all that the next process has."""
        depth = min(depth, self.chain.head.number - self.final)
        self.chain.drop(depth)
        self.mine(blocks)
        self.mine([[]] * depth, announced=True)
        self.run(self.pass_instants(instants))
        self.lives += 1
        home = self.home.with_name(str(self.lives))
        shutil.copytree(self.home, home)
        self.run(self.stop())
        self.run(self.start(home))
        self.run(self.settle())

    async def pass_instants(self, count):
        for _ in range(count):
            await asyncio.sleep(0)

    @rule(at=st.integers(0, 2), fault=st.sampled_from(("down", "no proofs", "leaves out", "old head")), blocks=blocks)
    def one_endpoint_has_a_fault(self, at, fault, blocks):
        node = self.nodes[at]
        if fault == "old head":
            node.chain = self.chain.copy()
        node.down, node.proofs = fault == "down", fault != "no proofs"
        node.tamper = leaves_out if fault == "leaves out" else None
        self.mine(blocks, announced=True)
        self.run(self.settle())
        self.mine(blocks[:1])
        self.run(self.settle())
        self.heal()

    def heal(self):
        for node in self.nodes:
            node.chain, node.down, node.proofs, node.tamper = self.chain, False, True, None

    @rule(left=st.integers(0, 2), blocks=blocks, depth=st.integers(0, 3))
    def one_endpoint_is_left(self, left, blocks, depth):
        """Nothing can be adopted, but removals count."""
        for at, node in enumerate(self.nodes):
            node.down = at != left
        depth = min(depth, self.chain.head.number - self.final)
        height = self.chain.head.number
        self.chain.drop(depth)
        self.mine(blocks)
        self.mine([[]] * max(height - self.chain.head.number, 0))

        def wrong():
            status = self.trusted.status()
            return self.difference() if status["head"] == self.chain.head.number else f"not there yet: {status}"

        self.run(self.until(wrong))
        self.heal()
        self.run(self.settle())

    @rule(hours=st.sampled_from((0.1, 2, 30)), blocks=blocks)
    def no_endpoint_answers_for_a_while(self, hours, blocks):
        for node in self.nodes:
            node.down = True
        self.latest = self.clock() + hours * HOUR
        self.chain.later += int(self.latest) - self.chain.time
        expected = {0.1: Freshness.FRESH, 2: Freshness.STALE, 30: Freshness.EXPIRED}[hours]
        assert self.trusted.state is expected
        self.run(self.until(self.difference))
        assert self.trusted.state is expected
        self.heal()
        self.mine(blocks)
        self.run(self.settle_after_a_night())

    async def settle_after_a_night(self):
        """The blocks that are final now are as old as the night is long."""
        self.mine([[]] * (self.chain.depth + 1))
        await self.settle()

    @rule(announced=st.booleans(), blocks=blocks)
    def subscriptions_break(self, announced, blocks):
        self.rpc.sockets.cut()
        self.mine(blocks, announced)
        self.run(self.pass_instants(5))
        self.rpc.sockets.cut()
        self.run(self.settle())

    @precondition(lambda self: not self.withheld)
    @rule(deeper=st.integers(1, 4), blocks=blocks)
    def all_endpoints_contradict_what_was_final(self, deeper, blocks):
        """That is said, and what was proven stays as it was, less what the head took away."""
        before = self.found()
        other = self.chain.copy()
        other.drop(other.head.number - self.final + deeper)
        other.pass_blocks(self.chain.head.number - other.head.number + len(blocks))
        for node in self.nodes:
            node.chain = other

        def silent():
            return None if self.trusted.state is Freshness.TAMPERED else f"no alarm: {self.trusted.status()}"

        self.run(self.until(silent))
        assert "final" in self.trusted.status()["alarm"]
        assert self.found() <= before
        self.heal()
        self.mine(blocks)
        self.mine([[]] * (self.chain.depth + 1))
        self.run(self.settle())


def view_of(chain, said):
    """What the chain says once the block that is being made has said this."""
    if not said:
        return View.of(chain.blocks)
    trial = chain.copy()
    trial.mine(*said)
    return View.of(trial.blocks)


def test_the_set_equals_the_models_after_every_step():
    run_state_machine_as_test(
        TrustMachine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=HealthCheck.all(),
            derandomize="WAYPOST_EXAMPLES" not in os.environ,
        ),
    )
