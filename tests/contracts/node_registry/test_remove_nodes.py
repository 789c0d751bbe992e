import itertools

import pytest

from scripts.lists import predecessors
from tests.contracts.errors import reverts_with
from tests.support.registry import MAILSERVERS, WITHDRAWN, ZERO_ADDRESS, Node, addresses, nodes


@pytest.fixture
def remove(registry, provider, operator, walk):
    """Remove nodes, with the right hints."""

    def removed(leaving):
        hints = predecessors(walk(), leaving)
        return registry.removeNodes(provider, MAILSERVERS, leaving, hints, {"from": operator})

    return removed


def test_takes_a_node_off_and_says_so_once(registry, provider, listed, remove, walk):
    first, second, third = addresses(listed(nodes(3)))

    tx = remove([second])

    assert walk() == [third, first]
    assert registry.nodeOf(second) == (ZERO_ADDRESS, 0, 0, 0, 1)
    assert not registry.isListed(provider, MAILSERVERS, second)
    assert len(tx.logs) == 1
    event = tx.events["NodesRemoved"]
    assert (event["reason"], event["nodes"]) == (WITHDRAWN, (second,))


@pytest.mark.parametrize("leaving", list(itertools.permutations(range(3))))
def test_nodes_leave_in_any_order(listed, remove, walk, leaving):
    fleet = addresses(listed(nodes(3)))

    remove([fleet[index] for index in leaving])

    assert walk() == []


@pytest.mark.parametrize("position", [0, 1, 2, 3])
def test_head_middle_and_tail_leave(listed, remove, walk, position):
    fleet = addresses(listed(nodes(4)))

    remove([fleet[position]])

    assert walk() == (fleet[:position] + fleet[position + 1 :])[::-1]


def test_a_node_can_come_back(registry, provider, admin, listed, remove, agree, expiry, walk):
    first, second = listed(nodes(2))
    remove([first.address])

    registry.addNodes(provider, MAILSERVERS, expiry, agree(provider, [first]), {"from": admin})

    assert walk() == [first.address, second.address]
    assert registry.nodeOf(first.address)[4] == 2


@pytest.mark.parametrize("who", ["stranger", "rival", "guardian"])
def test_nobody_else_may(registry, provider, rival_provider, listed, request, who):
    (node,) = addresses(listed(nodes(1)))
    caller = request.getfixturevalue(who)

    with reverts_with("NotOperator", provider, caller):
        registry.removeNodes(provider, MAILSERVERS, [node], [ZERO_ADDRESS], {"from": caller})


def test_nobody_removes_nodes_of_another_provider_through_their_own(registry, rival_provider, rival, listed):
    (node,) = addresses(listed(nodes(1)))

    with reverts_with("NodeNotListed", node, rival_provider, MAILSERVERS):
        registry.removeNodes(rival_provider, MAILSERVERS, [node], [ZERO_ADDRESS], {"from": rival})


def test_a_wrong_hint_is_refused(registry, provider, rival_provider, rival, admin, listed, agree, expiry):
    tail, middle, head = addresses(listed(nodes(3)))
    stranger_node = Node.number(50)
    registry.addNodes(rival_provider, MAILSERVERS, expiry, agree(rival_provider, [stranger_node]), {"from": rival})

    for hint in (ZERO_ADDRESS, tail, middle, stranger_node.address, Node.number(60).address):
        with reverts_with("WrongPredecessor", middle, hint):
            registry.removeNodes(provider, MAILSERVERS, [middle], [hint], {"from": admin})
    with reverts_with("WrongPredecessor", head, tail):
        registry.removeNodes(provider, MAILSERVERS, [head], [tail], {"from": admin})
    with reverts_with("WrongPredecessor", tail, head):
        registry.removeNodes(provider, MAILSERVERS, [tail], [head], {"from": admin})


def test_a_hint_must_be_right_at_that_moment(registry, provider, admin, listed):
    tail, middle, head = addresses(listed(nodes(3)))

    with reverts_with("WrongPredecessor", tail, middle):
        registry.removeNodes(provider, MAILSERVERS, [middle, tail], [head, middle], {"from": admin})


def test_a_node_leaves_once(registry, provider, admin, listed):
    _, head = addresses(listed(nodes(2)))

    with reverts_with("NodeNotListed", head, provider, MAILSERVERS):
        registry.removeNodes(provider, MAILSERVERS, [head, head], [ZERO_ADDRESS] * 2, {"from": admin})


def test_lists_of_arguments_must_match(registry, provider, admin, listed):
    (node,) = addresses(listed(nodes(1)))

    with reverts_with("LengthMismatch", 1, 0):
        registry.removeNodes(provider, MAILSERVERS, [node], [], {"from": admin})
    with reverts_with("LengthMismatch", 1, 2):
        registry.removeNodes(provider, MAILSERVERS, [node], [ZERO_ADDRESS] * 2, {"from": admin})
    with reverts_with("EmptyBatch"):
        registry.removeNodes(provider, MAILSERVERS, [], [], {"from": admin})


def test_lists_of_two_providers_do_not_touch(
    registry, provider, rival_provider, rival, listed, agree, expiry, remove, walk
):
    ours = addresses(listed(nodes(2)))
    theirs = nodes(2, start=10)
    registry.addNodes(rival_provider, MAILSERVERS, expiry, agree(rival_provider, theirs), {"from": rival})

    remove([ours[1]])

    assert walk() == [ours[0]]
    assert walk(rival_provider) == addresses(theirs)[::-1]
