"""The connection machine between two of its own kind, and against recorded programs."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offchain.keys import PrivateKey, PublicKey
from offchain.rlpx import auth, p2p
from offchain.rlpx.connection import Closed, Connection, Limits, Message, NotOpen, Opened, State
from offchain.rlpx.p2p import Capability, DisconnectReason, Shared
from tests.support.rlpx import (
    MAIL,
    SHH,
    Link,
    RawPeer,
    ScriptedRandom,
    connection_pair,
    events,
    key,
    messages,
    only_closed,
    open_link,
    vectors,
)


def test_both_ends_open_and_know_each_other():
    left, right = connection_pair((SHH, MAIL), (MAIL, SHH))
    link = Link(left, right)

    link.run()

    (at_left,), (at_right,) = link.left_events, link.right_events
    assert isinstance(at_left, Opened)
    assert isinstance(at_right, Opened)
    assert at_left.shared == at_right.shared == (Shared(MAIL, 0x10), Shared(SHH, 0x20))
    assert (at_left.hello.client_id, at_right.hello.client_id) == ("right", "left")
    assert left.remote == key(2).public
    assert right.remote == key(1).public
    assert left.state is right.state is State.OPEN


@settings(max_examples=30)
@given(
    st.integers(),
    st.lists(
        st.tuples(st.sampled_from([("shh", 127), ("shh", 0), ("mail", 15)]), st.binary(max_size=400)), max_size=20
    ),
)
def test_messages_arrive_in_order_however_the_wire_cuts_them(seed, sent):
    link = open_link(rng=random.Random(seed), ours=(SHH, MAIL), theirs=(SHH, MAIL))

    for (name, code), payload in sent:
        link.left.send(name, code, payload)
        link.right.send(name, code, payload)
    link.run()

    expected = [Message(name, code, payload) for (name, code), payload in sent]
    assert link.left_events == expected
    assert link.right_events == expected


@pytest.mark.parametrize("session", vectors("rlpx")["sessions"], ids=lambda session: session["role_of_endpoint"])
def test_speaks_with_the_recorded_program(session):
    """The machine is given the endpoint's randomness and what the program sent; it must say what the endpoint said."""
    ours = session["endpoint"]
    initiator = session["role_of_endpoint"] == "initiator"
    remote = PublicKey.from_bytes(bytes.fromhex(session["remote"]["static_public_key"]))
    names = ("ephemeral_key", "nonce", "handshake_padding", "ecies_ephemeral_key", "ecies_iv")
    connection = Connection(
        PrivateKey(bytes.fromhex(ours["static_key"])),
        (SHH,),
        remote=remote if initiator else None,
        client_id="vector-endpoint/0",
        now=0.0,
        rng=ScriptedRandom(*(bytes.fromhex(ours[name]) for name in names)),
    )
    said = connection.data_to_send()
    found = []

    for event in session["events"]:
        if event["direction"] == "received":
            connection.receive(bytes.fromhex(event["wire"]), event["seconds"])
            found += events(connection)
            if connection.state is not State.CLOSED and event["kind"] in ("auth", "ack"):
                said += connection.data_to_send()

    wires = [bytes.fromhex(event["wire"]) for event in session["events"] if event["direction"] == "sent"]
    assert said == wires[0] + wires[1]  # the handshake and Hello; later ones depend on how Snappy was asked to compress
    assert isinstance(found[0], Opened)
    expected = [
        Message("shh", event["code"] - 0x10, bytes.fromhex(event["payload"]))
        for event in session["events"]
        if event["direction"] == "received" and event.get("code", 0) >= 0x10
    ]
    assert messages(found) == expected
    assert len(expected) >= 3
    assert found[-1] == Closed(DisconnectReason.REQUESTED, by_us=False)
    assert connection.remote == remote


def test_a_v4_auth_gets_a_v4_ack():
    """EIP-8's own packet of an initiator that knows nothing of EIP-8."""
    vector = vectors("rlpx")["eip8"]
    packet = bytes.fromhex(vector["auth"][0]["packet"])
    server = Connection(
        PrivateKey(bytes.fromhex(vector["static_key_b"])), (SHH,), client_id="b", now=0.0, rng=random.Random(1)
    )

    for at in range(0, len(packet), 100):
        server.receive(packet[at : at + 100], 0.0)

    assert server.state is State.HELLO
    answer = server.data_to_send()
    initiator = PrivateKey(bytes.fromhex(vector["static_key_a"]))
    assert auth.decode_ack_v4(initiator, answer[: auth.V4_ACK_SIZE]).nonce


def test_a_v4_ack_is_understood():
    client, _ = connection_pair()
    rng = random.Random(5)
    packet = client.data_to_send()
    asked = auth.decode_auth(key(2), packet)
    ephemeral, nonce = auth.random_key(rng), rng.randbytes(32)
    ack = auth.encode_ack_v4(asked.initiator, ephemeral, nonce, rng)

    client.receive(ack[:50], 0.0)
    assert client.state is State.HANDSHAKE
    client.receive(ack[50:], 0.0)

    assert client.state is State.HELLO


def test_without_a_shared_capability_the_peer_is_useless():
    link = Link(*connection_pair((SHH,), (MAIL,)))

    link.run()

    # Both find out at once; each says so before it hears the other.
    assert only_closed(link.left_events).reason is DisconnectReason.USELESS_PEER
    assert only_closed(link.right_events).reason is DisconnectReason.USELESS_PEER


def test_the_wrong_node_at_the_address_cannot_answer():
    rng = random.Random(1)
    left = Connection(key(1), (SHH,), remote=key(3).public, client_id="left", now=0.0, rng=rng)
    right = Connection(key(2), (SHH,), client_id="right", now=0.0, rng=rng)
    link = Link(left, right)

    link.run()

    assert only_closed(link.right_events).reason is DisconnectReason.PROTOCOL_BREACH
    assert left.state is State.HANDSHAKE
    left.end_of_stream()
    assert only_closed(events(left)).by_us is False


def test_an_initiator_refuses_to_call_itself():
    connection = Connection(key(1), (SHH,), remote=key(1).public, client_id="x", now=0.0, rng=random.Random(1))

    assert only_closed(events(connection)).reason is DisconnectReason.SELF
    assert connection.data_to_send() == b""


def test_a_recipient_refuses_its_own_key():
    server = Connection(key(1), (SHH,), client_id="x", now=0.0, rng=random.Random(1))
    rng = random.Random(2)

    server.receive(auth.encode_auth(key(1), key(1).public, auth.random_key(rng), bytes(32), rng), 0.0)

    assert only_closed(events(server)).reason is DisconnectReason.SELF
    assert server.data_to_send() == b""


def test_a_goodbye_is_heard():
    link = open_link()

    link.left.disconnect(DisconnectReason.QUITTING)
    link.run()

    assert link.left_events == [Closed(DisconnectReason.QUITTING, by_us=True)]
    assert link.right_events == [Closed(DisconnectReason.QUITTING, by_us=False)]


def test_what_was_sent_before_a_goodbye_arrives_before_it():
    link = open_link()

    link.left.send("shh", 1, b"last words")
    link.left.disconnect()
    link.run()

    assert link.right_events == [Message("shh", 1, b"last words"), Closed(DisconnectReason.REQUESTED, by_us=False)]


def test_an_end_without_goodbye_is_told():
    link = open_link()

    link.right.end_of_stream()
    link.right.end_of_stream()

    assert only_closed(events(link.right)).reason is DisconnectReason.TCP_ERROR


def test_a_goodbye_to_a_handshake_in_progress_says_nothing():
    left, _ = connection_pair()
    left.data_to_send()

    left.disconnect(DisconnectReason.QUITTING)

    assert left.data_to_send() == b""
    assert left.closed


def test_only_an_open_connection_sends():
    left, _ = connection_pair()
    with pytest.raises(NotOpen):
        left.send("shh", 1, b"")

    link = open_link()
    with pytest.raises(NotOpen, match="mail"):
        link.left.send("mail", 1, b"")
    with pytest.raises(NotOpen, match="128"):
        link.left.send("shh", 128, b"")
    with pytest.raises(NotOpen, match="-1"):
        link.left.send("shh", -1, b"")
    link.left.disconnect()
    with pytest.raises(NotOpen, match="closed"):
        link.left.send("shh", 1, b"")


def test_a_refused_message_leaves_the_key_stream_as_it_was():
    link = open_link()

    with pytest.raises(NotOpen):
        link.left.send_many("shh", [(1, b"good"), (128, b"bad")])
    link.left.send("shh", 2, b"after")
    link.run()

    assert link.right_events == [Message("shh", 2, b"after")]


# TIME


def test_a_handshake_that_takes_too_long_ends():
    limits = Limits(handshake_timeout=5.0)
    for connection in connection_pair(limits=limits):
        assert connection.next_deadline() == 5.0
        connection.tick(4.9)
        assert not connection.closed
        connection.tick(5.0)
        assert only_closed(events(connection)).reason is DisconnectReason.TIMEOUT
        assert connection.next_deadline() is None


def test_a_hello_that_does_not_come_ends_it_with_a_goodbye():
    left, right = connection_pair()
    right.receive(left.data_to_send(), 0.0)
    right.data_to_send()

    right.tick(5.0)

    assert only_closed(events(right)).reason is DisconnectReason.TIMEOUT
    assert right.data_to_send() != b""


def test_a_silent_peer_is_pinged_and_answers():
    link = open_link(limits=Limits(ping_interval=15.0, ping_timeout=20.0))
    link.now = 15.0

    link.left.tick(15.0)
    assert link.left.next_deadline() == 35.0
    link.run()

    assert link.left.next_deadline() == 30.0
    assert link.left_events == link.right_events == []


def test_a_dead_peer_is_given_up():
    link = open_link(limits=Limits(ping_interval=15.0, ping_timeout=20.0))

    link.left.tick(15.0)
    link.left.tick(34.9)
    assert not link.left.closed
    link.left.tick(35.0)

    assert only_closed(events(link.left)).reason is DisconnectReason.TIMEOUT


def test_a_peer_that_speaks_is_not_pinged():
    link = open_link()
    link.now = 10.0
    link.right.send("shh", 1, b"here")
    link.run()

    assert link.left.next_deadline() == 25.0
    link.left.tick(15.0)
    assert link.left.data_to_send() == b""


def test_silence_is_not_the_peers_while_we_do_not_read():
    link = open_link()
    link.left.tick(15.0)

    link.left.postpone(40.0)
    link.left.tick(40.0)

    assert not link.left.closed
    assert link.left.next_deadline() == 55.0


# VERSIONS


def hello_link(hello):
    """A connection that gets this Hello from an initiator that is otherwise honest."""
    left, right = connection_pair()
    left._hello = hello
    link = Link(left, right)
    link.run()
    return link


def test_version_4_is_spoken_without_compression():
    left, right = connection_pair()
    left._hello = p2p.Hello("old", (SHH,), key(1).public, version=4)
    link = Link(left, right)
    link.run()
    assert link.right_events
    left._snappy = False  # the old end never compresses

    text = b"a" * 100
    right.send("shh", 1, text)
    left.send("shh", 2, text)
    link.run()

    assert messages(link.left_events) == [Message("shh", 1, text)]
    assert messages(link.right_events) == [Message("shh", 2, text)]


def test_version_3_is_refused():
    link = hello_link(p2p.Hello("older", (SHH,), key(1).public, version=3))

    assert only_closed(link.right_events).reason is DisconnectReason.INCOMPATIBLE_VERSION


def test_a_hello_that_names_another_key_is_refused():
    link = hello_link(p2p.Hello("liar", (SHH,), key(3).public))

    assert only_closed(link.right_events).reason is DisconnectReason.UNEXPECTED_IDENTITY


def test_a_later_version_of_a_capability_is_not_ours():
    link = hello_link(p2p.Hello("newer", (Capability("shh", 7),), key(1).public))

    assert only_closed(link.right_events).reason is DisconnectReason.USELESS_PEER


def test_a_disconnect_in_place_of_hello_is_heard():
    """What geth sends when it has too many peers."""
    left, _ = connection_pair()
    peer = RawPeer.answer(left)

    peer.send(p2p.DISCONNECT, p2p.encode_disconnect(DisconnectReason.TOO_MANY_PEERS))

    assert only_closed(events(left)) == Closed(DisconnectReason.TOO_MANY_PEERS, False, "before Hello")
