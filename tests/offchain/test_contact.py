"""Contacts: made from records and enodes, refused where nobody can be called."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.contact import Contact, ContactError, Source
from offchain.enr import Enr
from offchain.errors import DecodeError
from offchain.keys import PrivateKey
from offchain.types import parse_ip

KEY = PrivateKey(b"\x22" * 32)


def test_takes_address_key_and_sequence_number_from_a_record():
    record = Enr.create(KEY, 7, ip="10.0.0.5", udp=9000, tcp=30303)

    contact = Contact.from_enr(record)

    assert contact == Contact(
        KEY.public.node_id, KEY.public, parse_ip("10.0.0.5"), 30303, 9000, Source.DISCOVERED, seq=7
    )


def test_takes_the_ipv6_address_if_there_is_no_other():
    record = Enr.create(KEY, 1, ip6="2001:db8::9", udp6=9000, tcp6=30303)

    contact = Contact.from_enr(record)

    assert contact.address == "[2001:db8::9]:30303"
    assert contact.host == "2001:db8::9"


def test_takes_the_ipv4_address_out_of_a_mapped_one():
    record = Enr.create(KEY, 1, extra={"ip6": b"\0" * 10 + b"\xff\xff" + bytes((10, 0, 0, 5)), "tcp": b"\x10\x00"})

    assert Contact.from_enr(record).address == "10.0.0.5:4096"


@pytest.mark.parametrize("ends", [{}, {"ip": "10.0.0.5"}, {"ip": "10.0.0.5", "udp": 9000}, {"tcp": 30303}])
def test_refuses_a_record_without_a_place_to_call(ends):
    with pytest.raises(ContactError, match="no address with a TCP port"):
        Contact.from_enr(Enr.create(KEY, 1, **ends))


@pytest.mark.parametrize("ip", ["0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "ff02::1"])
def test_refuses_an_address_that_is_nobodys(ip):
    with pytest.raises(ContactError, match="nobody can be called"):
        Contact.from_enr(Enr.create(KEY, 1, ip=ip, tcp=30303))


def test_reads_enodes_and_records_as_people_paste_them():
    record = Enr.create(KEY, 3, ip="10.0.0.5", udp=9000, tcp=30303)

    from_record = Contact.parse(f" {record.text}\n", Source.OWN)
    from_enode = Contact.parse(f" {from_record.enode}\n", Source.OWN)

    assert (from_record.seq, from_enode.seq) == (3, 0)
    assert from_record.node_id == from_enode.node_id
    assert from_record.address == from_enode.address
    assert from_enode.source is Source.OWN


@pytest.mark.parametrize("text", ["", "enr:", "enr:AAAA", "enode://", "10.0.0.1:30303"])
def test_refuses_other_text_with_a_decode_error(text):
    with pytest.raises(DecodeError):
        Contact.parse(text)


@given(text=st.text() | st.text().map("enr:{}".format) | st.text().map("enode://{}".format))
def test_noise_is_refused_with_a_decode_error(text):
    with pytest.raises(DecodeError):
        Contact.parse(text)


@given(
    extra=st.dictionaries(
        st.sampled_from(["ip", "tcp", "udp", "ip6", "tcp6", "udp6"]), st.binary(max_size=20), max_size=6
    )
)
def test_any_entries_of_a_signed_record_are_a_place_to_call_or_a_decode_error(extra):
    with contextlib.suppress(DecodeError):
        contact = Contact.from_enr(Enr.create(KEY, 1, extra=extra))
        assert 0 < contact.tcp < 65_536
        assert not contact.ip.is_multicast
