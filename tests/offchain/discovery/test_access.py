"""Whom a node deals with at all."""

import pytest

from offchain.discovery.access import OPEN, Access
from offchain.discovery.wire import Remote
from offchain.errors import ConfigError
from offchain.types import NodeId
from tests.support.discovery import Network, WirePeer, node

ID, OTHER = NodeId(b"\1" * 32), NodeId(b"\2" * 32)


def test_everybody_is_permitted_by_default():
    assert OPEN.is_open
    assert OPEN.permits(ID, "8.8.8.8")
    assert OPEN.permits_address("8.8.8.8")


@pytest.mark.parametrize("entry", ["8.8.8.0/24", "8.8.8.8", "::ffff:0:0/96", "0.0.0.0/0"])
def test_who_is_in_a_denied_network_is_refused(entry):
    access = Access(deny=[entry, "2001:db8::/32"])
    denied = not entry.startswith("::")  # 4-in-6 addresses are IPv4 to us

    assert access.permits(ID, "8.8.8.8") is not denied
    assert access.permits_address("8.8.8.8") is not denied
    assert not access.permits(ID, "2001:db8::7")


@pytest.mark.parametrize("text", ["0x" + ID.hex(), ID.hex(), ID.hex().upper()])
def test_a_denied_node_is_refused_wherever_it_is(text):
    access = Access(deny=[text])

    assert not access.permits(ID, "8.8.8.8")
    assert access.permits(OTHER, "8.8.8.8")
    assert access.permits_address("8.8.8.8")


def test_where_networks_are_allowed_others_are_refused():
    access = Access(allow=["8.8.8.0/24", "2001:db8::/32"])

    assert access.permits(ID, "8.8.8.8")
    assert access.permits(ID, "2001:db8::1")
    assert not access.permits(ID, "9.9.9.9")
    assert not access.permits_address("9.9.9.9")


def test_where_a_node_is_allowed_by_name_others_are_refused_once_they_have_said_their_name():
    access = Access(allow=[ID.hex(), "8.8.8.0/24"])

    assert access.permits(ID, "9.9.9.9")
    assert access.permits(OTHER, "8.8.8.8")
    assert access.permits_address("9.9.9.9")
    assert not access.permits(OTHER, "9.9.9.9")


def test_what_is_denied_is_refused_though_it_is_allowed_too():
    access = Access(allow=["8.0.0.0/8", ID.hex()], deny=["8.8.8.0/24", ID.hex()])

    assert access.permits(OTHER, "8.1.1.1")
    assert not access.permits(OTHER, "8.8.8.8")
    assert not access.permits(ID, "8.1.1.1")


@pytest.mark.parametrize("entry", ["", "example.org", "8.8.8.8/33", "8.8.8.8/24", "ab" * 31, "xy" * 32])
def test_what_is_neither_a_network_nor_an_id_is_a_matter_of_configuration(entry):
    with pytest.raises(ConfigError, match="neither a network nor a node id"):
        Access(deny=[entry])


# In a node


def remote(machine):
    return Remote(machine.id, machine.record.public, (str(machine.record.ip), machine.record.udp))


def test_who_is_denied_gets_no_answer_not_even_a_challenge():
    network = Network()
    stranger = WirePeer(network, 9)
    machine = node(network, 1, deny=(stranger.node_id.hex(),))
    friend = WirePeer(network, 8)
    network.log.clear()

    stranger.wire.send_request(remote(machine), b"\1anything", network.now)
    friend.wire.send_request(remote(machine), b"\1anything", network.now)
    network.run(1.0)

    told = {target for _, source, target in network.log if source == ("127.0.0.1", 20_001)}
    assert told == {friend.address}
    assert machine.counts["dropped_denied"] > 0


def test_who_is_denied_is_never_asked_nor_kept_nor_found():
    network = Network()
    denied = node(network, 2)
    boot = node(network, 3, boot=(denied,))
    network.run(10.0)
    machine = node(network, 1, boot=(boot, denied), deny=("0x" + denied.id.hex(),))
    network.log.clear()

    network.run(30.0)

    sent = {target for _, source, target in network.log if source == ("127.0.0.1", 20_001)}
    assert ("127.0.0.1", 20_003) in sent
    assert ("127.0.0.1", 20_002) not in sent
    assert boot.id in machine.contacts.table
    assert denied.id not in machine.contacts.table


def test_a_packet_from_a_denied_network_costs_no_cryptography(monkeypatch):
    network = Network()
    machine = node(network, 1, deny=("127.0.0.0/8",))
    monkeypatch.setattr("offchain.discovery.packet.decode", lambda *whatever: pytest.fail("it was looked at"))

    machine.receive_datagram(bytes(100), ("127.0.0.1", 5_000), network.now)

    assert machine.counts["dropped_denied"] == 1
