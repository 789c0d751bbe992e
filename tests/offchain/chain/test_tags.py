"""Which block an endpoint calls final, and that every header is rebuilt."""

import pytest

from offchain.chain.rpc import BadAnswer
from offchain.chain.tags import ASSUMED_FINAL_DEPTH, Tags, confirmations
from offchain.errors import ChainError, ConfigError
from tests.support.chain import FakeChain, FakeNode, FakeRpc, Refuses
from tests.support.lies import HeaderWithAnotherState


class WithoutFinality(FakeNode):
    """Knows no final block: says that there is none, or that it does not know the word."""

    refuses = False

    def eth_getBlockByNumber(self, number, full):
        if number in ("finalized", "safe"):
            if self.refuses:
                raise Refuses("unknown block tag")
            return None
        return super().eth_getBlockByNumber(number, full)


def chain_of(blocks):
    chain = FakeChain()
    chain.pass_blocks(blocks)
    return chain


def tags(node, finality="finalized"):
    rpc = FakeRpc(node)
    return Tags(rpc, finality), rpc.leader()


async def test_gives_the_final_block_and_any_other_by_height_or_tag():
    chain = chain_of(9)
    asking, endpoint = tags(FakeNode(chain))

    assert (await asking.final(endpoint)).hash == chain.final.hash
    assert (await asking.header(endpoint, "0x3")).hash == chain.blocks[3].hash
    assert (await asking.header(endpoint, "latest")).hash == chain.head.hash
    assert await asking.find(endpoint, "0xff") is None
    with pytest.raises(BadAnswer, match="has no block 0xff"):
        await asking.header(endpoint, "0xff")


@pytest.mark.parametrize("refuses", [True, False])
@pytest.mark.parametrize(
    ("finality", "depth"), [("latest", ASSUMED_FINAL_DEPTH), ("12", ASSUMED_FINAL_DEPTH), ("90", 90)]
)
async def test_where_nothing_is_called_final_a_deep_block_is_taken_if_the_user_asked_for_less(refuses, finality, depth):
    node = WithoutFinality(chain_of(100))
    node.refuses = refuses
    asking, endpoint = tags(node, finality)

    assert (await asking.final(endpoint)).number == 100 - depth


async def test_a_chain_younger_than_that_depth_is_final_in_its_first_block():
    asking, endpoint = tags(WithoutFinality(chain_of(5)), "latest")

    assert (await asking.final(endpoint)).number == 0


@pytest.mark.parametrize("finality", ["finalized", "safe"])
async def test_no_final_block_is_made_up_for_a_user_who_wants_one(finality):
    asking, endpoint = tags(WithoutFinality(chain_of(100)), finality)

    with pytest.raises(ChainError, match="does not know which block is final"):
        await asking.final(endpoint)


async def test_a_header_that_does_not_hash_to_its_block_is_a_bad_answer():
    asking, endpoint = tags(HeaderWithAnotherState(chain_of(9)))

    with pytest.raises(BadAnswer, match="hashes to"):
        await asking.final(endpoint)


@pytest.mark.parametrize(("finality", "count"), [("finalized", 0), ("safe", 0), ("latest", 0), ("0", 0), ("12", 12)])
def test_a_finality_is_a_name_or_a_number_of_confirmations(finality, count):
    assert confirmations(finality) == count


@pytest.mark.parametrize("finality", ["", "soon", "-1", "1.5", "١٢"])
def test_anything_else_is_a_mistake_in_the_configuration(finality):
    with pytest.raises(ConfigError, match="not a finality"):
        confirmations(finality)
