"""Handshakes: two wires joined by a network that misbehaves."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offchain.discovery.packet import Handshake
from offchain.discovery.session import LAST_COUNTER
from offchain.discovery.wire import MAX_WAITING
from tests.support.discovery import Network, WirePeer
from tests.support.discv5_stranger import kinds, meet, opened


@pytest.fixture
def network():
    return Network()


@pytest.fixture
def alice(network):
    return WirePeer(network, 1)


@pytest.fixture
def bob(network):
    return WirePeer(network, 2)


# The handshake


def test_a_first_message_takes_a_handshake_and_arrives(network, alice, bob):
    alice.ask(bob, b"hello")
    network.run(0.1)

    assert bob.inbox == [b"hello"]
    assert kinds(network, alice, bob) == ["Ordinary", "WhoAreYou", "Handshake"]


def test_later_messages_go_under_the_session(network, alice, bob):
    meet(network, alice, bob)

    alice.ask(bob, b"question")
    bob.ask(alice, b"question back")
    network.run(0.1)

    assert (bob.inbox[-1], alice.inbox[-1]) == (b"question", b"question back")
    assert kinds(network, alice, bob) == ["Ordinary", "Ordinary"]


def test_the_record_goes_along_only_if_the_other_side_has_none_or_an_older_one(network, alice):
    knows = WirePeer(network, 3, known=lambda node_id: alice.record)
    does_not = WirePeer(network, 4)
    for peer in (knows, does_not):
        alice.ask(peer, b"hello")
        network.run(0.1)

    handshakes = [opened(d, p) for d, _, to in network.log for p in (knows, does_not) if to == p.address]
    sent = [packet.record for packet in handshakes if isinstance(packet, Handshake)]
    assert sent == [b"", alice.record.raw]
    assert knows.inbox == does_not.inbox == [b"hello"]


def test_messages_wait_for_the_handshake_and_follow_it(network, alice, bob):
    for number in range(5):
        alice.ask(bob, b"%d" % number)
    network.run(0.1)
    assert bob.inbox == [b"0"]  # the rest waits until Bob has used the new keys

    bob.answer(alice, b"answer")
    network.run(0.1)

    assert sorted(bob.inbox) == [b"%d" % number for number in range(5)]


def test_no_more_messages_wait_than_fit(network, alice, bob):
    for number in range(MAX_WAITING + 100):
        alice.ask(bob, b"%d" % number)
    network.run(0.05)
    bob.answer(alice, b"answer")
    network.run(0.05)

    assert len(bob.inbox) <= MAX_WAITING


def test_both_may_begin_at_once(network, alice, bob):
    alice.ask(bob, b"from alice")
    bob.ask(alice, b"from bob")
    network.run(0.1)
    assert (alice.inbox, bob.inbox) == ([b"from bob"], [b"from alice"])

    network.log.clear()
    for number in range(3):
        alice.ask(bob, b"a%d" % number)
        bob.ask(alice, b"b%d" % number)
        network.run(0.1)

    assert alice.inbox[1:] == [b"b0", b"b1", b"b2"]
    assert bob.inbox[1:] == [b"a0", b"a1", b"a2"]
    assert set(kinds(network, alice, bob)) == {"Ordinary"}


def test_a_peer_that_lost_its_keys_gets_the_message_after_a_new_handshake(network, alice, bob):
    meet(network, alice, bob)
    network.leave(bob.address)
    again = WirePeer(network, 2)

    alice.ask(again, b"still there?")
    network.run(0.1)

    assert again.inbox[-1] == b"still there?"
    assert kinds(network, alice, again) == ["Ordinary", "WhoAreYou", "Handshake"]


def test_keys_that_are_used_up_are_replaced(network, alice, bob):
    meet(network, alice, bob)
    alice.wire.session(bob.node_id, bob.address, network.now).current._counter = LAST_COUNTER

    alice.ask(bob, b"once more")
    network.run(0.1)

    assert bob.inbox[-1] == b"once more"
    assert kinds(network, alice, bob) == ["Ordinary", "WhoAreYou", "Handshake"]


def test_messages_under_the_old_keys_are_read_during_rekeying(network, alice, bob):
    meet(network, alice, bob)
    late = alice.ask(bob, b"under old keys")
    [(datagram, _)] = alice.wire.datagrams_to_send()
    assert late is not None
    alice.wire._sessions.remove((bob.node_id, bob.address))
    alice.ask(bob, b"under new keys")
    network.run(0.1)

    received = bob.wire.receive_datagram(datagram, alice.address, network.now)

    assert bob.inbox[-1] == b"under new keys"
    assert received.message == b"under old keys"


def test_new_keys_are_not_written_with_before_the_other_side_used_them(network, alice, bob):
    alice.ask(bob, b"hello")
    network.run(0.025)  # the WHOAREYOU has come, the handshake is on its way

    assert alice.wire.session(bob.node_id, bob.address, network.now) is None
    network.run(0.1)
    bob.answer(alice, b"answer")
    network.run(0.1)
    assert alice.wire.session(bob.node_id, bob.address, network.now) is not None


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_everything_asked_again_arrives_over_a_bad_network(seed):
    network = Network(seed, jitter=0.05)
    network.loss, network.repeat = 0.2, 0.2
    alice, bob = WirePeer(network, 1), WirePeer(network, 2)
    wanted = {(peer, b"%d" % number) for peer in (1, 2) for number in range(6)}
    for attempt in range(40):
        got = {(1, m) for m in bob.inbox} | {(2, m) for m in alice.inbox}
        missing = wanted - got
        if not missing:
            break
        for peer, message in sorted(missing):
            source, target = (alice, bob) if peer == 1 else (bob, alice)
            source.ask(target, message, again=attempt > 0)
        network.run(0.5)
        for machine in (alice, bob):
            machine.wire.handle_timeouts(network.now)
        # As nodes do: what was asked is answered, which is how the other side learns that its keys are good.
        alice.answer(bob, b"ack")
        bob.answer(alice, b"ack")
        network.run(0.1)

    assert wanted <= {(1, m) for m in bob.inbox} | {(2, m) for m in alice.inbox}


def test_a_handshake_that_got_lost_is_repeated_when_the_whoareyou_is(network, alice, bob):
    lost = []

    def lose_the_first_handshake(data, source, target):
        if target == bob.address and isinstance(opened(data, bob), Handshake) and not lost:
            lost.append(data)
            return True
        return False

    network.drop = lose_the_first_handshake
    alice.ask(bob, b"hello")
    network.run(0.3)
    assert bob.inbox == []

    alice.ask(bob, b"hello", again=True)
    network.run(0.3)

    assert bob.inbox == [b"hello"]
    resent = [
        data for data, _, target in network.log if target == bob.address and isinstance(opened(data, bob), Handshake)
    ]
    assert resent == [lost[0], lost[0]]


def test_a_handshake_without_answer_is_given_up_and_begun_anew(network, alice, bob):
    network.drop = lambda data, source, target: target == bob.address
    alice.ask(bob, b"hello")
    network.run(2.0)
    alice.wire.handle_timeouts(network.now)
    assert alice.wire.sizes()["handshakes"] == 0

    network.drop = lambda data, source, target: False
    alice.ask(bob, b"hello")
    network.run(0.1)

    assert bob.inbox == [b"hello"]


def test_a_lost_answer_to_a_rekeying_does_not_split_the_two_for_good(network, alice, bob):
    meet(network, alice, bob)
    bob.wire._sessions.remove((alice.node_id, alice.address))
    alice.ask(bob, b"one")
    network.run(0.1)  # Bob has new keys; Alice hasn't heard from him under them
    assert bob.inbox[-1] == b"one"
    network.run(2.0)
    alice.wire.handle_timeouts(network.now)

    alice.ask(bob, b"two")
    network.run(0.1)
    bob.answer(alice, b"answer")
    network.run(0.1)

    assert alice.inbox[-1] == b"answer"
