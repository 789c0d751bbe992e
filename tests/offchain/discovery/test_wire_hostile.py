"""Sessions and challenges among strangers who do everything wrongly, and the bounds of what they cost."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offchain.discovery import packet as packets
from offchain.discovery.limits import Limits
from offchain.discovery.packet import Handshake, Mask, Ordinary, WhoAreYou
from offchain.discovery.wire import MAX_CHALLENGES, MAX_SENT
from offchain.enr import Enr
from tests.support.discovery import NO_LIMITS, Network, WirePeer, key, record
from tests.support.discv5_stranger import Stranger, kinds, meet, noise_packet, opened


@pytest.fixture
def network():
    return Network()


@pytest.fixture
def alice(network):
    return WirePeer(network, 1)


@pytest.fixture
def bob(network):
    return WirePeer(network, 2)


# WHOAREYOU


def test_nothing_is_answered_before_a_session_but_with_something_shorter(network, bob):
    stranger = Stranger(9, network)
    shortest = noise_packet(stranger.node_id, bob, size=16)

    stranger.to(bob, shortest)

    [(answer, to)] = bob.wire.datagrams_to_send()
    assert to == stranger.address
    assert len(answer) < len(shortest)


def test_the_same_whoareyou_again_while_the_challenge_is_open(network, bob):
    stranger = Stranger(9, network)
    first = stranger.knock(bob, b"1" * 12)
    second = stranger.knock(bob, b"2" * 12)

    assert second == first
    assert first.nonce == b"1" * 12


def test_another_whoareyou_once_the_challenge_is_over(network, bob):
    stranger = Stranger(9, network)
    first = stranger.knock(bob, b"1" * 12)
    network.run(1.1)

    second = stranger.knock(bob, b"2" * 12)

    assert second.nonce == b"2" * 12
    assert second.id_nonce != first.id_nonce


def test_a_whoareyou_nobody_asked_for_is_ignored(network, alice, bob):
    meet(network, alice, bob)
    header = packets.whoareyou_header(b"\0" * 16, b"x" * 12, b"y" * 16, 0)

    alice.wire.receive_datagram(packets.encode(Mask(alice.node_id), header), bob.address, network.now)

    assert alice.wire.datagrams_to_send() == []
    assert alice.wire.stats["challenges_unasked"] == 1


def test_a_whoareyou_from_another_address_is_ignored(network, alice, bob):
    nonce = alice.ask(bob, b"hello")
    alice.wire.datagrams_to_send()
    header = packets.whoareyou_header(b"\0" * 16, nonce, b"y" * 16, 0)
    datagram = packets.encode(Mask(alice.node_id), header)

    alice.wire.receive_datagram(datagram, ("127.0.0.1", 9), network.now)
    assert alice.wire.datagrams_to_send() == []

    alice.wire.receive_datagram(datagram, bob.address, network.now)
    assert len(alice.wire.datagrams_to_send()) == 1


def test_an_answer_is_never_proved(network, alice, bob):
    """Only requests are: to be challenged for an answer would let others make us work."""
    meet(network, alice, bob)
    bob.answer(alice, b"answer")
    [(datagram, _)] = bob.wire.datagrams_to_send()
    nonce = opened(datagram, alice).nonce
    header = packets.whoareyou_header(b"\0" * 16, nonce, b"y" * 16, 0)

    bob.wire.receive_datagram(packets.encode(Mask(bob.node_id), header), alice.address, network.now)

    assert bob.wire.datagrams_to_send() == []


def test_many_challenges_to_one_request_are_not_all_proved(network, alice, bob):
    nonce = alice.ask(bob, b"hello")
    alice.wire.datagrams_to_send()
    for number in range(50):
        header = packets.whoareyou_header(b"\0" * 16, nonce, bytes([number]) * 16, 0)
        for _ in range(5):
            alice.wire.receive_datagram(packets.encode(Mask(alice.node_id), header), bob.address, network.now)

    assert len(alice.wire.datagrams_to_send()) <= 5


# Bad handshakes


def test_a_good_handshake_by_hand_is_accepted(network, bob):
    """So that the bad ones below fail for the reason they name."""
    stranger = Stranger(9, network)
    challenge = stranger.knock(bob).header

    received = stranger.to(bob, stranger.handshake(bob, challenge))

    assert received.message == b"hello"
    assert received.record == stranger.record


@pytest.mark.parametrize(
    "wrong",
    [
        {"signer": key(10)},
        {"enr": b""},
        {"enr": b"\xc0"},
        {"enr": record(10).raw},
        {"enr": record(9).raw[:-1] + b"\0"},
        {"ephemeral": b"\x02" + b"\xff" * 32},
        {"ephemeral": b"\x05" + b"\1" * 32},
        {"wrong_key": True},
    ],
)
def test_a_bad_handshake_gets_no_session_and_no_answer(network, bob, wrong):
    stranger = Stranger(9, network)
    challenge = stranger.knock(bob).header

    assert stranger.to(bob, stranger.handshake(bob, challenge, **wrong)) is None

    assert bob.wire.datagrams_to_send() == []
    assert bob.wire.sizes()["sessions"] == 0


def test_a_handshake_has_one_try(network, bob):
    stranger = Stranger(9, network)
    challenge = stranger.knock(bob).header
    assert stranger.to(bob, stranger.handshake(bob, challenge, signer=key(10))) is None

    assert stranger.to(bob, stranger.handshake(bob, challenge)) is None
    assert bob.wire.stats["handshakes_unasked"] == 1


def test_one_signature_is_checked_for_each_challenge(network, bob, monkeypatch):
    checked = []
    stranger = Stranger(9, network)
    challenge = stranger.knock(bob).header
    bad = stranger.handshake(bob, challenge, signer=key(10))
    public = type(stranger.key.public)
    verify = public.verify
    monkeypatch.setattr(public, "verify", lambda *args: checked.append(args) or verify(*args))

    for _ in range(100):
        stranger.to(bob, bad)

    proofs = [each for each in checked if each[0] == stranger.key.public]
    assert len(proofs) == 1


def test_a_bad_handshake_does_not_end_a_good_session(network, alice, bob):
    meet(network, alice, bob)
    forger = Stranger(1, network, alice.address)  # knows Alice's id and address, not her key
    challenge = forger.knock(bob).header
    for wrong in ({"signer": key(10)}, {"enr": b""}, {"wrong_key": True}):
        forger.to(bob, forger.handshake(bob, challenge, **wrong))

    alice.ask(bob, b"still here")
    network.run(0.1)

    assert bob.inbox[-1] == b"still here"
    assert "WhoAreYou" not in kinds(network, alice, bob)


def test_a_handshake_nobody_asked_for_is_ignored(network, bob):
    stranger = Stranger(9, network)

    assert stranger.to(bob, stranger.handshake(bob, b"\0" * 63)) is None

    assert bob.wire.datagrams_to_send() == []


def test_a_handshake_that_comes_too_late_is_ignored(network, bob):
    stranger = Stranger(9, network)
    challenge = stranger.knock(bob).header
    network.run(1.1)

    assert stranger.to(bob, stranger.handshake(bob, challenge)) is None


def test_a_handshake_from_another_address_than_was_challenged_is_ignored(network, bob):
    stranger = Stranger(9, network)
    challenge = stranger.knock(bob).header
    stranger.address = ("127.0.0.1", 44_444)

    assert stranger.to(bob, stranger.handshake(bob, challenge)) is None


def test_an_older_record_in_a_handshake_does_not_replace_the_one_we_have(network):
    newer = record(9, seq=5)
    bob = WirePeer(network, 2, known=lambda node_id: newer)
    stranger = Stranger(9, network)
    challenge = stranger.knock(bob)
    assert challenge.enr_seq == 5

    received = stranger.to(bob, stranger.handshake(bob, challenge.header, enr=record(9, seq=4).raw))

    assert received.record == newer


# Sessions


@pytest.mark.parametrize("address", [("127.0.0.1", 9), ("127.0.0.2", 20_001)])
def test_a_session_is_good_from_its_own_address_only(network, alice, bob, address):
    meet(network, alice, bob)
    alice.ask(bob, b"secret")
    [(datagram, _)] = alice.wire.datagrams_to_send()

    assert bob.wire.receive_datagram(datagram, address, network.now) is None

    [(answer, to)] = bob.wire.datagrams_to_send()
    assert to == address
    assert isinstance(opened(answer, alice), WhoAreYou)


def test_a_replayed_message_is_not_heard_again(network, alice, bob):
    meet(network, alice, bob)
    alice.ask(bob, b"once")
    [(datagram, _)] = alice.wire.datagrams_to_send()

    assert bob.wire.receive_datagram(datagram, alice.address, network.now).message == b"once"
    assert bob.wire.receive_datagram(datagram, alice.address, network.now) is None

    assert bob.wire.stats["dropped_replay"] == 1
    assert bob.wire.datagrams_to_send() == []


def test_a_replayed_handshake_is_not_heard_again(network, alice, bob):
    alice.ask(bob, b"hello")
    network.run(0.1)
    handshake = next(
        data for data, _, to in network.log if to == bob.address and isinstance(opened(data, bob), Handshake)
    )

    assert bob.wire.receive_datagram(handshake, alice.address, network.now) is None

    assert bob.inbox == [b"hello"]
    assert bob.wire.datagrams_to_send() == []


def test_the_answer_goes_to_where_the_question_came_from_not_to_the_record(network, bob):
    stranger = Stranger(9, network, ("127.0.0.1", 45_678))
    stranger.to(bob, stranger.handshake(bob, stranger.knock(bob).header))

    bob.wire.send_response(stranger.node_id, stranger.address, b"answer", network.now)

    [(_, to)] = bob.wire.datagrams_to_send()
    assert to == ("127.0.0.1", 45_678)
    assert stranger.record.udp != 45_678


def test_an_answer_without_a_session_is_not_sent(network, alice, bob):
    bob.answer(alice, b"to nobody")

    assert bob.wire.datagrams_to_send() == []


def test_our_own_id_gets_no_whoareyou(network, bob):
    bob.wire.receive_datagram(noise_packet(bob.node_id, bob), ("127.0.0.1", 9), network.now)

    assert bob.wire.datagrams_to_send() == []


def test_another_network_with_another_protocol_id_hears_nothing(network, alice):
    other = WirePeer(network, 5, protocol_id=b"waypnt")

    alice.ask(other, b"hello")
    network.run(0.5)

    assert other.inbox == []
    assert len(network.log) == 1


# Bounds


def test_spoofed_sources_cost_bounded_memory_and_bounded_answers():
    network = Network()
    bob = WirePeer(network, 2, limits=Limits())
    rng = Random(1)
    for number in range(20_000):
        network.now += 0.0001
        source = (f"{rng.randrange(1, 224)}.{rng.randrange(256)}.{rng.randrange(256)}.1", rng.randrange(1, 65_536))
        packet = noise_packet(rng.randbytes(32), bob, iv=rng.randbytes(16))
        bob.wire.receive_datagram(packet, source, network.now)
        if number % 5_000 == 0:
            bob.wire.handle_timeouts(network.now)

    answers = bob.wire.datagrams_to_send()
    sizes = bob.wire.sizes()
    assert len(answers) <= 500 + 500 * 2
    assert sizes["challenges"] <= MAX_CHALLENGES
    assert sizes["limiter"] <= 3 * Limits().addresses
    assert sizes["masks"] == sizes["sent"] == sizes["sessions"] == 0


def test_open_challenges_are_bounded_without_any_limit_on_rates(network):
    bob = WirePeer(network, 2, limits=NO_LIMITS)
    for number in range(MAX_CHALLENGES + 500):
        bob.wire.receive_datagram(noise_packet(number.to_bytes(32, "big"), bob), ("127.0.0.1", 9), network.now)

    assert bob.wire.sizes()["challenges"] == MAX_CHALLENGES
    network.run(2.0)
    bob.wire.handle_timeouts(network.now)
    assert bob.wire.sizes()["challenges"] == 0


def test_sessions_are_bounded(network):
    bob = WirePeer(network, 2, sessions=3)
    for number in range(10, 16):
        stranger = Stranger(number, network)
        stranger.to(bob, stranger.handshake(bob, stranger.knock(bob).header))

    assert bob.wire.sizes()["sessions"] == 3


def test_requests_that_may_be_challenged_are_bounded_and_forgotten(network, alice, bob):
    meet(network, alice, bob)
    for number in range(MAX_SENT + 100):
        alice.ask(bob, b"%d" % number)
    assert alice.wire.sizes()["sent"] == MAX_SENT

    network.now += 5.0
    alice.wire.handle_timeouts(network.now)
    assert alice.wire.sizes()["sent"] == 0


@settings(max_examples=200)
@given(st.binary(max_size=300), st.sampled_from(["raw", "ordinary", "handshake", "whoareyou"]), st.binary(max_size=40))
def test_no_noise_raises_or_is_heard(noise, shape, tail):
    network = Network()
    bob = WirePeer(network, 2)
    iv, nonce = b"\1" * 16, (noise + bytes(12))[:12]
    source = (tail + bytes(32))[:32]
    mask = Mask(bob.node_id)
    datagram = {
        "raw": lambda: noise,
        "ordinary": lambda: packets.encode(mask, packets.ordinary_header(iv, nonce, source), noise),
        "handshake": lambda: packets.encode(
            mask, packets.handshake_header(iv, nonce, source, bytes(64), bytes(33), noise), tail
        ),
        "whoareyou": lambda: packets.encode(mask, packets.whoareyou_header(iv, nonce, source[:16], 1), b""),
    }[shape]()

    assert bob.wire.receive_datagram(datagram, ("127.0.0.1", 9), network.now) is None
    assert all(len(answer) == 63 < len(datagram) for answer, _ in bob.wire.datagrams_to_send())


def test_a_wire_made_from_the_same_seed_sends_the_same_bytes():
    traces = []
    for _ in range(2):
        network = Network(5, jitter=0.02)
        alice, bob = WirePeer(network, 1), WirePeer(network, 2)
        alice.ask(bob, b"hello")
        network.run(0.5)
        traces.append(list(network.log))

    assert traces[0] == traces[1]


def test_a_received_packet_is_what_it_says(network, alice, bob):
    meet(network, alice, bob)
    alice.ask(bob, b"x")
    [(datagram, _)] = alice.wire.datagrams_to_send()

    packet = opened(datagram, bob)

    assert isinstance(packet, Ordinary)
    assert packet.source == alice.node_id
    assert Enr.decode(alice.record.raw).node_id == packet.source
