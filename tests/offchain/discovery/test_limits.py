"""Rate limits, and that they cannot be made to grow."""

from hypothesis import given
from hypothesis import strategies as st

from offchain.discovery.limits import InboundLimiter, Limits, Rate, RateLimiter


def test_a_burst_passes_and_then_so_many_a_second():
    limiter = RateLimiter(Rate(2, 5), 10)

    assert sum(limiter.allow("a", 0.0) for _ in range(20)) == 5
    assert sum(limiter.allow("a", 1.0) for _ in range(20)) == 2


def test_a_long_silence_saves_up_no_more_than_a_burst():
    limiter = RateLimiter(Rate(2, 5), 10)
    limiter.allow("a", 0.0)

    assert sum(limiter.allow("a", 1_000.0) for _ in range(20)) == 5


def test_one_does_not_pay_for_another():
    limiter = RateLimiter(Rate(1, 1), 10)
    limiter.allow("a", 0.0)

    assert not limiter.allow("a", 0.0)
    assert limiter.allow("b", 0.0)


def test_none_is_no_limit():
    limiter = RateLimiter(None, 10)

    assert all(limiter.allow(n, 0.0) for n in range(1_000))
    assert len(limiter) == 0


@given(st.lists(st.integers(0, 100), max_size=300))
def test_no_more_keys_are_remembered_than_fit(keys):
    limiter = RateLimiter(Rate(1, 1), 8)
    for number in keys:
        limiter.allow(number, 0.0)

    assert len(limiter) <= 8


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1)), max_size=200))
def test_never_more_than_burst_and_rate_allow(steps):
    limiter, now, allowed = RateLimiter(Rate(5, 10), 100), 0.0, [0] * 4
    for key, passed in steps:
        now += passed
        allowed[key] += limiter.allow(key, now)

    assert all(count <= 10 + 5 * now + 1e-6 for count in allowed)


ONE = Rate(1, 1)


def test_a_subnet_of_ipv6_is_one_neighbour():
    limiter = InboundLimiter(Limits(packets=ONE), lan=False)

    assert limiter.packet(("2a00:1:2:3::1", 1), 0.0)
    assert not limiter.packet(("2a00:1:2:3:ffff::2", 2), 0.0)
    assert limiter.packet(("2a00:1:2:4::1", 1), 0.0)


def test_another_port_is_no_other_neighbour_but_in_a_lan():
    wide = InboundLimiter(Limits(packets=ONE), lan=False)
    assert wide.packet(("127.0.0.1", 1), 0.0)
    assert not wide.packet(("127.0.0.1", 2), 0.0)

    lan = InboundLimiter(Limits(packets=ONE), lan=True)
    assert lan.packet(("127.0.0.1", 1), 0.0)
    assert lan.packet(("127.0.0.1", 2), 0.0)
    assert lan.packet(("8.8.8.8", 1), 0.0)
    assert not lan.packet(("8.8.8.8", 2), 0.0)


def test_challenges_are_limited_for_each_and_for_all():
    limiter = InboundLimiter(Limits(challenges=Rate(1, 2), all_challenges=Rate(1, 5)), lan=False)

    assert sum(limiter.challenge(("8.8.8.8", 1), 0.0) for _ in range(10)) == 2
    assert sum(limiter.challenge((f"9.9.{n}.9", 1), 0.0) for n in range(10)) == 3


def test_limits_are_on_by_default():
    limits = Limits()

    assert None not in (limits.packets, limits.requests, limits.challenges, limits.all_challenges)
