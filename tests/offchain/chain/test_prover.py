"""What an endpoint must prove, and how many must agree."""

import msgspec
import pytest

from offchain.chain.commitment import COMMITMENT_SLOT, Commitment
from offchain.chain.events import VerdictStatus, decode, plain_log
from offchain.chain.facts import Facts, Verdict
from offchain.chain.header import RawHeader, parse_header
from offchain.chain.prover import (
    SLOTS_AT_ONCE,
    Contradiction,
    NoContract,
    NoQuorum,
    check_commitment,
    check_quorum,
    check_verdicts,
    fetch_slots,
    verdict_keys,
    verdict_word,
)
from offchain.chain.rpc import BadAnswer, RpcError
from tests.support.chain import (
    CODE_HASH,
    CURATOR,
    REGISTRY,
    FakeChain,
    FakeNode,
    FakeRpc,
    node_ids,
    nodes_added,
    verdict_changed,
)
from tests.support.lies import BreaksProofs, ProvesAnotherBlock, TruncatesProofs


@pytest.fixture
def chain():
    chain = FakeChain.started()
    chain.mine(nodes_added(1, node_ids(1)))
    chain.mine(verdict_changed(2, 2, kind=1, until=2**64 - 1, weight=2**128 - 1))
    chain.pass_blocks(5)
    return chain


def asked(node):
    rpc = FakeRpc(node)
    return rpc, rpc.leader()


def header(block):
    return parse_header(msgspec.convert(block.header, RawHeader))


def facts_of(chain):
    facts = Facts()
    for block in chain.blocks:
        for log in block.logs:
            facts.apply(decode(plain_log(log)))
    return facts


async def test_a_commitment_that_is_proven_gives_the_code_hash(chain):
    found = await check_commitment(*asked(FakeNode(chain)), header(chain.head), REGISTRY, chain.head.commitment)

    assert found == CODE_HASH


async def test_another_commitment_is_a_contradiction_that_names_the_endpoint_and_both_versions(chain):
    ours = Commitment(chain.head.commitment.version - 1, bytes(28))

    with pytest.raises(Contradiction, match=r"node0\.example.*version 4.*add up to version 3"):
        await check_commitment(*asked(FakeNode(chain)), header(chain.head), REGISTRY, ours)


async def test_a_contract_that_is_not_there_is_proven_not_to_be(chain):
    nowhere = b"\x77" * 20
    node = FakeNode(chain)
    node.eth_getProof = lambda contract, slots, number: {
        **chain.proof(chain.head, nowhere, []),
        "storageProof": [{"proof": []} for _ in slots],
    }

    with pytest.raises(NoContract, match="check the deployment"):
        await fetch_slots(*asked(node), header(chain.head), nowhere, [COMMITMENT_SLOT])


@pytest.mark.parametrize("liar", [BreaksProofs, TruncatesProofs, ProvesAnotherBlock], ids=lambda cls: cls.__name__)
async def test_a_proof_that_does_not_hold_is_a_bad_answer(chain, liar):
    with pytest.raises(BadAnswer, match="does not hold"):
        await fetch_slots(*asked(liar(chain)), header(chain.blocks[5]), REGISTRY, [COMMITMENT_SLOT])


@pytest.mark.parametrize("count", [0, 2])
async def test_another_number_of_slots_than_asked_for_is_a_bad_answer(chain, count):
    node = FakeNode(chain)
    proof = chain.proof(chain.head, REGISTRY, [COMMITMENT_SLOT])
    node.eth_getProof = lambda *_: {**proof, "storageProof": proof["storageProof"] * count}

    with pytest.raises(BadAnswer, match=f"proofs of {count} slots, expected 1"):
        await fetch_slots(*asked(node), header(chain.head), REGISTRY, [COMMITMENT_SLOT])


async def test_an_endpoint_without_proofs_says_so(chain):
    with pytest.raises(RpcError, match="no proofs here"):
        await fetch_slots(*asked(FakeNode(chain, proofs=False)), header(chain.head), REGISTRY, [COMMITMENT_SLOT])


async def test_many_slots_are_asked_for_in_parts_and_come_in_order(chain):
    node = FakeNode(chain)
    slots = [number.to_bytes(32, "big") for number in range(SLOTS_AT_ONCE + 3)]

    _, words = await fetch_slots(*asked(node), header(chain.head), REGISTRY, slots)

    assert words == [chain.head.commitment.word] + [bytes(32)] * (len(slots) - 1)
    assert [len(params[1]) for _, params in node.calls] == [SLOTS_AT_ONCE, 3]


async def test_verdicts_are_compared_with_every_slot_that_may_hold_one(chain):
    facts = facts_of(chain)
    keys = verdict_keys(CURATOR, facts)
    assert keys == [(CURATOR, provider, kind) for provider in (1, 2) for kind in (0, 1)]
    asking = asked(FakeNode(chain))

    await check_verdicts(*asking, header(chain.head), CURATOR, keys, facts)
    await check_verdicts(*asking, header(chain.head), CURATOR, [], facts)
    facts.verdicts[CURATOR, 2, 0] = Verdict(VerdictStatus.ACCEPTED, 0, 0, 1, bytes(32))
    with pytest.raises(Contradiction, match="another verdict on provider 2"):
        await check_verdicts(*asking, header(chain.head), CURATOR, keys, facts)


def test_a_verdict_is_packed_as_the_contract_packs_it():
    word = verdict_word(Verdict(VerdictStatus.REJECTED, 5, 7, 1, bytes(32)))

    assert word == (2 | 5 << 8 | 7 << 72).to_bytes(32, "big")
    assert verdict_word(None) == bytes(32)


async def test_those_that_disagree_with_enough_others_are_demoted(chain):
    other = chain.copy()
    other.drop(1)
    other.pass_blocks(1)
    rpc = FakeRpc(FakeNode(chain), FakeNode(chain), FakeNode(other))

    agreeing = await check_quorum(rpc, rpc.leader(), header(chain.head), 2)

    assert agreeing == ["node0.example", "node1.example"]
    assert "has another block" in next(each for each in rpc.endpoints if each.name == "node2.example").last_error


async def test_no_agreement_is_a_contradiction_and_too_few_answers_are_none(chain):
    other = chain.copy()
    other.drop(1)
    other.pass_blocks(1)
    rpc = FakeRpc(FakeNode(chain), FakeNode(other))
    with pytest.raises(Contradiction, match=r"node1\.example contradict"):
        await check_quorum(rpc, rpc.leader(), header(chain.head), 0)

    rpc = FakeRpc(FakeNode(chain), FakeNode(chain, down=True))
    with pytest.raises(NoQuorum, match="1 endpoints have block"):
        await check_quorum(rpc, rpc.leader(), header(chain.head), 0)


async def test_one_endpoint_alone_agrees_with_itself(chain):
    rpc = FakeRpc(FakeNode(chain))

    assert await check_quorum(rpc, rpc.leader(), header(chain.head), 0) == ["node0.example"]
