"""Which addresses are believed, from whom, and which are neighbours."""

from ipaddress import ip_address

import pytest

from offchain.discovery.address import Scope, bucket_subnet, may_name, scope_of, table_subnet, udp_address
from offchain.enr import Enr
from tests.support.discovery import key


def enr(**entries):
    return Enr.create(key(1), **entries)


@pytest.mark.parametrize(
    ("ip", "scope"),
    [
        ("8.8.8.8", Scope.PUBLIC),
        ("2001:4860:4860::8888", Scope.PUBLIC),
        ("10.1.2.3", Scope.LAN),
        ("172.31.0.1", Scope.LAN),
        ("172.32.0.1", Scope.PUBLIC),
        ("192.168.1.1", Scope.LAN),
        ("169.254.1.1", Scope.LAN),
        ("100.64.0.1", Scope.LAN),
        ("fd00::1", Scope.LAN),
        ("fe80::1", Scope.LAN),
        ("127.0.0.1", Scope.LOOPBACK),
        ("127.255.0.1", Scope.LOOPBACK),
        ("::1", Scope.LOOPBACK),
        ("::ffff:127.0.0.1", Scope.LOOPBACK),
        ("::ffff:10.0.0.1", Scope.LAN),
        ("::ffff:8.8.8.8", Scope.PUBLIC),
        ("0.0.0.0", Scope.NOWHERE),
        ("::", Scope.NOWHERE),
        ("224.0.0.1", Scope.NOWHERE),
        ("239.1.1.1", Scope.NOWHERE),
        ("ff02::1", Scope.NOWHERE),
        ("255.255.255.255", Scope.NOWHERE),
        ("240.0.0.1", Scope.NOWHERE),
        ("192.0.2.1", Scope.NOWHERE),
        ("2001:db8::1", Scope.NOWHERE),
    ],
)
def test_how_far_an_address_reaches(ip, scope):
    assert scope_of(ip_address(ip)) is scope


PUBLIC, LAN, LOOPBACK, MULTICAST = "8.8.8.8", "10.0.0.1", "127.0.0.1", "224.0.0.1"


@pytest.mark.parametrize(
    ("source", "named", "allowed"),
    [
        (PUBLIC, "9.9.9.9", True),
        (PUBLIC, LAN, False),
        (PUBLIC, LOOPBACK, False),
        (PUBLIC, "::ffff:10.0.0.1", False),
        (PUBLIC, MULTICAST, False),
        (LAN, PUBLIC, True),
        (LAN, "10.9.9.9", True),
        (LAN, LOOPBACK, False),
        (LAN, MULTICAST, False),
        (LOOPBACK, PUBLIC, True),
        (LOOPBACK, LAN, True),
        (LOOPBACK, LOOPBACK, True),
        (LOOPBACK, MULTICAST, False),
    ],
)
def test_nobody_names_what_is_nearer_than_himself(source, named, allowed):
    assert may_name(source, named) is allowed


def test_a_public_record_is_reached_at_its_address():
    assert udp_address(enr(ip="8.8.8.8", udp=9000)) == ("8.8.8.8", 9000)


@pytest.mark.parametrize("ip", ["127.0.0.1", "10.0.0.1"])
def test_a_private_record_is_reached_in_a_lan_only(ip):
    assert udp_address(enr(ip=ip, udp=9000)) is None
    assert udp_address(enr(ip=ip, udp=9000), lan=True) == (ip, 9000)


@pytest.mark.parametrize("ip", ["224.0.0.1", "0.0.0.0", "255.255.255.255"])
def test_an_address_where_nobody_is_is_never_used(ip):
    assert udp_address(enr(ip=ip, udp=9000), lan=True) is None


@pytest.mark.parametrize("port", [0, 1, 53, 1024])
def test_low_ports_are_refused(port):
    assert udp_address(enr(ip="8.8.8.8", udp=port)) is None


def test_a_record_without_address_or_port_is_nowhere():
    assert udp_address(enr()) is None
    assert udp_address(enr(ip="8.8.8.8")) is None
    assert udp_address(enr(udp=9000)) is None


def test_ipv6_is_used_where_we_have_it_and_ipv4_comes_first():
    six = enr(ip6="2001:4860:4860::8888", udp=9000)
    both = enr(ip6="2001:4860:4860::8888", ip="8.8.8.8", udp=9000, udp6=9001)

    assert udp_address(six) is None
    assert udp_address(six, ipv6=True) == ("2001:4860:4860::8888", 9000)
    assert udp_address(both, ipv6=True) == ("8.8.8.8", 9000)


def test_a_4_in_6_address_hides_nothing():
    hidden = enr(extra={"ip6": ip_address("::ffff:127.0.0.1").packed}, udp=9000)

    assert udp_address(hidden, ipv6=True) is None
    assert udp_address(hidden, ipv6=True, lan=True) == ("127.0.0.1", 9000)


def test_neighbours_share_24_bits_or_64_and_48():
    assert bucket_subnet("8.8.8.8") == bucket_subnet("8.8.8.200") != bucket_subnet("8.8.9.8")
    assert bucket_subnet("2a00:1:2:3::1") == bucket_subnet("2a00:1:2:3:4::1") != bucket_subnet("2a00:1:2:4::1")
    assert table_subnet("2a00:1:2:3::1") == table_subnet("2a00:1:2:4::1") != table_subnet("2a00:1:3:3::1")
    assert table_subnet("8.8.8.8") == table_subnet("8.8.8.9")
