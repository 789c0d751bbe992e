"""The log commitment: what the contract stored is what its logs add up to."""

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.chain import commitment
from offchain.chain.commitment import Commitment, MissingEventError, advance_all, chain_in_python, verdict_slot
from offchain.chain.events import RawLog, is_registry_topic, plain_log
from tests.support.chain import node_ids, nodes_added, provider_created, raw_log

KINDS = ["good"] * 8 + ["wrong", "short"]
ANVIL = json.loads((Path(__file__).parents[2] / "vectors" / "chain" / "anvil.json").read_text())


@pytest.fixture(scope="module")
def logs():
    """The real registry's logs."""
    found = [plain_log(msgspec.convert(log, RawLog)) for log in ANVIL["logs"]]
    registry = bytes.fromhex(ANVIL["registry"][2:])
    return [log for log in found if log.address == registry and is_registry_topic(log.payload[:32])]


def test_equals_what_the_contract_stored(logs):
    stored = int(ANVIL["registryProof"]["storageProof"][0]["value"], 16).to_bytes(32, "big")

    assert advance_all(Commitment(), logs).word == stored
    assert Commitment.from_word(stored).version == len(logs)


def test_can_be_taken_up_anywhere(logs):
    half = advance_all(Commitment(), logs[:5])

    assert advance_all(half, logs[5:]) == advance_all(Commitment(), logs)


@given(data=st.data())
def test_notices_an_event_left_out_repeated_or_moved_by_its_version(logs, data):
    at = data.draw(st.integers(0, len(logs) - 2))
    for wrong in (
        logs[:at] + logs[at + 1 :],
        logs[: at + 1] + logs[at:],
        [*logs[:at], logs[at + 1], logs[at], *logs[at + 2 :]],
    ):
        with pytest.raises(MissingEventError):
            advance_all(Commitment(), wrong)


def test_notices_an_event_left_out_at_the_end_by_the_version(logs):
    assert advance_all(Commitment(), logs[:-1]) != advance_all(Commitment(), logs)


def test_notices_any_changed_word_by_the_hash():
    right = [raw_log(provider_created(1), 1), raw_log(nodes_added(1, node_ids(1, 2)), 2)]
    wrong = [right[0], raw_log(nodes_added(1, node_ids(1, 3)), 2)]

    assert advance_all(Commitment(), map(plain_log, right)) != advance_all(Commitment(), map(plain_log, wrong))


def test_knows_where_a_curator_stores_its_verdict():
    # keccak256(kind . keccak256(provider . 0)), as the curator's own verdictSlot says: the vector was asked for by it.
    asked = ANVIL["curatorProof"]["storageProof"]

    assert int(asked[0]["key"], 16) == int.from_bytes(verdict_slot(1, 1), "big")
    assert int(asked[0]["value"], 16) == 1
    assert int(asked[1]["value"], 16) == 0


@pytest.mark.skipif(commitment.chain is chain_in_python, reason="the C code is not built")
@given(
    st.integers(0, 2**32 - 2),
    st.binary(min_size=28, max_size=28),
    st.lists(st.tuples(st.sampled_from([0, 32, 64, 96, 128]), st.integers(0, 300), st.sampled_from(KINDS)), max_size=8),
)
def test_c_and_python_fold_alike(version, digest, shapes):
    """Payloads of all lengths around the blocks of keccak; some with a wrong version, some too short for one."""
    payloads = []
    for number, (start, rest, kind) in enumerate(shapes):
        word = (version + 1 + number + (kind == "wrong")).to_bytes(32, "big")
        payloads.append((b"\x5a" * start + word + b"\xa5" * rest)[: start + 31 if kind == "short" else None])
    starts = [start for start, _, _ in shapes]

    assert commitment.chain(version, digest, payloads, starts) == chain_in_python(version, digest, payloads, starts)


@pytest.mark.skipif(commitment.chain is chain_in_python, reason="the C code is not built")
def test_c_refuses_what_is_no_digest_and_no_list_of_payloads():
    for arguments in ((0, bytes(27), [], []), (0, bytes(28), [bytes(32)], [])):
        with pytest.raises(ValueError, match="28 bytes"):
            commitment.chain(*arguments)
    for arguments in ((0, bytes(28), ["text"], [0]), (0, bytes(28), [bytes(32)], ["0"])):
        with pytest.raises(TypeError):
            commitment.chain(*arguments)
