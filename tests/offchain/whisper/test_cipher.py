import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.hashing import keccak256
from offchain.keys import PrivateKey
from offchain.rlpx import ecies
from offchain.whisper import cipher
from offchain.whisper.cipher import CipherError, Message
from offchain.whisper.envelope import Envelope
from tests.support.rlpx import key, vectors

VECTORS = vectors("whisper_envelopes")
KEY = bytes(range(32))


def opened(vector):
    data = Envelope.decode(bytes.fromhex(vector["envelope"])).data
    if vector["encryption"] == "sym":
        return cipher.open_sym(bytes.fromhex(vector["sym_key"]), data)
    return cipher.open_asym(PrivateKey(bytes.fromhex(vector["recipient_private_key"])), data)


@pytest.mark.parametrize("vector", VECTORS["envelopes"], ids=lambda vector: vector["name"])
def test_opens_envelopes_of_real_programs(vector):
    message = opened(vector)

    if "payload" in vector:
        assert message.payload.hex() == vector["payload"]
    else:
        assert len(message.payload) == vector["payload_length"]
        assert keccak256(message.payload).hex() == vector["payload_keccak256"]
    assert len(message.padding) == vector["padding_length"]
    assert (message.signer is not None) == vector["signed"]
    if message.signer is not None:
        assert message.signer.to_bytes().hex() == vector["signer_public_key"]


def test_makes_the_plaintext_and_the_ciphertext_that_real_programs_made():
    repeated = 0
    for vector in VECTORS["envelopes"]:
        unknown_signer = vector["signed"] and "signer_private_key" not in vector
        if vector["encryption"] != "sym" or "payload" not in vector or unknown_signer:
            continue
        signer = PrivateKey(bytes.fromhex(vector["signer_private_key"])) if vector["signed"] else None
        payload, padding = bytes.fromhex(vector["payload"]), bytes.fromhex(vector["padding"])

        assert cipher.pack(payload, signer, padding).hex() == vector["plaintext"]
        data = cipher.seal_sym(
            bytes.fromhex(vector["sym_key"]), payload, signer, padding=padding, nonce=bytes.fromhex(vector["salt"])
        )
        assert data == Envelope.decode(bytes.fromhex(vector["envelope"])).data, vector["name"]
        repeated += 1
    assert repeated > 20


@pytest.mark.parametrize(("password", "expected"), VECTORS["passwords"].items())
def test_derives_the_keys_that_real_programs_derive(password, expected):
    assert cipher.key_from_password(password).hex() == expected


@given(st.binary(max_size=600), st.booleans())
def test_what_is_sealed_is_opened(payload, signed):
    signer = key(1) if signed else None

    for message in (
        cipher.open_sym(KEY, cipher.seal_sym(KEY, payload, signer)),
        cipher.open_asym(key(2), cipher.seal_asym(key(2).public, payload, signer)),
    ):
        assert message.payload == payload
        assert message.signer == (signer.public if signer else None)


@given(st.integers(0, 1000), st.booleans())
def test_plaintexts_are_padded_to_a_multiple_of_256(size, signed):
    assert len(cipher.pack(bytes(size), key(1) if signed else None)) % 256 == 0


def test_the_size_of_a_payload_does_not_show():
    assert len({len(cipher.seal_sym(KEY, bytes(size))) for size in range(200)}) == 1


def test_sealing_twice_gives_different_bytes():
    assert cipher.seal_sym(KEY, b"same") != cipher.seal_sym(KEY, b"same")


def test_another_key_opens_nothing():
    with pytest.raises(CipherError, match="not sealed with this key"):
        cipher.open_sym(bytes(32), cipher.seal_sym(KEY, b"secret"))
    with pytest.raises(CipherError, match="not sealed to this key"):
        cipher.open_asym(key(1), cipher.seal_asym(key(2).public, b"secret"))


def test_every_changed_bit_is_noticed():
    data = cipher.seal_sym(KEY, b"secret")
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1
        with pytest.raises(CipherError):
            cipher.open_sym(KEY, bytes(changed))


def test_signatures_of_old_programs_with_v_27_are_read():
    plaintext = bytearray(cipher.pack(b"text", key(1)))
    plaintext[-1] += 27

    assert cipher.unpack(bytes(plaintext)).signer == key(1).public


def test_a_payload_without_size_field_is_empty():
    assert cipher.unpack(b"\0padding") == Message(b"", None, b"padding")


@pytest.mark.parametrize(
    "plaintext",
    [
        b"",
        b"\x04",
        b"\x04" + bytes(64),
        b"\x04" + bytes(65),
        b"\x01\x01",
        b"\x02\x01",
        b"\x03\xff\xff\xffxxx",
        b"\x01\x02x",
    ],
)
def test_a_plaintext_that_holds_no_message_raises_the_one_error(plaintext):
    with pytest.raises(CipherError):
        cipher.unpack(plaintext)


@given(st.binary(max_size=400))
def test_a_noisy_plaintext_is_a_message_or_raises_the_one_error(plaintext):
    for data, open_it in (
        (ecies.encrypt(key(2).public, plaintext), lambda data: cipher.open_asym(key(2), data)),
        (plaintext, cipher.unpack),
    ):
        try:
            message = open_it(data)
        except CipherError:
            continue
        assert message.payload in plaintext
        assert message.padding in plaintext


@given(st.binary(max_size=400))
def test_noise_raises_the_one_error(noise):
    with pytest.raises(CipherError):
        cipher.open_sym(KEY, noise)
    with pytest.raises(CipherError):
        cipher.open_asym(key(1), noise)


def test_our_own_mistakes_are_another_error():
    with pytest.raises(ValueError, match="32 bytes"):
        cipher.seal_sym(b"short", b"")
    with pytest.raises(ValueError, match="more than"):
        cipher.pack(bytes(1 << 24))


def test_the_repr_of_a_message_does_not_show_it():
    assert "secret" not in repr(Message(b"secret", None, b"secret padding"))
