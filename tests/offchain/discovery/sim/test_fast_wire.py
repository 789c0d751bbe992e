"""The packet layer without packets does in as many round trips what the real one does."""

import pytest

from offchain.discovery.message import Ping
from offchain.discovery.sim.fast_wire import MAX_SESSIONS, REFERENCES, Challenge, FastWire, Hello, Parcel, Proof
from offchain.discovery.wire import HANDSHAKE_TIMEOUT, Remote
from tests.support.discovery import key, record

ADDRESS = {1: ("127.0.0.1", 20_001), 2: ("127.0.0.1", 20_002)}
PING = REFERENCES.encode(Ping(b"1", 1))


@pytest.fixture
def wires():
    return FastWire(record(1), lambda node_id: None), FastWire(record(2), lambda node_id: None)


def remote(number):
    return Remote(key(number).public.node_id, key(number).public, ADDRESS[number])


def carry(sender, number, receiver):
    """Have what was sent received; the kinds of packets, and the messages that came out."""
    packets, sender.out = sender.out, []
    received = [receiver.receive(packet, ADDRESS[number], 0.0) for packet, _ in packets]
    return [type(packet) for packet, _ in packets], [each for each in received if each is not None]


def handshake(first, second):
    first.send_request(remote(2), PING, 0.0)
    carry(first, 1, second)
    carry(second, 2, first)
    return carry(first, 1, second)


def test_messages_pass_by_reference():
    message = Ping(b"1", 1)

    assert REFERENCES.decode(REFERENCES.encode(message)) is message


def test_the_first_request_takes_a_challenge_and_brings_the_record(wires):
    first, second = wires

    first.send_request(remote(2), PING, 0.0)

    assert carry(first, 1, second) == ([Hello], [])
    assert carry(second, 2, first) == ([Challenge], [])
    kinds, [received] = carry(first, 1, second)
    assert kinds == [Proof]
    assert received.message is PING
    assert received.record == record(1)


def test_who_was_challenged_has_a_session_only_when_the_other_has_said_something(wires):
    first, second = wires
    handshake(first, second)
    assert first.session(remote(2).node_id, ADDRESS[2], 0.0) is None

    second.send_response(remote(1).node_id, ADDRESS[1], PING, 0.0)
    kinds, [received] = carry(second, 2, first)

    assert kinds == [Parcel]
    assert received.message is PING
    assert first.session(remote(2).node_id, ADDRESS[2], 0.0) is not None


def test_what_waited_for_the_handshake_is_sent_after_it(wires):
    first, second = wires
    later = REFERENCES.encode(Ping(b"2", 1))
    first.send_request(remote(2), PING, 0.0)
    first.send_request(remote(2), later, 0.0)
    carry(first, 1, second)
    carry(second, 2, first)
    carry(first, 1, second)

    second.send_response(remote(1).node_id, ADDRESS[1], PING, 0.0)
    carry(second, 2, first)
    kinds, [received] = carry(first, 1, second)

    assert kinds == [Parcel]
    assert received.message is later


def test_a_request_under_a_session_that_the_other_lost_is_challenged_and_arrives(wires):
    first, second = wires
    handshake(first, second)
    second.send_response(remote(1).node_id, ADDRESS[1], PING, 0.0)
    carry(second, 2, first)
    reborn = FastWire(record(2), lambda node_id: None)

    first.send_request(remote(2), PING, 0.0)

    assert carry(first, 1, reborn) == ([Parcel], [])
    assert carry(reborn, 2, first) == ([Challenge], [])
    kinds, [received] = carry(first, 1, reborn)
    assert kinds == [Proof]
    assert received.message is PING


def test_an_answer_without_a_session_is_lost(wires):
    first, _ = wires

    first.send_response(remote(2).node_id, ADDRESS[2], PING, 0.0)

    assert first.out == []


def test_a_handshake_that_nobody_answers_is_given_up(wires):
    first, _ = wires
    first.send_request(remote(2), PING, 0.0)
    assert not first.idle

    first.handle_timeouts(HANDSHAKE_TIMEOUT)

    assert first.idle


def test_sessions_are_bounded(wires):
    first, _ = wires
    for number in range(MAX_SESSIONS + 10):
        first.receive(Proof(number.to_bytes(32, "big"), PING, record(2)), ADDRESS[2], 0.0)

    assert first.sizes()["sessions"] == MAX_SESSIONS
