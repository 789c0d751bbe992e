"""The watcher against endpoints that tell the truth, lag, fail and lie. No network: the endpoints are objects."""

import asyncio
import contextlib

import pytest

from offchain.chain.watcher import Watcher
from offchain.config import ChainConfig, ContractRef
from offchain.errors import ConfigError
from tests.support.chain import (
    CHAIN_ID,
    CURATOR,
    REGISTRY,
    FakeChain,
    FakeNode,
    FakeRpc,
    altered,
    node_id,
    node_ids,
    nodes_added,
    nodes_removed,
    verdict_changed,
)

NOW = 1_700_000_100.0
PATIENCE = 5.0
"""Seconds after which a test has failed; none takes them."""


@pytest.fixture
def chain():
    """Two nodes of provider 1, final; a third at the head."""
    chain = FakeChain.started()
    chain.mine(nodes_added(1, node_ids(1, 2)))
    chain.pass_blocks(2)
    chain.mine(nodes_added(1, node_ids(3)))
    return chain


class Session:
    """A watcher, the nodes it talks to, and the updates it delivered."""

    def __init__(self, folder, *nodes, **settings):
        self.config = ChainConfig(
            rpc=tuple(f"http://node{index}" for index in range(len(nodes))),
            chain_id=CHAIN_ID,
            registry=ContractRef(REGISTRY, 1),
            curators=(ContractRef(CURATOR, 1),),
            database=folder / "chain.sqlite",
            **{"poll_interval": 0.001, "proof_interval": 0.0, **settings},
        )
        self.updates = []
        self.news = asyncio.Event()
        self.watcher = Watcher(self.config, self._deliver, clock=lambda: NOW, rpc=FakeRpc(*nodes))

    def _deliver(self, update):
        self.updates.append(update)
        self.news.set()

    async def __aenter__(self):
        self.watcher.restore()
        self.task = asyncio.create_task(self.watcher.run())
        return self

    async def __aexit__(self, *_):
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task
        self.watcher.close()

    async def until(self, condition):
        """Wait for an update after which the condition holds."""
        async with asyncio.timeout(PATIENCE):
            while not condition(self):
                if self.task.done():
                    self.task.result()
                self.news.clear()
                await self.news.wait()

    @property
    def last(self):
        return self.updates[-1]

    def adopted(self):
        return {listing.node_id for listing in self.last.adopted.all_listings()}

    def head(self):
        return {listing.node_id for listing in self.last.head.all_listings()}


def proven(session):
    return session.last.proven is not None and session.last.alarm is None


def follows(chain):
    """Whether the whole chain was taken in and all that is final is proven."""
    return lambda session: (
        proven(session) and session.last.block == chain.head.number and session.last.proven.block == chain.final.number
    )


def alarmed(session):
    return session.last.alarm is not None


async def test_catches_up_to_the_final_block_has_it_proven_and_follows_the_head(tmp_path, chain):
    async with Session(tmp_path, FakeNode(chain)) as session:
        await session.until(follows(chain))

        assert session.adopted() == set(node_ids(1, 2))
        assert session.head() == set(node_ids(1, 2, 3))
        assert session.last.proven.hash == chain.final.hash


async def test_a_node_is_adopted_once_its_block_is_final(tmp_path, chain):
    async with Session(tmp_path, FakeNode(chain)) as session:
        await session.until(follows(chain))
        chain.pass_blocks(2)
        await session.until(follows(chain))

        assert session.adopted() == set(node_ids(1, 2, 3))


@pytest.mark.parametrize(("finality", "adopted"), [("latest", {1, 2, 3}), ("1", {1, 2}), ("0", {1, 2, 3})])
async def test_adopts_earlier_if_the_user_wants(tmp_path, chain, finality, adopted):
    async with Session(tmp_path, FakeNode(chain), finality=finality) as session:
        await session.until(lambda each: proven(each) and each.last.proven.block >= chain.head.number - 1)

        assert session.adopted() == set(node_ids(*adopted))


def test_refuses_a_finality_that_is_none(tmp_path):
    with pytest.raises(ConfigError, match="not a finality"):
        Session(tmp_path, FakeNode(FakeChain()), finality="soon")


@pytest.mark.parametrize("finality", ["finalized", "latest", "1"])
async def test_follows_a_reorganisation(tmp_path, chain, finality):
    async with Session(tmp_path, FakeNode(chain), finality=finality) as session:
        await session.until(lambda each: proven(each) and each.last.block == chain.head.number)
        chain.drop(2)
        chain.mine(nodes_removed(1, node_ids(1)))
        chain.pass_blocks(2)
        await session.until(lambda each: proven(each) and each.last.block == chain.head.number)

        assert session.head() == {node_id(2)}
        assert session.watcher.counters.reorgs == 1
        assert session.watcher.counters.deepest_reorg == 2
        chain.pass_blocks(2)
        await session.until(lambda each: each.adopted() == {node_id(2)})


async def test_follows_a_chain_that_goes_back(tmp_path, chain):
    async with Session(tmp_path, FakeNode(chain)) as session:
        await session.until(follows(chain))
        chain.drop(1)

        await session.until(lambda each: each.last.block == chain.head.number)

        assert session.head() == set(node_ids(1, 2))


@pytest.mark.parametrize("batches", [True, False])
async def test_reads_many_new_blocks_together_where_the_endpoint_can(tmp_path, batches):
    chain = FakeChain.started(depth=40)
    chain.pass_blocks(38)
    chain.mine(nodes_added(1, node_ids(1)))
    chain.pass_blocks(1)
    node = FakeNode(chain, batches=batches)
    async with Session(tmp_path, node) as session:
        await session.until(lambda each: proven(each) and each.last.block == chain.head.number)

        assert session.head() == {node_id(1)}
    by_hash = [params for call, params in node.calls if call == "eth_getLogs" and "blockHash" in params[0]]
    assert len(by_hash) == 0
    assert (len([call for call, _ in node.calls if call == "eth_getBlockByHash"]) == 0) == batches


async def test_logs_that_come_late_are_asked_for_again(tmp_path, chain, monkeypatch):
    monkeypatch.setattr("offchain.chain.watcher.LATE_LOGS", (0.0, 0.0))
    node = FakeNode(chain)
    async with Session(tmp_path, node) as session:
        await session.until(follows(chain))
        late = []

        def not_yet(logs):
            late.append(len(logs))
            return logs[1:] if len(late) < 3 else logs

        node.tamper = not_yet
        chain.mine(nodes_added(1, node_ids(4)), nodes_added(1, node_ids(5)))
        await session.until(follows(chain))

        assert session.head() == set(node_ids(1, 2, 3, 4, 5))
        assert not any(update.alarm for update in session.updates)
        assert len(late) == 3


async def test_takes_up_where_it_was(tmp_path, chain):
    async with Session(tmp_path, FakeNode(chain)) as session:
        await session.until(follows(chain))
    stored = chain.head.number
    chain.pass_blocks(3)
    node = FakeNode(chain)

    async with Session(tmp_path, node) as session:
        assert session.adopted() == set(node_ids(1, 2))
        assert session.head() == set(node_ids(1, 2, 3))
        await session.until(follows(chain))

        assert session.adopted() == set(node_ids(1, 2, 3))
    asked = [int(params[0]["fromBlock"], 16) for call, params in node.calls if call == "eth_getLogs"]
    assert all(first > stored for first in asked)


async def test_a_suspension_survives_a_restart(tmp_path, chain):
    chain.mine(nodes_removed(1, node_ids(1)))
    async with Session(tmp_path, FakeNode(chain)) as session:
        await session.until(follows(chain))

    async with Session(tmp_path, FakeNode(chain, down=True)) as session:
        assert session.head() == set(node_ids(2, 3))


async def test_reads_ranges_again_after_being_away_for_long(tmp_path, chain):
    async with Session(tmp_path, FakeNode(chain)) as session:
        await session.until(follows(chain))
    chain.pass_blocks(90)
    chain.mine(nodes_added(1, node_ids(4)))
    chain.pass_blocks(90)

    async with Session(tmp_path, FakeNode(chain), range_blocks=30) as session:
        await session.until(follows(chain))

        assert session.adopted() == set(node_ids(1, 2, 3, 4))


def leaves_out(logs):
    """The second last log is missing."""
    return logs[:-2] + logs[-1:] if len(logs) > 1 else logs


def leaves_out_the_end(logs):
    return logs[:-1] if len(logs) > 3 else logs


def repeats(logs):
    return logs + logs[-1:]


def reorders(logs):
    return logs[::-1]


def alters_a_node(logs):
    return [
        altered(log, data=log.data[:-64] + "ab" * 32) if log.topics[0] == logs[-1].topics[0] else log for log in logs
    ]


def alters_a_verdict(logs):
    return [
        altered(log, data="0x" + "02".rjust(64, "0") + log.data[66:])
        if len(log.data) == 194 and log.address == "0x" + CURATOR.hex()
        else log
        for log in logs
    ]


def leaves_out_verdicts(logs):
    return [log for log in logs if log.address != "0x" + CURATOR.hex()]


def invents_a_verdict(logs):
    for log in logs:
        if log.address == "0x" + CURATOR.hex():
            other = altered(log, topics=[log.topics[0], "0x" + "02".rjust(64, "0"), log.topics[2]], logIndex="0x9")
            return [*logs[: logs.index(log) + 1], other, *logs[logs.index(log) + 1 :]]
    return logs


def another_contract(logs):
    return [altered(log, address="0x" + "99" * 20) for log in logs]


LIES = [
    leaves_out,
    leaves_out_the_end,
    repeats,
    reorders,
    alters_a_node,
    alters_a_verdict,
    leaves_out_verdicts,
    invents_a_verdict,
    another_contract,
]
lies = pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)


@lies
async def test_an_endpoint_that_lies_is_found_out_and_nothing_it_said_is_adopted(tmp_path, chain, lie):
    async with Session(tmp_path, FakeNode(chain, tamper=lie)) as session:
        await session.until(alarmed)

        assert session.adopted() == set()
        assert session.last.proven is None
        assert "node0" in session.last.alarm


@lies
async def test_another_endpoint_takes_over_from_one_that_lies(tmp_path, chain, lie):
    async with Session(tmp_path, FakeNode(chain, tamper=lie), FakeNode(chain)) as session:
        await session.until(follows(chain))

        assert session.adopted() == set(node_ids(1, 2))
        assert session.head() == set(node_ids(1, 2, 3))
        assert not any(update.alarm for update in session.updates)


@lies
async def test_a_lie_that_begins_later_leaves_what_was_proven_and_ends_when_the_truth_is_told(tmp_path, chain, lie):
    node = FakeNode(chain)
    async with Session(tmp_path, node) as session:
        await session.until(follows(chain))
        node.tamper = lie
        chain.mine(
            verdict_changed(2, 1),
            nodes_added(2, node_ids(7)),
            nodes_added(2, node_ids(8)),
            verdict_changed(2, 2, kind=1),
        )
        chain.pass_blocks(3)
        await session.until(alarmed)
        assert session.adopted() == set(node_ids(1, 2))
        node.tamper = None
        await session.until(follows(chain))

        assert session.adopted() == set(node_ids(1, 2, 3, 7, 8))


async def test_a_verdict_with_the_largest_numbers_is_proven_like_any_other(tmp_path, chain):
    chain.mine(
        verdict_changed(2, 1, kind=1, until=2**64 - 1, weight=2**128 - 1), verdict_changed(2**255, 1, kind=2**99)
    )
    chain.pass_blocks(3)
    async with Session(tmp_path, FakeNode(chain)) as session:
        await session.until(follows(chain))

        assert session.last.adopted.verdict((CURATOR, 2, 1)).until == 2**64 - 1


async def test_a_forged_proof_is_not_believed(tmp_path, chain):
    other = FakeChain.started()
    other.mine(nodes_added(1, node_ids(5)))
    other.pass_blocks(20)
    node = FakeNode(chain)
    node.eth_getProof = FakeNode(other).eth_getProof
    async with Session(tmp_path, node) as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await session.until(proven)

        assert session.adopted() == set()
        assert "does not hold" in session.watcher.problem


async def test_without_proofs_nothing_is_adopted_but_removals_count(tmp_path, chain):
    node = FakeNode(chain)
    async with Session(tmp_path, node) as session:
        await session.until(follows(chain))
        node.proofs = False
        chain.mine(nodes_removed(1, node_ids(1)))
        chain.pass_blocks(3)
        await session.until(lambda each: node_id(1) not in each.head())

        assert session.adopted() == set(node_ids(1, 2))


async def test_two_endpoints_must_agree_on_the_final_block(tmp_path, chain):
    other = FakeChain.started()
    other.salt = 5
    other.pass_blocks(10)
    async with Session(tmp_path, FakeNode(chain), FakeNode(other)) as session:
        await session.until(alarmed)

        assert "contradict" in session.last.alarm
        assert session.adopted() == set()


async def test_two_of_three_endpoints_outvote_the_third(tmp_path, chain):
    other = chain.copy()
    other.drop(4)
    other.salt = 9
    other.mine(nodes_added(1, node_ids(66)))
    other.pass_blocks(10)
    async with Session(tmp_path, FakeNode(other), FakeNode(chain), FakeNode(chain)) as session:
        await session.until(follows(chain))

        assert session.adopted() == set(node_ids(1, 2))
        assert sorted(session.watcher.counters.agreeing) == ["node1.example", "node2.example"]


async def test_an_endpoint_that_is_down_is_no_liar(tmp_path, chain):
    async with Session(tmp_path, FakeNode(chain), FakeNode(chain, down=True)) as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await session.until(proven)
        assert session.last.alarm is None
        assert "too few endpoints" in session.watcher.problem

    async with Session(tmp_path, FakeNode(chain), FakeNode(chain, down=True), quorum=1) as session:
        await session.until(follows(chain))


async def test_an_endpoint_of_another_chain_is_not_asked_further(tmp_path, chain):
    node = FakeNode(chain, chain_id=1)
    async with Session(tmp_path, node, FakeNode(chain), quorum=1) as session:
        await session.until(follows(chain))

    assert {method for method, _ in node.calls} == {"eth_chainId"}


async def test_another_chain_under_what_was_final_raises_the_alarm_and_keeps_what_was_proven(tmp_path, chain):
    async with Session(tmp_path, FakeNode(chain)) as session:
        await session.until(follows(chain))
    other = FakeChain.started()
    other.salt = 3
    other.pass_blocks(20)
    async with Session(tmp_path, FakeNode(other)) as session:
        await session.until(alarmed)

        assert "was final" in session.last.alarm
        assert session.adopted() == set(node_ids(1, 2))


async def test_a_chain_younger_than_its_finality_is_followed(tmp_path):
    chain = FakeChain.started(depth=50)
    chain.mine(nodes_added(1, node_ids(1)))
    async with Session(tmp_path, FakeNode(chain), finality="latest") as session:
        await session.until(lambda each: proven(each) and each.last.block == chain.head.number)
        assert session.adopted() == {node_id(1)}
    chain.mine(nodes_removed(1, node_ids(1)))

    async with Session(tmp_path, FakeNode(chain), finality="latest") as session:
        assert session.adopted() == {node_id(1)}
        await session.until(lambda each: each.adopted() == set())


async def test_a_registry_that_is_not_there_is_said(tmp_path, chain):
    chain_without = FakeChain()
    chain_without.pass_blocks(9)
    node = FakeNode(chain_without)
    node.eth_getProof = lambda contract, slots, number: chain_without.proof(
        chain_without.blocks[int(number, 16)], b"\x55" * 20, [bytes(32)]
    )
    async with Session(tmp_path, node) as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await session.until(proven)

        assert session.adopted() == set()


async def test_reports_how_far_the_backfill_is(tmp_path, chain):
    seen = []
    chain.pass_blocks(50)
    session = Session(tmp_path, FakeNode(chain), range_blocks=10)
    session.watcher._progress = seen.append
    async with session:
        await session.until(follows(chain))

    assert [each.block for each in seen] == sorted(each.block for each in seen)
    assert seen[-1].block == seen[-1].last
    assert len(seen) > 1
