"""Metrics say what the status says, in Prometheus's words."""

import re

import pytest

from offchain.trust import Freshness
from offchain.web.metrics import exposition

STATUS = {
    "state": "STALE",
    "provenBlock": 7,
    "provenAge": 12.5,
    "head": 9,
    "lies": 2,
    "subscribed": True,
    "trusted": {"mailserver": 3},
    "agreeing": ["one"],
    "endpoints": [
        {"name": "one", "demoted": False, "latency": 0.25, "answers": 4, "lies": 0},
        {"name": "two", "demoted": True, "latency": 0.5, "answers": 1, "lies": 2},
    ],
}
LINE = re.compile(r'waypost_[a-z_]+(\{([a-z]+="([^"\\]|\\.)*",?)+\})? -?[0-9.e+-]+')


def values(text):
    return dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))


@pytest.mark.parametrize("state", list(Freshness))
def test_exactly_the_state_that_holds_is_one(state):
    found = values(exposition({**STATUS, "state": state.value}))

    assert {each.value: found[f'waypost_state{{state="{each.value}"}}'] for each in Freshness} == {
        each.value: "1" if each is state else "0" for each in Freshness
    }


def test_says_what_the_status_says():
    found = values(exposition(STATUS, {"pool": {"ready": 3, "name": "text"}}))

    assert found["waypost_proof_age_seconds"] == "12.5"
    assert found["waypost_head_block"] == "9"
    assert found["waypost_contradictions_total"] == "2"
    assert found["waypost_subscribed"] == "1"
    assert found['waypost_nodes_trusted{kind="mailserver"}'] == "3"
    assert found['waypost_endpoint_contradictions_total{endpoint="two"}'] == "2"
    assert found['waypost_endpoint_agrees{endpoint="one"}'] == "1"
    assert found['waypost_endpoint_agrees{endpoint="two"}'] == "0"
    assert found['waypost_pool{what="ready"}'] == "3"


def test_every_line_is_one_that_prometheus_reads_and_each_metric_is_explained_once():
    odd = {**STATUS, "endpoints": [{**STATUS["endpoints"][0], "name": 'a"b\\c\n'}, STATUS["endpoints"][1]]}
    text = exposition(odd)

    assert all(LINE.fullmatch(line) for line in text.splitlines() if not line.startswith("#"))
    explained = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(explained) == len(set(explained))
    assert {line.split("{")[0].split()[0] for line in text.splitlines() if line[0] != "#"} == set(explained)


def test_endpoints_with_the_same_name_are_told_apart():
    twins = {**STATUS, "endpoints": [STATUS["endpoints"][0]] * 2}
    samples = [line for line in exposition(twins).splitlines() if not line.startswith("#")]

    assert len({line.rsplit(" ", 1)[0] for line in samples}) == len(samples)


def test_what_is_not_known_yet_is_left_out():
    text = exposition({"state": "NEVER", "provenBlock": None})

    assert "proven_block" not in text
    assert 'waypost_state{state="NEVER"} 1' in text
