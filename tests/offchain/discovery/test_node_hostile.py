"""Whole nodes in bad company: what they believe, whom they keep, what address they take for their own."""

from collections import Counter
from random import Random

import pytest

from offchain.config import DiscoveryConfig
from offchain.discovery import message as messages
from offchain.discovery import packet as packets
from offchain.discovery.contacts import MAX_EVENTS, MAX_QUEUED
from offchain.discovery.contacts import MAX_RECORDS as MAX_RECORDS_KEPT
from offchain.discovery.endpoint import LISTEN
from offchain.discovery.limits import Limits
from offchain.discovery.message import FindNode, Nodes, Ping, Pong, TalkRequest
from offchain.discovery.node import Node
from offchain.discovery.packet import Mask
from offchain.discovery.table import log_distance
from offchain.discovery.wire import MAX_CHALLENGES, Remote
from offchain.enr import Enr
from offchain.errors import ConfigError
from offchain.rlp import int_to_bytes
from tests.support.discovery import NO_LIMITS, Network, key, node, numbers_at, record
from tests.support.discovery_nodes import Scripted, ask, events, find_node, naming, ping, pongs

RID = b"\0\0\0\1"


@pytest.fixture
def network():
    return Network()


# What it believes


def unasked(network, victim):
    """A session with the victim, over which to send what it didn't ask for."""
    stranger = Scripted(network, 2)
    stranger.send(victim, Ping(RID, 1))
    network.run(0.5)
    return stranger


def test_nodes_that_were_not_asked_for_are_ignored(network):
    victim = node(network, 1)
    stranger = unasked(network, victim)
    others = tuple(record(number).raw for number in range(50, 55))

    stranger.send(victim, Nodes(RID, 1, others))
    network.run(0.5)

    assert victim.counts["dropped_unasked"] == 1
    assert all(record(number).node_id not in victim.contacts.table for number in range(50, 55))


def believed(network, reply, ip="127.0.0.1", lan=True, distances=(256,)):
    asking = node(network, 1, ip="127.0.0.1" if lan else "7.7.7.7", lan=lan)
    teller = Scripted(network, 2, reply, ip)
    return find_node(network, asking, teller.enr, *distances), asking


TELLER = key(2).public.node_id
AT_256 = numbers_at(TELLER, 256, 20)


def test_records_outside_the_distances_asked_are_ignored(network):
    right, wrong = record(AT_256[0]), record(numbers_at(TELLER, 255, 1)[0])

    found, asking = believed(network, naming(right.raw, wrong.raw))

    assert found == [right]
    assert asking.counts["records_unasked"] == 1


def test_a_record_named_twice_counts_once(network):
    found, _ = believed(network, naming(*[record(AT_256[0]).raw] * 5))

    assert found == [record(AT_256[0])]


def test_bad_records_are_left_out_and_the_others_kept(network):
    good, other = record(AT_256[0]), record(AT_256[1])
    forged = other.raw[:-1] + bytes((other.raw[-1] ^ 1,))

    found, asking = believed(network, naming(forged, b"\xc0", b"\xc3\1\2\3", good.raw))

    assert found == [good]
    assert asking.counts["records_bad"] == 3


def test_more_than_sixteen_records_are_cut(network):
    def reply(message):
        raws = [record(number).raw for number in AT_256]
        return [Nodes(message.request_id, 3, tuple(raws[start : start + 7])) for start in (0, 7, 14)]

    found, _ = believed(network, reply)

    assert found == [record(number) for number in AT_256[:16]]


@pytest.mark.parametrize("total", [0, 2**64 - 1])
def test_an_absurd_total_is_no_harm(network, total):
    found, _ = believed(network, naming(record(AT_256[0]).raw, total=total))

    assert found == [record(AT_256[0])]


@pytest.mark.parametrize("ip", ["127.0.0.1", "10.0.0.1", "192.168.1.1", "224.0.0.1", "0.0.0.0", "::ffff:10.0.0.1"])
@pytest.mark.parametrize("lan", [False, True])
def test_a_public_node_cannot_name_private_addresses(network, ip, lan):
    inner = record(AT_256[0], ip)

    found, asking = believed(network, naming(inner.raw), ip="8.8.8.8", lan=lan)

    assert found == []
    assert asking.counts["records_elsewhere"] == 1


@pytest.mark.parametrize("port", [1, 53, 1024])
def test_low_ports_are_not_believed(network, port):
    found, _ = believed(network, naming(record(AT_256[0], port=port).raw))

    assert found == []


def test_an_older_record_does_not_replace_a_newer(network):
    asking = node(network, 1)
    number = AT_256[0]
    asking.contacts.table.add(record(number, seq=5), ("127.0.0.1", 20_000 + number), network.now, live=True)

    asking.contacts.named(record(number, seq=4), network.now, wanted=True)
    asking.contacts.take_newer(record(number, seq=4), ("127.0.0.1", 20_000 + number), network.now)

    assert asking.contacts.known(record(number).node_id).seq == 5
    assert asking.contacts.table.get(record(number).node_id).enr.seq == 5


# Whom it keeps


def test_a_node_that_contacts_us_is_checked_before_it_is_kept(network):
    victim = node(network, 1)
    silent = Scripted(network, 2)  # does the handshake, answers no PING
    silent.send(victim, Ping(RID, 1))
    network.run(5.0)

    assert any(isinstance(each, Ping) for each in silent.asked)
    assert silent.enr.node_id not in victim.contacts.table
    assert events(victim) == []


def test_a_node_that_contacts_us_and_answers_is_kept_and_told_of(network):
    victim = node(network, 1)
    honest = Scripted(network, 2, naming())
    honest.send(victim, Ping(RID, 1))
    network.run(1.0)

    assert victim.contacts.table.get(honest.enr.node_id).live
    assert events(victim) == [honest.enr]


def test_a_node_whose_record_names_another_address_is_answered_but_not_kept_nor_made_to_knock_there(network):
    victim = node(network, 1)
    elsewhere = Scripted(network, 2, naming())
    elsewhere.peer.wire.record = Enr.create(key(2), 1, ip="127.0.0.9", udp=9999)
    elsewhere.send(victim, Ping(RID, 1))
    network.run(2.0)

    assert any(isinstance(each, Pong) for each in elsewhere.asked)
    assert elsewhere.enr.node_id not in victim.contacts.table
    assert not any(target == ("127.0.0.9", 9999) for _, _, target in network.log)


def test_inbound_contacts_fill_at_most_half_a_bucket(network):
    victim = node(network, 1, limits=NO_LIMITS)
    for number in numbers_at(victim.id, 256, 30):
        Scripted(network, number, naming()).send(victim, Ping(RID, 1))
    network.run(3.0)

    assert Counter(log_distance(victim.id, entry.node_id) for entry in victim.contacts.table)[256] == 8


def test_asking_inbound_contacts_does_not_make_room_for_more_of_them(network):
    victim = node(network, 1, limits=NO_LIMITS)
    numbers = numbers_at(victim.id, 256, 30)
    for start in (0, 10, 20):
        for number in numbers[start : start + 10]:
            Scripted(network, number, naming()).send(victim, Ping(RID, 1))
        network.run(1.0)
        ask(network, lambda done: victim.explorer.lookup(key(numbers[0]).public.node_id, network.now, done))

    assert Counter(log_distance(victim.id, entry.node_id) for entry in victim.contacts.table)[256] == 8


def test_who_contacts_us_and_finds_no_room_in_the_table_is_not_pinged_back(network):
    victim = node(network, 1, limits=NO_LIMITS)
    peers = [Scripted(network, number, naming()) for number in numbers_at(victim.id, 256, 12)]
    for peer in peers[:8]:
        peer.send(victim, Ping(RID, 1))
    network.run(1.0)
    for peer in peers[8:]:
        peer.send(victim, Ping(RID, 1))
    network.run(1.0)

    assert all(any(isinstance(message, Ping) for message in peer.asked) for peer in peers[:8])
    assert all([type(message) for message in peer.asked] == [Pong] for peer in peers[8:])
    assert [entry.enr for entry in victim.contacts.table.replacements(256)] == [peer.enr for peer in peers[8:]]


def test_a_node_that_goes_is_dropped_and_no_longer_handed_on(network):
    boot = node(network, 1)
    gone = node(network, 2, boot=(boot,))
    asking = node(network, 3, boot=(boot,))
    network.run(2.0)
    assert boot.contacts.table.get(gone.id).live
    network.leave(("127.0.0.1", 20_002))

    network.run(300.0)

    assert gone.id not in boot.contacts.table
    assert gone.id not in asking.contacts.table


def test_a_changed_record_reaches_those_who_know_the_node(network):
    boot = node(network, 1)
    others = [node(network, number, boot=(boot,)) for number in range(2, 7)]
    network.run(2.0)
    changing = others[0]
    for each in (boot, *others[1:]):
        events(each)

    changing.update_record({"tcp": int_to_bytes(30_303)}, network.now)
    network.run(1.0)

    for each in (boot, *others[1:]):
        assert each.contacts.known(changing.id) == changing.record
        assert changing.record in events(each)


def test_a_newer_record_of_another_node_in_place_of_the_own_is_not_taken(network):
    asking = node(network, 1)
    liar = Scripted(network, 2, naming(record(7, seq=99).raw, seq=99))

    ping(network, asking, liar.enr)
    network.run(1.0)

    assert asking.contacts.known(record(7).node_id) is None
    assert asking.contacts.known(liar.enr.node_id).seq == 1


def test_a_node_that_claims_ever_newer_records_is_asked_once_at_a_time(network):
    asking = node(network, 1)
    liar = Scripted(network, 2)
    seqs = iter(range(10, 10_000))
    liar.reply = lambda message: [pongs(message, next(seqs))] if isinstance(message, Ping) else []
    for _ in range(10):
        ping(network, asking, liar.enr)

    assert sum(isinstance(each, FindNode) and each.distances == (0,) for each in liar.asked) <= 2


def test_a_bootnode_that_cannot_be_read_is_a_matter_of_configuration():
    with pytest.raises(ConfigError, match="bootnode"):
        Node(key(1), DiscoveryConfig(bootnodes=("enr:nonsense",)), Random(1))


def test_an_attacker_who_comes_first_does_not_keep_us_from_the_bootnodes(network):
    boot = Scripted(network, 5, naming())
    network.leave(boot.address)
    victim = node(network, 1, boot=(boot.peer,))
    Scripted(network, 2, naming()).send(victim, Ping(RID, 1))
    network.run(2.0)
    assert len(victim.contacts.table) == 1

    network.join(boot, boot.address)
    network.run(10.0)

    assert boot.enr.node_id in victim.contacts.table


# Its own address


def voters(network, victim, numbers, seen):
    for number in numbers:
        voter = Scripted(network, number, ip=f"20.{number}.0.1")
        voter.reply = lambda message: [pongs(message, seen=seen)] if isinstance(message, Ping) else []
        victim.contacts.ping(voter.enr, network.now, lambda pong, now: None)
    network.run(0.5)


def test_ten_nodes_that_see_us_at_an_address_make_it_ours(network):
    victim = node(network, 1, ip="7.7.7.7", lan=False, advertise=False)
    assert victim.record.ip is None
    voters(network, victim, range(10, 19), ("8.8.8.8", 4444))
    assert victim.record.ip is None

    voters(network, victim, range(20, 21), ("8.8.8.8", 4444))

    assert (str(victim.record.ip), victim.record.udp, victim.record.seq) == ("8.8.8.8", 4444, 2)


def test_an_address_that_was_set_is_not_voted_on(network):
    victim = node(network, 1, ip="7.7.7.7", lan=False)
    voters(network, victim, range(10, 40), ("8.8.8.8", 4444))

    assert str(victim.record.ip) == "7.7.7.7"


def test_an_address_at_which_nobody_calls_is_taken_out_of_the_record(network):
    victim = node(network, 1, ip="7.7.7.7", lan=False, advertise=False)
    voters(network, victim, range(10, 20), ("8.8.8.8", 4444))
    assert str(victim.record.ip) == "8.8.8.8"

    network.run(LISTEN + 1.0)

    assert (victim.record.ip, victim.record.seq) == (None, 3)


def test_an_address_at_which_somebody_calls_stays_in_the_record(network):
    victim = node(network, 1, ip="7.7.7.7", lan=False, advertise=False)
    voters(network, victim, range(10, 20), ("8.8.8.8", 4444))
    caller = node(network, 2, ip="20.30.0.1", lan=False)
    at = Enr.create(key(1), 9, ip="7.7.7.7", udp=20_001)
    caller.contacts.ping(at, network.now, lambda pong, now: None)

    network.run(LISTEN + 1.0)

    assert str(victim.record.ip) == "8.8.8.8"


# Noise


def test_a_hundred_thousand_random_and_mutated_packets_change_nothing():
    """It answers none of them with more than a WHOAREYOU, grows no further, raises nothing, and goes on serving."""
    network = Network(1)
    victim = node(network, 1)
    friend = node(network, 2, boot=(victim,))
    network.run(3.0)
    seeds = [data for data, _, target in network.log if target == ("127.0.0.1", 20_001)]
    assert len({len(data) for data in seeds}) > 3
    seqs = (victim.record, victim.id)
    rng, answers, biggest = Random(7), Counter(), Counter()
    mask = Mask(victim.id)
    for number in range(100_000):
        network.now += 0.0005
        choice = number % 5
        if choice == 0:
            data = rng.randbytes(rng.randrange(0, 1400))
        elif choice == 1:
            data = packets.encode(
                mask, packets.ordinary_header(rng.randbytes(16), rng.randbytes(12), rng.randbytes(32))
            )
            data += rng.randbytes(rng.randrange(0, 100))
        elif choice == 2:
            data = rng.choice(seeds)
        else:
            mutable = bytearray(rng.choice(seeds))
            for _ in range(rng.randrange(1, 4)):
                mutable[rng.randrange(len(mutable))] = rng.randrange(256)
            data = bytes(mutable[: rng.randrange(len(mutable))] if choice == 4 else mutable)
        source = (f"20.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(256)}", rng.randrange(1025, 65_536))
        if number % 7 == 0:
            source = ("127.0.0.1", 20_002)
        victim.receive_datagram(data, source, network.now)
        for answer, target in victim.datagrams_to_send():
            answers[len(answer)] += 1
            assert len(answer) < len(data)
            assert target == source
        if number % 1_000 == 0:
            victim.handle_timeouts(network.now)
            for answer, target in victim.datagrams_to_send():
                network.send(answer, ("127.0.0.1", 20_001), target)
            network.run(0.0)
            for name, size in victim.sizes().items():
                biggest[name] = max(biggest[name], size)

    assert set(answers) == {63}
    assert biggest["sessions"] <= 2
    assert biggest["challenges"] <= MAX_CHALLENGES
    assert biggest["limiter"] <= 3 * Limits().addresses
    assert biggest["records"] <= 2 <= MAX_RECORDS_KEPT
    assert biggest["table"] <= 2
    assert biggest["queued_checks"] <= 2 <= MAX_QUEUED
    assert len(events(victim)) <= 2 <= MAX_EVENTS
    assert (victim.record, victim.id) == seqs
    network.run(5.0)
    assert ping(network, friend, victim.record) is not None


def test_noise_inside_a_session_changes_nothing(network):
    """The same from somebody who does the handshake."""
    victim = node(network, 1)
    stranger = unasked(network, victim)
    rng = Random(3)
    good = [
        messages.encode(each)
        for each in (Ping(RID, 1), pongs(Ping(RID, 1)), FindNode(RID, (256, 0)), Nodes(RID, 1, (record(5).raw,)))
    ]
    good.append(messages.encode(TalkRequest(RID, b"x", b"y")))
    remote = Remote(victim.id, victim.record.public, ("127.0.0.1", 20_001))
    for number in range(3_000):
        raw = bytearray(rng.choice(good))
        for _ in range(rng.randrange(1, 4)):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
        if number % 3 == 0:
            raw = rng.randbytes(rng.randrange(0, 200))
        network.now += 0.02
        stranger.peer.wire.send_request(remote, bytes(raw), network.now)
        for data, _ in stranger.datagrams_to_send():
            victim.receive_datagram(data, stranger.address, network.now)
        for data, target in victim.datagrams_to_send():
            assert target == stranger.address
            stranger.receive_datagram(data, ("127.0.0.1", 20_001), network.now)

    assert len(victim.contacts.table) <= 1
    assert victim.counts["dropped_message"] > 1_000
    stranger.asked.clear()
    stranger.send(victim, Ping(b"last", 1))
    network.run(0.5)
    assert any(isinstance(each, Pong) and each.request_id == b"last" for each in stranger.asked)
