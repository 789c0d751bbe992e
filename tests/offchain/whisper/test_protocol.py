"""shh/6: sessions of our own kind, recorded packets, and peers that break the rules."""

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain import rlp
from offchain.errors import ConnectionLost
from offchain.hashing import keccak256
from offchain.rlpx.connection import Message
from offchain.rlpx.p2p import DisconnectReason
from offchain.rlpx.peer import Disconnected
from offchain.whisper import packets, protocol
from offchain.whisper.bloom import topic_bloom
from offchain.whisper.envelope import Envelope, Fault, PowRule, encode_many, mine
from offchain.whisper.packets import BatchFault, BatchResponse, Code
from offchain.whisper.protocol import (
    Acknowledged,
    BatchAnswered,
    EnvelopesReceived,
    Extension,
    NoStatus,
    RateLimits,
    Refusal,
    RequirementsChanged,
    Rules,
    ShhError,
    ShhPeer,
    ShhSession,
    Status,
    StatusReceived,
)
from tests.support.rlpx import vectors

NOW = 1_700_000_000
TOPIC = b"abcd"


def envelope(data=b"data", *, ttl=50, sent=NOW, topic=TOPIC, target=0.0, rule=PowRule.LEADING):
    return mine(sent + ttl, ttl, topic, data, target, rule)


def session(status=None, remote=None, rules=None):
    """A session that has the peer's status, and its own status sent."""
    made = ShhSession(status or Status(), NOW, rules)
    made.packets_to_send()
    made.receive(Code.STATUS, (remote or Status()).encode(), NOW)
    return made


def exchange(left, right, now=NOW):
    """Carry packets both ways until there are none; the events at both ends."""
    at_left, at_right = [], []
    while True:
        there, back = left.packets_to_send(), right.packets_to_send()
        if not there and not back:
            return at_left, at_right
        for code, payload in there:
            at_right.append(right.receive(code, payload, now))
        for code, payload in back:
            at_left.append(left.receive(code, payload, now))


def test_both_say_their_status_first():
    left_status = Status(0.002, None, False, True, RateLimits(1, 2, 3))
    right_status = Status(0.0, topic_bloom(TOPIC), True)
    left, right = ShhSession(left_status, NOW), ShhSession(right_status, NOW)

    at_left, at_right = exchange(left, right)

    assert at_left == [StatusReceived(right_status)]
    assert at_right == [StatusReceived(left_status)]
    assert (left.remote, right.remote) == (right_status, left_status)


def test_envelopes_arrive_and_are_acknowledged():
    left, right = ShhSession(Status(confirmations=True), NOW), ShhSession(Status(confirmations=True), NOW)
    exchange(left, right)
    sent = [envelope(b"one"), envelope(b"two")]

    batches = left.send_envelopes(sent)
    at_left, at_right = exchange(left, right)

    batch = keccak256(encode_many(sent))
    assert batches == [batch]
    assert at_right == [EnvelopesReceived(tuple(sent), (), batch)]
    assert at_left == [BatchAnswered(BatchResponse(batch)), Acknowledged(batch)]


def test_who_did_not_ask_for_confirmations_gets_none():
    left, right = session(), session()

    assert left.send_envelopes([envelope()]) == []
    at_left, at_right = exchange(left, right)

    assert at_left == []
    assert at_right[0].batch == b""


@pytest.mark.parametrize("vector", vectors("status_packets")["confirmations"], ids=lambda vector: vector["what"])
def test_answers_batches_as_the_recorded_program_did(vector):
    """One envelope had long expired; the others were new."""
    payload = bytes.fromhex(vector["sent_packet"])
    newest = max(Envelope.decode_many(payload), key=lambda each: each.expiry)
    now = newest.expiry + 1000 if "expired" in vector["what"] else newest.sent + 1
    ours = session(remote=Status(confirmations=True))

    ours.receive(Code.MESSAGES, payload, now)

    assert [(code, body.hex()) for code, body in ours.packets_to_send()] == [
        (each["code"], each["packet"]) for each in vector["received"]
    ]


def test_the_keeper_can_acknowledge_later():
    ours = session(remote=Status(confirmations=True), rules=Rules(acknowledge=False))

    received = ours.receive(Code.MESSAGES, encode_many([envelope()]), NOW)
    assert ours.packets_to_send() == []
    ours.acknowledge(received)

    assert [code for code, _ in ours.packets_to_send()] == [Code.BATCH_RESPONSE, Code.BATCH_ACKNOWLEDGED]


def test_large_sendings_are_cut_into_packets():
    ours = session()
    many = [envelope(bytes([number]) * 60_000) for number in range(20)]

    ours.send_envelopes(many)

    sent = ours.packets_to_send()
    assert len(sent) > 3
    assert max(len(payload) for _, payload in sent) <= protocol.BATCH_BYTES + 1000
    assert [each for _, payload in sent for each in Envelope.decode_many(payload)] == many


def test_small_envelopes_are_cut_into_packets_too_whose_answer_can_name_each():
    ours = session()
    many = [envelope(b"")] * (protocol.BATCH_ENVELOPES + 1)

    ours.send_envelopes(many)

    assert [
        len(Envelope.decode_many(payload)) for code, payload in ours.packets_to_send() if code == Code.MESSAGES
    ] == [
        protocol.BATCH_ENVELOPES,
        1,
    ]
    faults = tuple(BatchFault(bytes(32), 37, "proof of work is too low") for _ in range(protocol.BATCH_ENVELOPES))
    response = BatchResponse(bytes(32), faults)
    assert BatchResponse.decode(response.encode()) == response


@pytest.mark.parametrize(
    "code", [Code.STATUS, Code.POW_REQUIREMENT, Code.BATCH_RESPONSE, Code.RATE_LIMITS, Code.MESSAGES]
)
def test_a_mebibyte_of_empty_lists_is_a_breach(code):
    ours = ShhSession(Status(), NOW) if code == Code.STATUS else session()
    count = 2**20 - 4

    with pytest.raises(ShhError, match=r"more than|expected at most"):
        ours.receive(code, bytes((0xFA,)) + count.to_bytes(3, "big") + bytes((0xC0,)) * count, NOW)


def test_an_envelope_larger_than_a_packet_travels_alone():
    ours = session()
    large = envelope(bytes(500_000))

    ours.send_envelopes([envelope(), large, envelope()])

    assert [len(Envelope.decode_many(payload)) for _, payload in ours.packets_to_send()] == [1, 1, 1]


# REQUIREMENTS


def test_only_what_the_peer_wants_is_sent():
    ours = session(remote=Status(0.5, topic_bloom(TOPIC)))
    wanted = envelope(b"wanted", target=0.5)

    ours.send_envelopes([envelope(b"weak"), envelope(b"other", topic=b"zzzz", target=0.5), wanted])

    assert ours.packets_to_send() == [(Code.MESSAGES, encode_many([wanted]))]


def test_known_work_is_not_computed_again():
    ours = session(remote=Status(0.5))

    ours.send_envelopes([envelope(b"weak")], known_pow=0.5)

    assert len(ours.packets_to_send()) == 1


def test_envelopes_that_do_not_meet_our_requirements_are_refused_with_the_reason():
    ours = session(Status(0.5, topic_bloom(TOPIC)), rules=Rules(max_envelope=1000))
    good, weak = envelope(b"good", target=0.5), envelope(b"weak")
    other_topic = envelope(b"data", topic=b"zzzz", target=0.5)
    future, old = envelope(sent=NOW + 11, target=0.5), envelope(sent=NOW - 71, target=0.5)
    no_ttl, large = Envelope.create(NOW, 0, TOPIC, b""), envelope(bytes(2000), target=0.5)

    received = ours.receive(Code.MESSAGES, encode_many([weak, good, other_topic, future, old, no_ttl, large]), NOW)

    assert received.envelopes == (good,)
    assert received.refused == (
        Refusal(weak.hash, Fault.POW),
        Refusal(other_topic.hash, Fault.BLOOM),
        Refusal(future.hash, Fault.FUTURE),
        Refusal(old.hash, Fault.EXPIRED),
        Refusal(no_ttl.hash, Fault.TTL),
        Refusal(large.hash, Fault.SIZE),
    )


def test_either_rule_of_work_will_do_unless_set_otherwise():
    older = envelope(target=0.5, rule=PowRule.TRAILING)
    newer = envelope(target=0.5, rule=PowRule.LEADING)
    payload = encode_many([older, newer])

    assert session(Status(0.5)).receive(1, payload, NOW).envelopes == (older, newer)
    only_newer = session(Status(0.5), rules=Rules(pow_rules=(PowRule.LEADING,)))
    assert only_newer.receive(1, payload, NOW).envelopes == (newer,)


def test_changed_requirements_reach_the_peer_and_are_kept_to():
    left, right = session(), session()

    left.set_requirements(NOW, min_pow=0.5, bloom=topic_bloom(TOPIC))
    _, at_right = exchange(left, right)

    assert at_right == [
        RequirementsChanged(Status(0.5)),
        RequirementsChanged(Status(0.5, topic_bloom(TOPIC))),
    ]
    right.send_envelopes([envelope(b"weak"), envelope(b"other", topic=b"zzzz", target=0.5)])
    assert right.packets_to_send() == []


def test_what_met_our_old_requirements_is_taken_for_a_while():
    ours = session()
    weak = envelope(b"weak", ttl=100, topic=b"zzzz")
    ours.set_requirements(NOW, min_pow=0.5, bloom=topic_bloom(TOPIC))

    assert ours.receive(1, encode_many([weak]), NOW + 9).envelopes == (weak,)
    assert ours.receive(1, encode_many([weak]), NOW + 10).refused[0].fault is Fault.BLOOM


def test_rate_limits_of_the_peer_are_told():
    ours = session()

    assert ours.receive(20, RateLimits(1, 2, 3).encode(), NOW) == RequirementsChanged(
        Status(rate_limits=RateLimits(1, 2, 3))
    )


# PASSING THROUGH


@pytest.mark.parametrize("code", range(123, 128))
def test_packets_of_mail_servers_pass_as_they_came(code):
    assert session().receive(code, b"anything at all", NOW) == Extension(code, b"anything at all")


def test_direct_deliveries_of_real_programs_pass():
    for vector in vectors("whisper_envelopes")["packets"]:
        if vector["code"] == 127:
            event = session().receive(127, bytes.fromhex(vector["payload"]), NOW)
            assert [each.hash.hex() for each in Envelope.decode_many(event.payload)] == vector["envelope_hashes"]


def test_packets_of_later_versions_are_skipped():
    assert session().receive(50, b"from the future", NOW) is None


# PEERS THAT BREAK THE RULES


def test_nothing_comes_before_the_status():
    for code in (1, 2, 3, 11, 12, 20, 50, 126, 127):
        with pytest.raises(ShhError, match=f"packet {code} came before the status"):
            ShhSession(Status(), NOW).receive(code, b"\xc0", NOW)


def test_nothing_is_sent_before_the_status_came():
    with pytest.raises(NoStatus):
        ShhSession(Status(), NOW).send_envelopes([envelope()])


def test_another_version_is_refused():
    with pytest.raises(ShhError, match="version 5"):
        ShhSession(Status(), NOW).receive(0, Status(version=5).encode(), NOW)


def test_a_second_status_is_refused():
    with pytest.raises(ShhError, match="second status"):
        session().receive(0, Status().encode(), NOW)


def test_a_batch_with_one_thing_that_is_no_envelope_is_a_breach():
    with pytest.raises(ShhError, match="envelopes: "):
        session().receive(1, rlp.encode_list([envelope().raw, b"\xc0"]), NOW)


def test_too_many_bad_envelopes_are_a_breach():
    ours = session(rules=Rules(refused_burst=100))
    old = [envelope(bytes([number]), sent=NOW - 1000) for number in range(100)]

    assert len(ours.receive(1, encode_many(old), NOW).refused) == 100
    with pytest.raises(ShhError, match="very old envelope"):
        ours.receive(1, encode_many(old[:1]), NOW)


def test_some_bad_envelopes_are_forgiven_with_time():
    ours = session(rules=Rules(refused_burst=100))
    old = [envelope(bytes([number]), sent=NOW - 1000) for number in range(100)]

    ours.receive(1, encode_many(old), NOW)
    ours.receive(1, encode_many(old[:50]), NOW + 5)
    with pytest.raises(ShhError):
        ours.receive(1, encode_many(old[:51]), NOW + 10)


def test_the_rate_of_envelopes_is_bounded_where_asked():
    ours = session(rules=Rules(envelopes_per_second=10.0, envelope_burst=20))
    many = [envelope(bytes([number])) for number in range(40)]

    received = ours.receive(1, encode_many(many), NOW)

    assert received.envelopes == tuple(many[:30])
    assert {each.fault for each in received.refused} == {Fault.RATE}
    assert ours.receive(1, encode_many(many[:11]), NOW + 1).envelopes == tuple(many[:10])


def test_who_becomes_trusted_is_no_longer_held_to_a_rate():
    ours = session(rules=Rules(envelopes_per_second=10.0, envelope_burst=20))
    many = [envelope(bytes([number])) for number in range(100)]
    ours.receive(1, encode_many(many), NOW)

    ours.lift_rate_limit()

    assert ours.receive(1, encode_many(many), NOW).envelopes == tuple(many)


@pytest.mark.parametrize(
    "packet",
    [
        (1, b"\xc0"),
        (2, packets.encode_pow(0.1)),
        (3, packets.encode_bloom(None)),
        (20, RateLimits().encode()),
        (50, b""),
        (11, packets.encode_acknowledgement(bytes(32))),
        (12, BatchResponse(bytes(32)).encode()),
    ],
)
def test_a_flood_of_packets_without_use_is_a_breach(packet):
    ours = session(rules=Rules(control_burst=100))

    for _ in range(100):
        ours.receive(*packet, NOW)
    with pytest.raises(ShhError, match="flood"):
        ours.receive(*packet, NOW)


def test_answers_that_we_asked_for_are_no_flood():
    ours = session(remote=Status(confirmations=True), rules=Rules(control_burst=1))

    for number in range(200):
        (batch,) = ours.send_envelopes([envelope(number.to_bytes(2, "big"))])
        assert ours.receive(12, BatchResponse(batch).encode(), NOW) == BatchAnswered(BatchResponse(batch))
        assert ours.receive(11, packets.encode_acknowledgement(batch), NOW) == Acknowledged(batch)


def test_a_clock_that_is_set_back_does_no_harm():
    ours = session(rules=Rules(envelopes_per_second=1.0))

    for now in (NOW, NOW - 3600, NOW + 3600):
        ours.receive(1, encode_many([envelope(sent=now)]), now)


@given(st.lists(st.tuples(st.integers(0, 130), st.binary(max_size=150)), max_size=8))
def test_arbitrary_packets_raise_the_one_error_or_nothing(noise):
    for ours in (ShhSession(Status(), NOW), session(Status(0.1, topic_bloom(TOPIC)), Status(confirmations=True))):
        try:
            for code, payload in noise:
                ours.receive(code, payload, NOW)
                ours.receive(code, rlp.encode([payload, payload]), NOW)
        except ShhError:
            pass


def mutated(rng, data):
    data = bytearray(data)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(4):
            case 0 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                del data[at : at + rng.randrange(1, 5)]
            case 2:
                data[at:at] = rng.randbytes(rng.randrange(1, 5))
            case _:
                data[at : at + 1] = rng.choice((b"\x80", b"\xc0", b"\xff", b"\0", b"\xf8\xff"))
    return bytes(data)


def test_5000_mutated_packets_of_real_programs_raise_the_one_error_or_nothing():
    rng = random.Random(7)
    recorded = vectors("status_packets")
    corpus = [(0, each["status"]) for each in recorded["status"]]
    corpus += [(each["code"], each["packet"]) for each in recorded["control"]]
    corpus += [(each["code"], each["packet"]) for batch in recorded["confirmations"] for each in batch["received"]]
    corpus += [(each["code"], each["payload"]) for each in vectors("whisper_envelopes")["packets"]]
    breaches = 0

    for _ in range(5_000):
        code, packet = rng.choice(corpus)
        if code == 127:
            code = 1
        ours = ShhSession(Status(0.01), NOW) if code == 0 else session(Status(0.01), Status(confirmations=True))
        try:
            ours.receive(code, mutated(rng, bytes.fromhex(packet)), NOW)
        except ShhError:
            breaches += 1
        assert len(ours.packets_to_send()) <= 2

    assert 1_000 < breaches < 5_000


# THE SHELL


class FakePeer:
    """As much of rlpx.Peer as ShhPeer uses: two queues."""

    def __init__(self, inbox, outbox):
        self.inbox, self.outbox = inbox, outbox
        self.closed_for = None

    @property
    def closed(self):
        return self.closed_for is not None

    async def send(self, capability, code, payload):
        await self.send_many(capability, [(code, payload)])

    async def send_many(self, capability, messages):
        self.send_now(capability, messages)

    def send_now(self, capability, messages):
        for code, payload in messages:
            self.outbox.put_nowait(Message(capability, code, payload))

    async def receive_many(self, limit):
        first = await self.inbox.get()
        if first is None:
            raise Disconnected(DisconnectReason.QUITTING, by_us=False)
        found = [first]
        while len(found) < limit and not self.inbox.empty():
            found.append(self.inbox.get_nowait())
        return found

    async def close(self, reason):
        self.closed_for = reason


@pytest.fixture
def fakes():
    one, other = asyncio.Queue(), asyncio.Queue()
    return FakePeer(one, other), FakePeer(other, one)


async def started(fakes, left=None, right=None, **kwargs):
    return await asyncio.gather(
        ShhPeer.start(fakes[0], left or Status(), clock=lambda: NOW, **kwargs),
        ShhPeer.start(fakes[1], right or Status(), clock=lambda: NOW, **kwargs),
    )


async def test_two_peers_talk(fakes):
    left, right = await started(fakes, Status(confirmations=True), Status(confirmations=True))
    assert left.remote_status == right.remote_status == Status(confirmations=True)

    (batch,) = await left.send_envelopes([envelope()])
    await left.send(126, b"question")

    assert (await anext(right)).envelopes == (envelope(),)
    assert await anext(right) == Extension(126, b"question")
    await right.send_many([(127, b"answer"), (125, b"done")])
    assert isinstance(await anext(left), BatchAnswered)
    assert await anext(left) == Acknowledged(batch)
    assert await anext(left) == Extension(127, b"answer")
    assert await anext(left) == Extension(125, b"done")


async def test_requirements_change_while_running(fakes):
    left, right = await started(fakes)

    await left.set_requirements(min_pow=0.5)

    assert await anext(right) == RequirementsChanged(Status(0.5))
    assert right.remote_status == Status(0.5)


async def test_later_acknowledgement_through_the_shell(fakes):
    left, right = await started(fakes, Status(confirmations=True), rules=Rules(acknowledge=False))
    await left.send_envelopes([envelope()])
    received = await anext(right)
    assert fakes[0].inbox.empty()

    await right.acknowledge(received)

    assert isinstance(await anext(left), BatchAnswered)


async def test_a_peer_that_sends_no_status_is_given_up(fakes):
    with pytest.raises(ConnectionLost, match="no status"):
        await ShhPeer.start(fakes[0], Status(), timeout=0.0)

    assert fakes[0].closed_for is DisconnectReason.TIMEOUT


async def test_a_peer_that_speaks_before_its_status_is_dropped(fakes):
    await fakes[1].send("shh", 127, b"\xc0")

    with pytest.raises(ShhError):
        await ShhPeer.start(fakes[0], Status())

    assert fakes[0].closed_for is DisconnectReason.SUBPROTOCOL_ERROR


async def test_a_breach_closes_the_connection(fakes):
    left, right = await started(fakes)
    await right.send(127, b"before")
    await right.send(1, b"no envelopes")

    assert await anext(left) == Extension(127, b"before")
    for _ in range(2):
        with pytest.raises(ShhError):
            await anext(left)

    assert fakes[0].closed_for is DisconnectReason.SUBPROTOCOL_ERROR
    assert left.closed


async def test_the_end_is_raised(fakes):
    left, _ = await started(fakes)
    fakes[0].inbox.put_nowait(None)

    with pytest.raises(Disconnected) as caught:
        async for _event in left:
            pass

    assert caught.value.reason is DisconnectReason.QUITTING


async def test_other_capabilities_are_not_ours(fakes):
    left, right = await started(fakes)
    await fakes[1].send("mail", 1, b"?")
    await right.send(126, b"ours")

    assert await anext(left) == Extension(126, b"ours")


async def test_closing_says_why(fakes):
    left, _ = await started(fakes)

    await left.close(DisconnectReason.QUITTING)

    assert fakes[0].closed_for is DisconnectReason.QUITTING
