"""A discovery node that is killed and started again: whom it knew, it asks first."""

import signal
import time

import pytest

from offchain.discovery.message import FindNode
from offchain.discovery.store import NodeStore
from offchain.discovery.table import log_distance
from tests.support.node_process import running_node
from tests.support.prober import PATIENCE, prober


def until(true):
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.05)


def known(path):
    store = NodeStore(path)
    try:
        return {enr.node_id for enr in store.seeds(time.time())}
    finally:
        store.close()


def test_a_node_that_was_killed_asks_the_nodes_it_knew_when_it_starts_again(tmp_path):
    home = tmp_path / "node"
    with running_node(tmp_path / "friend") as friend:
        with running_node(home, "--bootnode", friend.record.text) as node:
            until(lambda: friend.record.node_id in known(home / "nodes.sqlite"))
            node.process.send_signal(signal.SIGKILL)
            node.process.wait(PATIENCE)
        with running_node(home) as again, prober(again.record) as stranger:
            assert again.record.node_id == node.record.node_id
            assert again.record.seq > node.record.seq
            stranger.meet()
            distance = log_distance(again.record.node_id, friend.record.node_id)
            until(lambda: friend.record.raw in stranger.ask_nodes(FindNode(stranger.request_id(), (distance,))))


@pytest.mark.parametrize("damage", [b"noise" * 1_000, b"SQLite format 3\0" + bytes(5_000)], ids=["noise", "zeros"])
def test_a_database_that_is_damaged_keeps_no_node_from_starting(tmp_path, damage):
    home = tmp_path / "node"
    home.mkdir()
    (home / "nodes.sqlite").write_bytes(damage)

    with running_node(home) as node, prober(node.record) as stranger:
        stranger.meet()

    assert (home / "nodes.sqlite.damaged").read_bytes() == damage
    assert known(home / "nodes.sqlite") == set()
