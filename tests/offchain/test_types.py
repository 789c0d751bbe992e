"""Identities: names of kinds, addresses of nodes and machines."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.hashing import keccak256
from offchain.types import MAILSERVER, NodeId, node_address, parse_ip, parse_kind, short, topic_of


@pytest.mark.parametrize(
    ("data", "digest"),
    [
        (b"", "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"),
        (b"abc", "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"),
    ],
)
def test_the_hash_is_keccak_with_its_original_padding(data, digest):
    assert keccak256(data).hex() == digest


def test_a_node_is_named_by_the_low_20_bytes_of_its_id():
    node_id = NodeId(bytes(range(32)))

    assert node_address(node_id) == bytes(range(12, 32))
    assert short(node_id) == "00010203"


def test_the_topic_of_a_kind_is_the_hash_of_its_name():
    assert topic_of(MAILSERVER).hex() == "f83dd944aa572f44065025a53815fd1b22c2a5ef5226815416a0819c2c409d93"


@given(name=st.text(alphabet="az09-A _", max_size=34) | st.text(max_size=40))
def test_a_kind_is_a_short_name_of_small_letters_digits_and_dashes(name):
    allowed = 1 <= len(name) <= 32 and not re.search(r"[^a-z0-9-]", name) and name[0] != "-" and name[-1] != "-"

    if allowed:
        assert parse_kind(name) == name
    else:
        with pytest.raises(ValueError, match="is not a kind"):
            parse_kind(name)


@pytest.mark.parametrize(
    ("text", "seen"),
    [("10.0.0.1", "10.0.0.1"), ("2001:db8::1", "2001:db8::1"), ("::ffff:10.0.0.1", "10.0.0.1")],
)
def test_an_ipv4_address_inside_an_ipv6_one_is_that_address(text, seen):
    assert str(parse_ip(text)) == seen


@pytest.mark.parametrize("text", ["", "10.0.0", "10.0.0.01", "localhost", "::1::", "10.0.0.1:80"])
def test_anything_else_is_no_address(text):
    with pytest.raises(ValueError):
        parse_ip(text)
