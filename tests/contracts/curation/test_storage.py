"""Storage is part of the interface: where things lie, and that proven slots say what the getters say."""

from __future__ import annotations

import pytest
from brownie import web3

from offchain.chain import proof
from scripts import export_abi, sources
from scripts.terms import TOKEN
from tests.support.curation import FOR
from tests.support.storage import mapping_slot, words

LAYOUT = {
    "TokenCurator": {"_verdicts": 0, "_listings": 1, "_challenges": 2, "_votingTerms": 3},
    "BallotBox": {
        "_owner": 0, "_pendingOwner": 1, "totalTokens": 2, "pollCount": 3, "_consumers": 4, "_accounts": 5, "_polls": 6,
        "_counts": 7, "_ballots": 8, "_consumerCount": 9,
    },
    "Parameters": {
        "_owner": 0, "_pendingOwner": 1, "_latest": 2, "_scheduled": 3, "_minimum": 5, "_maximum": 7,
        "_listingTerms": 9, "_votingTerms": 10,
    },
    "ParameterVote": {"proposalCount": 0, "_proposals": 1},
    "DiscoveryLens": {},
}  # fmt: skip
"""Part of the interface: a change here is a new contract for every client."""

STRUCTS = {
    ("TokenCurator", "Verdict"): {"status": 0, "until": 1, "weight": 9},
    ("TokenCurator", "Listing"): {
        "deposit": 0, "state": 12, "readyAt": 13, "coolUntil": 18, "pollId": 23, "version": 28, "challengeVersion": 30,
    },
    ("TokenCurator", "Challenge"): {"challenger": 0, "stake": 20},
    ("BallotBox", "Account"): {"balance": 0, "locked": 12, "lockedUntil": 24},
    ("BallotBox", "Poll"): {"commitEnd": 0, "revealEnd": 5, "consumer": 10, "slash": 12, "committed": 14},
    ("BallotBox", "Count"): {"outcome": 0, "claimEnd": 1, "weight": 6, "other": 18},
    ("BallotBox", "Ballot"): {"state": 0, "content": 1},
    ("BallotBox", "Consumer"): {"number": 0, "reserve": 2},
}  # fmt: skip
"""All of them one slot: members by the byte at which they begin."""


@pytest.fixture(scope="module")
def compiled():
    output = export_abi.compiled()["contracts"]
    return {name: output[path][name]["storageLayout"] for name, path in sources.SOURCES.items()}


@pytest.mark.parametrize("contract", LAYOUT)
def test_the_layout_is_as_documented(compiled, contract):
    places = {name: at["slot"] for name, at in export_abi.storage(compiled[contract]).items()}

    assert places == LAYOUT[contract]


@pytest.mark.parametrize(("contract", "struct"), STRUCTS)
def test_the_structs_are_one_slot_each_as_documented(compiled, contract, struct):
    kinds = compiled[contract]["types"].values()
    (members,) = [kind["members"] for kind in kinds if kind["label"].endswith(f".{struct}")]

    assert {member["label"]: member["offset"] for member in members} == STRUCTS[contract, struct]
    assert {member["slot"] for member in members} == {"0"}


def test_a_listing_and_its_challenge_are_what_the_getters_say(play, curator, listed, challenger):
    poll = play.challenge(listed, challenger)

    word = words(web3, curator, mapping_slot(1, listed, 1))
    assert _parts(word, (96, 8, 40, 40, 40, 16, 16)) == tuple(curator.listingOf(listed, 1))
    word = words(web3, curator, mapping_slot(2, poll))
    assert (f"0x{word & 2**160 - 1:040x}", word >> 160) == (challenger.address.lower(), curator.challengeOf(poll)[1])


def test_accounts_polls_and_counts_are_what_the_getters_say(play, box, listed, challenger, alice):
    poll = play.challenge(listed, challenger)
    play.poll(poll, (alice, FOR, 20_000 * TOKEN))

    assert _parts(words(web3, box, mapping_slot(5, alice.address)), (96, 96, 64)) == tuple(box.accountOf(alice))
    assert _parts(words(web3, box, mapping_slot(6, poll)), (40, 40, 16, 16, 96)) == tuple(box.pollOf(poll))
    assert _parts(words(web3, box, mapping_slot(7, poll)), (8, 40, 96, 96)) == tuple(box.countOf(poll))
    assert _parts(words(web3, box, mapping_slot(8, poll, alice.address)), (8, 248)) == tuple(box.ballotOf(poll, alice))


@pytest.mark.parametrize("voted_out", [False, True])
def test_a_proven_verdict_is_what_the_getter_says(play, curator, listed, challenger, alice, voted_out):
    """From the state root of a block on: what a client does that does not trust its endpoint."""
    if voted_out:
        play.contest(listed, challenger, (alice, FOR, 20_000 * TOKEN))
    slot = bytes(curator.verdictSlot(listed, 1))

    word = int.from_bytes(_proven(curator.address, slot), "big")

    assert _parts(word, (8, 64, 128)) == play.verdict(listed) != (0, 0, 0)
    assert word >> 200 == 0


def test_the_absence_of_a_verdict_is_proven_too(play, curator, provider, rival_provider, listed):
    assert _proven(curator.address, bytes(curator.verdictSlot(rival_provider, 1))) == bytes(32)


def _proven(place: str, slot: bytes) -> bytes:
    """A slot by eth_getProof, checked against the state root of its block with nothing from the node believed."""
    block = web3.eth.get_block("latest")
    answer = web3.provider.make_request("eth_getProof", [place, ["0x" + slot.hex()], hex(block["number"])])["result"]
    account = proof.prove_account(
        bytes(block["stateRoot"]), bytes.fromhex(place[2:]), list(map(_bytes, answer["accountProof"]))
    )
    assert account.storage_root == _bytes(answer["storageHash"])
    return proof.prove_slot(account.storage_root, slot, list(map(_bytes, answer["storageProof"][0]["proof"])))


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text[2:])


def _parts(word: int, sizes) -> tuple:
    parts = []
    for size in sizes:
        parts.append(word & 2**size - 1)
        word >>= size
    return tuple(parts)
