"""Packets: the specification's vectors, round trips, and every kind of noise."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offchain.discovery import packet as packets
from offchain.discovery.packet import Handshake, Mask, Ordinary, PacketError, WhoAreYou
from tests.support.discovery import vectors

SPEC = vectors("discv5_v5_1")
KEYS = SPEC["keys"]
BY_NAME = {each["name"]: each for each in SPEC["packets"]}
A, B = bytes.fromhex(KEYS["node_id_a"]), bytes.fromhex(KEYS["node_id_b"])
IV = b"\x11" * 16

ids = st.binary(min_size=32, max_size=32)
ivs = st.binary(min_size=16, max_size=16) | st.just(b"\xff" * 16) | st.just(b"\0" * 15 + b"\xfd")
nonces = st.binary(min_size=12, max_size=12)


def load(name):
    return bytes.fromhex(BY_NAME[name]["hex"])


def read(name):
    return packets.decode(load(name), Mask(B))


def masked(plain, to=B, iv=IV, message=b""):
    return packets.encode(Mask(to), iv + plain, message)


def test_reads_the_specifications_message_packet():
    packet = read("ping_message")

    assert isinstance(packet, Ordinary)
    assert packet.source == A
    assert packet.nonce.hex() == BY_NAME["ping_message"]["nonce"]


def test_reads_the_specifications_whoareyou():
    packet = read("whoareyou")

    vector = BY_NAME["whoareyou"]
    assert isinstance(packet, WhoAreYou)
    assert packet.nonce.hex() == vector["request_nonce"]
    assert packet.id_nonce.hex() == vector["id_nonce"]
    assert packet.enr_seq == vector["enr_seq"]
    assert packet.header.hex() == vector["challenge_data"]


@pytest.mark.parametrize("name", ["ping_handshake_no_enr", "ping_handshake_enr"])
def test_reads_the_specifications_handshakes(name):
    packet = read(name)

    assert isinstance(packet, Handshake)
    assert packet.source == A
    assert packet.ephemeral.hex() == BY_NAME[name]["ephemeral_pubkey"]
    assert bool(packet.record) == (name == "ping_handshake_enr")


@pytest.mark.parametrize("name", list(BY_NAME))
def test_writes_the_specifications_packets_byte_for_byte(name):
    packet = read(name)
    iv = packet.header[:16]
    if isinstance(packet, Ordinary):
        header, message = packets.ordinary_header(iv, packet.nonce, packet.source), packet.ciphertext
    elif isinstance(packet, WhoAreYou):
        header, message = packets.whoareyou_header(iv, packet.nonce, packet.id_nonce, packet.enr_seq), b""
    else:
        header = packets.handshake_header(
            iv, packet.nonce, packet.source, packet.signature, packet.ephemeral, packet.record
        )
        message = packet.ciphertext

    assert header == packet.header
    assert packets.encode(Mask(B), header, message) == load(name)


@given(ids, ids, ivs, nonces, st.binary(min_size=16, max_size=packets.MAX_MESSAGE_SIZE + 16))
def test_a_message_comes_back(source, target, iv, nonce, ciphertext):
    header = packets.ordinary_header(iv, nonce, source)

    packet = packets.decode(packets.encode(Mask(target), header, ciphertext), Mask(target))

    assert packet == Ordinary(source, nonce, ciphertext, header)


@given(ids, ivs, nonces, st.binary(min_size=16, max_size=16), st.integers(0, 2**64 - 1))
def test_a_whoareyou_comes_back(target, iv, nonce, id_nonce, seq):
    header = packets.whoareyou_header(iv, nonce, id_nonce, seq)
    datagram = packets.encode(Mask(target), header)

    assert len(datagram) == packets.MIN_SIZE
    assert packets.decode(datagram, Mask(target)) == WhoAreYou(nonce, id_nonce, seq, header)


@given(ids, ids, ivs, nonces, st.binary(max_size=300), st.binary(min_size=16, max_size=200))
def test_a_handshake_comes_back(source, target, iv, nonce, record, ciphertext):
    header = packets.handshake_header(iv, nonce, source, b"\1" * 64, b"\2" * 33, record)

    packet = packets.decode(packets.encode(Mask(target), header, ciphertext), Mask(target))

    assert packet == Handshake(source, nonce, b"\1" * 64, b"\2" * 33, record, ciphertext, header)


@given(ivs, st.integers(0, 4), st.binary(min_size=1, max_size=450))
def test_the_mask_is_aes_ctr(iv, block, data):
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    stream = Cipher(algorithms.AES(A[:16]), modes.CTR(iv)).encryptor()
    stream.update(bytes(16 * block))

    assert Mask(A).apply(iv, data, block) == stream.update(data)


@settings(max_examples=300)
@given(st.binary(max_size=1400))
def test_noise_is_refused_with_the_one_error(noise):
    with pytest.raises(PacketError):
        packets.decode(noise, Mask(A))


@settings(max_examples=300)
@given(st.data())
def test_unmasked_noise_is_a_packet_or_refused_with_the_one_error(data):
    """Past the protocol id, which random bytes never match, anything may stand."""
    flag, size = data.draw(st.integers(0, 255)), data.draw(st.integers(0, 600))
    plain = b"discv5\x00\x01" + bytes((flag,)) + bytes(12) + size.to_bytes(2, "big")
    plain += data.draw(st.binary(min_size=24, max_size=500))
    try:
        packets.decode(masked(plain), Mask(B))
    except PacketError:
        pass


@pytest.mark.parametrize("name", list(BY_NAME))
def test_truncation_to_any_length_is_refused_or_leaves_a_shorter_message(name):
    whole = load(name)
    packet = read(name)
    end_of_header = len(packet.header)
    for size in range(len(whole)):
        try:
            shorter = packets.decode(whole[:size], Mask(B))
        except PacketError:
            continue
        assert size >= end_of_header + packets.TAG_SIZE
        assert shorter.ciphertext == packet.ciphertext[: size - end_of_header]


def static(protocol=b"discv5", version=1, flag=0, size=32):
    return protocol + version.to_bytes(2, "big") + bytes((flag,)) + bytes(12) + size.to_bytes(2, "big")


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        (static(protocol=b"discv4") + bytes(60), "protocol"),
        (static(version=2) + bytes(60), "version"),
        (static(version=0) + bytes(60), "version"),
        (static(flag=3) + bytes(60), "flag"),
        (static(flag=255) + bytes(60), "flag"),
        (static(size=31) + bytes(60), "expected 32"),
        (static(size=33) + bytes(60), "expected 32"),
        (static(size=0) + bytes(60), "expected 32"),
        (static(size=65535) + bytes(60), "past the end"),
        (static(flag=1, size=23) + bytes(24), "WHOAREYOU"),
        (static(flag=1, size=24) + bytes(25), "WHOAREYOU"),
        (static(flag=2, size=130) + bytes(200), "authdata of a handshake"),
        (static(flag=2, size=432) + bytes(500), "authdata of a handshake"),
        (static(flag=2, size=131) + bytes(200), "sizes"),
        (static(flag=2, size=131) + bytes(32) + b"\x40\x20" + bytes(200), "sizes"),
        (static(flag=2, size=131) + bytes(32) + b"\x40\x21" + bytes(97 + 15), "the message of a handshake"),
    ],
)
def test_wrong_headers_are_refused(plain, message):
    with pytest.raises(PacketError, match=message):
        packets.decode(masked(plain), Mask(B))


@pytest.mark.parametrize("size", [0, 1, 62, 1281, 65_507])
def test_wrong_sizes_are_refused(size):
    with pytest.raises(PacketError, match="size"):
        packets.decode(bytes(size), Mask(B))


def test_a_packet_for_somebody_else_is_refused():
    with pytest.raises(PacketError):
        packets.decode(load("ping_message"), Mask(A))


def test_another_protocol_id_is_another_network():
    header = packets.ordinary_header(IV, bytes(12), A, b"waypnt")
    datagram = packets.encode(Mask(B), header, bytes(20))

    assert packets.decode(datagram, Mask(B), b"waypnt").source == A
    with pytest.raises(PacketError, match="protocol"):
        packets.decode(datagram, Mask(B))
