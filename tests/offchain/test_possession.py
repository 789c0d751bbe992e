"""Possession proofs (rules R4, X7): the digest is the standard's and the registry's; noise raises one error."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from eth_account.messages import encode_typed_data
from hypothesis import assume, example, given
from hypothesis import strategies as st

from offchain.hashing import keccak256
from offchain.keys import PrivateKey
from offchain.possession import Possession, PossessionError, Terms, authorize
from offchain.types import Address, Kind, KindId, NodeId, ProviderId

VECTORS = Path(__file__).parents[1] / "vectors" / "possession.json"
KEY = PrivateKey(b"\x11" * 32)

words = st.integers(min_value=0, max_value=2**256 - 1)
secrets = st.integers(min_value=1, max_value=2**255).map(lambda number: PrivateKey(number.to_bytes(32, "big")))


@st.composite
def terms(draw, key=KEY):
    return Terms(
        key.public.node_id,
        ProviderId(draw(words)),
        Kind(draw(st.sampled_from(["mailserver", "pushserver", "a"]))),
        KindId(draw(words)),
        draw(words),
        draw(words),
        draw(words),
        Address(draw(st.binary(min_size=20, max_size=20))),
    )


def standard_digest(agreed: Terms) -> bytes:
    """The digest by eth_account's own EIP-712."""
    message = encode_typed_data(
        full_message={
            "types": {
                "EIP712Domain": [
                    {"name": "name", "type": "string"},
                    {"name": "version", "type": "string"},
                    {"name": "chainId", "type": "uint256"},
                    {"name": "verifyingContract", "type": "address"},
                ],
                "NodePossession": [
                    {"name": "nodeId", "type": "bytes32"},
                    {"name": "providerId", "type": "uint256"},
                    {"name": "kind", "type": "uint256"},
                    {"name": "generation", "type": "uint256"},
                    {"name": "deadline", "type": "uint256"},
                ],
            },
            "primaryType": "NodePossession",
            "domain": {
                "name": "Waypost NodeRegistry",
                "version": "1",
                "chainId": agreed.chain_id,
                "verifyingContract": "0x" + agreed.registry.hex(),
            },
            "message": {
                "nodeId": agreed.node_id,
                "providerId": agreed.provider,
                "kind": agreed.kind_id,
                "generation": agreed.generation,
                "deadline": agreed.deadline,
            },
        }
    )
    return keccak256(b"\x19" + message.version + message.header + message.body)


@given(agreed=terms())
def test_the_digest_is_that_of_the_standard(agreed):
    assert agreed.digest() == standard_digest(agreed)


@pytest.mark.parametrize("case", json.loads(VECTORS.read_text())["cases"], ids=lambda case: case["name"])
def test_the_digest_is_that_of_the_contract(case):
    proof = Possession.from_json(case["proof"])

    assert proof.terms.digest().hex() == case["digest"].removeprefix("0x")


@given(key=secrets, data=st.data())
def test_a_proof_survives_its_document(key, data):
    proof = authorize(key, data.draw(terms(key)))

    assert Possession.from_json(json.loads(json.dumps(proof.to_json()))) == proof


@given(agreed=terms(), field=st.sampled_from(["provider", "kind_id", "generation", "deadline", "chain_id"]))
def test_a_proof_for_other_terms_is_refused(agreed, field):
    proof = authorize(KEY, agreed)
    other = replace(proof, terms=replace(agreed, **{field: getattr(agreed, field) ^ 1}))

    with pytest.raises(PossessionError):
        other.verify()


@given(agreed=terms(), other=secrets)
def test_a_proof_by_another_key_is_refused(agreed, other):
    assume(other.public != KEY.public)
    signature = other.sign_recoverable(agreed.digest())
    vs = int.from_bytes(signature[32:64], "big") | signature[64] << 255

    with pytest.raises(PossessionError) as caught:
        Possession(agreed, signature[:32], vs.to_bytes(32, "big")).verify()
    assert f"by node {other.public.node_id.hex()}" in str(caught.value)


def test_nobody_agrees_for_a_key_that_is_not_theirs():
    agreed = Terms(NodeId(bytes(32)), ProviderId(1), Kind("mailserver"), KindId(1), 1, 2, 3, Address(bytes(20)))

    with pytest.raises(ValueError, match="the terms are of node 0000"):
        authorize(KEY, agreed)


@given(agreed=terms())
def test_a_signature_in_its_malleated_form_is_refused(agreed):
    proof = authorize(KEY, agreed)
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    number = int.from_bytes(proof.vs, "big")
    s, parity = number & (2**255 - 1), number >> 255
    flipped = (order - s) | ((1 - parity) << 255)

    with pytest.raises(PossessionError):
        replace(proof, vs=flipped.to_bytes(32, "big")).verify()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=5,
)


@given(document=json_values)
def test_noise_is_no_proof(document):
    with pytest.raises(PossessionError):
        Possession.from_json(document)


@given(text=st.binary(max_size=200) | st.text(max_size=200))
@example(text="[" * 100_000)
@example(text="9" * 5_000)
@example(text=b"\xff\xfe")
def test_noise_as_text_is_no_proof(text):
    with pytest.raises(PossessionError):
        Possession.parse(text)


@given(agreed=terms())
def test_a_proof_is_the_same_after_its_travel_as_text(agreed):
    proof = authorize(KEY, agreed)

    assert Possession.parse(json.dumps(proof.to_json())) == proof


@given(data=st.data(), value=json_values)
def test_a_proof_with_one_entry_of_noise_is_refused(data, value):
    document = authorize(KEY, data.draw(terms())).to_json()
    name = data.draw(st.sampled_from(sorted(document.keys() - {"kind"})))
    assume(value != document[name] or type(value) is not type(document[name]))

    with pytest.raises(PossessionError):
        Possession.from_json({**document, name: value})


def test_entries_that_are_missing_or_unknown_are_named():
    document = authorize(
        KEY, Terms(KEY.public.node_id, ProviderId(1), Kind("mailserver"), KindId(1), 1, 2, 3, Address(bytes(20)))
    ).to_json()

    with pytest.raises(PossessionError, match="lacks deadline, vs"):
        Possession.from_json({name: value for name, value in document.items() if name not in ("vs", "deadline")})
    with pytest.raises(PossessionError, match="unknown entries: colour"):
        Possession.from_json({**document, "colour": "red"})
