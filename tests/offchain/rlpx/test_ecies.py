import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain import rlp
from offchain.keys import PrivateKey
from offchain.rlpx import ecies
from tests.support.rlpx import key, vectors


@given(st.binary(max_size=300), st.binary(max_size=10))
def test_the_recipient_reads_what_was_encrypted(plaintext, authdata):
    message = ecies.encrypt(key(1).public, plaintext, authdata)

    assert len(message) == len(plaintext) + ecies.OVERHEAD
    assert ecies.decrypt(key(1), message, authdata) == plaintext


def test_nobody_else_reads_it():
    message = ecies.encrypt(key(1).public, b"secret")

    with pytest.raises(ecies.EciesError, match="tag"):
        ecies.decrypt(key(2), message)


def test_the_authdata_is_covered():
    message = ecies.encrypt(key(1).public, b"secret", b"size")

    with pytest.raises(ecies.EciesError, match="tag"):
        ecies.decrypt(key(1), message, b"sizf")


def test_every_changed_bit_is_noticed():
    message = ecies.encrypt(key(1).public, b"secret")

    for position in range(len(message)):
        changed = bytearray(message)
        changed[position] ^= 0x10
        with pytest.raises(ecies.EciesError):
            ecies.decrypt(key(1), bytes(changed))


@given(st.binary(max_size=400))
def test_noise_raises_the_one_error(noise):
    with pytest.raises(ecies.EciesError):
        ecies.decrypt(key(1), noise)


@given(st.binary(max_size=200))
def test_noise_that_starts_with_a_real_point_raises_the_one_error(noise):
    with pytest.raises(ecies.EciesError):
        ecies.decrypt(key(1), b"\x04" + key(3).public.to_bytes() + noise)


def test_two_encryptions_of_one_text_differ():
    assert ecies.encrypt(key(1).public, b"same") != ecies.encrypt(key(1).public, b"same")


def test_opens_what_foreign_programs_encrypted():
    found = 0
    for vector in vectors("whisper_envelopes")["envelopes"]:
        if vector["encryption"] != "asym":
            continue
        data = rlp.as_bytes(rlp.decode_list(bytes.fromhex(vector["envelope"]))[3])
        recipient = PrivateKey(bytes.fromhex(vector["recipient_private_key"]))
        assert ecies.decrypt(recipient, data).hex() == vector["plaintext"]
        found += 1
    assert found > 10
