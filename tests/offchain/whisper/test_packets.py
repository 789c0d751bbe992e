import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain import rlp
from offchain.hashing import keccak256
from offchain.whisper import packets
from offchain.whisper.packets import BatchFault, BatchResponse, RateLimits, ShhError, Status
from tests.support.rlpx import vectors

VECTORS = vectors("status_packets")
pows = st.floats(0, 1e300)
blooms = st.one_of(st.none(), st.binary(min_size=64, max_size=64).filter(lambda bloom: bloom != b"\xff" * 64))
u64 = st.integers(0, 2**64 - 1)
limits = st.builds(RateLimits, u64, u64, u64)
statuses = st.builds(Status, pows, blooms, st.booleans(), st.booleans(), st.one_of(st.none(), limits))


@pytest.mark.parametrize("vector", VECTORS["status"], ids=lambda vector: f"{vector['program']} {vector['settings']}")
def test_reads_the_status_of_real_programs(vector):
    decoded = vector["status_decoded"]

    status = Status.decode(bytes.fromhex(vector["status"]))

    assert status.version == decoded["version"] == packets.VERSION
    assert status.min_pow == decoded["min_pow"]
    assert (status.bloom or b"").hex() == decoded["bloom"]
    assert status.light == decoded.get("light_node", False)
    assert status.confirmations == decoded.get("confirmations_enabled", False)
    if decoded["elements"] == 5:
        assert status.encode().hex() == vector["status"]


@pytest.mark.parametrize("vector", VECTORS["control"], ids=lambda vector: f"{vector['program']} {vector['code']}")
def test_reads_changed_requirements_of_real_programs(vector):
    payload = bytes.fromhex(vector["packet"])

    if vector["code"] == 2:
        assert packets.decode_pow(payload) == vector["min_pow"]
        assert packets.encode_pow(vector["min_pow"]) == payload
    else:
        bloom = bytes.fromhex(vector["bloom"])
        assert packets.decode_bloom(payload) == bloom
        assert packets.encode_bloom(bloom) == payload


@pytest.mark.parametrize("vector", VECTORS["confirmations"], ids=lambda vector: vector["what"])
def test_reads_and_writes_confirmations_of_real_programs(vector):
    batch = keccak256(bytes.fromhex(vector["sent_packet"]))
    assert batch.hex() == vector["batch_hash"]

    for received in vector["received"]:
        payload = bytes.fromhex(received["packet"])
        if received["code"] == 11:
            assert packets.decode_acknowledgement(payload) == batch
            assert packets.encode_acknowledgement(batch) == payload
        else:
            response = BatchResponse.decode(payload)
            assert response.batch == batch
            assert [
                {"envelope_hash": each.envelope.hex(), "error_code": each.code, "description": each.text}
                for each in response.faults
            ] == received["errors"]
            assert response.encode() == payload


@given(statuses)
def test_a_status_is_read_as_it_was_written(status):
    assert Status.decode(status.encode()) == status


@given(pows)
def test_a_requirement_is_read_as_it_was_written(min_pow):
    assert packets.decode_pow(packets.encode_pow(min_pow)) == min_pow


@given(limits)
def test_rate_limits_are_read_as_they_were_written(chosen):
    assert RateLimits.decode(chosen.encode()) == chosen


@given(
    st.binary(min_size=32, max_size=32),
    st.lists(st.builds(BatchFault, st.binary(min_size=32, max_size=32), u64, st.text()), max_size=4),
)
def test_a_batch_response_is_read_as_it_was_written(batch, faults):
    response = BatchResponse(batch, tuple(faults))

    assert BatchResponse.decode(response.encode()) == response


def test_everything_after_the_version_may_be_missing():
    assert Status.decode(rlp.encode([6])) == Status()
    assert Status.decode(rlp.encode([6, 0])) == Status()
    assert Status.decode(rlp.encode([6, 0, b"", 1])) == Status(light=True)


def test_further_fields_are_skipped():
    items = [6, 0, b"", 0, 1, [1, 2, 3, 4], [b"unknown"], b"more"]

    assert Status.decode(rlp.encode(items)) == Status(confirmations=True, rate_limits=RateLimits(1, 2, 3))


def test_a_bloom_of_ones_is_everything():
    assert Status.decode(rlp.encode([6, 0, b"\xff" * 64])).bloom is None
    assert packets.decode_bloom(rlp.encode(b"")) is None
    assert packets.decode_bloom(packets.encode_bloom(None)) is None


def bits(value):
    return int.from_bytes(struct.pack(">d", value), "big")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0, -0.0001])
def test_what_can_be_no_proof_of_work_is_refused(value):
    with pytest.raises(ShhError):
        packets.decode_pow(rlp.encode(bits(value)))
    with pytest.raises(ShhError):
        Status.decode(rlp.encode([6, bits(value), b""]))
    with pytest.raises(ValueError, match="no proof of work"):
        packets.encode_pow(value)


@pytest.mark.parametrize(
    "items",
    [
        b"text",
        [],
        [[6]],
        [b"\0\6"],
        [6, 1 << 64],
        [6, b"\0"],
        [6, 0, bytes(63)],
        [6, 0, []],
        [6, 0, b"", []],
        [6, 0, b"", 0, []],
        [6, 0, b"", 0, 0, b"limits"],
        [6, 0, b"", 0, 0, [1, 2]],
        [6, 0, b"", 0, 0, [1, 2, []]],
    ],
)
def test_what_is_no_status_raises_the_one_error(items):
    with pytest.raises(ShhError):
        Status.decode(rlp.encode(items))


@given(st.binary(max_size=120))
def test_noise_is_read_or_raises_the_one_error(noise):
    for decode in (
        Status.decode,
        RateLimits.decode,
        BatchResponse.decode,
        packets.decode_pow,
        packets.decode_bloom,
        packets.decode_acknowledgement,
    ):
        for payload in (
            noise,
            rlp.encode(noise),
            rlp.encode([noise, noise]),
            rlp.encode([noise, [noise, [[noise] * 3]]]),
        ):
            try:
                decode(payload)
            except ShhError:
                pass


def test_error_texts_need_not_be_utf_8():
    payload = rlp.encode([1, [bytes(32), [[bytes(32), 36, b"\xff\xfe"]]]])

    assert BatchResponse.decode(payload).faults[0].text == "\ufffd\ufffd"
