"""Topic discovery between whole nodes, joined in memory."""

import pytest

from offchain.types import MAILSERVER, topic_of
from tests.support.discovery import Network, node

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
