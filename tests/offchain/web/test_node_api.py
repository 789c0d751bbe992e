"""The interface of a plain discovery node."""

import json

import pytest

from offchain.web.node_api import GRACE, NodeApi


class Node:
    def __init__(self):
        self.now = 1_000.0
        self.live = 0

    def status(self):
        return {"schemaVersion": 1, "record": "enr:-", "discovery": {"live": self.live, "sessions": 7}}

    def api(self, expects_company=True):
        return NodeApi(self.status, expects_company=expects_company, clock=lambda: self.now)


@pytest.fixture
def node():
    return Node()


async def healthy(api):
    response = await api.health(None)
    assert (response.status == 200) is json.loads(response.body)["healthy"]
    return response.status == 200


async def test_a_node_is_healthy_while_it_has_company(node):
    api = node.api()
    node.live = 1

    assert await healthy(api)
    node.now += 10 * GRACE
    assert await healthy(api)


async def test_a_node_that_should_have_company_and_is_seen_alone_for_a_minute_is_not(node):
    api = node.api()

    assert await healthy(api)
    node.now += GRACE + 1
    assert not await healthy(api)
    node.live = 3
    assert await healthy(api)
    node.live = 0
    assert await healthy(api), "alone for a moment only"


async def test_a_first_bootnode_may_be_alone(node):
    api = node.api(expects_company=False)

    assert await healthy(api)
    node.now += 10 * GRACE
    assert await healthy(api)


async def test_counters_are_metrics(node):
    text = (await node.api().metrics(None)).text

    assert 'waypost_discovery{what="sessions"} 7\n' in text
    assert text.startswith("# HELP waypost_discovery ")


async def test_the_status_is_the_nodes_document(node):
    assert json.loads((await node.api().status(None)).body) == node.status()
