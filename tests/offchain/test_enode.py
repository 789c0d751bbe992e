"""enode URLs: what is written is read back, and everything else is refused with the one error."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain import enode
from offchain.enode import Enode, EnodeError
from offchain.keys import PrivateKey
from offchain.types import normalised

KEY = PrivateKey(b"\x11" * 32).public
HEX = KEY.to_bytes().hex()

ports = st.integers(1, 65535)
addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(normalised)


@given(st.integers(1, 2**200), addresses, ports, st.one_of(st.none(), ports))
def test_what_is_written_is_read_back(secret, ip, tcp, udp):
    node = Enode(PrivateKey(secret.to_bytes(32, "big")).public, ip, tcp, udp)

    assert enode.parse(node.text) == node


def test_reads_the_form_that_geth_prints():
    node = enode.parse(f"enode://{HEX}@10.3.58.6:30303?discport=30301")

    assert (node.ip, node.tcp, node.udp) == (IPv4Address("10.3.58.6"), 30303, 30301)
    assert node.node_id == KEY.node_id


def test_reads_an_ipv6_address_in_brackets():
    assert enode.parse(f"enode://{HEX}@[2001:db8::1]:30303").ip == IPv6Address("2001:db8::1")


def test_without_a_discport_discovery_is_on_the_tcp_port():
    assert enode.parse(f"enode://{HEX}@10.0.0.1:30303").udp == 30303


def test_a_discport_of_zero_means_no_discovery():
    node = enode.parse(f"enode://{HEX}@10.0.0.1:30303?discport=0")

    assert node.udp is None
    assert node.text.endswith("?discport=0")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is not enode://"),
        (f"enode://{HEX}@mail.example.org:30303", "is not enode://"),
        (f"enode://{HEX[2:]}@10.0.0.1:30303", "is not enode://"),
        (f"enode://{HEX}@10.0.0.1", "is not enode://"),
        (f"enode://{HEX}@10.0.0.1:030303", "is not enode://"),
        (f"enode://{HEX}@10.0.0.1:30303?discport=1&x=2", "is not enode://"),
        (f"enode://{HEX}@10.0.0.1:30303\n", "is not enode://"),
        (f"enode://{HEX}@10.0.0.1:0", "port 0"),
        (f"enode://{HEX}@10.0.0.1:65536", "port 65536"),
        (f"enode://{HEX}@10.0.0.1:30303?discport=70000", "port 70000"),
        (f"enode://{'00' * 64}@10.0.0.1:30303", "not a point"),
        (f"enode://{HEX}@10.0.0.300:30303", "not an IP address"),
        (f"enode://{HEX}@[10.0.0.1]:30303", "stands in brackets"),
        (f"enode://{HEX}@10.0.0.1:30303" + " " * 200, "at most"),
    ],
)
def test_says_what_is_wrong(text, complaint):
    with pytest.raises(EnodeError, match=complaint):
        enode.parse(text)


@given(st.one_of(st.text(), st.text().map(lambda tail: f"enode://{HEX}@{tail}")))
def test_noise_raises_the_one_error(text):
    try:
        enode.parse(text)
    except EnodeError:
        pass
