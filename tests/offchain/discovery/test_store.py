"""The nodes known from before: what is kept, what survives, and what a node that starts again makes of it."""

import sqlite3

import pytest

from offchain.discovery.store import MAX_AGE, MAX_NODES, SEEDS, NodeStore
from offchain.enr import Enr
from offchain.errors import StorageError
from tests.support.discovery import Network, key, node, numbers_at, record

NOW = 1_700_000_000.0


@pytest.fixture
def path(tmp_path):
    return tmp_path / "nodes.sqlite"


@pytest.fixture
def store(path):
    opened = NodeStore(path)
    yield opened
    opened.close()


def test_what_was_put_is_there_after_a_restart(store, path):
    store.put([record(1), record(2)], NOW)
    store.close()

    again = NodeStore(path)
    try:
        assert set(again.seeds(NOW + 60)) == {record(1), record(2)}
    finally:
        again.close()


def test_a_node_is_kept_once_with_its_last_record(store):
    store.put([record(1)], NOW)
    store.put([record(1, seq=5)], NOW + 1)

    assert [enr.seq for enr in store.seeds(NOW + 2)] == [5]


def test_after_five_days_without_an_answer_a_node_is_no_seed(store):
    store.put([record(1)], NOW)
    store.put([record(2)], NOW + 100)

    assert store.seeds(NOW + MAX_AGE + 50) == [record(2)]
    store.put([], NOW + MAX_AGE + 50)
    assert len(store) == 1


def test_answers_from_the_far_future_are_not_believed(store):
    store.put([record(1)], NOW + 10 * MAX_AGE)

    assert store.seeds(NOW) == []


def test_thirty_seeds_are_drawn_from_all(store):
    store.put([record(number) for number in range(100)], NOW)

    drawn = {enr for _ in range(20) for enr in store.seeds(NOW)}

    assert len(store.seeds(NOW)) == SEEDS
    assert len(drawn) > 60


def test_the_file_does_not_grow_without_end(store, monkeypatch):
    monkeypatch.setattr("offchain.discovery.store.MAX_NODES", 20)
    for number in range(50):
        store.put([record(number)], NOW + number)

    assert len(store) == 20
    assert {enr.node_id for enr in store.seeds(NOW + 60)} == {record(number).node_id for number in range(30, 50)}
    assert MAX_NODES == 2_000


@pytest.mark.parametrize(
    "damage",
    [b"", b"not a database at all" * 100, b"SQLite format 3\0" + bytes(4_000)],
    ids=["empty", "noise", "zeros"],
)
def test_a_file_that_cannot_be_read_is_set_aside_and_begun_anew(path, caplog, damage):
    path.write_bytes(damage)

    store = NodeStore(path)
    try:
        store.put([record(1)], NOW)
        assert store.seeds(NOW) == [record(1)]
    finally:
        store.close()
    if damage:
        assert "begun anew" in caplog.text
        assert path.with_name("nodes.sqlite.damaged").read_bytes() == damage


def test_a_file_damaged_in_the_middle_is_begun_anew(store, path, caplog):
    store.put([record(number) for number in range(300)], NOW)
    store.close()
    data = bytearray(path.read_bytes())
    data[8_192:12_288] = bytes(reversed(data[8_192:12_288]))
    path.write_bytes(data)

    again = NodeStore(path)
    try:
        assert again.seeds(NOW) == []
        assert "begun anew" in caplog.text
    finally:
        again.close()


def test_a_file_of_another_version_is_begun_anew(path, caplog):
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()

    NodeStore(path).close()

    assert "version 99" in caplog.text


def test_a_record_that_was_altered_in_the_file_is_passed_over(store, path, caplog):
    store.put([record(1), record(2)], NOW)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE nodes SET record = ? WHERE id = ?", [b"\xc0", record(1).node_id])
    db.close()

    assert store.seeds(NOW) == [record(2)]
    assert "no record" in caplog.text


def test_a_place_where_no_file_can_be_is_an_error(tmp_path):
    with pytest.raises(StorageError, match="cannot be kept"):
        NodeStore(tmp_path / "missing" / "nodes.sqlite")


def test_a_file_that_cannot_be_written_any_more_costs_a_warning(store, path, caplog):
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE nodes")
    db.close()

    store.put([record(1)], NOW)

    assert store.seeds(NOW) == []
    assert "cannot be written" in caplog.text


# Starting again


def test_a_node_that_starts_again_is_in_company_without_its_bootnode():
    network = Network()
    others = [node(network, number) for number in range(2, 6)]
    machine = node(network, 1, seeds=tuple(each.record for each in others))

    assert network.run(2.0, lambda: machine.contacts.table.live_count == 4)


def test_seeds_that_are_gone_keep_nobody_from_the_bootnode():
    network = Network()
    boot = node(network, 2)
    machine = node(network, 1, boot=(boot,), seeds=tuple(record(number) for number in range(50, 80)))

    assert network.run(5.0, lambda: machine.contacts.table.live_count == 1)


def test_a_node_that_starts_again_among_attackers_asks_its_seeds_and_is_not_eclipsed():
    """Sixty attackers, all in the farthest bucket, call before anybody else can; they name only each other."""
    network = Network()
    honest = [node(network, number) for number in range(2, 12)]
    for each in honest:
        each.explorer.add_seeds(other.record for other in honest)
    network.run(10.0)
    victim_id = key(1).public.node_id
    attackers = [node(network, number) for number in numbers_at(victim_id, 256, 60)]
    seeds = tuple(each.record for each in honest)
    victim = node(network, 1, seeds=seeds)
    victim_record = Enr.decode(victim.record.raw)
    for attacker in attackers:
        attacker.contacts.ping(victim_record, network.now, lambda pong, now: None)

    network.run(60.0)

    table = victim.contacts.table
    evil = {each.id for each in attackers}
    found = {entry.node_id for entry in table if entry.live}
    assert {each.id for each in honest} <= found
    assert len(found & evil) <= 8, "half a bucket is for those who call"
