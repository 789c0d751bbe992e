"""Sessions and handshakes: two wires joined by a network that misbehaves, and strangers who do."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offchain.discovery import packet as packets
from offchain.discovery.agreement import proof_digest, session_keys
from offchain.discovery.limits import Limits
from offchain.discovery.packet import Handshake, Mask, Ordinary, WhoAreYou
from offchain.discovery.session import LAST_COUNTER, Keys
from offchain.discovery.wire import MAX_CHALLENGES, MAX_SENT, MAX_WAITING
from offchain.enr import Enr
from tests.support.discovery import NO_LIMITS, Network, WirePeer, key, record


@pytest.fixture
def network():
    return Network()


@pytest.fixture
def alice(network):
    return WirePeer(network, 1)


@pytest.fixture
def bob(network):
    return WirePeer(network, 2)


def meet(network, alice, bob):
    """A session both ways, whatever was said first."""
    alice.ask(bob, b"hello")
    network.run(0.1)
    bob.answer(alice, b"hello yourself")
    network.run(0.1)
    assert alice.inbox[-1] == b"hello yourself"
    network.log.clear()


def opened(datagram, peer):
    return packets.decode(datagram, Mask(peer.node_id))


def kinds(network, *peers):
    """The kinds of the packets sent so far."""
    by_address = {peer.address: peer for peer in peers}
    return [type(opened(data, by_address[target])).__name__ for data, _, target in network.log]


def noise_packet(source_id, target, nonce=b"n" * 12, size=44, iv=b"\0" * 16):
    return packets.encode(Mask(target.node_id), packets.ordinary_header(iv, nonce, source_id), bytes(size))


class Stranger:
    """Makes packets by hand: a node that can do the handshake, or do it wrongly."""

    def __init__(self, number, network, address=("127.0.0.1", 33_333)):
        self.key = key(number)
        self.node_id = self.key.public.node_id
        self.record = record(number)
        self.network = network
        self.address = address

    def knock(self, target, nonce=b"n" * 12):
        """Send random bytes; the WHOAREYOU that comes back, if one does."""
        self.to(target, noise_packet(self.node_id, target, nonce))
        answers = target.wire.datagrams_to_send()
        return packets.decode(answers[0][0], Mask(self.node_id)) if answers else None

    def to(self, target, datagram):
        return target.wire.receive_datagram(datagram, self.address, self.network.now)

    def handshake(self, target, challenge, message=b"hello", *, signer=None, enr=None, ephemeral=None, wrong_key=False):
        secret_key = key(777)
        public = ephemeral or secret_key.public.compressed
        secret = secret_key.ecdh_compressed(target.key.public)
        write, read = session_keys(secret, challenge, self.node_id, target.node_id)
        signature = (signer or self.key).sign(proof_digest(challenge, public, target.node_id))
        raw = self.record.raw if enr is None else enr
        header = packets.handshake_header(b"\1" * 16, b"h" * 12, self.node_id, signature, public, raw)
        self.keys = Keys(write, read)
        sealed = Keys(b"\0" * 16 if wrong_key else write, read).seal(b"h" * 12, message, header)
        return packets.encode(Mask(target.node_id), header, sealed)


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


@settings(max_examples=30, deadline=None)
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


@settings(max_examples=200, deadline=None)
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
