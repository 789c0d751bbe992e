"""Topic discovery between whole nodes, joined in memory."""

from ipaddress import ip_address

import pytest

from offchain.discovery import message as messages
from offchain.discovery.message import (
    FindNode,
    Nodes,
    Ping,
    Pong,
    RegConfirmation,
    RegTopic,
    TopicNodes,
    TopicQuery,
)
from offchain.discovery.table import log_distance
from offchain.discovery.wire import Remote
from offchain.enr import Enr
from offchain.types import MAILSERVER, topic_of
from tests.support.discovery import Network, WirePeer, key, node, numbers_at, record

TOPIC = topic_of(MAILSERVER)


@pytest.fixture
def network():
    return Network()


def found_by_topic(machine):
    """Verified nodes that a registrar named."""
    return {enr.node_id for enr in machine.contacts.verified_records(machine.directory.found(TOPIC))}


def test_a_server_in_a_network_of_five_that_start_together_is_found_by_topic_within_five_seconds(network):
    boot = node(network, 1)
    server = node(network, 2, boot=(boot,), kinds=(MAILSERVER,))
    others = [node(network, number, boot=(boot,)) for number in (3, 4)]
    client = node(network, 5, boot=(boot,))
    client.directory.want(TOPIC, network.now)

    found = network.run(5.0, lambda: server.id in found_by_topic(client))

    assert found, (others, client.sizes())


def test_all_of_five_servers_that_start_together_find_each_other_by_topic_within_five_seconds(network):
    boot = node(network, 1, kinds=(MAILSERVER,))
    servers = [boot, *(node(network, number, boot=(boot,), kinds=(MAILSERVER,)) for number in range(2, 6))]
    for server in servers:
        server.directory.want(TOPIC, network.now)

    everybody = {server.id for server in servers}
    found = network.run(5.0, lambda: all(found_by_topic(each) == everybody - {each.id} for each in servers))

    assert found, [each.sizes() for each in servers]


def test_nodes_that_start_together_on_a_lossy_network_find_the_server_by_topic():
    network = Network(5, jitter=0.05)
    network.loss, network.repeat = 0.1, 0.1
    boot = node(network, 1)
    server = node(network, 2, boot=(boot,), kinds=(MAILSERVER,))
    for number in (3, 4):
        node(network, number, boot=(boot,))
    client = node(network, 5, boot=(boot,))
    client.directory.want(TOPIC, network.now)

    assert network.run(10.0, lambda: server.id in found_by_topic(client))


def test_a_server_whose_record_does_not_say_what_it_serves_is_found_by_topic(network):
    boot = node(network, 1)
    server = node(network, 2, boot=(boot,))
    server.directory.advertise(TOPIC)
    client = node(network, 3, boot=(boot,))
    client.directory.want(TOPIC, network.now)

    assert network.run(5.0, lambda: server.id in found_by_topic(client))
    assert client.directory.is_advertised(TOPIC, server.id)
    assert not client.contacts.verified(MAILSERVER)


def test_what_is_known_already_is_told_again_when_it_turns_out_to_serve_the_topic(network):
    boot = node(network, 1)
    server = node(network, 2, boot=(boot,))
    client = node(network, 3, boot=(boot,))
    network.run(5.0, lambda: client.contacts.is_verified(server.record))
    while client.next_event() is not None:
        pass

    server.directory.advertise(TOPIC)
    client.directory.want(TOPIC, network.now)
    network.run(20.0, lambda: server.id in found_by_topic(client))

    assert server.id in {event.enr.node_id for event in iter(client.next_event, None)}


def test_seventy_clients_that_join_at_once_all_find_the_servers():
    network = Network(7)
    boot = node(network, 1)
    servers = [node(network, number, boot=(boot,), kinds=(MAILSERVER,)) for number in (2, 3, 4)]
    network.run(2.0)
    clients = [node(network, number, boot=(boot,)) for number in range(10, 80)]
    for client in clients:
        client.directory.want(TOPIC, network.now)

    ids = {server.id for server in servers}
    assert network.run(5.0, lambda: all(found_by_topic(client) == ids for client in clients))


def test_a_server_that_moved_is_advertised_with_its_new_record_within_seconds(network):
    boot = node(network, 1)
    server = node(network, 2, boot=(boot,), kinds=(MAILSERVER,))
    network.run(3.0, lambda: server.sizes()["advertised"] > 0)

    server.update_record({"tcp": b"\x77\x77"}, network.now)

    def is_renewed():
        return any(ad.enr.seq == server.record.seq for ad in boot.directory.registrar.ads)

    assert network.run(3.0, is_renewed)


def test_while_a_server_does_not_know_its_address_it_asks_nobody_to_advertise_it(network):
    boot = node(network, 1)
    server = node(network, 2, boot=(boot,), kinds=(MAILSERVER,), advertise=False)
    network.run(5.0)

    assert boot.counts["registrations_refused"] == 0
    assert server.counts["registrations_sent"] == 0


def test_after_a_lifetime_the_server_is_still_advertised(network):
    boot = node(network, 1)
    node(network, 2, boot=(boot,), kinds=(MAILSERVER,))
    network.run(1_000.0)

    assert len(boot.directory.registrar.ads) == 1
    assert boot.counts["ads_admitted"] == 2


def test_a_server_that_went_is_no_longer_advertised_after_a_lifetime(network):
    boot = node(network, 1)
    server = node(network, 2, boot=(boot,), kinds=(MAILSERVER,))
    network.run(3.0, lambda: len(boot.directory.registrar.ads) == 1)

    network.leave(("127.0.0.1", 20_002))
    network.run(905.0)

    assert server.id not in {
        enr.node_id for enr in boot.directory.registrar.advertisers(TOPIC, ("127.0.0.1", 9), network.now)
    }


# Company without the capability, or with bad intentions


class Foreign:
    """A node that answers as a test says; it notes what it is asked."""

    def __init__(self, network, number, reply=lambda message: [], extra=None):
        self.network = network
        self.number = number
        self.peer = WirePeer(network, number)
        self.address = self.peer.address
        self.enr = Enr.create(key(number), 1, ip="127.0.0.1", udp=self.address[1], extra=extra)
        self.peer.wire.record = self.enr
        self.asked = []
        self.reply = reply
        network.join(self, self.address)

    @property
    def record(self):
        return self.enr

    def receive_datagram(self, data, source, now):
        received = self.peer.wire.receive_datagram(data, source, now)
        if received is None:
            return
        message = messages.decode(received.message)
        self.asked.append(message)
        if isinstance(message, Ping):
            answers = [Pong(message.request_id, 1, ip_address(source[0]), source[1])]
        elif isinstance(message, FindNode):
            answers = [Nodes(message.request_id, 1, (self.enr.raw,) if 0 in message.distances else ())]
        else:
            answers = self.reply(message)
        for answer in answers:
            self.peer.wire.send_response(received.node_id, source, messages.encode(answer), now)

    def datagrams_to_send(self):
        return self.peer.wire.datagrams_to_send()

    def topic_messages(self):
        return [message for message in self.asked if isinstance(message, RegTopic | TopicQuery)]


def test_nodes_without_the_capability_are_never_sent_a_topic_message(network):
    old = Foreign(network, 1)
    server = node(network, 2, boot=(old,), kinds=(MAILSERVER,))
    client = node(network, 3, boot=(old, server))
    client.directory.want(TOPIC, network.now)

    assert network.run(5.0, lambda: server.id in found_by_topic(client))
    network.run(30.0)
    assert old.asked
    assert old.topic_messages() == []
    assert old.enr.node_id in server.contacts.table


def with_an_honest_registrar(network, reply):
    """A hostile registrar beside an honest one, a server and a client. (hostile, server, client)"""
    hostile = Foreign(network, 1, reply, extra={"ng": b"\1"})
    boot = node(network, 4, boot=(hostile,))
    server = node(network, 2, boot=(hostile, boot), kinds=(MAILSERVER,))
    client = node(network, 3, boot=(hostile, boot))
    client.directory.want(TOPIC, network.now)
    return hostile, server, client


def silence(message):
    return []


def nonsense(message):
    return [Nodes(message.request_id, 1, (b"\xc0",) * 50)]


def huge_waits(message):
    if isinstance(message, RegTopic):
        return [RegConfirmation(message.request_id, 1, b"ticket", 10**12)]
    return [TopicNodes(message.request_id, 1, ())]


def lifetimes_above_e(message):
    if isinstance(message, RegTopic):
        return [RegConfirmation(message.request_id, 1, b"", 10**12)]
    return [TopicNodes(message.request_id, 1, ())]


def many_records(message):
    if isinstance(message, RegTopic):
        return [RegConfirmation(message.request_id, 10**9, b"", 900_000)]
    raws = [record(number, f"127.0.{number}.1").raw for number in range(100, 108)]
    return [TopicNodes(message.request_id, 10**9, tuple(raws)) for _ in range(1_250)]


def hints_into_one_bucket(message):
    """Eight records at one distance from the topic, in each of eight packets."""
    numbers = numbers_at(TOPIC, 252, 8)
    hints = [Nodes(message.request_id, 9, tuple(record(number).raw for number in numbers[:4])) for _ in range(8)]
    if isinstance(message, RegTopic):
        return [RegConfirmation(message.request_id, 9, b"", 900_000), *hints]
    return [TopicNodes(message.request_id, 9, ()), *hints]


@pytest.mark.parametrize(
    "reply", [silence, nonsense, huge_waits, lifetimes_above_e, many_records, hints_into_one_bucket]
)
def test_a_malicious_registrar_keeps_nobody_from_the_server(network, reply):
    hostile, server, client = with_an_honest_registrar(network, reply)

    assert network.run(5.0, lambda: server.id in found_by_topic(client))
    network.run(60.0)
    assert hostile.topic_messages()
    assert len(hostile.topic_messages()) < 60
    assert client.sizes()["found_by_topic"] < 64


def test_a_server_is_found_though_all_nodes_near_its_topic_are_hostile(network):
    """Sixteen identities nearer to the topic than any honest node say that they advertise, and name only each other."""
    numbers = (*numbers_at(TOPIC, 250, 8), *numbers_at(TOPIC, 249, 8))
    ring = [Enr.create(key(n), 1, ip="127.0.0.1", udp=20_000 + n, extra={"ng": b"\1"}).raw for n in numbers]

    def conspire(message):
        if isinstance(message, RegTopic):
            return [RegConfirmation(message.request_id, 1, b"", 900_000)]
        return [TopicNodes(message.request_id, 2, tuple(ring[:3])), Nodes(message.request_id, 2, tuple(ring[3:6]))]

    hostile = [Foreign(network, number, conspire, extra={"ng": b"\1"}) for number in numbers]
    boot = node(network, 1, boot=tuple(hostile[:4]))
    honest = [node(network, number, boot=(boot, *hostile[:2])) for number in range(2, 8)]
    server = node(network, 20, boot=(boot, *hostile[4:6]), kinds=(MAILSERVER,))
    network.run(10.0)
    client = node(network, 21, boot=(boot, *hostile[6:]))
    client.directory.want(TOPIC, network.now)

    assert network.run(10.0, lambda: server.id in found_by_topic(client))
    assert sum(len(each.topic_messages()) for each in hostile) > 0
    assert honest


def test_advertisers_that_do_not_answer_are_never_handed_on(network):
    hostile, _, client = with_an_honest_registrar(network, many_records)
    network.run(20.0)

    ghosts = {record(number).node_id for number in range(100, 108)}
    assert hostile.topic_messages()
    assert ghosts & client.directory.found(TOPIC)
    assert not ghosts & found_by_topic(client)
    assert not ghosts & {event.enr.node_id for event in iter(client.next_event, None)}


def test_a_public_registrar_cannot_name_private_advertisers():
    machine = node(Network(), 1)
    records = [record(5, "192.168.0.1").raw, record(6, "127.0.0.1").raw, record(7, "8.8.8.8").raw]

    believed = machine.directory._believed(records, ("9.9.9.9", 9))

    assert [str(enr.ip) for enr, _ in believed] == ["8.8.8.8"]


def test_an_answer_to_a_topic_query_that_nobody_asked_is_ignored(network):
    client = node(network, 3)
    hostile = Foreign(network, 1, extra={"ng": b"\1"})
    remote = Remote(client.id, client.record.public, ("127.0.0.1", 20_003))
    for message in (TopicNodes(b"\1" * 8, 1, (record(9).raw,)), RegConfirmation(b"\1" * 8, 1, b"", 900_000)):
        hostile.peer.wire.send_request(remote, messages.encode(message), network.now)
    network.run(1.0)

    assert client.counts["dropped_unasked"] == 2
    assert client.directory.found(TOPIC) == set()


def test_hints_are_live_nodes_at_the_distances_asked_for_one_each(network):
    boot = node(network, 1)
    for number in range(2, 14):
        node(network, number, boot=(boot,))
    asker = Foreign(network, 50, extra={"ng": b"\1"})
    network.run(4.0)
    remote = Remote(boot.id, boot.record.public, ("127.0.0.1", 20_001))
    asker.peer.wire.send_request(remote, messages.encode(TopicQuery(b"\7", TOPIC, (256, 255, 254))), network.now)
    network.run(1.0)

    answers = [message for message in asker.asked if not isinstance(message, Ping | FindNode)]
    hints = [Enr.decode(raw) for message in answers if isinstance(message, Nodes) for raw in message.records]
    assert answers[0] == TopicNodes(b"\7", len(answers), ())
    assert [message.total for message in answers] == [len(answers)] * len(answers)
    assert sorted(log_distance(TOPIC, enr.node_id) for enr in hints) == [254, 255, 256]


def test_a_node_that_ends_asks_nobody_any_more(network):
    boot = node(network, 1)
    server = node(network, 2, boot=(boot,), kinds=(MAILSERVER,))
    server.directory.want(TOPIC, network.now)
    network.run(1.03)

    sent = server.counts["registrations_sent"], server.counts["topic_queries_sent"]
    server.stop(network.now)
    server.handle_timeouts(network.now + 30.0)

    assert (server.counts["registrations_sent"], server.counts["topic_queries_sent"]) == sent
    assert server.sizes()["calls"] == 0
    server.directory.unwant(TOPIC)
