"""The whole story, as `waypost demo` tells it, with few messages: every step holds, and nothing is left running."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

WAYPOST = Path(sys.executable).parent / "waypost"
COUNT = 100
PATIENCE = 900
"""Seconds, on a machine that does other things too."""

STEPS = {"owner": 9, "token": 9}


@cache
def tell(curation):
    """The demonstration's document, and what it said on the way."""
    done = subprocess.run(
        [str(WAYPOST), "demo", "--json", "--count", str(COUNT), "--curation", curation],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout), done.stderr


@pytest.fixture(params=STEPS)
def told(request):
    return request.param, *tell(request.param)


def seen(document, what):
    """What was seen of every check of that name."""
    return [check["seen"] for step in document["steps"] for check in step["checks"] if check["what"] == what]


def test_every_step_holds(told):
    curation, document, _ = told

    assert document["schemaVersion"] == 1
    assert document["held"] is True
    assert [step["number"] for step in document["steps"]] == list(range(1, STEPS[curation] + 1))
    assert all(step["held"] and step["checks"] for step in document["steps"])


def test_every_message_came_once_and_in_order_each_time(told):
    curation, document, _ = told

    times = {"owner": 3, "token": 2}[curation]
    assert seen(document, "every message is there") == [f"{COUNT} of {COUNT}, decrypted"] * times
    assert seen(document, "none came twice, none is foreign") == ["0 too many"] * times


def test_what_a_removal_took_is_measured_from_inside_and_from_outside(told):
    _, document, _ = told

    assert {name for name in document["figures"] if "dropped connection" in name} == {
        "from the block to the dropped connection, at most",
        "from the event to the dropped connection, by the client",
    }


def test_it_can_be_read_as_a_story(told):
    curation, _, story = told
    words = {
        "owner": ("brownie run nodes remove", "waypost providers block 1", "waypost push register", "kill -9"),
        "token": ("token_curator challenge 2", "token_curator reveal 1", "token_curator resolve 2", "clock is put"),
    }

    for each in ("waypost mail send", *words[curation], "Everything held"):
        assert each in story


def test_nothing_is_left_running(told):
    _, document, _ = told
    listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout

    assert [line for line in listing.splitlines() if document["folder"] in line] == []


@pytest.mark.parametrize("told", ["token"], indirect=True)
def test_a_provider_that_is_voted_out_loses_its_server_and_the_others_stay(told):
    _, document, _ = told

    (reason,) = seen(document, "the reason names the curator")
    assert reason.startswith("listed by provider 2, which curator 0x")
    assert reason.endswith("rejects")
    assert seen(document, "mallory is trusted while the vote is open")
    assert seen(document, "the others stayed") == ["alpha, bravo, charlie"]
    assert seen(document, "nobody can tell yet how they voted") == ["20,000 tokens committed, none revealed"]


@pytest.mark.parametrize("told", ["owner"], indirect=True)
def test_a_second_kind_of_node_is_found_trusted_and_used(told):
    _, document, _ = told

    (reason,) = seen(document, "the phone found it, verified it and gave it a signed grant")
    assert reason.startswith("listed by provider 1, which curator 0x")
    (notice,) = seen(document, "it is encrypted to the device, and says what came")
    assert json.loads(notice)["count"] == 1
    assert seen(document, "the phone fetches the message") == ["wake up"]
