"""Every lie is caught or harmless: the endpoint named and left, the set right, the service up."""

import dataclasses
import sqlite3
from contextlib import closing

import pytest

from offchain.chain.checkpoint import Checkpoint, Doubt, Identity, Staged
from offchain.chain.events import plain_log
from offchain.chain.ledger import Chunk, Ledger
from offchain.trust import Freshness, OwnNode, Policy
from offchain.types import MAILSERVER
from tests.support.chain import (
    CHAIN_ID,
    CURATOR,
    REGISTRY,
    node_id,
    node_ids,
    nodes_added,
    nodes_removed,
    verdict_changed,
)
from tests.support.lies import (
    HARMLESS,
    TELLING,
    AltersABlockHash,
    AltersANode,
    Babbles,
    ForgesAnotherHistory,
    ForgesHistory,
    ForgesTheHead,
    GoesBack,
    HeaderWithoutBloom,
    InventsANode,
    ListsANodeAgain,
    OddChainId,
    OmitsEverything,
    OmitsRemovals,
    OmitsVerdicts,
    ProvesAnotherSlot,
    RefusesLogs,
    RefusesProofs,
    Scene,
    SendsAnotherBlock,
    SlowToIndex,
    StaysAtAnOldBlock,
    WrongChain,
)

TOLD_LATER = (HeaderWithoutBloom, StaysAtAnOldBlock, AltersABlockHash)
"""Lies that catching up with history gives no occasion for."""

TOLD_AT_FIRST = (WrongChain, OddChainId)
"""Lies that are told only when an endpoint is begun with."""


def by_name(cls):
    return cls.__name__


async def live_through(scene, trusted):
    """What happens while the endpoints are followed; the set is right after each step."""
    scene.chain.mine(nodes_removed(1, node_ids(1)), nodes_added(1, node_ids(5, 6)))
    await scene.settle(trusted)
    scene.chain.pass_blocks(scene.chain.depth + 1)
    scene.chain.mine(nodes_removed(1, node_ids(5)))
    await scene.settle(trusted)
    scene.chain.drop(1)
    scene.chain.mine(verdict_changed(1, 2))
    scene.chain.pass_blocks(1)
    await scene.settle(trusted)


@pytest.mark.parametrize("lie", [*TELLING, *HARMLESS], ids=by_name)
async def test_a_liar_that_is_asked_first_changes_nothing(lie, tmp_path):
    scene = Scene(tmp_path, lie)
    scene.first_years()

    async with scene.open() as trusted:
        await scene.settle(trusted)

        assert trusted.state is Freshness.FRESH
    if lie not in (*HARMLESS, *TOLD_LATER):
        assert scene.liars[0].last_error, "the liar was not named"
        assert scene.rpc.leader() is not scene.liars[0], "the liar was not left"


@pytest.mark.parametrize("lie", [*TELLING, *HARMLESS], ids=by_name)
async def test_an_endpoint_that_turns_to_lying_changes_nothing(lie, tmp_path):
    scene = Scene(tmp_path, lie)
    scene.nodes[0].lying = False
    scene.first_years()

    async with scene.open() as trusted:
        await scene.settle(trusted)
        scene.nodes[0].lying = True
        await live_through(scene, trusted)

        assert trusted.state is Freshness.FRESH
    if lie not in (*HARMLESS, *TOLD_AT_FIRST):
        assert scene.liars[0].last_error, "the liar was not named"
        assert scene.rpc.leader() is not scene.liars[0], "the liar was not left"


@pytest.mark.parametrize("lie", TELLING, ids=by_name)
async def test_a_liar_alone_never_makes_a_node_trusted_that_is_not(lie, tmp_path):
    scene = Scene(tmp_path, lie, honest=0)
    scene.nodes[0].lying = False
    scene.first_years()

    async with scene.open() as trusted:
        await scene.settle(trusted)
        known = scene.trusted(trusted)
        scene.nodes[0].lying = True
        scene.chain.mine(nodes_removed(1, node_ids(1)))
        scene.chain.mine(nodes_added(1, node_ids(5)))
        for _ in range(40):
            scene.now += 0.2
            await scene.breathe()
            assert scene.trusted(trusted) <= known | ({node_id(5)} & scene.listed(scene.chain.final))
        scene.nodes[0].lying = False
        scene.chain.pass_blocks(scene.chain.depth + 1)
        await scene.settle(trusted)


def take_in_without_a_proof(scene, upto):
    """As if a process had ended in the middle of a backfill that had got so far."""
    identity = Identity(CHAIN_ID, REGISTRY, 1, frozenset({CURATOR}))
    ledger = Ledger(REGISTRY, [CURATOR], 1)
    with Checkpoint(scene.config.database, identity) as checkpoint:
        saved = checkpoint.load()
        ledger.restore(saved.base, saved.base_header.number, saved.commitment)
        blocks = scene.chain.blocks[ledger.base_block + 1 : upto + 1]
        logs = tuple(plain_log(log) for block in blocks for log in block.logs)
        checkpoint.discard_pending()
        layer = ledger.add_chunk(Chunk(ledger.base_block + 1, upto, logs))
        checkpoint.add_stage(layer, Staged(upto, ledger.stage_commitment.word, None))
        checkpoint.end_doubt()


async def test_a_lie_against_what_came_before_brings_nobody_back_while_it_is_dealt_with(tmp_path):
    """The stage that says who was removed goes with the lie; a listing ends just then, so that all is looked at."""
    scene = Scene(tmp_path, ListsANodeAgain, honest=0, quorum=1)
    scene.nodes[0].lying = False
    ends = scene.clock() + 12 * 300
    scene.chain.mine(nodes_added(1, node_ids(1, 2, 3)))
    scene.chain.mine(nodes_added(1, node_ids(4), expires_at=int(ends)))
    scene.chain.pass_blocks(scene.chain.depth + 1)
    async with scene.open() as trusted:
        await scene.settle(trusted)
    scene.chain.mine(nodes_removed(1, node_ids(2)))
    removed = scene.chain.head.number
    scene.chain.pass_blocks(200)
    take_in_without_a_proof(scene, removed + 2)
    told = []

    def let_a_listing_end():
        scene.now += ends + 0.5 - scene.clock()

    def deliver(update, proper):
        proper(update)
        told.append(trusted.is_trusted(MAILSERVER, node_id(2)))

    scene.nodes[0].lying, scene.nodes[0].asked = True, let_a_listing_end
    scene.now += ends - 1 - scene.clock()
    trusted = scene.open()
    proper, trusted._deliver = trusted._deliver, lambda update: deliver(update, proper)
    async with trusted:
        assert not trusted.is_trusted(MAILSERVER, node_id(2))
        for _ in range(12):
            await scene.breathe()

        assert scene.liars[0].lies
        assert scene.clock() > ends
        assert not any(told)
        assert trusted.trusted_set.is_withheld(MAILSERVER, node_id(2))
        assert not trusted.is_trusted(MAILSERVER, node_id(2))


async def test_logs_that_come_late_are_no_lie(tmp_path):
    scene = Scene(tmp_path, SlowToIndex, honest=0, depth=50)
    scene.nodes[0].lying = False
    scene.chain.mine(nodes_added(1, node_ids(1, 2)))
    scene.chain.pass_blocks(51)

    async with scene.open() as trusted:
        await scene.settle(trusted)
        scene.nodes[0].lying = True
        scene.chain.mine(nodes_removed(1, node_ids(1)))
        await scene.settle(trusted)

        assert trusted.state is Freshness.FRESH
        assert scene.liars[0].lies == 0
        assert "at first" in scene.liars[0].last_error


async def test_another_block_than_the_one_asked_for_is_refused(tmp_path):
    scene = Scene(tmp_path, SendsAnotherBlock)
    scene.nodes[0].lying = False
    scene.first_years()

    async with scene.open() as trusted:
        await scene.settle(trusted)
        scene.nodes[0].lying = True
        scene.chain.drop(2)
        scene.chain.pass_blocks(4)
        await scene.settle(trusted)

        assert "when asked for" in scene.liars[0].last_error


@pytest.mark.parametrize("lie", [OmitsRemovals, OmitsVerdicts], ids=by_name)
async def test_what_is_hidden_at_the_head_is_found_before_it_is_final(lie, tmp_path):
    scene = Scene(tmp_path, lie, depth=50)
    scene.nodes[0].lying = False
    scene.chain.mine(nodes_added(1, node_ids(1, 2)))
    scene.chain.pass_blocks(51)

    async with scene.open() as trusted:
        await scene.settle(trusted)
        scene.nodes[0].lying = True
        hidden = nodes_removed(1, node_ids(1)) if lie is OmitsRemovals else verdict_changed(1, 2)
        scene.chain.mine(hidden)
        await scene.settle(trusted)

        assert not trusted.is_trusted(MAILSERVER, node_id(1))
        assert scene.liars[0].lies == 1
        assert "logs it sent" in scene.liars[0].last_lie


@pytest.mark.parametrize("lie", [GoesBack, StaysAtAnOldBlock], ids=by_name)
async def test_an_old_head_does_not_bring_back_a_removed_node(lie, tmp_path):
    scene = Scene(tmp_path, lie, honest=0, depth=8)
    scene.nodes[0].lying = False
    scene.first_years()

    async with scene.open() as trusted:
        await scene.settle(trusted)
        if lie is StaysAtAnOldBlock:
            scene.nodes[0].old = scene.chain.copy()
        scene.chain.mine(nodes_removed(1, node_ids(1)))
        await scene.settle(trusted)
        scene.nodes[0].lying = True
        for _ in range(100):
            await scene.breathe()
            assert not trusted.is_trusted(MAILSERVER, node_id(1))


async def test_an_old_head_after_a_lie_does_not_bring_back_a_removed_node_though_nobody_else_answers(tmp_path):
    scene = Scene(tmp_path, StaysAtAnOldBlock, honest=0, depth=8)
    node = scene.nodes[0]
    node.lying = False
    scene.first_years()

    async with scene.open() as trusted:
        await scene.settle(trusted)
        node.old = scene.chain.copy()
        scene.chain.mine(nodes_removed(1, node_ids(1)))
        await scene.settle(trusted)
        node.tamper = lambda logs: logs[:-1]
        scene.chain.mine(nodes_added(1, node_ids(7)))
        await trusted.wait_for(lambda each: each.status()["lies"] > 0, 60.0)
        node.tamper, node.lying = None, True
        for _ in range(100):
            await scene.breathe()
            assert not trusted.is_trusted(MAILSERVER, node_id(1))

    async with scene.open() as trusted:
        for _ in range(50):
            await scene.breathe()
            assert not trusted.is_trusted(MAILSERVER, node_id(1))
        node.lying = False
        await scene.settle(trusted)
        assert not trusted.trusted_set.withheld()


@pytest.mark.parametrize("lost", ["a curator is gone", "a row is of another block"])
async def test_when_what_was_pending_is_lost_nobody_is_trusted_until_the_head_is_proven(lost, tmp_path):
    scene = Scene(tmp_path, honest=1, depth=8)
    scene.policy = Policy(chosen=frozenset({1}))
    scene.first_years()

    async with scene.open() as trusted:
        await scene.settle(trusted)
        scene.chain.mine(nodes_removed(1, node_ids(1)))
        scene.chain.pass_blocks(1)
        await scene.settle(trusted)
    scene.nodes[0].down = True
    if lost == "a curator is gone":
        scene.config = dataclasses.replace(scene.config, curators=())
    else:
        with closing(sqlite3.connect(scene.config.database)) as database, database:
            database.execute("UPDATE pending SET logs = (SELECT logs FROM pending WHERE length(logs) > 9)")

    for _ in range(2):
        async with scene.open() as trusted:
            for _ in range(20):
                await scene.breathe()
                assert scene.trusted(trusted) == set()
            assert "taken back" in trusted.why(MAILSERVER, node_id(3))
    scene.nodes[0].down = False
    async with scene.open() as trusted:
        await trusted.wait_for(lambda each: not each.trusted_set.withheld(), 60.0)
        assert trusted.is_trusted(MAILSERVER, node_id(3))
        assert not trusted.is_trusted(MAILSERVER, node_id(1))
        scene.chain.pass_blocks(1)
        await trusted.wait_for(lambda each: each.status()["head"] == scene.chain.head.number, 60.0)


async def test_a_younger_final_block_ends_a_doubt_that_reaches_to_a_height_that_never_was(tmp_path):
    scene = Scene(tmp_path, honest=1)
    scene.first_years()
    async with scene.open() as trusted:
        await scene.settle(trusted)
    identity = Identity(CHAIN_ID, REGISTRY, 1, frozenset({CURATOR}))
    with Checkpoint(scene.config.database, identity) as checkpoint:
        doubt = Doubt(10**9, float(scene.clock()), scene.policy.digest())
        checkpoint.keep_doubt(doubt, [(MAILSERVER, node_id(1))])

    async with scene.open() as trusted:
        scene.chain.pass_blocks(2)
        await trusted.wait_for(lambda each: each.status()["head"] == scene.chain.head.number, 60.0)
        assert not trusted.is_trusted(MAILSERVER, node_id(1))
        assert trusted.is_trusted(MAILSERVER, node_id(3))
        scene.chain.pass_blocks(scene.chain.depth + 1)
        await trusted.wait_for(lambda each: each.is_trusted(MAILSERVER, node_id(1)), 60.0)


@pytest.mark.parametrize("at", ["once", "the next start"])
async def test_another_policy_does_not_bring_back_what_was_removed_and_taken_back(at, tmp_path):
    scene = Scene(tmp_path, honest=1, depth=8)
    scene.first_years()
    scene.chain.mine(nodes_added(2, node_ids(30, 31)))
    scene.chain.pass_blocks(9)
    after = Policy(curators=(CURATOR,), chosen=frozenset({2}), own=(OwnNode(MAILSERVER, node_id(99)),))

    async with scene.open() as trusted:
        await scene.settle(trusted)
        scene.chain.mine(nodes_removed(2, node_ids(30)))
        await trusted.wait_for(lambda each: each.status()["head"] == scene.chain.head.number, 60.0)
        scene.chain.drop(1)
        await trusted.wait_for(lambda each: each.status()["head"] == scene.chain.head.number, 60.0)
        if at == "once":
            trusted.set_policy(after)
            assert not trusted.is_trusted(MAILSERVER, node_id(30))
            assert trusted.is_trusted(MAILSERVER, node_id(3)), "who was trusted before stays so"

    scene.policy = after
    async with scene.open() as trusted:
        for _ in range(20):
            await scene.breathe()
            assert not trusted.is_trusted(MAILSERVER, node_id(30))
            assert trusted.is_trusted(MAILSERVER, node_id(99))
        scene.chain.mine()
        await trusted.wait_for(lambda each: not each.trusted_set.withheld(), 60.0)
        assert trusted.is_trusted(MAILSERVER, node_id(30)), "no block removes it any more"
        assert trusted.is_trusted(MAILSERVER, node_id(3))


@pytest.mark.parametrize("later", [2, 20], ids=["at the head", "final"])
@pytest.mark.parametrize("again", [False, True], ids=["is gone", "comes again"])
async def test_a_removal_that_was_taken_back_counts_in_the_next_process_until_blocks_replace_it(again, later, tmp_path):
    scene = Scene(tmp_path, honest=1, depth=8)
    scene.first_years()
    removal = nodes_removed(1, node_ids(1))

    async with scene.open() as trusted:
        await scene.settle(trusted)
        assert trusted.is_trusted(MAILSERVER, node_id(1))
        scene.chain.mine(removal)
        scene.chain.pass_blocks(1)
        await scene.settle(trusted)
        scene.chain.drop(2)
        await trusted.wait_for(lambda each: each.status()["head"] == scene.chain.head.number, 60.0)
        assert not trusted.is_trusted(MAILSERVER, node_id(1))

    for _ in range(2):
        async with scene.open() as trusted:
            for _ in range(50):
                assert not trusted.is_trusted(MAILSERVER, node_id(1))
                await scene.breathe()
            assert "taken back" in trusted.why(MAILSERVER, node_id(1))

    async with scene.open() as trusted:
        scene.chain.mine(*[removal] * again)
        scene.chain.pass_blocks(later - 1)
        await scene.settle(trusted)
        await trusted.wait_for(lambda each: not each.trusted_set.withheld(), 60.0)
        assert trusted.is_trusted(MAILSERVER, node_id(1)) is not again

    async with scene.open() as trusted:
        assert not trusted.trusted_set.withheld()
        assert trusted.is_trusted(MAILSERVER, node_id(1)) is not again


async def test_going_back_once_more_from_a_lower_head_does_not_end_the_first_doubt(tmp_path):
    scene = Scene(tmp_path, honest=1, depth=8)
    scene.first_years()

    async def at_the_head(trusted):
        await trusted.wait_for(lambda each: each.status()["head"] == scene.chain.head.number, 60.0)

    async with scene.open() as trusted:
        await scene.settle(trusted)
        scene.chain.mine(nodes_removed(1, node_ids(1)))
        scene.chain.pass_blocks(1)
        await scene.settle(trusted)
        scene.chain.drop(2)
        await at_the_head(trusted)
        scene.chain.mine(nodes_removed(1, node_ids(3)))
        await at_the_head(trusted)
        scene.chain.drop(1)
        await at_the_head(trusted)
        scene.chain.pass_blocks(1)
        await at_the_head(trusted)
        for _ in range(50):
            await scene.breathe()
            assert not trusted.is_trusted(MAILSERVER, node_id(1))
            assert not trusted.is_trusted(MAILSERVER, node_id(3))
        scene.chain.pass_blocks(1)
        await scene.settle(trusted)
        assert trusted.is_trusted(MAILSERVER, node_id(1))


async def test_a_removed_node_stays_out_while_blocks_are_read_again_by_ranges(tmp_path):
    scene = Scene(tmp_path, RefusesLogs, honest=0, depth=8)
    scene.nodes[0].lying = False
    scene.first_years()

    async with scene.open() as trusted:
        await scene.settle(trusted)
        scene.chain.mine(nodes_removed(1, node_ids(1)))
        await scene.settle(trusted)
    scene.chain.pass_blocks(100)
    scene.nodes[0].lying = True

    for _ in range(2):
        async with scene.open() as trusted:
            for _ in range(50):
                assert not trusted.is_trusted(MAILSERVER, node_id(1))
                await scene.breathe()
            assert trusted.status()["problem"]
    scene.nodes[0].lying = False
    async with scene.open() as trusted:
        await scene.settle(trusted)
        assert not trusted.trusted_set.withheld()


async def test_two_endpoints_that_contradict_each_other_raise_the_alarm_and_freeze_the_set(tmp_path):
    scene = Scene(tmp_path, ForgesTheHead, honest=1)
    scene.nodes[0].lying = False
    scene.first_years()

    async with scene.open() as trusted:
        await scene.settle(trusted)
        known = scene.trusted(trusted)
        scene.nodes[0].lying = True
        await scene.breathe()
        scene.chain.mine(nodes_added(1, node_ids(5)))
        scene.chain.pass_blocks(9)
        for _ in range(500):
            scene.now += 1.0
            await scene.breathe()
            if trusted.state is Freshness.TAMPERED:
                break

        for _ in range(50):
            assert trusted.state is Freshness.TAMPERED, "the alarm must not go off and on"
            await scene.breathe()

        assert scene.trusted(trusted) <= known
        assert trusted.status()["alarm"]


ABOUT_WHAT_IS_PROVEN = (OmitsEverything, OmitsRemovals, AltersANode, InventsANode, ProvesAnotherSlot, RefusesProofs)
"""Lies of an endpoint that has the true headers."""


@pytest.mark.parametrize("lie", ABOUT_WHAT_IS_PROVEN, ids=by_name)
async def test_one_honest_endpoint_is_enough_when_all_others_lie_about_what_is_proven(lie, tmp_path):
    scene = Scene(tmp_path, lie, lie, lie, honest=1)
    scene.first_years()

    async with scene.open() as trusted:
        await scene.settle(trusted)
        await live_through(scene, trusted)

        assert trusted.state is Freshness.FRESH


@pytest.mark.parametrize("quorum", [0, 3])
async def test_endpoints_that_forge_each_for_itself_find_no_second_one_and_get_nothing(quorum, tmp_path):
    scene = Scene(tmp_path, ForgesHistory, ForgesAnotherHistory, honest=1, quorum=quorum)
    scene.first_years()

    async with scene.open() as trusted:
        for _ in range(300):
            scene.now += 0.2
            await scene.breathe()
            assert scene.trusted(trusted) == set()
        assert trusted.trusted_set.proven_at is None


async def test_forgers_who_agree_win_nothing_where_all_must_agree(tmp_path):
    scene = Scene(tmp_path, ForgesTheHead, ForgesTheHead, honest=1, quorum=3)
    scene.nodes[0].lying = scene.nodes[1].lying = False
    scene.first_years()

    async with scene.open() as trusted:
        await scene.settle(trusted)
        known = scene.trusted(trusted)
        scene.nodes[0].forged = scene.nodes[1].forged = scene.nodes[0].forge()
        scene.nodes[0].lying = scene.nodes[1].lying = True
        scene.chain.mine(nodes_added(1, node_ids(5)))
        scene.chain.pass_blocks(9)
        for _ in range(300):
            scene.now += 0.2
            await scene.breathe()
            assert scene.trusted(trusted) <= known
        assert not trusted.is_trusted(MAILSERVER, node_id(666))


@pytest.mark.parametrize("seed", range(12))
async def test_noise_is_survived(seed, tmp_path):
    scene = Scene(tmp_path, Babbles)
    scene.nodes[0].seed = seed
    scene.first_years()

    async with scene.open() as trusted:
        await scene.settle(trusted)
        scene.chain.mine(nodes_removed(1, node_ids(1)))
        scene.chain.mine(nodes_added(1, node_ids(5)))
        scene.chain.pass_blocks(scene.chain.depth + 1)
        await scene.settle(trusted)
