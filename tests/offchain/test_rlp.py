"""RLP: the Yellow Paper's encodings, and that any other encoding is refused."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from offchain import rlp
from offchain.errors import DecodeError
from offchain.rlp import RlpError

items = st.recursive(st.binary(max_size=80), lambda inner: st.lists(inner, max_size=6), max_leaves=30)

LOREM = b"Lorem ipsum dolor sit amet, consectetur adipisicing elit"

# https://ethereum.org/developers/docs/data-structures-and-encoding/rlp and go-ethereum's rlp tests
EXAMPLES = [
    (b"dog", "83646f67"),
    ([b"cat", b"dog"], "c88363617483646f67"),
    (b"", "80"),
    ([], "c0"),
    (b"\0", "00"),
    (b"\x0f", "0f"),
    (b"\x7f", "7f"),
    (b"\x80", "8180"),
    (b"\x04\x00", "820400"),
    ([[], [[]], [[], [[]]]], "c7c0c1c0c3c0c1c0"),
    (LOREM[:-1], "b7" + LOREM[:-1].hex()),
    (LOREM, "b838" + LOREM.hex()),
    ([b"x" * 54], "f7b6" + "78" * 54),
    ([b"x" * 55], "f838b7" + "78" * 55),
    (b"y" * 256, "b90100" + "79" * 256),
    ([b"y" * 65_536], "fa010004ba010000" + "79" * 65_536),
]


@pytest.mark.parametrize(("item", "encoded"), EXAMPLES, ids=[encoded[:16] for _, encoded in EXAMPLES])
def test_encodes_and_decodes_the_known_examples(item, encoded):
    assert rlp.encode(item).hex() == encoded
    assert rlp.decode(bytes.fromhex(encoded)) == item


@given(items)
def test_what_is_encoded_is_decoded(item):
    encoded = rlp.encode(item)

    assert rlp.decode(encoded) == item
    assert rlp.decode_prefix(encoded + b"after") == (item, len(encoded))


@given(st.binary(max_size=120))
@example(b"\xb8\x37" + bytes(55))
@example(b"\x81\x05")
def test_whatever_decodes_is_the_one_encoding_of_its_item(noise):
    try:
        item = rlp.decode(noise)
    except RlpError:
        return
    assert rlp.encode(item) == noise


@given(items, st.integers(0, 10**6), st.integers(0, 255))
def test_a_changed_byte_decodes_to_another_item_or_raises_the_one_error(item, position, value):
    encoded = bytearray(rlp.encode(item))
    encoded[position % len(encoded)] = value
    try:
        assert rlp.encode(rlp.decode(bytes(encoded))) == encoded
    except RlpError:
        pass


@given(items)
def test_what_is_cut_short_raises_the_one_error(item):
    encoded = rlp.encode(item)

    for size in range(len(encoded)):
        with pytest.raises(RlpError):
            rlp.decode(encoded[:size])


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        ("", "missing"),
        ("8100", "single byte"),
        ("817f", "single byte"),
        ("83646f", "past the end"),
        ("b837" + "00" * 55, "long form"),
        ("b90038" + "00" * 56, "leading zero"),
        ("b8", "past the end"),
        ("b9ff", "past the end"),
        ("bfffffffffffffffff", "past the end"),
        ("f837" + "00" * 55, "long form"),
        ("ffffffffffffffffff", "past the end"),
        ("c28100", "single byte"),
        ("c181", "past the end"),
        ("c883636174", "past the end"),
        ("c3c28100", "single byte"),
        ("8080", "follow"),
        ("c000", "follow"),
        ("c2b838", "past the end"),
    ],
)
def test_any_other_encoding_is_refused(encoded, message):
    with pytest.raises(RlpError, match=message):
        rlp.decode(bytes.fromhex(encoded))


def test_the_error_is_a_decode_error():
    assert issubclass(RlpError, DecodeError)


def test_lists_nest_so_deep_and_no_deeper():
    def nested(depth):
        item = []
        for _ in range(depth - 1):
            item = [item]
        return item

    assert rlp.decode(rlp.encode(nested(rlp.MAX_DEPTH))) == nested(rlp.MAX_DEPTH)
    with pytest.raises(RlpError, match="deeper"):
        rlp.decode(rlp.encode(nested(rlp.MAX_DEPTH + 1)))


def test_a_bomb_of_brackets_is_refused_without_recursion():
    bomb = b"\xc0"
    for _ in range(5000):
        bomb = rlp.encode_list([bomb])

    with pytest.raises(RlpError, match="deeper"):
        rlp.decode(bomb)


def test_so_many_lists_are_decoded_and_no_more():
    def wide(count):
        return [[[]] * (count - 2)] if count > 1 else []

    assert rlp.decode(rlp.encode(wide(rlp.MAX_LISTS))) == wide(rlp.MAX_LISTS)
    with pytest.raises(RlpError, match="more than 8192 lists"):
        rlp.decode(rlp.encode(wide(rlp.MAX_LISTS + 1)))


def test_lists_are_counted_wherever_they_are():
    spread = [[[] for _ in range(100)] for _ in range(100)]

    with pytest.raises(RlpError, match="more than 8192 lists"):
        rlp.decode(rlp.encode(spread))


def test_strings_are_not_counted():
    many = [b"ab"] * (rlp.MAX_LISTS * 2)

    assert rlp.decode(rlp.encode(many)) == many


def test_nothing_is_looked_at_after_one_list_too_many():
    begun = bytes((0xF9,)) + (40_000).to_bytes(2, "big") + bytes((0xC0,)) * (rlp.MAX_LISTS + 1)
    rest = bytes((0xB8, 0x01)) * 20_000  # lengths that make no sense

    for read in (rlp.decode, rlp.split_list):
        with pytest.raises(RlpError, match="more than 8192"):
            read(begun + rest[: 40_003 - len(begun)])


# INTEGERS, TEXT, SEQUENCES


@given(st.integers(0, 2**300))
def test_integers_are_big_endian_without_leading_zeros(number):
    encoded = rlp.encode(number)

    assert rlp.as_int(rlp.decode(encoded), max_bytes=40) == number
    assert rlp.int_to_bytes(number).lstrip(b"\0") == rlp.int_to_bytes(number)


def test_zero_is_the_empty_string():
    assert rlp.encode(0) == b"\x80"
    assert rlp.as_int(b"") == 0


def test_booleans_are_integers():
    assert rlp.encode([True, False]) == bytes.fromhex("c20180")


def test_negative_integers_are_our_mistake():
    with pytest.raises(ValueError, match="negative") as caught:
        rlp.encode(-1)
    assert not isinstance(caught.value, RlpError)


def test_text_is_utf_8_and_other_byte_strings_are_bytes():
    assert rlp.encode("dög") == rlp.encode("dög".encode())
    assert rlp.encode(bytearray(b"dog")) == rlp.encode(memoryview(b"dog")) == rlp.encode(b"dog")
    assert rlp.encode((b"cat", [b"dog"])) == rlp.encode([b"cat", (b"dog",)])


def test_a_list_is_made_of_what_is_encoded_already():
    assert rlp.encode_list([rlp.encode(b"cat"), rlp.encode([b"dog"])]) == rlp.encode([b"cat", [b"dog"]])
    assert rlp.encode_list([]) == b"\xc0"


# SPLITTING


@given(st.lists(items, max_size=6))
def test_a_list_is_split_into_its_items_still_encoded(several):
    assert rlp.split_list(rlp.encode(several)) == [rlp.encode(each) for each in several]


def test_a_list_is_split_into_so_many_items_and_no_more():
    assert len(rlp.split_list(rlp.encode_list([b"\1"] * rlp.MAX_LISTS))) == rlp.MAX_LISTS
    with pytest.raises(RlpError, match="more than 8192 items"):
        rlp.split_list(rlp.encode_list([b"\1"] * (rlp.MAX_LISTS + 1)))


@given(st.binary(max_size=100))
def test_splitting_noise_raises_the_one_error_or_gives_back_the_list(noise):
    try:
        parts = rlp.split_list(noise)
    except RlpError:
        return
    assert rlp.encode_list(parts) == noise


@pytest.mark.parametrize("encoded", ["", "80", "83646f67", "c000", "c1", "c18100", "c281"])
def test_what_is_no_list_is_not_split(encoded):
    with pytest.raises(RlpError):
        rlp.split_list(bytes.fromhex(encoded))


# SHAPES


def test_shapes_are_checked():
    assert rlp.as_bytes(b"abc") == rlp.as_bytes(b"abc", 3) == b"abc"
    assert rlp.as_list([b"a"]) == rlp.as_list([b"a"], 1) == [b"a"]
    assert rlp.as_int(b"\1\0") == 256
    assert rlp.decode_list(b"\xc0") == []


@pytest.mark.parametrize(
    "call",
    [
        lambda: rlp.as_bytes([]),
        lambda: rlp.as_bytes(b"abc", 4),
        lambda: rlp.as_list(b""),
        lambda: rlp.as_list([], 1),
        lambda: rlp.as_int([]),
        lambda: rlp.as_int(b"\0"),
        lambda: rlp.as_int(b"\0\1"),
        lambda: rlp.as_int(b"\1" * 9),
        lambda: rlp.as_int(b"\1\0", max_bytes=1),
        lambda: rlp.decode_list(b"\x80"),
    ],
)
def test_other_shapes_raise_the_one_error(call):
    with pytest.raises(RlpError):
        call()
