import pytest
from brownie import chain

from tests.contracts.errors import reverts_with
from tests.support.registry import DAY, MAILSERVERS, ZERO_ADDRESS, nodes, possession


@pytest.fixture
def paused(registry, guardian):
    """Additions paused for two days."""
    until = chain[-1].timestamp + 2 * DAY
    registry.pauseAdditions(until, {"from": guardian})
    return until


def test_a_pause_stops_additions(registry, provider, admin, stranger, paused, expiry, agree):
    with reverts_with("AdditionsArePaused", paused):
        registry.addNodes(provider, MAILSERVERS, expiry, agree(provider, nodes(1)), {"from": admin})
    with reverts_with("AdditionsArePaused", paused):
        registry.createProvider("", {"from": stranger})
    with reverts_with("AdditionsArePaused", paused):
        registry.createKind("pushserver", {"from": stranger})


def test_a_pause_stops_nothing_else(registry, provider, admin, operator, newcomer, guardian, listed, expiry, walk):
    first, second = listed(nodes(2))
    registry.pauseAdditions(chain[-1].timestamp + 2 * DAY, {"from": guardian})

    registry.renewNodes(provider, MAILSERVERS, expiry + 1, [first.address], {"from": operator})
    registry.publishEnr(first.address, 1, b"record", {"from": operator})
    registry.removeNodes(provider, MAILSERVERS, [second.address], [ZERO_ADDRESS], {"from": operator})
    registry.setMetadata(provider, "https://elsewhere.example", {"from": admin})
    registry.setOperator(provider, operator, False, {"from": admin})
    registry.transferAdmin(provider, newcomer, {"from": admin})
    registry.acceptAdmin(provider, {"from": newcomer})

    assert walk() == [first.address]
    assert registry.isListed(provider, MAILSERVERS, first.address)


def test_pruning_goes_on_in_a_pause(registry, provider, guardian, stranger, listed, walk):
    (node,) = listed(nodes(1))
    chain.sleep(101 * DAY)
    chain.mine()
    registry.pauseAdditions(chain[-1].timestamp + 2 * DAY, {"from": guardian})

    registry.pruneNodes(provider, MAILSERVERS, [node.address], [ZERO_ADDRESS], {"from": stranger})

    assert walk() == []


def test_a_pause_ends_by_itself(registry, provider, admin, paused, walk):
    chain.sleep(2 * DAY + 1)
    chain.mine()
    later = chain[-1].timestamp
    proof = possession(registry, nodes(1)[0], provider, later + DAY)

    registry.addNodes(provider, MAILSERVERS, later + DAY, [proof], {"from": admin})

    assert len(walk()) == 1


def test_a_pause_lasts_at_most_so_long(registry, guardian, now):
    too_long = now + registry.MAX_PAUSE() + 3600

    for bad in (too_long, 2**256 - 1, now, 0):
        with reverts_with("InvalidPause", bad):
            registry.pauseAdditions(bad, {"from": guardian})


def test_a_pause_cannot_be_extended_or_follow_too_soon(registry, guardian, paused):
    longer = paused + DAY
    with reverts_with("InvalidPause", longer):
        registry.pauseAdditions(longer, {"from": guardian})

    chain.sleep(2 * DAY + registry.PAUSE_COOLDOWN() - 3600)
    chain.mine()
    soon = chain[-1].timestamp + DAY
    with reverts_with("InvalidPause", soon):
        registry.pauseAdditions(soon, {"from": guardian})

    chain.sleep(2 * 3600)
    chain.mine()
    registry.pauseAdditions(chain[-1].timestamp + DAY, {"from": guardian})


def test_a_pause_can_be_ended_early_but_not_to_pause_again_at_once(registry, guardian, stranger, paused):
    tx = registry.resumeAdditions({"from": guardian})

    assert tx.events["AdditionsPaused"]["until"] == chain[-1].timestamp == registry.pausedUntil()
    registry.createKind("pushserver", {"from": stranger})
    again = chain[-1].timestamp + DAY
    with reverts_with("InvalidPause", again):
        registry.pauseAdditions(again, {"from": guardian})


def test_without_a_pause_there_is_nothing_to_end(registry, guardian):
    with reverts_with("NothingChanged"):
        registry.resumeAdditions({"from": guardian})


def test_the_guardian_names_a_successor(registry, owner_curator, guardian):
    tx = registry.announceSuccessor(owner_curator, {"from": guardian})

    assert registry.successor() == owner_curator.address
    assert tx.events["SuccessorAnnounced"]["successor"] == owner_curator.address
    with reverts_with("NothingChanged"):
        registry.announceSuccessor(owner_curator, {"from": guardian})


@pytest.mark.parametrize("who", ["stranger", "admin", "operator"])
def test_nobody_else_is_guardian(registry, provider, paused, request, who):
    caller = request.getfixturevalue(who)

    with reverts_with("OwnableUnauthorizedAccount", caller):
        registry.pauseAdditions(chain[-1].timestamp + DAY, {"from": caller})
    with reverts_with("OwnableUnauthorizedAccount", caller):
        registry.resumeAdditions({"from": caller})
    with reverts_with("OwnableUnauthorizedAccount", caller):
        registry.announceSuccessor(caller, {"from": caller})


def test_the_guardian_is_replaced_in_two_steps(registry, guardian, newcomer, stranger):
    registry.transferOwnership(newcomer, {"from": guardian})
    assert registry.owner() == guardian

    with reverts_with("OwnableUnauthorizedAccount", stranger):
        registry.acceptOwnership({"from": stranger})
    registry.acceptOwnership({"from": newcomer})

    assert registry.owner() == newcomer


def test_handing_over_the_guardianship_leaves_the_commitment_alone(registry, guardian, newcomer):
    before = registry.commitment()

    registry.transferOwnership(newcomer, {"from": guardian})
    registry.acceptOwnership({"from": newcomer})

    assert registry.commitment() == before
