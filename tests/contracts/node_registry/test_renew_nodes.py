import pytest
from brownie import chain

from tests.contracts.errors import reverts_with
from tests.support.registry import DAY, MAILSERVERS, Node, addresses, nodes


def test_extends_the_listings_and_says_so_once(registry, provider, operator, expiry, listed, walk):
    fleet = listed(nodes(3))

    tx = registry.renewNodes(provider, MAILSERVERS, expiry + 1, addresses(fleet[:2]), {"from": operator})

    assert [registry.nodeOf(node)[3] for node in addresses(fleet)] == [expiry + 1, expiry + 1, expiry]
    assert len(walk()) == 3
    assert len(tx.logs) == 1
    assert tx.events["NodesRenewed"]["nodes"] == tuple(addresses(fleet[:2]))
    assert tx.events["NodesRenewed"]["expiresAt"] == expiry + 1


def test_renewing_changes_neither_generation_nor_order(registry, provider, admin, expiry, listed, walk):
    fleet = listed(nodes(2))
    before = walk()

    registry.renewNodes(provider, MAILSERVERS, expiry + 1, addresses(fleet), {"from": admin})

    assert walk() == before
    assert [registry.nodeOf(node)[4] for node in before] == [1, 1]


def test_an_expired_listing_that_nobody_pruned_can_be_renewed(registry, provider, admin, listed):
    (node,) = listed(nodes(1))
    chain.sleep(101 * DAY)
    chain.mine()
    assert not registry.isListed(provider, MAILSERVERS, node.address)

    registry.renewNodes(provider, MAILSERVERS, chain[-1].timestamp + DAY, [node.address], {"from": admin})

    assert registry.isListed(provider, MAILSERVERS, node.address)


@pytest.mark.parametrize("who", ["stranger", "rival", "guardian"])
def test_nobody_else_may(registry, provider, rival_provider, expiry, listed, request, who):
    (node,) = listed(nodes(1))
    caller = request.getfixturevalue(who)

    with reverts_with("NotOperator", provider, caller):
        registry.renewNodes(provider, MAILSERVERS, expiry + 1, [node.address], {"from": caller})


def test_nobody_renews_nodes_of_another_provider_through_their_own(registry, rival_provider, rival, expiry, listed):
    (node,) = listed(nodes(1))

    with reverts_with("NodeNotListed", node.address, rival_provider, MAILSERVERS):
        registry.renewNodes(rival_provider, MAILSERVERS, expiry + 1, [node.address], {"from": rival})


def test_a_listing_cannot_be_cut_short(registry, provider, admin, expiry, listed):
    (node,) = listed(nodes(1))

    for sooner in (expiry, expiry - 1):
        with reverts_with("NotExtended", node.address, expiry):
            registry.renewNodes(provider, MAILSERVERS, sooner, [node.address], {"from": admin})


def test_a_node_twice_in_a_batch_is_refused(registry, provider, admin, expiry, listed):
    (node,) = listed(nodes(1))

    with reverts_with("NotExtended", node.address, expiry + 1):
        registry.renewNodes(provider, MAILSERVERS, expiry + 1, [node.address] * 2, {"from": admin})


def test_expiry_has_the_same_bounds_as_on_listing(registry, provider, admin, listed, now):
    (node,) = listed(nodes(1))
    too_far = now + registry.MAX_LISTING_PERIOD() + 3600

    for bad in (0, now, too_far, 2**256 - 1):
        with reverts_with("InvalidExpiry", bad):
            registry.renewNodes(provider, MAILSERVERS, bad, [node.address], {"from": admin})


def test_unlisted_nodes_are_refused(registry, provider, admin, expiry, listed):
    listed(nodes(1))
    never = Node.number(7).address

    with reverts_with("NodeNotListed", never, provider, MAILSERVERS):
        registry.renewNodes(provider, MAILSERVERS, expiry + 1, [never], {"from": admin})
    with reverts_with("NodeNotListed", nodes(1)[0].address, provider, 2):
        registry.renewNodes(provider, 2, expiry + 1, addresses(nodes(1)), {"from": admin})
    with reverts_with("EmptyBatch"):
        registry.renewNodes(provider, MAILSERVERS, expiry + 1, [], {"from": admin})
