from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain import rlp
from offchain.mailserver.reconcile import packets
from offchain.mailserver.reconcile.packets import (
    Ask,
    Divided,
    Envelopes,
    Fetch,
    Listed,
    Question,
    Range,
    Refuse,
    Same,
    SyncError,
    Tell,
    decode,
    encode,
    window_of,
    window_ranges,
)

numbers = st.integers(0, 2**63)
prints = st.binary(min_size=16, max_size=16)
positions = st.binary(min_size=36, max_size=36)
bounds = st.binary(max_size=36)
envelopes = st.lists(st.binary(max_size=60), max_size=4).map(rlp.encode)


def ascending(items, least, most):
    return st.lists(items, min_size=least, max_size=most, unique=True).map(sorted).map(tuple)


@st.composite
def questions(draw):
    range_ = draw(st.sampled_from(window_ranges(10**9, 10**9 + 900)))
    middle = range_.begin + draw(st.binary(min_size=1, max_size=32))
    ranges = (range_, Range(range_.begin, middle), Range(middle, range_.end))
    return Question(draw(st.sampled_from(ranges)), draw(prints))


told = st.one_of(
    st.just(Same()),
    ascending(positions, 0, 5).map(Listed),
    ascending(bounds, 2, 5).flatmap(
        lambda ends: st.lists(prints, min_size=len(ends), max_size=len(ends)).map(
            lambda marks: Divided(tuple(zip(ends, marks, strict=True)))
        )
    ),
)
all_packets = st.one_of(
    st.builds(Ask, numbers, st.lists(questions(), min_size=1, max_size=4).map(tuple)),
    st.builds(Tell, numbers, st.lists(told, min_size=1, max_size=4).map(tuple)),
    st.builds(Fetch, numbers, ascending(positions, 1, 5)),
    st.builds(Envelopes, numbers, st.booleans(), st.lists(envelopes, max_size=4).map(tuple)),
    st.builds(Refuse, numbers, st.text(max_size=50)),
)


@given(all_packets)
def test_decodes_what_it_encodes(packet):
    assert decode(*encode(packet)) == packet


@given(st.integers(0, 8), st.binary(max_size=200))
def test_noise_is_a_sync_error(code, payload):
    try:
        decode(code, payload)
    except SyncError:
        pass


items = st.recursive(st.binary(max_size=37), lambda inner: st.lists(inner, max_size=4), max_leaves=12)


@given(st.integers(0, 4), st.lists(items, min_size=2, max_size=3))
def test_rlp_of_any_shape_is_a_packet_or_a_sync_error(code, shape):
    try:
        packet = decode(code, rlp.encode(shape))
    except SyncError:
        return
    assert decode(*encode(packet)) == packet


@given(all_packets, st.data())
def test_a_changed_byte_is_another_packet_or_a_sync_error(packet, data):
    code, payload = encode(packet)
    at = data.draw(st.integers(0, len(payload) - 1))
    changed = payload[:at] + bytes((data.draw(st.integers(0, 255)),)) + payload[at + 1 :]
    try:
        decode(code, changed)
    except SyncError:
        pass


def window():
    return window_ranges(10**9, 10**9)[0]


@pytest.mark.parametrize(
    ("code", "content"),
    [
        (packets.ASK, []),
        (packets.ASK, [[b"", b"", bytes(16)]]),
        (packets.ASK, [[window().end, window().begin, bytes(16)]]),
        (packets.ASK, [[window().begin, window_ranges(10**9 + 300, 10**9 + 300)[0].end, bytes(16)]]),
        (packets.ASK, [[window().begin, window().end, bytes(15)]]),
        (packets.ASK, [[window().begin, window().begin + bytes(33), bytes(16)]]),
        (packets.ASK, [[window().begin, window().end, bytes(16)]] * 513),
        (packets.TELL, []),
        (packets.TELL, [b"x"]),
        (packets.TELL, [[3, []]]),
        (packets.TELL, [[1, [bytes(36), bytes(36)]]]),
        (packets.TELL, [[1, [n.to_bytes(36, "big") for n in range(129)]]]),
        (packets.TELL, [[2, [[b"a", bytes(16)]]]]),
        (packets.TELL, [[2, [[b"b", bytes(16)], [b"a", bytes(16)]]]]),
        (packets.TELL, [[2, [[bytes((n,)), bytes(16)] for n in range(17)]]]),
        (packets.FETCH, []),
        (packets.FETCH, [bytes(35)]),
        (packets.FETCH, [n.to_bytes(36, "big") for n in range(257)]),
    ],
)
def test_what_is_out_of_bounds_is_refused(code, content):
    with pytest.raises(SyncError):
        decode(code, rlp.encode([1, content]))


def test_windows_cover_the_time_without_gap_or_overlap():
    ranges = window_ranges(0, 4000)

    assert [window_of(each) for each in ranges] == list(range(14))
    assert all(a.end == b.begin for a, b in pairwise(ranges))
    assert window_ranges(2**32 - 1, 2**40)[-1].end > (2**32 - 1).to_bytes(4, "big") + b"\xff" * 31


def test_a_long_refusal_is_cut():
    assert len(decode(*encode(Refuse(1, "x" * 1000))).text) == 200
