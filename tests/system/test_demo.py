"""The whole story, as `waypost demo` tells it, with few messages: every step holds, and nothing is left running."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

WAYPOST = Path(sys.executable).parent / "waypost"
COUNT = 100


@pytest.fixture(scope="module")
def told():
    """The demonstration's document, and what it said on the way."""
    done = subprocess.run(
        [str(WAYPOST), "demo", "--json", "--count", str(COUNT)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout), done.stderr


def test_every_step_holds(told):
    document, _ = told

    assert document["schemaVersion"] == 1
    assert document["held"] is True
    assert [step["number"] for step in document["steps"]] == list(range(1, 9))
    assert all(step["held"] and step["checks"] for step in document["steps"])


def test_every_message_came_once_and_in_order_each_time(told):
    document, _ = told
    seen = [
        check for step in document["steps"] for check in step["checks"] if check["what"] == "every message is there"
    ]

    assert [check["seen"] for check in seen] == [f"{COUNT} of {COUNT}, decrypted"] * 3


def test_what_a_removal_took_is_measured_from_inside_and_from_outside(told):
    figures = told[0]["figures"]

    assert {name for name in figures if "dropped connection" in name} == {
        "from the block to the dropped connection, at most",
        "from the event to the dropped connection, by the client",
    }


def test_it_can_be_read_as_a_story(told):
    _, story = told

    for words in (
        "waypost mail send",
        "brownie run nodes remove",
        "waypost providers block 1",
        "kill -9",
        "Everything held",
    ):
        assert words in story


def test_nothing_is_left_running(told):
    listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    mine = [line for line in listing.splitlines() if told[0]["folder"] in line]

    assert mine == []
