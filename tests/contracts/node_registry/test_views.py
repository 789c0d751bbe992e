import pytest

from scripts.lists import walk as walk_pages
from tests.contracts.errors import reverts_with
from tests.support.registry import MAILSERVERS, ZERO_ADDRESS, Node, addresses, nodes


def test_pages_fit_together(registry, provider, listed):
    fleet = addresses(listed(nodes(7)))[::-1]

    for size in (1, 2, 3, 6, 7, 8):
        assert [node for node, _ in walk_pages(registry, provider, MAILSERVERS, size)] == fleet


def test_a_page_carries_the_nodes_states(registry, provider, listed):
    fleet = addresses(listed(nodes(3)))[::-1]

    page, infos = registry.nodesOf(provider, MAILSERVERS, fleet[0], 10)

    assert list(page) == fleet[1:]
    assert [tuple(info) for info in infos] == [registry.nodeOf(node) for node in page]


def test_pages_end(registry, provider, listed):
    fleet = addresses(listed(nodes(2)))

    assert registry.nodesOf(provider, MAILSERVERS, fleet[0], 10) == ((), ())
    assert registry.nodesOf(provider, MAILSERVERS, ZERO_ADDRESS, 0) == ((), ())
    assert registry.nodesOf(provider, MAILSERVERS, ZERO_ADDRESS, 2**256 - 1)[0] == tuple(fleet[::-1])


def test_lists_that_do_not_exist_are_empty(registry, provider):
    for provider_id, kind in ((0, 0), (provider, 0), (provider, 9), (2**256 - 1, 2**256 - 1)):
        assert registry.nodesOf(provider_id, kind, ZERO_ADDRESS, 10) == ((), ())
        assert registry.headOf(provider_id, kind) == ZERO_ADDRESS


def test_a_cursor_must_be_in_the_list(registry, provider, listed):
    listed(nodes(2))
    elsewhere = Node.number(9).address

    with reverts_with("NodeNotListed", elsewhere, provider, MAILSERVERS):
        registry.nodesOf(provider, MAILSERVERS, elsewhere, 10)
    with reverts_with("NodeNotListed", nodes(1)[0].address, provider, 2):
        registry.nodesOf(provider, 2, nodes(1)[0].address, 10)


@pytest.mark.parametrize("provider_id", [0, 2, 2**24 + 1, 2**256 - 1])
def test_no_number_stands_for_another_provider(registry, provider, listed, provider_id):
    (node,) = addresses(listed(nodes(1)))

    assert registry.isListed(provider, MAILSERVERS, node)
    assert not registry.isListed(provider_id, MAILSERVERS, node)
    assert not registry.isListed(provider, provider_id + 1 if provider_id == 0 else provider_id, Node.number(8).address)
    assert registry.adminOf(provider_id) == ZERO_ADDRESS


def test_an_unlisted_node_is_listed_nowhere(registry):
    assert not registry.isListed(0, 0, Node.number(1).address)
    assert not registry.isListed(0, 0, ZERO_ADDRESS)
