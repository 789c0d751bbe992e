"""What `waypost discover` prints, and when it ends."""

import asyncio
import io
import json

import pytest

from offchain.cli.discovering import Search, Verdict
from offchain.cli.output import Output
from offchain.discovery.calls import NoAnswer
from offchain.types import MAILSERVER
from tests.support.discovery import record

GOOD, BAD, HIDDEN = record(1), record(2), record(3)


class Network:
    """Names two records by walking; knows a third by its id alone."""

    def __init__(self, *records, by_topic=()):
        self.records = records
        self.by_topic = {enr.node_id for enr in by_topic}
        self.asked = []

    async def candidates(self, kind):
        for enr in self.records:
            yield enr
        await asyncio.Event().wait()

    def is_advertised(self, kind, node_id):
        return node_id in self.by_topic

    async def find(self, node_id):
        self.asked.append(node_id)
        if len(self.asked) == 1:
            raise NoAnswer("too many are under way")
        return HIDDEN if node_id == HIDDEN.node_id else None

    def stats(self):
        return {"live": 2}


def judge(node_id):
    if node_id == BAD.node_id:
        return Verdict(False, "listed by nobody")
    return Verdict(True, "listed by provider 1")


@pytest.fixture
def out():
    return io.StringIO()


def documents(out):
    return [json.loads(line) for line in out.getvalue().splitlines()]


async def test_each_node_is_printed_with_how_it_was_found_and_why_it_is_trusted_or_not(out):
    search = Search(Output(as_json=True, _out=out), Network(BAD, GOOD, by_topic=[GOOD]), MAILSERVER, judge, count=1)

    await search.run(30.0, list)

    told = [(each["nodeId"], each["by"], each["trusted"], each["reason"]) for each in documents(out)]
    assert told == [
        ("0x" + BAD.node_id.hex(), "record", False, "listed by nobody"),
        ("0x" + GOOD.node_id.hex(), "topic", True, "listed by provider 1"),
    ]
    assert search.useful == 1


async def test_text_says_the_same_in_a_line(out):
    search = Search(Output(_out=out), Network(GOOD), MAILSERVER, judge, count=1)

    await search.run(30.0, list)

    [line] = out.getvalue().splitlines()
    assert line.endswith(
        f"trusted     {GOOD.node_id.hex()[:8]}  127.0.0.1 udp {GOOD.udp} tcp -  by record: listed by provider 1"
    )


async def test_nodes_that_the_registry_names_are_searched_for_by_id(out, monkeypatch):
    monkeypatch.setattr("offchain.cli.discovering.SEARCH_INTERVAL", 0.0)
    network = Network(GOOD)
    search = Search(Output(as_json=True, _out=out), network, MAILSERVER, judge, count=2)

    await search.run(30.0, lambda: [GOOD.node_id, HIDDEN.node_id])

    assert [each["by"] for each in documents(out)] == ["record", "id"]
    assert set(network.asked) <= {GOOD.node_id, HIDDEN.node_id}


async def test_a_newer_record_is_an_update(out):
    newer = record(1, port=40_000, seq=2)
    search = Search(Output(as_json=True, _out=out), Network(GOOD, newer), MAILSERVER, judge)

    await search.run(0.05, list)

    assert [(each["event"], each["udp"]) for each in documents(out)] == [("found", GOOD.udp), ("updated", 40_000)]
    assert len(search.found) == 1


async def test_progress_is_told_meanwhile(out, monkeypatch):
    monkeypatch.setattr("offchain.cli.discovering.PROGRESS_INTERVAL", 0.0)
    search = Search(Output(as_json=True, _out=out), Network(BAD), MAILSERVER, judge, count=1)

    await search.run(0.05, list)

    assert {"event": "progress", "live": 2}.items() <= documents(out)[-1].items()
