"""Merkle-Patricia proofs: real ones hold, and nothing else does."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offchain import rlp
from offchain.chain.commitment import verdict_slot
from offchain.chain.proof import EMPTY_ROOT, ProofError, prove, prove_account, prove_slot
from offchain.hashing import keccak256
from tests.support.chain import trie

ANVIL = json.loads((Path(__file__).parents[2] / "vectors" / "chain" / "anvil.json").read_text())
STATE_ROOT = bytes.fromhex(ANVIL["header"]["stateRoot"][2:])

tries = st.dictionaries(st.binary(min_size=1, max_size=4), st.binary(min_size=1, max_size=60), min_size=1, max_size=40)


def nodes(texts):
    return [bytes.fromhex(text[2:]) for text in texts]


def address(name):
    return bytes.fromhex(ANVIL[name][2:])


@pytest.mark.parametrize("name", ["registry", "curator"])
def test_proves_a_real_account_and_all_its_slots(name):
    document = ANVIL[name + "Proof"]

    account = prove_account(STATE_ROOT, address(name), nodes(document["accountProof"]))

    assert account is not None
    assert account.code_hash.hex() == document["codeHash"][2:]
    assert account.nonce == int(document["nonce"], 16)
    assert account.storage_root.hex() == document["storageHash"][2:]
    for slot in document["storageProof"]:
        key = int(slot["key"], 16).to_bytes(32, "big")
        found = prove_slot(account.storage_root, key, nodes(slot["proof"]))
        assert found == int(slot["value"], 16).to_bytes(32, "big")


def test_proves_that_an_account_does_not_exist():
    assert prove_account(STATE_ROOT, b"\x77" * 20, nodes(ANVIL["absentProof"]["accountProof"])) is None


def test_refuses_a_real_proof_under_another_root():
    with pytest.raises(ProofError):
        prove_account(bytes(32), address("registry"), nodes(ANVIL["registryProof"]["accountProof"]))


@given(data=st.data())
@settings(max_examples=200)
def test_refuses_a_real_proof_with_any_bit_changed_any_node_left_out_or_any_node_added(data):
    document = ANVIL["registryProof"]
    proof = nodes(document["accountProof"])
    at = data.draw(st.integers(0, len(proof) - 1))
    bit = data.draw(st.integers(0, 8 * len(proof[at]) - 1))
    changed = bytearray(proof[at])
    changed[bit // 8] ^= 1 << bit % 8
    for wrong in (
        [*proof[:at], bytes(changed), *proof[at + 1 :]],
        proof[:at] + proof[at + 1 :],
        proof[: at + 1] + proof[at:],
        [*proof, b"\x80"],
    ):
        with pytest.raises(ProofError):
            prove_account(STATE_ROOT, address("registry"), wrong)


@given(tries, st.binary(min_size=1, max_size=4))
def test_proves_what_a_random_trie_holds_and_what_it_does_not(items, other):
    root, proof_of = trie(items)
    for key, value in items.items():
        assert prove(root, keccak256(key), proof_of(key)) == value
    if other not in items:
        assert prove(root, keccak256(other), proof_of(other)) is None


@given(tries, st.data())
def test_the_proof_of_one_key_proves_nothing_else_of_another_than_what_is_true(items, data):
    root, proof_of = trie(items)
    one = data.draw(st.sampled_from(sorted(items)))
    other = data.draw(st.binary(min_size=1, max_size=4))
    try:
        found = prove(root, keccak256(other), proof_of(one))
    except ProofError:
        return
    assert found == items.get(other)


@given(st.binary(min_size=32, max_size=32), st.lists(st.binary(max_size=200), max_size=5))
def test_refuses_noise_with_the_one_error(root, noise):
    with pytest.raises(ProofError):
        prove(root, bytes(32), noise)


@given(st.recursive(st.binary(max_size=40), lambda inner: st.lists(inner, max_size=17), max_leaves=30))
def test_reads_or_refuses_any_node_that_has_the_right_hash_with_the_one_error(node):
    encoded = rlp.encode(node)
    try:
        prove(keccak256(encoded), bytes(32), [encoded])
    except ProofError:
        pass


def test_an_empty_trie_holds_nothing():
    assert prove(EMPTY_ROOT, bytes(32), []) is None
    assert prove(EMPTY_ROOT, bytes(32), [b"\x80"]) is None
    with pytest.raises(ProofError):
        prove(EMPTY_ROOT, bytes(32), [b"\x80", b"\x80"])


def test_refuses_a_slot_whose_value_is_not_minimal_or_too_long():
    slot = verdict_slot(1, 1)
    for value in (b"\0\1", b"\1" * 33, b""):
        root, proof_of = trie({slot: rlp.encode(value), b"other": b"x"})
        with pytest.raises(ProofError):
            prove_slot(root, slot, proof_of(slot))
    root, proof_of = trie({slot: b"\xc0", b"other": b"x"})
    with pytest.raises(ProofError):
        prove_slot(root, slot, proof_of(slot))


def test_refuses_an_account_that_is_not_one():
    root, proof_of = trie({b"\1" * 20: b"\xc0", b"other": b"x"})

    with pytest.raises(ProofError, match="account"):
        prove_account(root, b"\1" * 20, proof_of(b"\1" * 20))


def test_refuses_a_proof_without_end():
    with pytest.raises(ProofError):
        prove(bytes(32), bytes(32), [b"\x80"] * 66)
