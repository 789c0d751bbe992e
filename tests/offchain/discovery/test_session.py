"""Keys, the window against replays, and the bounded store."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.discovery.session import LAST_COUNTER, Keys, ReplayWindow, SessionStore

HERE = ("192.0.2.1", 9000)


def counted(counter, tail=b"\0" * 8):
    return counter.to_bytes(4, "big") + tail


def keys():
    return Keys(b"\1" * 16, b"\1" * 16)


def name(number):
    return (bytes([number]) * 32, HERE)


def test_keys_open_what_they_sealed_and_nothing_else():
    nonce = keys().next_nonce(b"12345678")
    sealed = keys().seal(nonce, b"message", b"header")

    assert keys().open(nonce, sealed, b"header") == b"message"
    assert keys().open(nonce, sealed, b"other") is None
    assert keys().open(nonce, sealed[:-1], b"header") is None
    assert keys().open(nonce, b"", b"header") is None


def test_nonces_count_and_end_with_chance():
    used = keys()

    assert used.next_nonce(b"12345678") == b"\0\0\0\1" + b"12345678"
    assert used.next_nonce(b"abcdefgh") == b"\0\0\0\2" + b"abcdefgh"


def test_keys_are_used_up_before_the_counter_repeats():
    nearly = Keys(b"\1" * 16, b"\1" * 16, counter=LAST_COUNTER - 1)

    assert not nearly.used_up
    nearly.next_nonce(b"12345678")
    assert nearly.used_up


@given(st.lists(st.integers(1, 400), max_size=600))
def test_a_counting_peer_is_never_heard_twice(counters):
    window, heard = ReplayWindow(), set()
    for counter in counters:
        fresh = window.accept(counted(counter))
        assert not (fresh and counter in heard)
        assert fresh or counter in heard or counter <= max(heard) - 256
        heard.add(counter)


@given(st.permutations(range(1, 200)))
def test_reordering_within_the_window_loses_nothing(order):
    window = ReplayWindow()

    assert all(window.accept(counted(counter)) for counter in order)


def test_a_very_old_packet_of_a_counting_peer_is_refused_even_when_forgotten():
    window = ReplayWindow()
    for counter in range(1, 2_000):
        assert window.accept(counted(counter))

    assert not any(window.accept(counted(counter)) for counter in range(1, 1_000))


def test_a_peer_with_random_nonces_is_heard_once_each():
    window, rng = ReplayWindow(), Random(1)
    nonces = [rng.randbytes(12) for _ in range(500)]

    assert all(map(window.accept, nonces))
    assert not any(map(window.accept, nonces))


def test_the_window_does_not_grow():
    window, rng = ReplayWindow(), Random(1)
    for _ in range(5_000):
        window.accept(rng.randbytes(12))

    assert len(window._seen) <= 512


def test_new_keys_leave_the_old_ones_readable():
    store, first, second = SessionStore(), keys(), keys()
    store.install(name(1), first, None, 0.0)

    store.install(name(1), second, None, 1.0)

    session = store.get(name(1), 1.0)
    assert (session.current, session.previous) == (second, first)


def test_the_session_not_used_for_longest_goes_first():
    store = SessionStore(capacity=2)
    store.install(name(1), keys(), None, 0.0)
    store.install(name(2), keys(), None, 0.0)
    store.get(name(1), 0.0)

    store.install(name(3), keys(), None, 0.0)

    assert [name(n) in store for n in (1, 2, 3)] == [True, False, True]
    assert len(store) == 2


def test_a_session_ends_after_its_lifetime():
    store = SessionStore(lifetime=10.0)
    store.install(name(1), keys(), None, 0.0)

    assert store.get(name(1), 9.9) is not None
    assert store.get(name(1), 10.0) is None
    assert len(store) == 0


@pytest.mark.parametrize(
    "other", [(b"\2" * 32, HERE), (b"\1" * 32, ("192.0.2.2", 9000)), (b"\1" * 32, (HERE[0], 9001))]
)
def test_a_session_is_for_one_id_address_and_port(other):
    store = SessionStore()
    store.install(name(1), keys(), None, 0.0)

    assert store.get(other, 0.0) is None
