import pytest

from tests.contracts.errors import reverts_with
from tests.support.registry import MAILSERVERS, ZERO_ADDRESS, Node, nodes

RECORD = b"\xf8" + bytes(range(200))


@pytest.fixture
def node(listed):
    return listed(nodes(1))[0].address


def test_publishes_a_record_and_says_so(registry, operator, node):
    tx = registry.publishEnr(node, 5, RECORD, {"from": operator})

    assert registry.enrSeqOf(node) == 5
    event = tx.events["NodeEnr"]
    assert (event["node"], event["seq"], bytes.fromhex(event["enr"].hex().removeprefix("0x"))) == (node, 5, RECORD)


def test_sequence_numbers_only_grow(registry, admin, node):
    with reverts_with("StaleRecord", node, 0):
        registry.publishEnr(node, 0, RECORD, {"from": admin})
    registry.publishEnr(node, 5, RECORD, {"from": admin})
    for stale in (0, 4, 5):
        with reverts_with("StaleRecord", node, stale):
            registry.publishEnr(node, stale, RECORD, {"from": admin})
    registry.publishEnr(node, 2**64 - 1, RECORD, {"from": admin})


def test_they_grow_across_listings(registry, provider, admin, node, agree, expiry):
    registry.publishEnr(node, 5, RECORD, {"from": admin})
    registry.removeNodes(provider, MAILSERVERS, [node], [ZERO_ADDRESS], {"from": admin})
    registry.addNodes(provider, MAILSERVERS, expiry, agree(provider, nodes(1)), {"from": admin})

    with reverts_with("StaleRecord", node, 5):
        registry.publishEnr(node, 5, RECORD, {"from": admin})


def test_a_record_has_at_most_300_bytes(registry, admin, node):
    registry.publishEnr(node, 1, bytes(300), {"from": admin})

    with reverts_with("RecordTooLarge", 301):
        registry.publishEnr(node, 2, bytes(301), {"from": admin})


def test_only_a_listed_node_has_one(registry, provider, admin):
    unlisted = Node.number(3).address

    with reverts_with("NodeNotListed", unlisted, 0, 0):
        registry.publishEnr(unlisted, 1, RECORD, {"from": admin})


def test_nobody_else_may(registry, provider, rival_provider, node, rival, stranger):
    for other in (rival, stranger):
        with reverts_with("NotOperator", provider, other):
            registry.publishEnr(node, 1, RECORD, {"from": other})
