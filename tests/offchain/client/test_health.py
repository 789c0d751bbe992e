import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offchain.client import health
from offchain.client.health import Health, forgiven, keep, load, save
from offchain.types import NodeId

ids = st.binary(min_size=32, max_size=32).map(NodeId)
times = st.floats(0, 1e10)
healths = st.lists(
    st.builds(Health, ids, st.integers(1, 999), st.booleans(), st.text(max_size=50), times, times),
    unique_by=lambda each: each.node_id,
    max_size=5,
)
ONE = Health(NodeId(b"\x01" * 32), 3, True, "it lied", 1_700_000_000.0, 1_700_000_030.0)


@settings(max_examples=50)
@given(chosen=healths)
def test_what_is_written_is_read(tmp_path_factory, chosen):
    path = tmp_path_factory.mktemp("health") / "health.json"

    save(path, chosen)

    assert load(path) == chosen


def test_a_missing_file_is_nothing(tmp_path):
    assert load(tmp_path / "health.json") == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"version": 2, "nodes": {}}',
        '{"version": 1}',
        '{"version": 1, "nodes": []}',
        '{"version": 1, "nodes": {"0x12": {}}}',
        '{"version": 1, "nodes": {"' + "0x" + "11" * 32 + '": {"failures": "3"}}}',
        '{"version": 1, "nodes": {"' + "0x" + "11" * 32
        + '": {"failures": 3, "misbehaved": true, "reason": "", "failedAt": 1, "retryAt": 1e300}}}',
        "[" * 100_000,
    ],
)  # fmt: skip
def test_a_damaged_file_is_not_used(tmp_path, text):
    path = tmp_path / "health.json"
    path.write_text(text)

    assert load(path) == []


def test_a_failure_is_forgiven_every_hour():
    assert [forgiven(3, 1_000.0, 1_000.0 + hours * 3_600) for hours in (-1, 0, 0.9, 1, 2.5, 3, 100)] == [
        3, 3, 3, 2, 1, 0, 0,
    ]  # fmt: skip


async def test_writes_what_changed_and_once_more_at_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(health, "SAVE_PAUSE", 0.0)
    path, now, changed = tmp_path / "health.json", [], asyncio.Event()

    async def wait():
        await changed.wait()
        changed.clear()

    task = asyncio.ensure_future(keep(path, lambda: list(now), wait))
    await asyncio.sleep(0)
    assert not path.exists()
    now.append(ONE)
    changed.set()
    async with asyncio.timeout(60):
        while not path.exists():  # noqa: ASYNC110 (a file is waited for)
            await asyncio.sleep(0)
    first = load(path)
    now.clear()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert first == [ONE]
    assert load(path) == []


async def test_a_disk_that_refuses_ends_nothing_and_is_told_of_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(health, "SAVE_PAUSE", 0.0)
    now = [ONE]
    task = asyncio.ensure_future(keep(tmp_path / "none" / "health.json", lambda: list(now), lambda: asyncio.sleep(0)))
    for _ in range(20):
        await asyncio.sleep(0)
    running = not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert running
    assert [record.message for record in caplog.records].count(caplog.records[0].message) == 1
    assert "cannot be written" in caplog.records[0].message


def test_the_file_is_one_document(tmp_path):
    path = tmp_path / "health.json"
    save(path, [ONE])

    assert json.loads(path.read_text())["nodes"]["0x" + "01" * 32]["misbehaved"] is True
