"""Admission strategies: the formula's vectors, the lower bound, and what docs/decisions/0020-admission.md claims."""

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.discovery.topics.admission import SHARES, SharedAdmission, SpecifiedAdmission, scarcity
from offchain.discovery.topics.ip_tree import bits_of
from offchain.types import MAILSERVER, Topic, topic_of
from tests.support.discovery import vectors

MAIL = topic_of(MAILSERVER)
VECTORS = vectors("topic_admission")["waiting_time_seconds"]
STRATEGIES = [SpecifiedAdmission, SharedAdmission]


def topic(number):
    return Topic(number.to_bytes(2, "big") + bytes(30))


def spread(number):
    """Addresses in as many /8 as there are."""
    return f"{number % 199 + 1}.{number // 199 * 8 % 250}.{number % 250}.9"


def filled(strategy, ads):
    for each, ip in ads:
        strategy.added(each, ip)
    return strategy


def test_the_topic_of_a_kind_is_the_hash_of_its_name():
    assert MAIL.hex() == vectors("topic_admission")["topics"]["mailserver"]


# The specification's


@pytest.mark.parametrize("vector", VECTORS, ids=lambda each: f"{each['c']}-{each['c_service']}-{each['points']}")
def test_the_specifications_waiting_times_are_those_of_the_vectors(vector):
    waited = SpecifiedAdmission().formula(vector["c"], vector["c_service"], vector["points"] / 32)

    assert waited == pytest.approx(vector["w"], rel=1e-9)


def test_the_specifications_strategy_applies_the_formula_to_what_is_cached():
    strategy = filled(SpecifiedAdmission(), [(MAIL, "10.0.0.1"), (topic(1), "80.0.0.1"), (topic(1), "150.0.0.1")])

    assert strategy.wait(MAIL, "150.0.0.1", 0.0) == strategy.formula(3, 1, 31 / 32)
    assert strategy.wait(MAIL, None, 0.0) == strategy.formula(3, 1, 0.0)


# The bound, of both


SMALL = 24
ips = st.one_of(
    st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.1.1", "10.9.0.1", "80.0.0.1", "2001:db8::1", "2001:db8:0:1::1"]),
    st.none(),
)
who = st.tuples(st.integers(1, 4).map(topic), ips)
happenings = st.lists(
    st.one_of(
        st.tuples(st.just("admit"), who),
        st.tuples(st.just("expire"), st.integers(0, 100)),
        st.tuples(st.just("tell"), who),
        st.tuples(st.just("forget"), st.none()),
        st.tuples(st.just("pass"), st.floats(0.0, 300.0)),
    ),
    max_size=40,
)


@pytest.mark.parametrize("make", STRATEGIES)
@given(start=st.lists(who, max_size=SMALL - 1), steps=happenings, watched=who)
def test_whoever_was_told_to_wait_waits_no_less_by_asking_again(make, start, steps, watched):
    strategy = filled(make(SMALL), start)
    cached, now = list(start), 0.0
    told = [(now, watched, strategy.wait(*watched, now))]
    strategy.told(*watched, now)
    for action, value in steps:
        if action == "admit" and len(cached) < SMALL:
            strategy.added(*value)
            cached.append(value)
        elif action == "expire" and cached:
            strategy.removed(*cached.pop(value % len(cached)))
        elif action == "tell":
            told.append((now, value, strategy.wait(*value, now)))
            strategy.told(*value, now)
        elif action == "forget":
            strategy.expire(now)
        elif action == "pass":
            now += value
        for then, asker, wait in told:
            assert strategy.wait(*asker, now) >= min(wait, strategy.lifetime) - (now - then) - 1e-6


@pytest.mark.parametrize("make", STRATEGIES)
@given(ads=st.lists(who, max_size=SMALL))
def test_when_everything_expired_nothing_is_held(make, ads):
    strategy = filled(make(SMALL), ads)
    for each in ads:
        strategy.removed(*each)

    assert strategy.sizes() == {"ad_topics": 0, "ad_prefixes": 0, "ad_bounds": 0}
    assert strategy.wait(MAIL, "10.0.0.1", 0.0) < 0.001


@pytest.mark.parametrize("make", STRATEGIES)
def test_bounds_are_few_however_many_ask(make):
    strategy = filled(make(1_000), [(topic(number), spread(number)) for number in range(400)])
    rng = Random(1)
    for _ in range(5_000):
        strategy.told(Topic(rng.randbytes(32)), spread(rng.randrange(10**6)), 0.0)

    assert strategy.sizes()["ad_bounds"] < 5 * 1_000


@pytest.mark.parametrize("make", STRATEGIES)
def test_nobody_gets_into_a_full_cache(make):
    strategy = filled(make(SMALL), [(topic(number), spread(number)) for number in range(SMALL)])

    assert strategy.wait(MAIL, "200.0.0.1", 0.0) == math.inf


# Ours


def test_scarcity_grows_from_nothing_to_infinity():
    values = [scarcity(used, 1_000) for used in range(1_001)]

    assert values[0] == 0
    assert values == sorted(values)
    assert values[250] < 0.001 < values[265]
    assert values[565] < 1 < values[575]
    assert values[1_000] == math.inf


def test_two_hundred_servers_of_one_topic_are_admitted_within_a_second_where_the_formula_lets_the_second_wait_for_909():
    ours, specified = SharedAdmission(), SpecifiedAdmission()
    for strategy in (ours, specified):
        strategy.added(MAIL, spread(0))
    for number in range(1, 200):
        assert ours.wait(MAIL, spread(number), 0.0) < 1.0
        ours.added(MAIL, spread(number))

    assert specified.wait(MAIL, "200.0.0.1", 0.0) == pytest.approx(909.05, abs=0.1)


def test_three_servers_at_one_address_are_admitted_within_a_second_or_two():
    strategy = SharedAdmission()
    for _ in range(3):
        assert strategy.wait(MAIL, "192.0.2.1", 0.0) < 2.0
        strategy.added(MAIL, "192.0.2.1")


@given(
    st.lists(
        st.one_of(
            st.integers(0, 2**8 - 1).map(lambda n: f"192.0.2.{n}"),
            st.integers(0, 2**16 - 1).map(lambda n: f"192.0.{n >> 8}.{n & 255}"),
            st.integers(0, 2**24 - 1).map(lambda n: f"2001:db8:{n >> 16:x}:{n & 0xFFFF:x}::1"),
        ),
        max_size=120,
    )
)
def test_a_neighbourhood_never_has_more_than_its_share_however_long_it_waits(asking):
    capacity = 320
    strategy = SharedAdmission(capacity)
    admitted = []
    for number, ip in enumerate(asking):
        if strategy.wait(topic(number), ip, 0.0) < math.inf:
            strategy.added(topic(number), ip)
            admitted.append(ip)

    for bits, shares in SHARES.items():
        for length, part in shares:
            own = [bits_of(ip)[1] >> (bits - length) for ip in admitted if bits_of(ip)[0] == bits]
            assert all(own.count(each) <= max(capacity // part, 4) for each in own)


def test_a_popular_topic_waits_twenty_times_as_long_as_one_that_nobody_had():
    strategy = filled(SharedAdmission(), [(MAIL, spread(number)) for number in range(600)])

    popular, new = strategy.wait(MAIL, "200.0.0.1", 0.0), strategy.wait(topic(1), "200.0.0.1", 0.0)

    assert popular == pytest.approx(20 * new)


def test_one_subnet_cannot_make_others_wait():
    strategy = SharedAdmission()
    for number in range(1, 256):
        if strategy.wait(MAIL, f"192.0.2.{number}", 0.0) < math.inf:
            strategy.added(MAIL, f"192.0.2.{number}")
        strategy.told(MAIL, f"192.0.2.{number}", 0.0)

    assert strategy.wait(MAIL, "198.51.100.1", 0.0) < 0.01
    assert strategy.wait(MAIL, "192.0.2.77", 0.0) == math.inf
