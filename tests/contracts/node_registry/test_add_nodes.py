import pytest
from brownie import chain

from tests.contracts.errors import reverts_with
from tests.support.registry import DAY, MAILSERVERS, ZERO_ADDRESS, addresses, nodes, possession


def test_lists_the_nodes_and_says_so_once(registry, provider, admin, expiry, agree, walk):
    first, second = nodes(2)

    tx = registry.addNodes(provider, MAILSERVERS, expiry, agree(provider, [first, second]), {"from": admin})

    assert walk() == [second.address, first.address]
    assert registry.isListed(provider, MAILSERVERS, first.address)
    assert registry.nodeOf(first.address) == (ZERO_ADDRESS, provider, MAILSERVERS, expiry, 1)
    assert registry.nodeOf(second.address) == (first.address, provider, MAILSERVERS, expiry, 1)
    assert len(tx.logs) == 1
    event = tx.events["NodesAdded"]
    assert (event["providerId"], event["kind"], event["expiresAt"]) == (provider, MAILSERVERS, expiry)
    assert [bytes(node_id) for node_id in event["nodeIds"]] == [first.id, second.id]


def test_an_operator_may(registry, provider, operator, expiry, agree, walk):
    (node,) = nodes(1)

    registry.addNodes(provider, MAILSERVERS, expiry, agree(provider, [node]), {"from": operator})

    assert walk() == [node.address]


def test_a_stranger_may_not(registry, provider, stranger, expiry, agree):
    proofs = agree(provider, nodes(1))

    with reverts_with("NotOperator", provider, stranger):
        registry.addNodes(provider, MAILSERVERS, expiry, proofs, {"from": stranger})


def test_the_guardian_may_not(registry, provider, guardian, expiry, agree):
    proofs = agree(provider, nodes(1))

    with reverts_with("NotOperator", provider, guardian):
        registry.addNodes(provider, MAILSERVERS, expiry, proofs, {"from": guardian})


def test_a_provider_must_exist(registry, admin, expiry, agree):
    with reverts_with("UnknownProvider", 9):
        registry.addNodes(9, MAILSERVERS, expiry, agree(9, nodes(1)), {"from": admin})


@pytest.mark.parametrize("kind", [0, 2, 2**24 + 1, 2**256 - 1])
def test_a_kind_must_exist(registry, provider, admin, expiry, agree, kind):
    with reverts_with("UnknownKind", kind):
        registry.addNodes(provider, kind, expiry, agree(provider, nodes(1), kind=kind), {"from": admin})


def test_a_batch_must_name_a_node(registry, provider, admin, expiry):
    with reverts_with("EmptyBatch"):
        registry.addNodes(provider, MAILSERVERS, expiry, [], {"from": admin})


def test_an_expiry_must_lie_ahead(registry, provider, admin, now, agree):
    with reverts_with("InvalidExpiry", now):
        registry.addNodes(provider, MAILSERVERS, now, agree(provider, nodes(1)), {"from": admin})


def test_an_expiry_must_not_lie_too_far_ahead(registry, provider, admin, now, agree):
    too_far = now + registry.MAX_LISTING_PERIOD() + 3600

    with reverts_with("InvalidExpiry", too_far):
        registry.addNodes(provider, MAILSERVERS, too_far, agree(provider, nodes(1)), {"from": admin})


def test_an_expiry_that_a_slot_cannot_hold_is_refused(registry, provider, admin, agree):
    with reverts_with("InvalidExpiry", 2**32 + chain[-1].timestamp + DAY):
        registry.addNodes(
            provider, MAILSERVERS, 2**32 + chain[-1].timestamp + DAY, agree(provider, nodes(1)), {"from": admin}
        )


def test_the_furthest_expiry_is_accepted(registry, provider, admin, now, agree):
    furthest = now + registry.MAX_LISTING_PERIOD()

    registry.addNodes(provider, MAILSERVERS, furthest, agree(provider, nodes(1)), {"from": admin})

    assert registry.nodeOf(nodes(1)[0].address)[3] == furthest


def test_a_node_is_in_one_list_only(registry, provider, rival_provider, rival, expiry, agree, listed):
    listed(nodes(1))
    proofs = agree(rival_provider, nodes(1))

    with reverts_with("NodeAlreadyListed", nodes(1)[0].address, provider, MAILSERVERS):
        registry.addNodes(rival_provider, MAILSERVERS, expiry, proofs, {"from": rival})


def test_a_node_is_not_listed_for_two_kinds(registry, provider, admin, stranger, expiry, agree, listed):
    registry.createKind("pushserver", {"from": stranger})
    listed(nodes(1))

    with reverts_with("NodeAlreadyListed", nodes(1)[0].address, provider, MAILSERVERS):
        registry.addNodes(provider, 2, expiry, agree(provider, nodes(1), kind=2), {"from": admin})


def test_a_node_twice_in_a_batch_is_refused(registry, provider, admin, expiry, agree):
    (node,) = nodes(1)

    with reverts_with("NodeAlreadyListed", node.address, provider, MAILSERVERS):
        registry.addNodes(provider, MAILSERVERS, expiry, agree(provider, [node, node]), {"from": admin})


def test_an_expired_node_that_nobody_pruned_keeps_its_place(
    registry, provider, rival_provider, rival, agree, listed, now
):
    listed(nodes(1))
    chain.sleep(101 * DAY)
    chain.mine()
    later = chain[-1].timestamp
    proof = possession(registry, nodes(1)[0], rival_provider, later + DAY)

    with reverts_with("NodeAlreadyListed", nodes(1)[0].address, provider, MAILSERVERS):
        registry.addNodes(rival_provider, MAILSERVERS, later + DAY, [proof], {"from": rival})


def test_one_bad_proof_spoils_the_whole_batch(registry, provider, admin, expiry, agree, walk):
    good, bad = nodes(2)
    proofs = agree(provider, [good]) + agree(provider, [bad], generation=7)

    with reverts_with("InvalidPossession", bad.id):
        registry.addNodes(provider, MAILSERVERS, expiry, proofs, {"from": admin})

    assert walk() == []


@pytest.mark.skip_coverage  # anvil keeps memory at every step: gigabytes for a batch like this
def test_a_hundred_nodes_come_in_one_batch(registry, provider, admin, expiry, agree, walk):
    fleet = nodes(100)

    registry.addNodes(provider, MAILSERVERS, expiry, agree(provider, fleet), {"from": admin})

    assert walk() == addresses(fleet)[::-1]
