"""Node records: EIP-778's own vector, the properties of the codec, and each way to be refused."""

import json
from base64 import urlsafe_b64encode
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offchain import rlp
from offchain.enr import MAX_SIZE, Enr, EnrError, sign
from offchain.hashing import keccak256
from offchain.keys import PrivateKey
from offchain.types import MAILSERVER, Endpoint, Kind

VECTOR = json.loads((Path(__file__).parents[1] / "vectors" / "discv5_v5_1.json").read_text())["enr"]
KEY = PrivateKey(bytes.fromhex(VECTOR["private_key"]))
OTHER = PrivateKey(b"\x07" * 32)
ENTRIES = {"id": b"v4", "secp256k1": KEY.public.compressed}


def forge(items, key=KEY, signature=None):
    """The bytes of a record with any items, honestly signed unless a signature is given."""
    body = [rlp.encode(item) for item in items]
    signature = key.sign(keccak256(rlp.encode_list(body))) if signature is None else signature
    return rlp.encode_list([rlp.encode(signature), *body])


def flat(entries, seq=1):
    return [seq, *(part for name in sorted(entries) for part in (name, entries[name]))]


keys = st.integers(1, 2**64).map(lambda number: PrivateKey(number.to_bytes(32, "big")))
values = st.recursive(st.binary(max_size=12), lambda inner: st.lists(inner, max_size=3), max_leaves=4)
extras = st.dictionaries(st.text("abcxyz~\x00\xff", min_size=0, max_size=5), values, max_size=4)


def test_reads_the_example_of_eip_778():
    record = Enr.parse(VECTOR["text"])

    assert record.node_id.hex() == VECTOR["node_id"]
    assert record.seq == VECTOR["seq"]
    assert record.ip == IPv4Address(bytes.fromhex(VECTOR["ip"]))
    assert record.udp == VECTOR["udp"]
    assert record.tcp is None
    assert record.pairs["secp256k1"].hex() == VECTOR["secp256k1"]
    assert record.kinds == ()


def test_writes_the_example_of_eip_778_byte_for_byte():
    record = Enr.create(KEY, 1, ip="127.0.0.1", udp=30303)

    assert record.text == VECTOR["text"]


@settings(max_examples=60)
@given(keys, st.integers(0, 2**64 - 1), extras)
def test_what_was_signed_is_read_back(key, seq, extra):
    record = sign(key, seq, extra)

    again = Enr.parse(record.text)

    assert again == record
    assert hash(again) == hash(record)
    assert (again.seq, again.public, again.node_id) == (seq, key.public, key.public.node_id)
    assert {name: again.pairs[name] for name in extra} == extra


@settings(max_examples=200)
@given(st.binary(max_size=MAX_SIZE + 10))
def test_noise_is_refused_with_the_one_error(noise):
    with pytest.raises(EnrError):
        Enr.decode(noise)


@settings(max_examples=200)
@given(st.text(max_size=60) | st.text("abc_-=+/AZ09", max_size=60).map("enr:".__add__))
def test_noise_as_text_is_refused_with_the_one_error(noise):
    with pytest.raises(EnrError):
        Enr.parse(noise)


@settings(max_examples=200)
@given(st.data())
def test_a_changed_byte_is_refused_wherever_it_is(data):
    raw = Enr.create(KEY, 3, ip="10.0.0.1", udp=9000, kinds=[MAILSERVER]).raw
    at = data.draw(st.integers(0, len(raw) - 1))
    changed = raw[:at] + bytes((raw[at] ^ data.draw(st.integers(1, 255)),)) + raw[at + 1 :]

    with pytest.raises(EnrError):
        Enr.decode(changed)


def test_truncation_to_any_length_is_refused():
    raw = Enr.create(KEY, ip="10.0.0.1", udp=9000).raw

    for size in range(len(raw)):
        with pytest.raises(EnrError):
            Enr.decode(raw[:size])
    with pytest.raises(EnrError):
        Enr.decode(raw + b"\0")


def test_300_bytes_are_a_record_and_301_are_not():
    padding = 160 + MAX_SIZE - len(Enr.create(KEY, extra={"z": b"\xff" * 160}).raw)

    assert len(Enr.create(KEY, extra={"z": b"\xff" * padding}).raw) == MAX_SIZE
    with pytest.raises(EnrError, match="at most 300"):
        Enr.create(KEY, extra={"z": b"\xff" * (padding + 1)})


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([1, "secp256k1", KEY.public.compressed, "id", b"v4"], "sorted"),
        ([1, "id", b"v4", "id", b"v4", "secp256k1", KEY.public.compressed], "unique"),
        ([1, "id", b"v4", "secp256k1"], "pairs"),
        ([], "pairs"),
        (flat({"id": b"v5", "secp256k1": KEY.public.compressed}), "not v4"),
        (flat({"secp256k1": KEY.public.compressed}), "not v4"),
        (flat({"id": b"v4"}), "expected 33"),
        (flat({"id": b"v4", "secp256k1": KEY.public.to_bytes()}), "expected 33"),
        (flat({"id": b"v4", "secp256k1": b"\x02" + b"\xff" * 32}), "not a public key"),
        (flat({**ENTRIES, "ip": b"\x7f\0\0"}), "expected 4"),
        (flat({**ENTRIES, "ip6": b"\x7f\0\0\1"}), "expected 16"),
        (flat({**ENTRIES, "udp": b"\1\0\0"}), "at most 2"),
        (flat({**ENTRIES, "tcp": b"\0\1"}), "leading zero"),
        (flat({**ENTRIES, "udp6": [b"\1"]}), "found a list"),
        (flat(ENTRIES, seq=b"\0\1"), "leading zero"),
        (flat(ENTRIES, seq=b"\1" * 9), "at most 8"),
        (flat(ENTRIES, seq=[]), "found a list"),
    ],
)
def test_a_signed_record_of_the_wrong_shape_is_refused(items, message):
    with pytest.raises(EnrError, match=message):
        Enr.decode(forge(items))


def test_a_signature_by_another_key_is_refused():
    with pytest.raises(EnrError, match="signature"):
        Enr.decode(forge(flat(ENTRIES), key=OTHER))


@pytest.mark.parametrize("signature", [b"", b"\0" * 64, b"\xff" * 64, b"\1" * 63, b"\1" * 65])
def test_what_is_no_signature_is_refused(signature):
    with pytest.raises(EnrError):
        Enr.decode(forge(flat(ENTRIES), signature=signature))


def test_the_other_signature_with_high_s_is_refused():
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    good = Enr.create(KEY)
    s = int.from_bytes(good.signature[32:], "big")
    high = good.signature[:32] + (order - s).to_bytes(32, "big")

    with pytest.raises(EnrError, match="signature"):
        Enr.decode(forge(flat(ENTRIES), signature=high))


def test_text_has_one_form():
    text = Enr.create(KEY).text
    raw = Enr.parse(text).raw

    for other in (
        text[4:],
        "ENR:" + text[4:],
        text + "=",
        text + " ",
        " " + text,
        text + "\n",
        "enr:" + urlsafe_b64encode(raw).decode(),
        text[:-1],
    ):
        if other != text:
            with pytest.raises(EnrError):
                Enr.parse(other)


def test_unused_bits_of_the_last_character_must_be_zero():
    record = next(Enr.create(KEY, n) for n in (1, 1000, 100_000) if len(Enr.create(KEY, n).raw) % 3)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet.index(record.text[-1])

    with pytest.raises(EnrError, match="unused bits"):
        Enr.parse(record.text[:-1] + alphabet[last + 1])


def test_ports_over_ipv6_default_to_the_plain_ones():
    both = Enr.create(KEY, ip="192.0.2.1", ip6="2001:db8::1", udp=9000, tcp=9001)
    own = Enr.create(KEY, ip6="2001:db8::1", udp=9000, udp6=9100, tcp6=9101)

    assert both.endpoint == Endpoint(IPv4Address("192.0.2.1"), 9000, 9001)
    assert both.endpoint6 == Endpoint(IPv6Address("2001:db8::1"), 9000, 9001)
    assert own.endpoint6 == Endpoint(IPv6Address("2001:db8::1"), 9100, 9101)
    assert own.endpoint is None


def test_a_4_in_6_address_is_written_as_ipv4():
    assert Enr.create(KEY, ip="::ffff:192.0.2.1").ip == IPv4Address("192.0.2.1")


def test_port_zero_reads_as_absent():
    assert Enr.create(KEY, ip="192.0.2.1", udp=0).udp is None


def test_kinds_come_back_in_order():
    record = Enr.create(KEY, kinds=[Kind("pushserver"), MAILSERVER])

    assert Enr.decode(record.raw).kinds == ("pushserver", "mailserver")


@pytest.mark.parametrize(
    "entry", [b"", b"mailserver", [], [b"Mail!"], [[b"mailserver"]], [b"\xff"], [b"a" * 33], [b"-a"]]
)
def test_a_strange_entry_kinds_means_none_and_is_no_reason_to_refuse(entry):
    assert Enr.create(KEY, extra={"kinds": entry}).kinds == ()


def test_good_kinds_among_strange_ones_are_kept_once():
    entry = [b"mailserver", b"?", b"mailserver", b"x"]

    assert Enr.create(KEY, extra={"kinds": entry}).kinds == ("mailserver", "x")


def test_an_amended_record_has_the_next_number_and_the_other_entries():
    first = Enr.create(KEY, 7, ip="192.0.2.1", udp=9000, kinds=[MAILSERVER])

    second = first.amended(KEY, {"udp": b"\x23\x29", "ip": None, "x": b"y"})

    assert second.seq == 8
    assert (second.ip, second.udp, second.pairs["x"], second.kinds) == (None, 9001, b"y", ("mailserver",))


def test_entries_cannot_be_changed():
    with pytest.raises(TypeError):
        Enr.create(KEY).pairs["ip"] = b""
