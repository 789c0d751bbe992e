"""Envelopes of real programs, to the last bit; our own; and noise."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offchain import rlp
from offchain.hashing import keccak256
from offchain.whisper import envelope as module
from offchain.whisper.envelope import (
    Envelope,
    EnvelopeError,
    Fault,
    MiningGaveUp,
    PowRule,
    encode_many,
    mine,
    mine_for_all,
)
from tests.support.rlpx import vectors

VECTORS = vectors("whisper_envelopes")
u32 = st.integers(0, 2**32 - 1)
envelopes = st.builds(
    Envelope.create, u32, u32, st.binary(min_size=4, max_size=4), st.binary(max_size=300), st.integers(0, 2**64 - 1)
)


@pytest.mark.parametrize("vector", VECTORS["envelopes"], ids=lambda vector: vector["name"])
def test_reads_envelopes_of_real_programs(vector):
    raw = bytes.fromhex(vector["envelope"])

    envelope = Envelope.decode(raw)

    assert envelope.hash.hex() == vector["hash"] == vector.get("program_reported", {}).get("hash", vector["hash"])
    assert (envelope.expiry, envelope.ttl, envelope.nonce) == (vector["expiry"], vector["ttl"], vector["nonce"])
    assert envelope.topic.hex() == vector["topic"]
    assert len(envelope.data) == vector["data_length"]
    assert envelope.sent == vector.get("program_reported", {}).get("timestamp", envelope.sent)
    rebuilt = Envelope.create(envelope.expiry, envelope.ttl, envelope.topic, envelope.data, envelope.nonce)
    assert rebuilt == envelope
    assert rebuilt.raw == raw
    assert rebuilt.hash == envelope.hash


@pytest.mark.parametrize("vector", VECTORS["envelopes"], ids=lambda vector: vector["name"])
def test_counts_proof_of_work_as_the_programs_do_to_the_last_bit(vector):
    envelope = Envelope.decode(bytes.fromhex(vector["envelope"]))

    assert envelope.pow(PowRule.LEADING) == vector["pow_leading"]
    assert envelope.pow(PowRule.TRAILING) == vector["pow_trailing"]
    own = envelope.pow(PowRule(vector["pow_rule"]))
    assert own == vector["pow"] == vector.get("program_reported", {}).get("pow", own)
    assert own >= vector.get("pow_target", 0.0)
    assert envelope.best_pow() == max(vector["pow_leading"], vector["pow_trailing"])


@pytest.mark.parametrize("vector", VECTORS["packets"], ids=lambda vector: f"{vector['code']} {vector['source'][:15]}")
def test_reads_packets_of_real_programs_lists_and_bare_ones(vector):
    payload = bytes.fromhex(vector["payload"])

    found = Envelope.decode_many(payload)

    assert [each.hash.hex() for each in found] == vector["envelope_hashes"]
    if vector["shape"] == "list of envelopes":
        assert encode_many(found) == payload
    else:
        assert found[0].raw == payload


@given(st.lists(envelopes, max_size=5))
def test_what_is_encoded_is_decoded(several):
    assert Envelope.decode_many(encode_many(several)) == several
    for each in several:
        again = Envelope.decode(each.raw)
        assert again == each
        assert again.hash == each.hash == keccak256(each.raw)
        assert (again.expiry, again.ttl, again.topic, again.data, again.nonce) == (
            each.expiry,
            each.ttl,
            each.topic,
            each.data,
            each.nonce,
        )
        assert Envelope.decode_many(each.raw) == [each]


NOT_AN_ENVELOPE = {
    "a string": rlp.encode(b"text"),
    "four items": rlp.encode([1, 1, b"abcd", b""]),
    "six items": rlp.encode([1, 1, b"abcd", b"", 0, 0]),
    "topic of 3": rlp.encode([1, 1, b"abc", b"", 0]),
    "topic of 5": rlp.encode([1, 1, b"abcde", b"", 0]),
    "expiry of 5 bytes": rlp.encode([1 << 32, 1, b"abcd", b"", 0]),
    "ttl of 5 bytes": rlp.encode([1, 1 << 32, b"abcd", b"", 0]),
    "nonce of 9 bytes": rlp.encode([1, 1, b"abcd", b"", 1 << 64]),
    "expiry not minimal": rlp.encode([b"\0\1", 1, b"abcd", b"", 0]),
    "ttl not minimal": rlp.encode([1, b"\0\1", b"abcd", b"", 0]),
    "nonce not minimal": rlp.encode([1, 1, b"abcd", b"", b"\0"]),
    "data is a list": rlp.encode([1, 1, b"abcd", [b""], 0]),
    "topic is a list": rlp.encode([1, 1, [], b"", 0]),
    "bytes follow": rlp.encode([1, 1, b"abcd", b"", 0]) + b"\0",
    "cut short": rlp.encode([1, 1, b"abcd", b"", 0])[:-1],
}


@pytest.mark.parametrize("raw", NOT_AN_ENVELOPE.values(), ids=NOT_AN_ENVELOPE.keys())
def test_what_is_no_envelope_raises_the_one_error(raw):
    with pytest.raises(EnvelopeError):
        Envelope.decode(raw)
    with pytest.raises(EnvelopeError):
        Envelope.decode_many(raw)
    with pytest.raises(EnvelopeError):
        Envelope.decode_many(rlp.encode_list([raw, rlp.encode([1, 1, b"abcd", b"", 0])]))


def test_an_empty_list_is_no_envelopes():
    assert Envelope.decode_many(b"\xc0") == []


@given(st.binary(max_size=200))
def test_noise_raises_the_one_error(noise):
    with pytest.raises(EnvelopeError):
        Envelope.decode(noise)
    if noise != b"\xc0":
        with pytest.raises(EnvelopeError):
            Envelope.decode_many(noise)


@pytest.mark.parametrize(
    "fields",
    [(1 << 32, 1, b"abcd", b"", 0), (1, -1, b"abcd", b"", 0), (1, 1, b"abc", b"", 0), (1, 1, b"abcd", b"", 1 << 64)],
)
def test_fields_that_do_not_fit_cannot_be_made(fields):
    with pytest.raises(ValueError, match=r"range|topic"):
        Envelope.create(*fields)


# TIMES AND SIZES


@pytest.mark.parametrize(
    ("now", "fault"),
    [
        (939.9, Fault.FUTURE),
        (940, None),
        (1000, None),
        (1020, None),
        (1020.1, Fault.EXPIRED),
    ],
)
def test_an_envelope_is_taken_from_10_s_before_it_was_sent_until_20_s_past_its_expiry(now, fault):
    assert Envelope.create(1000, 50, b"abcd", b"").fault(now) is fault


def test_a_ttl_of_zero_or_beyond_its_expiry_is_refused():
    assert Envelope.create(1000, 0, b"abcd", b"").fault(1000) is Fault.TTL
    assert Envelope.create(1000, 1001, b"abcd", b"").fault(1000) is Fault.TTL
    assert Envelope.create(0, 0, b"abcd", b"").fault(0) is Fault.TTL


def test_its_position_is_when_it_was_sent_and_its_hash():
    envelope = Envelope.create(1_700_000_050, 50, b"abcd", b"")

    assert envelope.position == bytes.fromhex("6553f100") + envelope.hash


@given(st.lists(envelopes.filter(lambda each: each.sent >= 0), max_size=5))
def test_positions_are_in_the_order_of_time_and_then_of_hash(several):
    assert sorted(several, key=lambda each: each.position) == sorted(several, key=lambda each: (each.sent, each.hash))


def test_an_absurd_size_is_refused():
    envelope = Envelope.create(1000, 50, b"abcd", bytes(1000))

    assert envelope.fault(1000, max_size=len(envelope.raw)) is None
    assert envelope.fault(1000, max_size=len(envelope.raw) - 1) is Fault.SIZE
    assert Envelope.create(1000, 50, b"abcd", bytes(module.MAX_ENVELOPE)).fault(1000) is Fault.SIZE


@given(envelopes, st.floats(0, 2**33))
def test_no_envelope_makes_the_judge_fail(envelope, now):
    assert envelope.fault(now) is None or isinstance(envelope.fault(now), Fault)
    assert 0 <= envelope.pow(PowRule.LEADING) < math.inf
    assert 0 <= envelope.pow(PowRule.TRAILING) < math.inf


# PROOF OF WORK


@settings(max_examples=30)
@given(st.sampled_from(PowRule), st.floats(0.0001, 0.02), st.integers(1, 100), st.binary(max_size=300))
def test_mining_reaches_its_target_and_no_fewer_bits_would(rule, target, ttl, data):
    envelope = mine(1_700_000_000, ttl, b"abcd", data, target, rule)

    assert envelope.pow(rule) >= target
    assert envelope.ttl == ttl


@pytest.mark.parametrize("rule", PowRule)
def test_mining_takes_the_first_nonce_that_suffices(rule):
    envelope = mine(1_700_000_000, 50, b"abcd", b"data", 0.5, rule)

    assert envelope.nonce > 0
    for nonce in range(envelope.nonce):
        assert Envelope.create(1_700_000_000, 50, b"abcd", b"data", nonce).pow(rule) < 0.5


def test_a_target_of_zero_takes_no_work():
    assert mine(1_700_000_000, 50, b"abcd", b"data", 0.0).nonce == 0


@pytest.mark.parametrize("rule", PowRule)
def test_mining_gives_up_when_told_to(rule):
    with pytest.raises(MiningGaveUp, match="10 attempts"):
        mine(1_700_000_000, 50, b"abcd", b"data", 1000.0, rule, max_attempts=10)
    with pytest.raises(MiningGaveUp, match="takes"):
        mine(1_700_000_000, 50, b"abcd", b"data", 1e30, rule)


@given(envelopes)
def test_work_is_over_the_envelope_without_its_nonce(envelope):
    assert envelope._core() == rlp.encode([envelope.expiry, envelope.ttl, envelope.topic, envelope.data])


def test_without_ttl_there_is_no_work():
    with pytest.raises(ValueError, match="0 s"):
        mine(1_700_000_000, 0, b"abcd", b"", 1.0)
    assert Envelope.create(1_700_000_000, 0, b"abcd", b"").pow() == 0.0


def test_the_two_rules_refuse_each_others_envelopes():
    newer = mine(1_700_000_000, 50, b"abcd", b"data", 1.0, PowRule.LEADING)
    older = mine(1_700_000_000, 50, b"abcd", b"data", 1.0, PowRule.TRAILING)

    assert newer.pow(PowRule.TRAILING) < 1.0 <= newer.best_pow(1.0)
    assert older.pow(PowRule.LEADING) < 1.0 <= older.best_pow(1.0)


def test_zero_bits_of_a_zero_hash_are_256():
    assert module._trailing_zeros(bytes(32)) == 256
    assert module._trailing_zeros(b"\1" + bytes(31)) == 248


@given(st.binary(max_size=400))
@settings(max_examples=20, deadline=None)
def test_mined_for_all_it_has_the_work_by_either_rule(data):
    mined = mine_for_all(1_700_000_000, 50, bytes(4), data, 0.0005)

    assert all(mined.pow(rule) >= 0.0005 for rule in PowRule)
    assert Envelope.decode(mined.raw) == mined
