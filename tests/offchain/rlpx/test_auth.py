"""The handshake against EIP-8's own vectors and against noise."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain import rlp
from offchain.hashing import keccak256
from offchain.keys import PrivateKey, PublicKey
from offchain.rlpx import auth, ecies
from offchain.rlpx.auth import HandshakeError
from tests.support.rlpx import ScriptedRandom, key, vectors

EIP8 = vectors("rlpx")["eip8"]
A, B = PrivateKey(bytes.fromhex(EIP8["static_key_a"])), PrivateKey(bytes.fromhex(EIP8["static_key_b"]))
EPHEMERAL_A = PrivateKey(bytes.fromhex(EIP8["ephemeral_key_a"]))
EPHEMERAL_B = PrivateKey(bytes.fromhex(EIP8["ephemeral_key_b"]))
NONCE_A, NONCE_B = bytes.fromhex(EIP8["nonce_a"]), bytes.fromhex(EIP8["nonce_b"])
AUTH = {each["name"]: bytes.fromhex(each["packet"]) for each in EIP8["auth"]}
ACK = {each["name"]: bytes.fromhex(each["packet"]) for each in EIP8["ack"]}


@pytest.mark.parametrize("vector", EIP8["auth"], ids=lambda vector: vector["name"])
def test_reads_the_specifications_auth(vector):
    packet = bytes.fromhex(vector["packet"])

    plain = "plain" in vector["format"]
    found = auth.decode_auth_v4(B, packet) if plain else auth.decode_auth(B, packet)

    assert found.initiator == A.public
    assert found.ephemeral == EPHEMERAL_A.public
    assert found.nonce == NONCE_A
    assert found.plain == plain
    assert found.version == vector["decoded"].get("version", 4)


@pytest.mark.parametrize("vector", EIP8["ack"], ids=lambda vector: vector["name"])
def test_reads_the_specifications_ack(vector):
    packet = bytes.fromhex(vector["packet"])

    found = auth.decode_ack_v4(A, packet) if "plain" in vector["format"] else auth.decode_ack(A, packet)

    assert found.ephemeral == EPHEMERAL_B.public
    assert found.nonce == NONCE_B
    assert found.version == vector["decoded"].get("version", 4)


def test_tells_the_size_of_the_specifications_packets():
    for packet in (AUTH["auth2"], AUTH["auth3"], ACK["ack2"], ACK["ack3"]):
        assert auth.packet_size(packet[:2]) == len(packet)
    assert auth.packet_size(b"") is None
    assert auth.packet_size(b"\x01") is None


def test_derives_the_specifications_secrets():
    expected = EIP8["derived_for_auth2_ack2"]
    exchange = {"auth": AUTH["auth2"], "ack": ACK["ack2"]}

    ours = auth.derive(
        initiator=False,
        ephemeral=EPHEMERAL_B,
        remote_ephemeral=EPHEMERAL_A.public,
        nonce=NONCE_B,
        remote_nonce=NONCE_A,
        **exchange,
    )
    theirs = auth.derive(
        initiator=True,
        ephemeral=EPHEMERAL_A,
        remote_ephemeral=EPHEMERAL_B.public,
        nonce=NONCE_A,
        remote_nonce=NONCE_B,
        **exchange,
    )

    assert ours.aes.hex() == theirs.aes.hex() == expected["aes_secret"]
    assert ours.mac.hex() == theirs.mac.hex() == expected["mac_secret"]
    ours.ingress.update(b"foo")
    theirs.egress.update(b"foo")
    assert ours.ingress.digest().hex() == theirs.egress.digest().hex() == expected["b_ingress_mac_after_foo"]


@pytest.mark.parametrize("session", vectors("rlpx")["sessions"], ids=lambda session: session["role_of_endpoint"])
def test_repeats_the_recorded_handshakes_byte_for_byte(session):
    ours, remote = session["endpoint"], session["remote"]
    endpoint_key = PrivateKey(bytes.fromhex(ours["static_key"]))
    ephemeral = PrivateKey(bytes.fromhex(ours["ephemeral_key"]))
    nonce = bytes.fromhex(ours["nonce"])
    program = PublicKey.from_bytes(bytes.fromhex(remote["static_public_key"]))
    rng = ScriptedRandom(
        bytes.fromhex(ours["handshake_padding"]),
        bytes.fromhex(ours["ecies_ephemeral_key"]),
        bytes.fromhex(ours["ecies_iv"]),
    )
    first, second = (bytes.fromhex(event["wire"]) for event in session["events"][:2])
    initiator = session["role_of_endpoint"] == "initiator"

    if initiator:
        assert auth.encode_auth(endpoint_key, program, ephemeral, nonce, rng) == first
        found = auth.decode_ack(endpoint_key, second)
    else:
        assert auth.encode_ack(program, ephemeral, nonce, rng) == second
        found = auth.decode_auth(endpoint_key, first)
        assert found.initiator == program
    assert found.ephemeral.to_bytes().hex() == remote["ephemeral_public_key"]
    assert found.nonce.hex() == remote["nonce"]
    secrets = auth.derive(
        initiator=initiator,
        ephemeral=ephemeral,
        remote_ephemeral=found.ephemeral,
        nonce=nonce,
        remote_nonce=found.nonce,
        auth=first,
        ack=second,
    )
    assert secrets.aes.hex() == session["secrets"]["aes_secret"]
    assert secrets.mac.hex() == session["secrets"]["mac_secret"]


@given(st.integers(min_value=0))
def test_what_is_encoded_is_decoded(seed):
    rng = random.Random(seed)
    ephemeral, nonce = auth.random_key(rng), rng.randbytes(32)

    found = auth.decode_auth(B, auth.encode_auth(A, B.public, ephemeral, nonce, rng))
    assert (found.initiator, found.ephemeral, found.nonce) == (A.public, ephemeral.public, nonce)

    answer = auth.decode_ack(A, auth.encode_ack(A.public, ephemeral, nonce, rng))
    assert (answer.ephemeral, answer.nonce) == (ephemeral.public, nonce)

    plain = auth.decode_ack_v4(A, auth.encode_ack_v4(A.public, ephemeral, nonce, rng))
    assert (plain.ephemeral, plain.nonce) == (ephemeral.public, nonce)


def test_packets_of_one_handshake_have_no_fixed_size():
    rng = random.Random(7)

    sizes = {len(auth.encode_auth(A, B.public, EPHEMERAL_A, NONCE_A, rng)) for _ in range(20)}

    assert len(sizes) > 5
    assert max(sizes) - min(sizes) <= 150


def test_claiming_another_key_gives_an_ephemeral_key_that_the_claimer_does_not_hold():
    """The proof of identity: without the static key nobody can sign so that his own ephemeral key is recovered."""
    liar = key(9)
    signature = EPHEMERAL_A.sign_recoverable(bytes(x ^ y for x, y in zip(liar.ecdh(B.public), NONCE_A, strict=True)))
    body = rlp.encode([signature, A.public.to_bytes(), NONCE_A, 4]) + bytes(100)

    found = auth.decode_auth(B, seal(B.public, body))

    assert found.initiator == A.public
    assert found.ephemeral != EPHEMERAL_A.public


def seal(recipient, body):
    size = (len(body) + ecies.OVERHEAD).to_bytes(2, "big")
    return size + ecies.encrypt(recipient, body, size)


NOT_AN_AUTH = {
    "no list": rlp.encode(b"text"),
    "empty": b"",
    "empty list": rlp.encode([]),
    "too few items": rlp.encode([bytes(65), bytes(64)]),
    "short signature": rlp.encode([bytes(64), A.public.to_bytes(), bytes(32), 4]),
    "key off the curve": rlp.encode([bytes(65), bytes(64), bytes(32), 4]),
    "signature of zeros": rlp.encode([bytes(65), A.public.to_bytes(), bytes(32), 4]),
    "recovery id 9": rlp.encode([b"\1" * 64 + b"\x09", A.public.to_bytes(), bytes(32), 4]),
    "items are lists": rlp.encode([[], [], [], []]),
    "nested deeply": b"\xc1" * 40 + b"\xc0",
}


@pytest.mark.parametrize("body", NOT_AN_AUTH.values(), ids=NOT_AN_AUTH.keys())
def test_an_authentic_packet_that_holds_no_auth_raises_the_one_error(body):
    with pytest.raises(HandshakeError):
        auth.decode_auth(B, seal(B.public, body))


@pytest.mark.parametrize("body", NOT_AN_AUTH.values(), ids=NOT_AN_AUTH.keys())
def test_an_authentic_packet_that_holds_no_ack_raises_the_one_error(body):
    with pytest.raises(HandshakeError):
        auth.decode_ack(B, seal(B.public, body))


@pytest.mark.parametrize("version", [rlp.encode(56), rlp.encode(b"\0"), rlp.encode(bytes(9)), rlp.encode([1])])
def test_any_version_and_further_items_are_accepted(version):
    signature = EPHEMERAL_A.sign_recoverable(bytes(x ^ y for x, y in zip(A.ecdh(B.public), NONCE_A, strict=True)))
    items = [rlp.encode(each) for each in (signature, A.public.to_bytes(), NONCE_A)] + [version, rlp.encode([b"more"])]

    assert auth.decode_auth(B, seal(B.public, rlp.encode_list(items) + b"trailing")).ephemeral == EPHEMERAL_A.public


@given(st.binary(max_size=700))
def test_noise_raises_the_one_error(noise):
    for decode in (auth.decode_auth, auth.decode_auth_v4, auth.decode_ack, auth.decode_ack_v4):
        with pytest.raises(HandshakeError):
            decode(B, noise)


@given(st.binary(max_size=400))
def test_authentic_noise_raises_the_one_error(noise):
    for decode in (auth.decode_auth, auth.decode_ack):
        with pytest.raises(HandshakeError):
            decode(B, seal(B.public, noise))


@pytest.mark.parametrize("start", [b"\0\0", b"\0\x70", b"\xff\xff", b"\x08\x00"])
def test_absurd_sizes_are_refused_at_once(start):
    with pytest.raises(HandshakeError, match="size"):
        auth.packet_size(start)


def test_a_v4_auth_whose_hash_is_of_another_key_is_refused():
    body = bytearray(ecies.decrypt(B, AUTH["auth1"]))
    body[70] ^= 1

    with pytest.raises(HandshakeError, match="hash"):
        auth.decode_auth_v4(B, ecies.encrypt(B.public, bytes(body)))


def test_the_mac_states_are_seeded_with_the_whole_packets():
    """Guard for `derive`: changing any byte of the auth changes the secrets' MAC, not the keys."""
    kwargs = {
        "initiator": True,
        "ephemeral": EPHEMERAL_A,
        "remote_ephemeral": EPHEMERAL_B.public,
        "nonce": NONCE_A,
        "remote_nonce": NONCE_B,
        "ack": ACK["ack2"],
    }
    one = auth.derive(auth=AUTH["auth2"], **kwargs)
    other = auth.derive(auth=AUTH["auth2"][:-1] + b"\0", **kwargs)

    assert (one.aes, one.mac) == (other.aes, other.mac)
    assert one.egress.digest() != other.egress.digest()
    assert one.ingress.digest() == other.ingress.digest()
    assert keccak256(b"") != one.mac
