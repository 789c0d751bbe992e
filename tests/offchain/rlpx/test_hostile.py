"""Peers that mean harm. Whatever they send, the machine raises nothing, keeps little, and says why it closed."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offchain.rlpx import auth, ecies, p2p
from offchain.rlpx.connection import Closed, Connection, Limits, Message, Opened, State
from offchain.rlpx.p2p import DisconnectReason
from tests.support.rlpx import SHH, RawPeer, events, key, only_closed

BREACH = DisconnectReason.PROTOCOL_BREACH


def server(limits=None):
    return Connection(key(2), (SHH,), client_id="server", now=0.0, rng=random.Random(2), limits=limits)


def open_peer(limits=None):
    """An attacker with an open connection to a server."""
    connection = server(limits)
    peer = RawPeer.dial(connection, key(2))
    peer.hello()
    (opened,) = events(connection)
    assert isinstance(opened, Opened)
    return peer


def test_noise_in_place_of_an_auth():
    for size in (2, 100, 307, 1000, 100_000):
        connection = server()
        connection.receive(random.Random(size).randbytes(size), 0.0)
        connection.tick(5.0)
        assert only_closed(events(connection)).by_us
        assert connection.data_to_send() == b"", "nothing is said to those who do not know our key"


def test_a_size_without_end_is_not_collected():
    connection = server()

    connection.receive(b"\xff\xff", 0.0)

    assert only_closed(events(connection)).reason is BREACH


def test_an_auth_in_single_bytes_is_decrypted_once(monkeypatch):
    tried = []
    original = ecies.decrypt
    monkeypatch.setattr(ecies, "decrypt", lambda *args: tried.append(1) or original(*args))
    connection = server()

    for byte in b"\x04\x50" + random.Random(1).randbytes(0x450):
        connection.receive(bytes((byte,)), 0.0)

    assert only_closed(events(connection)).reason is BREACH
    assert len(tried) == 2  # as the old form, as the new one


def test_an_auth_that_is_cut_short_ends_by_time():
    connection = server()
    rng = random.Random(1)
    packet = auth.encode_auth(key(1), key(2).public, auth.random_key(rng), bytes(32), rng)

    connection.receive(packet[:-1], 0.0)
    assert connection.state is State.HANDSHAKE
    connection.tick(5.0)

    assert only_closed(events(connection)).reason is DisconnectReason.TIMEOUT


def test_frames_of_somebody_who_claimed_another_key_are_noise():
    """Who dials with a public key that is not his gets an ack he can't use; his frames have wrong MACs."""
    connection = server()
    rng = random.Random(1)
    connection.receive(auth.encode_auth(key(1), key(2).public, auth.random_key(rng), bytes(32), rng), 0.0)
    connection.data_to_send()

    connection.receive(rng.randbytes(200), 0.0)

    assert only_closed(events(connection)).detail == "a header's MAC is wrong"


@pytest.mark.parametrize("body", [b"", b"\0", b"\xc0", b"\x81\x05", b"\x85\xff\xff\xff\xff\xff"])
def test_a_message_without_an_id(body):
    for peer in (RawPeer.dial(server(), key(2)), open_peer()):
        peer.send_body(body)
        assert only_closed(events(peer.connection)).reason is BREACH


def test_a_message_before_hello():
    for message_id in (p2p.PING, 0x10, 0x11, 0x8F):
        peer = RawPeer.dial(server(), key(2))
        peer.send(message_id, p2p.compress(b"\xc0"))
        assert only_closed(events(peer.connection)).detail == f"message {message_id} came before Hello"


def test_a_second_hello():
    peer = open_peer()

    peer.hello()

    assert only_closed(events(peer.connection)).detail == "a second Hello"


def test_a_message_of_no_capability():
    for message_id in (4, 15, 0x10 + 128, 0xFFFF):
        peer = open_peer()
        peer.send(message_id, p2p.compress(b"\xc0"))
        assert only_closed(events(peer.connection)).reason is BREACH


def test_a_hello_that_is_too_large():
    peer = RawPeer.dial(server(), key(2))

    peer.send(p2p.HELLO, bytes(p2p.MAX_HELLO))

    assert only_closed(events(peer.connection)).detail == "a frame holds 2049 bytes, expected at most 2048"


def test_an_oversized_frame_is_refused_before_its_body():
    peer = open_peer(Limits(max_message=10_000))
    frame = peer.writer.encode(bytes(20_000))

    peer.connection.receive(frame[:32], 0.0)

    assert "expected at most" in only_closed(events(peer.connection)).detail


def test_a_bomb_is_not_unpacked():
    peer = open_peer(Limits(max_message=100_000))
    bomb = p2p.compress(bytes(1_500_000))
    assert len(bomb) < 100_000

    peer.send(0x11, bomb)

    assert only_closed(events(peer.connection)).detail.startswith("the message decompresses to 1500000 bytes")


def test_a_lie_about_the_unpacked_length():
    honest = p2p.compress(b"x" * 100)
    for claimed in (b"\xff\xff\xff\xff\x0f", b"\x01", b"\x80\x80\x04"):
        peer = open_peer()
        peer.send(0x11, claimed + honest[1:])
        assert only_closed(events(peer.connection)).reason is BREACH


def test_a_message_too_large_without_compression():
    connection = server(Limits(max_message=1000))
    peer = RawPeer.dial(connection, key(2))
    peer.hello(version=4)
    events(connection)

    peer.send(0x11, bytes(1001))

    assert only_closed(events(connection)).detail == "a message has 1001 bytes, expected at most 1000"


def test_the_largest_message_allowed_arrives():
    payload = random.Random(1).randbytes(1000)
    peer = open_peer(Limits(max_message=1000))

    peer.send(0x11, p2p.compress(payload))

    assert events(peer.connection) == [Message("shh", 1, payload)]


def test_a_flood_of_pings_ends_the_connection_and_is_not_echoed_forever():
    peer = open_peer(Limits(control_burst=20))

    for _ in range(1000):
        peer.send(p2p.PING, p2p.compress(b"\xc0"))

    assert only_closed(events(peer.connection)).detail == "a flood of pings"
    answers = peer.heard()
    assert [message_id for message_id, _ in answers] == [p2p.PONG] * 20 + [p2p.DISCONNECT]


def test_pings_at_a_decent_pace_are_answered_forever():
    peer = open_peer(Limits(control_burst=20))

    for second in range(200):
        peer.now = float(second)
        peer.send(p2p.PING, p2p.compress(b"\xc0"))

    assert events(peer.connection) == []
    assert [message_id for message_id, _ in peer.heard()] == [p2p.PONG] * 200


def test_a_flood_of_tiny_messages_is_delivered_and_nothing_else_is_kept():
    peer = open_peer()
    frames = peer.writer.encode_many([b"\x11" + p2p.compress(b"")] * 10_000)

    peer.connection.receive(frames, 0.0)

    assert len(events(peer.connection)) == 10_000
    assert peer.connection.data_to_send() == b""
    assert peer.connection._reader.buffered == 0


def test_after_the_end_nothing_is_taken_in():
    peer = open_peer()
    peer.send(p2p.DISCONNECT, b"\xc1\x08")
    assert only_closed(events(peer.connection)).reason is DisconnectReason.QUITTING

    peer.send(0x11, p2p.compress(b"more"))
    peer.connection.tick(1e9)
    peer.connection.disconnect()

    assert events(peer.connection) == []
    assert peer.connection.data_to_send() == b""


def test_what_came_before_the_breach_is_delivered():
    peer = open_peer()
    good, bad = b"\x11" + p2p.compress(b"good"), b"\x04"

    peer.connection.receive(peer.writer.encode_many([good, bad, good]), 0.0)

    found = events(peer.connection)
    assert found[0] == Message("shh", 1, b"good")
    assert isinstance(found[1], Closed)
    assert len(found) == 2


def test_the_peer_is_told_of_its_breach():
    peer = open_peer()

    peer.send(5, b"")

    assert [(message_id, p2p.decode_disconnect(body)) for message_id, body in peer.heard()] == [
        (p2p.DISCONNECT, BREACH)
    ]


@settings(max_examples=100)
@given(st.lists(st.binary(max_size=60), max_size=5))
def test_arbitrary_messages_with_right_macs_raise_nothing(bodies):
    for peer in (RawPeer.dial(server(), key(2)), open_peer()):
        for body in bodies:
            peer.send_body(body)
        peer.connection.tick(100.0)
        peer.connection.end_of_stream()
        found = events(peer.connection)
        assert isinstance(found[-1], Closed)
        assert sum(isinstance(each, Closed) for each in found) == 1


@settings(max_examples=100)
@given(st.lists(st.binary(max_size=400), max_size=5))
def test_arbitrary_bytes_raise_nothing(pieces):
    for connection in (server(), open_peer().connection):
        for piece in pieces:
            connection.receive(piece, 0.0)
        connection.end_of_stream()
        assert isinstance(events(connection)[-1], Closed)
