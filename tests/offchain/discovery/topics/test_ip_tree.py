"""The tree of addresses: scores of the vectors, counts against a model, bounds that only time lowers."""

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.discovery.topics.ip_tree import IpTree
from tests.support.discovery import vectors

VECTORS = vectors("topic_admission")["ip_score_points_of_32"]
addresses = st.one_of(
    st.integers(0, 15).map(lambda n: str(IPv4Address(0x0A000000 | n))),
    st.integers(0, 2**32 - 1).map(lambda n: str(IPv4Address(n))),
    st.integers(0, 7).map(lambda n: str(IPv6Address(0x2001 << 112 | n << 60))),
)


def tree_of(cached):
    tree = IpTree()
    for ip in cached:
        tree.add(ip)
    return tree


@pytest.mark.parametrize("vector", VECTORS, ids=lambda each: f"{each['ip']} among {len(each['cached'])}")
def test_points_are_those_of_the_vectors(vector):
    assert tree_of(vector["cached"]).points(vector["ip"]) == vector["points"]


def model_points(cached, ip):
    """Equation 3, with networks."""
    version = ip_network(ip).version
    cached = [ip_network(each).network_address for each in cached if ip_network(each).version == version]
    points = 0
    for depth in range(1, 33 if version == 4 else 129):
        below = sum(each in ip_network((ip, depth), strict=False) for each in cached)
        if not below:
            break
        points += below * 2**depth > len(cached)
    return points


@given(st.lists(addresses, max_size=8), st.lists(addresses, max_size=8), addresses)
def test_points_are_those_of_the_definition_whatever_came_and_went(staying, going, ip):
    tree = tree_of([*staying, *going])
    for each in going:
        tree.remove(each)

    assert tree.points(ip) == model_points(staying, ip)
    assert len(tree) == len(tree_of(staying))


def test_an_address_that_is_not_there_cannot_be_removed():
    with pytest.raises(KeyError):
        IpTree().remove("192.0.2.1")


def test_score_is_points_by_length_for_both_families():
    tree = tree_of(["192.0.2.1", "2001:db8::1"])

    assert tree.score("192.0.2.1") == 1.0
    assert tree.score("2001:db8::1") == 1.0
    assert tree.score("2001:db8:1::") == 47 / 128


actions = st.lists(st.tuples(st.sampled_from(["add", "remove", "bind"]), addresses, st.floats(1, 1000)), max_size=30)


@given(actions, addresses)
def test_a_bound_never_falls_while_others_come_and_go(steps, watched):
    tree, cached, last = IpTree(), [], 0.0
    for action, ip, until in steps:
        if action == "add":
            tree.add(ip)
            cached.append(ip)
        elif action == "bind":
            tree.raise_bound(ip, until)
            assert tree.bound(ip) >= until
        elif cached:
            tree.remove(cached.pop(len(ip) % len(cached)))
        assert tree.bound(watched) >= last
        last = tree.bound(watched)


def test_bounds_that_are_over_are_forgotten():
    tree = tree_of(["192.0.2.1"])
    tree.raise_bound("192.0.2.9", 50.0)
    tree.raise_bound("198.51.100.1", 60.0)

    tree.expire(50.0)

    assert tree.bound("192.0.2.9") == 0.0
    assert tree.bound("198.51.100.1") == 60.0
    assert tree.bounds == 1
