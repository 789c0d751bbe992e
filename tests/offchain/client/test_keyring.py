"""A mailbox's keys: the right one opens, whatever else is in the ring."""

from hypothesis import given
from hypothesis import strategies as st

from offchain.client.keyring import Keyring, PersonalKey, SharedKey, topic_of_name
from offchain.keys import PrivateKey
from offchain.whisper.cipher import seal_asym, seal_sym
from offchain.whisper.envelope import Envelope

TOPIC, OTHER = b"\x01\x02\x03\x04", b"\x05\x06\x07\x08"
OURS = SharedKey("ours", b"\x01" * 32, TOPIC)
ANYWHERE = SharedKey("anywhere", b"\x02" * 32)
MINE = PersonalKey("mine", PrivateKey(b"\x03" * 32))
RING = Keyring([MINE, ANYWHERE, OURS])


def envelope(data, topic=TOPIC):
    return Envelope.create(1_700_000_050, 50, topic, data)


def test_opens_with_the_key_of_the_topic():
    opened = RING.open(envelope(seal_sym(OURS.key, b"hello")))

    assert (opened.label, opened.message.payload) == ("ours", b"hello")


def test_a_key_without_a_topic_is_tried_on_all():
    assert RING.open(envelope(seal_sym(ANYWHERE.key, b"hello"), OTHER)).label == "anywhere"


def test_a_key_of_another_topic_is_not_tried():
    assert RING.open(envelope(seal_sym(OURS.key, b"hello"), OTHER)) is None


def test_opens_what_is_sealed_to_a_personal_key_and_says_who_signed():
    sender = PrivateKey(b"\x04" * 32)

    opened = RING.open(envelope(seal_asym(MINE.key.public, b"for you", sender), OTHER))

    assert (opened.label, opened.message.signer) == ("mine", sender.public)


def test_an_empty_ring_opens_nothing():
    assert Keyring().open(envelope(seal_sym(OURS.key, b"hello"))) is None


def test_a_password_makes_the_key_that_others_make():
    first = SharedKey.from_password("secret")

    assert first == SharedKey.from_password("secret")
    assert len(first.key) == 32
    assert "secret" not in repr(first)
    assert first.key.hex() not in repr(first)


def test_the_topic_of_a_name_is_the_beginning_of_its_keccak256():
    assert topic_of_name("abc").hex() == "4e03657a"


@given(st.binary(max_size=300))
def test_noise_is_not_opened(data):
    assert RING.open(envelope(data)) is None
