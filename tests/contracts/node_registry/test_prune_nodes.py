import pytest
from brownie import chain

from tests.contracts.errors import reverts_with
from tests.support.registry import DAY, EXPIRED, MAILSERVERS, ZERO_ADDRESS, Node, addresses, nodes


@pytest.fixture
def time_passes():
    def passes(seconds):
        chain.sleep(seconds)
        chain.mine()

    return passes


def test_anyone_prunes_what_has_expired(registry, provider, stranger, listed, walk, time_passes):
    first, second = addresses(listed(nodes(2)))
    time_passes(101 * DAY)

    tx = registry.pruneNodes(provider, MAILSERVERS, [second, first], [ZERO_ADDRESS] * 2, {"from": stranger})

    assert walk() == []
    assert len(tx.logs) == 1
    assert tx.events["NodesRemoved"]["reason"] == EXPIRED
    assert tx.events["NodesRemoved"]["nodes"] == (second, first)


def test_nobody_prunes_what_has_not_expired(registry, provider, stranger, admin, listed, expiry, time_passes):
    (node,) = addresses(listed(nodes(1)))
    time_passes(98 * DAY)

    for caller in (stranger, admin):
        with reverts_with("NotExpired", node, expiry):
            registry.pruneNodes(provider, MAILSERVERS, [node], [ZERO_ADDRESS], {"from": caller})


def test_a_renewed_node_is_not_pruned(registry, provider, admin, stranger, listed, expiry, time_passes):
    (node,) = addresses(listed(nodes(1)))
    registry.renewNodes(provider, MAILSERVERS, expiry + 10 * DAY, [node], {"from": admin})
    time_passes(101 * DAY)

    with reverts_with("NotExpired", node, expiry + 10 * DAY):
        registry.pruneNodes(provider, MAILSERVERS, [node], [ZERO_ADDRESS], {"from": stranger})


def test_an_expired_node_counts_no_more_before_it_is_pruned(registry, provider, listed, walk, time_passes):
    (node,) = addresses(listed(nodes(1)))

    time_passes(101 * DAY)

    assert walk() == [node]
    assert not registry.isListed(provider, MAILSERVERS, node)


def test_a_pruned_node_goes_to_another_provider(
    registry, provider, rival_provider, rival, stranger, listed, walk, time_passes
):
    from tests.support.registry import possession

    (node,) = listed(nodes(1))
    time_passes(101 * DAY)
    registry.pruneNodes(provider, MAILSERVERS, [node.address], [ZERO_ADDRESS], {"from": stranger})
    later = chain[-1].timestamp

    proof = possession(registry, node, rival_provider, later + DAY)
    registry.addNodes(rival_provider, MAILSERVERS, later + DAY, [proof], {"from": rival})

    assert walk(rival_provider) == [node.address]


def test_nodes_that_are_in_no_list_cannot_be_pruned(registry, provider, stranger, listed):
    listed(nodes(1))
    never = Node.number(5).address

    for provider_id, kind in ((provider, MAILSERVERS), (0, 0), (provider, 0), (9, 9)):
        with reverts_with("NodeNotListed", never, provider_id, kind):
            registry.pruneNodes(provider_id, kind, [never], [ZERO_ADDRESS], {"from": stranger})
    with reverts_with("NodeNotListed", ZERO_ADDRESS, 0, 0):
        registry.pruneNodes(0, 0, [ZERO_ADDRESS], [ZERO_ADDRESS], {"from": stranger})


def test_wrong_hints_and_empty_batches_are_refused(registry, provider, stranger, listed, time_passes):
    first, second = addresses(listed(nodes(2)))
    time_passes(101 * DAY)

    with reverts_with("WrongPredecessor", first, ZERO_ADDRESS):
        registry.pruneNodes(provider, MAILSERVERS, [first], [ZERO_ADDRESS], {"from": stranger})
    with reverts_with("LengthMismatch", 1, 0):
        registry.pruneNodes(provider, MAILSERVERS, [second], [], {"from": stranger})
    with reverts_with("EmptyBatch"):
        registry.pruneNodes(provider, MAILSERVERS, [], [], {"from": stranger})
