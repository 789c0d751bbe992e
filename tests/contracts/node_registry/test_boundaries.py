"""Every rule about time, at the very second."""

import pytest
from brownie import chain, web3

from tests.contracts.errors import reverts_with
from tests.support.registry import DAY, MAILSERVERS, ZERO_ADDRESS, addresses, nodes, possession


@pytest.fixture
def at():
    """Give the next block this time."""

    def set_time(timestamp):
        answer = web3.provider.make_request("evm_setNextBlockTimestamp", [int(timestamp)])
        assert "error" not in answer

    return set_time


def test_a_listing_counts_until_the_second_before_its_expiry(registry, provider, stranger, listed, expiry, at):
    (node,) = addresses(listed(nodes(1)))

    at(expiry - 1)
    chain.mine()
    assert registry.isListed(provider, MAILSERVERS, node)

    at(expiry)
    chain.mine()
    assert not registry.isListed(provider, MAILSERVERS, node)


def test_a_listing_can_be_pruned_from_its_expiry_on(registry, provider, stranger, listed, expiry, at):
    (node,) = addresses(listed(nodes(1)))

    at(expiry - 1)
    with reverts_with("NotExpired", node, expiry):
        registry.pruneNodes(provider, MAILSERVERS, [node], [ZERO_ADDRESS], {"from": stranger})

    at(expiry)
    registry.pruneNodes(provider, MAILSERVERS, [node], [ZERO_ADDRESS], {"from": stranger})


def test_an_expiry_lies_at_least_a_second_ahead(registry, provider, admin, agree, now, at):
    moment = now + 100
    proofs = agree(provider, nodes(1))

    at(moment)
    with reverts_with("InvalidExpiry", moment):
        registry.addNodes(provider, MAILSERVERS, moment, proofs, {"from": admin})

    at(moment + 1)
    registry.addNodes(provider, MAILSERVERS, moment + 2, proofs, {"from": admin})


def test_an_expiry_lies_at_most_the_longest_period_ahead(registry, provider, admin, agree, now, at):
    moment, longest = now + 100, registry.MAX_LISTING_PERIOD()
    proofs = agree(provider, nodes(1))

    at(moment)
    with reverts_with("InvalidExpiry", moment + longest + 1):
        registry.addNodes(provider, MAILSERVERS, moment + longest + 1, proofs, {"from": admin})

    at(moment + 1)
    registry.addNodes(provider, MAILSERVERS, moment + 1 + longest, proofs, {"from": admin})


def test_a_proof_serves_until_its_deadline(registry, provider, admin, now, expiry, at):
    (node,) = nodes(1)
    deadline = now + 100
    proof = possession(registry, node, provider, deadline)

    at(deadline + 1)
    with reverts_with("PossessionExpired", node.id, deadline):
        registry.addNodes.call(provider, MAILSERVERS, expiry, [proof], {"from": admin}, block_identifier="pending")

    at(deadline)
    registry.addNodes(provider, MAILSERVERS, expiry, [proof], {"from": admin})


def test_a_pause_lasts_until_the_second_before_its_end(registry, guardian, stranger, now, at):
    until = now + 1000
    registry.pauseAdditions(until, {"from": guardian})

    at(until - 1)
    with reverts_with("AdditionsArePaused", until):
        registry.createProvider("", {"from": stranger})

    at(until)
    registry.createProvider("", {"from": stranger})


def test_a_pause_is_at_most_so_long_and_at_least_so_far_from_the_last(registry, guardian, now, at):
    longest, cooldown = registry.MAX_PAUSE(), registry.PAUSE_COOLDOWN()
    moment = now + 100

    at(moment)
    with reverts_with("InvalidPause", moment + longest + 1):
        registry.pauseAdditions(moment + longest + 1, {"from": guardian})
    at(moment + 1)
    registry.pauseAdditions(moment + 1 + longest, {"from": guardian})
    over = moment + 1 + longest

    at(over + cooldown - 1)
    with reverts_with("InvalidPause", over + cooldown + DAY):
        registry.pauseAdditions(over + cooldown + DAY, {"from": guardian})
    at(over + cooldown)
    registry.pauseAdditions(over + cooldown + DAY, {"from": guardian})
