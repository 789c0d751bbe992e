import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.mailserver.quota import Buckets, Limits, Quotas, RequestMemory, network_of

NODE, OTHER = b"n" * 32, b"o" * 32


def test_a_peer_may_use_its_burst_and_then_what_time_brings():
    quotas = Quotas(Limits(per_node=60, per_address=6000))

    waits = [quotas.wait(NODE, "192.0.2.1", 100.0) for _ in range(31)]

    assert waits[:30] == [0.0] * 30
    assert waits[30] == pytest.approx(1.0)
    assert quotas.wait(NODE, "192.0.2.1", 100.5) == pytest.approx(0.5)
    assert quotas.wait(NODE, "192.0.2.1", 101.0) == 0
    assert quotas.wait(NODE, "192.0.2.1", 101.0) > 0


def test_peers_do_not_share_their_quota():
    quotas = Quotas(Limits(per_node=2, per_address=6000))
    assert quotas.wait(NODE, "192.0.2.1", 0.0) == 0
    assert quotas.wait(NODE, "192.0.2.1", 0.0) > 0

    assert quotas.wait(OTHER, "192.0.2.1", 0.0) == 0


def test_new_identities_do_not_help_an_address_that_asked_too_much():
    quotas = Quotas(Limits(per_node=600, per_address=20))

    served = sum(quotas.wait(bytes((n,)) * 32, "192.0.2.1", 0.0) == 0 for n in range(100))

    assert served == 10
    assert quotas.wait(NODE, "198.51.100.1", 0.0) == 0


def test_a_refused_request_costs_nothing():
    quotas = Quotas(Limits(per_node=60, per_address=2))
    quotas.wait(NODE, "192.0.2.1", 0.0)
    for _ in range(100):
        assert quotas.wait(NODE, "192.0.2.1", 0.0) > 0

    assert [quotas.wait(NODE, "198.51.100.1", 0.0) for _ in range(1)] == [0]


def test_a_clock_set_back_gives_nothing_away():
    quotas = Quotas(Limits(per_node=2, per_address=6000))
    quotas.wait(NODE, "192.0.2.1", 1000.0)

    assert quotas.wait(NODE, "192.0.2.1", 0.0) > 0
    assert quotas.wait(NODE, "192.0.2.1", 10.0) > 0


def test_remembers_a_bounded_number_of_peers():
    buckets = Buckets(60, 30, remembered=10)
    for number in range(1000):
        buckets.of(number, 0.0)

    assert len(buckets) == 10


@given(times=st.lists(st.floats(0, 600), min_size=1, max_size=200).map(sorted))
def test_never_serves_more_than_the_burst_and_the_rate(times):
    quotas = Quotas(Limits(per_node=60, per_address=10**9))

    served = sum(quotas.wait(NODE, "192.0.2.1", time) == 0 for time in times)

    assert served <= 30 + (times[-1] - times[0]) + 1e-6


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:0db8:0001:0002"),
        ("2001:db8:1:2::9", "2001:0db8:0001:0002"),
        ("nonsense", "nonsense"),
    ],
)
def test_an_ipv6_subscriber_is_one_network(host, network):
    assert network_of(host) == network


def test_a_request_is_new_once_as_long_as_it_is_valid():
    memory = RequestMemory()

    assert memory.is_new(b"a", 70.0, now=0.0)
    assert not memory.is_new(b"a", 70.0, now=69.0)
    assert memory.is_new(b"b", 70.0, now=69.0)
    assert memory.is_new(b"a", 200.0, now=71.0)


def test_the_memory_of_requests_is_bounded_and_forgets_first_what_is_over():
    memory = RequestMemory(capacity=100)
    for number in range(60):
        memory.is_new(b"old%d" % number, 10.0, now=0.0)
    for number in range(60):
        memory.is_new(b"new%d" % number, 100.0, now=20.0)

    assert len(memory) <= 100
    assert not any(memory.is_new(b"new%d" % number, 100.0, now=21.0) for number in range(60))

    for number in range(1000):
        memory.is_new(b"flood%d" % number, 100.0, now=22.0)
    assert len(memory) <= 100
