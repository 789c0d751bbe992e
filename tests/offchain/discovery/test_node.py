"""Whole nodes, joined in memory: how they find each other, and what they answer."""

from random import Random

import pytest

from offchain.config import DiscoveryConfig
from offchain.discovery import message as messages
from offchain.discovery import packet as packets
from offchain.discovery.limits import Limits, Rate
from offchain.discovery.message import Nodes, Ping, Pong
from offchain.discovery.node import MAX_TALK, Node
from offchain.discovery.requests import MAX_TALK_REQUEST
from offchain.discovery.table import log_distance
from offchain.discovery.wire import Remote
from offchain.enr import Enr
from offchain.rlp import int_to_bytes
from offchain.types import MAILSERVER
from tests.support.discovery import NO_LIMITS, Network, key, node, numbers_at, record
from tests.support.discovery_nodes import Scripted, ask, find_node, naming, ping, talk

RID = b"\0\0\0\1"


@pytest.fixture
def network():
    return Network()


# Finding each other


def test_six_servers_that_start_together_are_all_found_within_two_seconds(network):
    boot = node(network, 1)
    servers = [node(network, number, boot=(boot,), kinds=(MAILSERVER,)) for number in range(2, 8)]
    client = node(network, 8, boot=(boot,))
    client.explorer.want(MAILSERVER, network.now)

    found = network.run(2.0, lambda: len(client.contacts.verified(MAILSERVER)) == 6)

    assert found
    assert {enr.node_id for enr in client.contacts.verified(MAILSERVER)} == {server.id for server in servers}


def test_a_bootnode_that_comes_late_is_found_within_a_second_of_its_coming(network):
    boot_record = record(1)
    settings = {"boot": (), "kinds": (MAILSERVER,)}
    late = Node(key(1), DiscoveryConfig(lan=True), Random(1))
    nodes = []
    for number in (2, 3):
        config = DiscoveryConfig(lan=True, bootnodes=(boot_record.text,), kinds=settings["kinds"])
        machine = Node(key(number), config, Random(number))
        machine.start(["127.0.0.1"], 20_000 + number, network.now)
        network.join(machine, ("127.0.0.1", 20_000 + number))
        nodes.append(machine)
    network.run(3.0)
    assert not nodes[0].contacts.verified(MAILSERVER)

    late.start(["127.0.0.1"], 20_001, network.now)
    network.join(late, ("127.0.0.1", 20_001))

    assert network.run(1.5, lambda: all(len(each.contacts.verified(MAILSERVER)) == 1 for each in nodes))


def test_a_network_that_loses_packets_is_found_too():
    network = Network(3, jitter=0.05)
    network.loss, network.repeat = 0.1, 0.1
    boot = node(network, 1)
    for number in range(2, 12):
        node(network, number, boot=(boot,), kinds=(MAILSERVER,))
    client = node(network, 12, boot=(boot,))
    client.explorer.want(MAILSERVER, network.now)

    assert network.run(20.0, lambda: len(client.contacts.verified(MAILSERVER)) == 10)


def test_a_server_that_comes_later_is_found_within_half_a_minute(network):
    boot = node(network, 1)
    client = node(network, 8, boot=(boot,))
    client.explorer.want(MAILSERVER, network.now)
    network.run(600.0)

    node(network, 9, boot=(boot,), kinds=(MAILSERVER,))

    assert network.run(31.0, lambda: len(client.contacts.verified(MAILSERVER)) == 1)


def test_a_network_at_rest_is_quiet(network):
    boot = node(network, 1)
    for number in range(2, 8):
        node(network, number, boot=(boot,))
    network.run(1_800.0)
    network.log.clear()

    network.run(600.0)

    per_node_and_second = len(network.log) / 7 / 600
    assert per_node_and_second < 2


def test_a_node_alone_goes_on_knocking_but_not_wildly(network):
    gone = Scripted(network, 1)
    network.leave(gone.address)
    node(network, 2, boot=(gone.peer,))
    network.run(60.0)
    network.log.clear()

    network.run(60.0)

    assert 5 <= len(network.log) <= 30


def test_a_lookup_finds_the_closest_of_forty(network):
    boot = node(network, 1, limits=NO_LIMITS)
    nodes = [node(network, number, boot=(boot,), limits=NO_LIMITS) for number in range(2, 42)]
    network.run(8.0)
    target = key(999).public.node_id

    lookup = ask(network, lambda done: nodes[0].explorer.lookup(target, network.now, done), 20.0)

    others = sorted((each.id for each in [boot, *nodes[1:]]), key=lambda each: _xor(each, target))
    found = [enr.node_id for enr in lookup.result()]
    assert found[:8] == others[:8]


def _xor(a, b):
    return int.from_bytes(a, "big") ^ int.from_bytes(b, "big")


def test_a_node_is_found_by_its_id(network):
    boot = node(network, 1)
    wanted = node(network, 2, boot=(boot,))
    network.run(1.0)
    seeker = node(network, 3, boot=(boot,))
    network.run(1.0)

    assert ask(network, lambda done: seeker.explorer.find(wanted.id, network.now, done)) == wanted.record


def test_finding_by_id_gives_the_newest_record_even_if_others_have_an_old_one(network):
    wanted = Scripted(network, 3, naming(record(3, seq=9).raw))
    teller = Scripted(network, 1, naming(record(3).raw))
    seeker = node(network, 2, boot=(teller.peer,))
    distance = log_distance(teller.peer.node_id, wanted.peer.node_id)
    assert distance > 200

    found = ask(network, lambda done: seeker.explorer.find(wanted.peer.node_id, network.now, done))

    assert found.seq in (1, 9)
    found = ask(network, lambda done: seeker.explorer.find(wanted.peer.node_id, network.now, done))
    assert found == record(3, seq=9)


def test_who_is_nowhere_is_not_found(network):
    boot = node(network, 1)
    seeker = node(network, 3, boot=(boot,))

    assert ask(network, lambda done: seeker.explorer.find(bytes(32), network.now, done)) is None


# What it answers


def pair(network, **how):
    return node(network, 1, **how), node(network, 2)


def test_a_pong_says_where_the_ping_came_from(network):
    answering, asking = pair(network)

    pong = ping(network, asking, answering.record)

    assert (str(pong.ip), pong.port) == ("127.0.0.1", 20_002)
    assert pong.enr_seq == answering.record.seq


def test_distance_zero_is_the_own_record(network):
    answering, asking = pair(network)

    assert find_node(network, asking, answering.record, 0) == [answering.record]


def test_nothing_at_a_distance_is_answered_with_nothing(network):
    answering, asking = pair(network)

    assert find_node(network, asking, answering.record, 1) == []
    assert find_node(network, asking, answering.record) == []


def test_at_most_sixteen_records_once_each_in_packets_that_fit(network):
    answering, asking = pair(network)
    for distance in (256, 255, 254):
        for number in numbers_at(answering.id, distance, 10):
            big = Enr.create(key(number), 1, ip="127.0.0.1", udp=9000, extra={"z": b"\xff" * 150})
            answering.contacts.table.add(big, ("127.0.0.1", 9000), network.now, live=True)
    ping(network, asking, answering.record)
    network.log.clear()

    found = find_node(network, asking, answering.record, 256, 256, 255, 254, 256)

    assert len(found) == len({enr.node_id for enr in found}) == 16
    assert all(len(data) <= packets.MAX_SIZE for data, _, _ in network.log)


def test_only_verified_nodes_are_handed_on(network):
    answering, asking = pair(network)
    verified, unverified = numbers_at(answering.id, 256, 2)
    answering.contacts.table.add(record(verified), ("127.0.0.1", 9000), network.now, live=True)
    answering.contacts.table.add(record(unverified), ("127.0.0.1", 9001), network.now)
    answering.contacts.table.get(record(unverified).node_id).checking = True

    named = find_node(network, asking, answering.record, 256)

    assert record(verified) in named
    assert record(unverified) not in named


def test_private_nodes_are_not_named_to_the_public(network):
    answering = node(network, 1, ip="8.8.8.8")
    asking = node(network, 2, ip="9.9.9.9")
    near, far = numbers_at(answering.id, 256, 2)
    answering.contacts.table.add(record(near, "10.0.0.1"), ("10.0.0.1", 9000), network.now, live=True)
    answering.contacts.table.add(record(far, "20.0.0.1"), ("20.0.0.1", 9000), network.now, live=True)

    answers = []
    original = asking.requests.calls.receive
    asking.requests.calls.receive = lambda *args: answers.append(args[2]) or original(*args)
    find_node(network, asking, answering.record, 256)

    raws = [raw for answer in answers if isinstance(answer, Nodes) for raw in answer.records]
    assert record(near, "10.0.0.1").raw not in raws
    assert record(far, "20.0.0.1").raw in raws


def test_talk_is_answered_by_its_handler_and_the_unknown_with_nothing(network):
    answering, asking = pair(network)
    heard = []
    answering.talk_handlers[b"echo"] = lambda who, request: heard.append(who) or b"echo:" + request

    assert talk(network, asking, answering.record, b"echo", b"hello") == b"echo:hello"
    assert talk(network, asking, answering.record, b"other", b"hello") == b""
    assert heard == [asking.id]


def test_a_talk_handler_that_fails_or_says_too_much_is_an_empty_answer(network, caplog):
    answering, asking = pair(network)
    answering.talk_handlers[b"bug"] = lambda who, request: 1 // 0
    answering.talk_handlers[b"long"] = lambda who, request: bytes(MAX_TALK + 1)
    answering.talk_handlers[b"just"] = lambda who, request: bytes(MAX_TALK)

    assert talk(network, asking, answering.record, b"bug", b"") == b""
    assert talk(network, asking, answering.record, b"long", b"") == b""
    assert talk(network, asking, answering.record, b"just", b"") == bytes(MAX_TALK)
    assert "failed" in caplog.text


def test_the_longest_talk_request_fits_into_a_handshake_and_a_longer_is_refused(network):
    answering, asking = pair(network)
    answering.talk_handlers[b"x"] = lambda who, request: int_to_bytes(len(request))

    assert talk(network, asking, answering.record, b"x", bytes(MAX_TALK_REQUEST - 1)) == int_to_bytes(
        MAX_TALK_REQUEST - 1
    )
    assert all(len(data) <= packets.MAX_SIZE for data, _, _ in network.log)
    with pytest.raises(ValueError, match="a talk request takes"):
        talk(network, asking, answering.record, b"x", bytes(MAX_TALK_REQUEST))


def test_requests_beyond_the_limit_are_not_answered(network):
    answering = node(network, 1, limits=Limits(requests=Rate(1, 5)))
    asking = Scripted(network, 2)
    asking.send(answering, Ping(RID, 1))
    network.run(0.2)
    for _ in range(50):
        asking.send(answering, Ping(RID, 1))
    network.run(0.2)

    answers = [each for each in asking.asked if isinstance(each, Pong)]
    assert 3 <= len(answers) <= 6
    assert answering.counts["dropped_requests"] > 40


@pytest.mark.parametrize("raw", [b"", b"\x0b\xc0", b"\x01", b"\x01\xc1\x80", b"\x07\xc0", bytes(200)])
def test_what_is_no_message_is_not_answered(network, raw):
    answering = node(network, 1)
    asking = Scripted(network, 2)
    asking.send(answering, Ping(RID, 1))
    network.run(0.5)
    asking.asked.clear()
    remote = Remote(answering.id, answering.record.public, ("127.0.0.1", 20_001))
    asking.peer.wire.send_request(remote, raw, network.now)
    network.pump()

    network.run(0.2)

    assert not [each for each in asking.asked if not isinstance(each, Ping)]
    assert answering.counts["dropped_message"] == 1


def test_a_topic_that_nobody_advertises_is_answered_with_an_empty_packet(network):
    answering = node(network, 1)
    asking = Scripted(network, 2)
    asking.send(answering, messages.TopicQuery(RID, bytes(32), (256,)))
    network.run(0.5)

    assert [each for each in asking.asked if not isinstance(each, Ping)] == [messages.TopicNodes(RID, 1, ())]
