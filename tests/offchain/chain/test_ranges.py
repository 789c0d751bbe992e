"""Backfill: ranges that adapt, requests in flight, results in order."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.chain.ranges import GOOD_ANSWER, Backfill, RangeSize, suggestion
from offchain.chain.rpc import BadAnswer, RpcError
from tests.support.chain import CURATOR, REGISTRY, FakeChain, FakeNode, FakeRpc, altered, node_ids, nodes_added


@pytest.fixture
def chain():
    chain = FakeChain.started()
    for number in range(40):
        chain.mine(nodes_added(1, node_ids(number)))
    return chain


async def chunks_of(node, first, last, range_blocks=8, in_flight=4):
    rpc = FakeRpc(node)
    backfill = Backfill(rpc, rpc.leader(), [REGISTRY, CURATOR], range_blocks=range_blocks, in_flight=in_flight)
    return [chunk async for chunk in backfill.chunks(first, last)]


async def test_covers_every_block_once_in_order(chain):
    chunks = await chunks_of(FakeNode(chain), 1, 43)

    assert [chunk.first for chunk in chunks] == [1, *(chunk.last + 1 for chunk in chunks[:-1])]
    assert chunks[-1].last == 43
    assert sum(len(chunk.logs) for chunk in chunks) == sum(len(block.logs) for block in chain.blocks[1:44])


async def test_what_arrived_while_the_caller_was_busy_comes_in_one_piece(chain):
    rpc = FakeRpc(FakeNode(chain))
    backfill = Backfill(rpc, rpc.leader(), [REGISTRY, CURATOR], range_blocks=2, in_flight=4)
    batches = []
    async for batch in backfill.batches(1, 43):
        batches.append(batch)
        for _ in range(20):  # Busy: everything that was asked for arrives.
            await asyncio.sleep(0)

    assert [chunk for batch in batches for chunk in batch] == await chunks_of(FakeNode(chain), 1, 43, range_blocks=2)
    assert 1 < max(len(batch) for batch in batches) <= 4


async def test_what_arrived_before_a_failure_is_given_out_first(chain):
    class Failing(FakeNode):
        def eth_getLogs(self, wanted):
            if int(wanted["fromBlock"], 16) > 4:
                raise RpcError(-1, "no more")
            return super().eth_getLogs(wanted)

    rpc = FakeRpc(Failing(chain))
    backfill = Backfill(rpc, rpc.leader(), [REGISTRY, CURATOR], range_blocks=1, in_flight=8)
    found = []

    async def read():
        async for batch in backfill.batches(1, 43):
            found.extend(chunk.first for chunk in batch)
            for _ in range(20):
                await asyncio.sleep(0)

    with pytest.raises(RpcError, match="no more"):
        await read()

    assert found == [1, 2, 3, 4]


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
async def test_splits_what_the_endpoint_refuses(chain, limit):
    chunks = await chunks_of(FakeNode(chain, max_range=limit), 1, 43, range_blocks=40)

    assert all(chunk.last - chunk.first < limit for chunk in chunks)
    assert [block for chunk in chunks for block in range(chunk.first, chunk.last + 1)] == list(range(1, 44))


async def test_gives_up_when_a_single_block_is_refused(chain):
    with pytest.raises(RpcError):
        await chunks_of(FakeNode(chain, max_range=0), 1, 43)


async def test_a_log_that_is_none_is_a_bad_answer(chain):
    node = FakeNode(chain, tamper=lambda logs: [altered(log, data="0xzz") for log in logs])

    with pytest.raises(BadAnswer):
        await chunks_of(node, 1, 43)


async def test_gives_nothing_for_no_blocks(chain):
    assert await chunks_of(FakeNode(chain), 5, 4) == []


@pytest.mark.parametrize(
    ("message", "blocks"),
    [
        ("query returned more than 10000 results. Try with this block range [0x10, 0x1f].", 16),
        ("eth_getLogs is limited to a 10,000 block range", 10_000),
        ("block range is too wide: maximum is 500", 500),
        ("up to a 2000 block range", 2_000),
        ("[0x20, 0x10]", None),
        ("no", None),
    ],
)
def test_understands_what_endpoints_suggest(message, blocks):
    assert suggestion(message) == blocks


def test_follows_a_suggestion_only_if_it_is_smaller_than_what_failed():
    size = RangeSize(1_000)
    size.failed(1_000, "limited to 5000 blocks")
    assert size.blocks == 500
    size.failed(500, "limited to 100 blocks")
    assert size.blocks == 100


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("ok"), st.integers(0, 3 * GOOD_ANSWER), st.floats(0, 5)),
            st.tuples(st.just("no"), st.text(max_size=40), st.just(0)),
        )
    )
)
def test_always_asks_for_at_least_one_block_and_shrinks_when_refused(events):
    size = RangeSize(2_000)
    for what, value, seconds in events:
        before = size.blocks
        if what == "ok":
            size.succeeded(before, value, seconds)
        else:
            size.failed(before, value)
            assert size.blocks < before or before == 1
        assert size.blocks >= 1
