"""secp256k1 identities: known keys and signatures, and that anything else is refused."""

import stat

import coincurve
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.errors import ConfigError, DecodeError
from offchain.hashing import keccak256
from offchain.keys import InvalidKey, PrivateKey, PublicKey

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
ONE = PrivateKey((1).to_bytes(32, "big"))
TWO = PrivateKey((2).to_bytes(32, "big"))

# SEC 2, section 2.4.1: the generator
G_X = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
G_Y = "483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8"

keys = st.integers(1, ORDER - 1).map(lambda number: PrivateKey(number.to_bytes(32, "big")))
digests = st.binary(min_size=32, max_size=32)


def test_the_key_one_is_the_generator():
    assert ONE.public.to_bytes().hex() == G_X + G_Y
    assert ONE.public.compressed.hex() == "02" + G_X


def test_the_address_of_the_key_one_is_the_known_one():
    assert ONE.public.address.hex() == "7e5f4552091a69125d5dfcb7b8c2659029395bdf"
    assert ONE.public.node_id == keccak256(bytes.fromhex(G_X + G_Y))
    assert ONE.public.node_id[12:] == ONE.public.address


def test_eip_778s_node_id_is_that_of_its_key():
    """The example record of EIP-778."""
    key = PrivateKey(bytes.fromhex("b71c71a67e1177ad4e901695e1b4b9ee17ae16c6668d313eac2f96dbcda3f291"))

    assert key.public.node_id.hex() == "a448f24c6d18e575453db13171562b71999873db5b286df957af199ec94617f7"
    assert key.public.compressed.hex() == "03ca634cae0d49acb401d8a4c6b6fe8c55b70d115bf400769cc1400f3258cd3138"


def test_discv5s_ecdh_vector():
    """discv5-wire-test-vectors.md, "ECDH"."""
    public = PublicKey.from_bytes(bytes.fromhex("039961e4c2356d61bedb83052c115d311acb3a96f5777296dcf297351130266231"))
    secret = PrivateKey(bytes.fromhex("fb757dc581730490a1d7a00deea65e9b1936924caaea8f44d476014856b68736"))

    shared = secret.ecdh_compressed(public)

    assert shared.hex() == "033b11a2a1f214567e1537ce5e509ffd9b21373247f2a3ff6841f4976f53165e7e"
    assert secret.ecdh(public) == shared[1:]


@given(keys)
def test_a_public_key_is_read_in_all_three_forms(key):
    public = key.public

    for form in (public.to_bytes(), b"\x04" + public.to_bytes(), public.compressed):
        assert PublicKey.from_bytes(form) == public
    assert hash(PublicKey.from_bytes(public.compressed)) == hash(public)
    assert public != ONE.public or key.to_bytes() == ONE.to_bytes()
    assert public != public.to_bytes()


@given(keys, digests)
def test_a_signature_verifies_and_tells_its_signer(key, digest):
    signature = key.sign_recoverable(digest)

    assert PublicKey.recover(signature, digest) == key.public
    assert PublicKey.recover(signature[:64] + bytes((signature[64] + 27,)), digest) == key.public
    assert key.sign(digest) == signature[:64]
    assert key.public.verify(signature[:64], digest)
    assert key.sign_recoverable(digest) == signature, "RFC 6979"
    assert signature[64] in (0, 1)
    assert int.from_bytes(signature[32:64], "big") <= ORDER // 2


@given(keys, digests, st.integers(0, 511))
def test_a_changed_signature_does_not_verify(key, digest, bit):
    signature = bytearray(key.sign(digest))
    signature[bit // 8] ^= 1 << bit % 8

    assert not key.public.verify(bytes(signature), digest)


@given(digests)
def test_a_high_s_is_refused(digest):
    signature = ONE.sign(digest)
    high = (ORDER - int.from_bytes(signature[32:], "big")).to_bytes(32, "big")

    assert not ONE.public.verify(signature[:32] + high, digest)


def test_another_digest_or_key_does_not_verify():
    signature = ONE.sign(bytes(32))

    assert not ONE.public.verify(signature, b"\1" * 32)
    assert not TWO.public.verify(signature, bytes(32))


@given(st.binary(max_size=70))
def test_noise_as_a_signature_verifies_nothing(noise):
    assert not ONE.public.verify(noise, bytes(32))


@pytest.mark.parametrize("part", [bytes(32), ORDER.to_bytes(32, "big"), b"\xff" * 32])
def test_parts_out_of_range_verify_nothing(part):
    good = ONE.sign(bytes(32))

    assert not ONE.public.verify(part + good[32:], bytes(32))
    assert not ONE.public.verify(good[:32] + part, bytes(32))


@given(st.binary(max_size=70))
def test_noise_as_a_public_key_raises_the_one_error_or_is_a_point(noise):
    for data in (noise, b"\x04" + noise, b"\x02" + noise[:32]):
        try:
            public = PublicKey.from_bytes(data)
        except InvalidKey:
            continue
        assert public.compressed == coincurve.PublicKey(b"\x04" + public.to_bytes()).format()


@pytest.mark.parametrize("data", [b"", bytes(64), bytes(65), b"\x04" + bytes(64), bytes(33), b"\x02" + b"\xff" * 32])
def test_what_is_no_point_raises_the_one_error(data):
    with pytest.raises(InvalidKey):
        PublicKey.from_bytes(data)


def test_a_hybrid_encoding_is_refused():
    """SEC 1 knows 06 and 07 || x || y too, and libsecp256k1 reads them; no protocol of ours has them."""
    for first in (6, 7):
        with pytest.raises(InvalidKey, match="begin"):
            PublicKey.from_bytes(bytes((first,)) + ONE.public.to_bytes())


def test_a_point_off_the_curve_is_refused():
    data = bytearray(ONE.public.to_bytes())
    data[-1] ^= 1

    with pytest.raises(InvalidKey):
        PublicKey.from_bytes(bytes(data))


@given(st.binary(min_size=65, max_size=65), digests)
def test_noise_as_a_recoverable_signature_raises_the_one_error_or_is_somebodys(noise, digest):
    try:
        signer = PublicKey.recover(noise, digest)
    except InvalidKey:
        return
    assert len(signer.to_bytes()) == 64


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        bytes(64),
        bytes(65),
        bytes(66),
        b"\1" * 64 + b"\4",
        b"\1" * 64 + b"\x1a",
        b"\1" * 64 + b"\x1f",
        b"\xff" * 65,
    ],
)
def test_what_is_no_recoverable_signature_raises_the_one_error(signature):
    with pytest.raises(InvalidKey):
        PublicKey.recover(signature, bytes(32))


@pytest.mark.parametrize("secret", [b"", bytes(31), bytes(32), bytes(33), ORDER.to_bytes(32, "big"), b"\xff" * 32])
def test_what_is_no_private_key_raises_the_one_error(secret):
    with pytest.raises(InvalidKey):
        PrivateKey(secret)


def test_the_error_is_a_decode_error():
    assert issubclass(InvalidKey, DecodeError)


@given(keys, keys)
def test_both_ends_of_an_ecdh_agree(one, other):
    assert one.ecdh(other.public) == other.ecdh(one.public)
    assert one.ecdh_compressed(other.public) == other.ecdh_compressed(one.public)
    assert one.public.multiply(other) == other.public.multiply(one)
    assert len(one.ecdh(other.public)) == 32


def test_generated_keys_differ():
    assert PrivateKey.generate().to_bytes() != PrivateKey.generate().to_bytes()


def test_a_repr_does_not_show_the_secret():
    key = PrivateKey(keccak256(b"secret"))

    assert key.to_bytes().hex()[:8] not in repr(key)
    assert repr(key) == f"PrivateKey(of PublicKey({key.public.to_bytes()[:4].hex()}..))"


# FILES


def test_a_key_is_saved_for_its_owner_only_and_loaded_again(tmp_path):
    path = tmp_path / "folder" / "node.key"

    ONE.save(path)

    assert PrivateKey.load(path).to_bytes() == ONE.to_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_key_file_is_never_overwritten(tmp_path):
    path = tmp_path / "node.key"
    ONE.save(path)

    with pytest.raises(ConfigError, match="never overwritten"):
        TWO.save(path)

    assert PrivateKey.load(path).to_bytes() == ONE.to_bytes()


def test_a_key_file_with_0x_and_spaces_is_read(tmp_path):
    path = tmp_path / "node.key"
    path.write_text(" 0x" + ONE.to_bytes().hex() + "\n\n")

    assert PrivateKey.load(path).public == ONE.public


@pytest.mark.parametrize("content", [b"", b"00", b"z" * 64, b"0" * 64, b"1" * 63, b"\xff\xfe\0", b"1" * 66])
def test_what_a_key_file_lacks_is_said_without_showing_it(tmp_path, content):
    path = tmp_path / "node.key"
    path.write_bytes(content)

    with pytest.raises(ConfigError, match=r"node\.key") as caught:
        PrivateKey.load(path)

    assert len(content) < 3 or content.decode("latin-1") not in str(caught.value)


def test_a_missing_key_file_tells_how_to_make_one(tmp_path):
    with pytest.raises(ConfigError, match="waypost node key --out"):
        PrivateKey.load(tmp_path / "missing")


def test_a_folder_is_no_key_file(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        PrivateKey.load(tmp_path)
