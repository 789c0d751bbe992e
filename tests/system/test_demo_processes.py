"""Processes of the demonstration (rule X10): whatever happens to it, nothing that it started is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from offchain.cli.demo.actors import ActorFailed, Troupe

STUBBORN = """echo '{"event": "ready"}'; trap '' TERM INT HUP; sleep 600 & sleep 600"""
"""Says that it is ready, ignores every request to end, and has a child."""


def alive(group: int) -> bool:
    """Whether any process of a group is left, apart from those that wait to be reaped."""
    listing = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
    return any(int(pgid) == group and not stat.startswith("Z") for pgid, stat in map(str.split, listing.splitlines()))


def gone(group: int, within: float = 10.0) -> bool:
    """Whether a group ends in time."""
    deadline = time.monotonic() + within
    while alive(group):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


async def test_a_stubborn_process_and_its_child_are_ended(tmp_path):
    async with Troupe(tmp_path, os.environ) as troupe:
        actor = await troupe.start("stubborn", ["bash", "-c", STUBBORN])
        await actor.ready(10)
        assert alive(actor.pid)

    assert gone(actor.pid)
    assert troupe.running == []


async def test_an_error_ends_them_too(tmp_path):
    with pytest.raises(RuntimeError):  # noqa: PT012
        async with Troupe(tmp_path, os.environ) as troupe:
            actor = await troupe.start("stubborn", ["bash", "-c", STUBBORN])
            await actor.ready(10)
            raise RuntimeError

    assert gone(actor.pid)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGABRT])
def test_they_end_even_when_the_demonstration_is_killed(tmp_path, how):
    program = f"""
import asyncio, os, sys
from pathlib import Path
from offchain.cli.demo.actors import Troupe

async def main():
    async with Troupe(Path({str(tmp_path)!r}), os.environ) as troupe:
        actor = await troupe.start("stubborn", ["bash", "-c", {STUBBORN!r}])
        await actor.ready(10)
        print(actor.pid, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as demonstration:
        group = int(demonstration.stdout.readline())
        demonstration.send_signal(how)

    assert gone(group)


async def test_what_a_process_says_can_be_waited_for(tmp_path):
    async with Troupe(tmp_path, os.environ) as troupe:
        actor = await troupe.start(
            "speaker", ["bash", "-c", "echo noise; echo '{\"n\": 1}'; echo '{\"n\": 2}'; sleep 600"]
        )

        assert await actor.wait_for(lambda event: event.get("n") == 2, "two", 10) == {"n": 2}
        assert actor.events == [{"n": 1}, {"n": 2}]
        with pytest.raises(ActorFailed, match="no three within"):
            await actor.wait_for(lambda event: event.get("n") == 3, "three", 0.1)


async def test_a_process_that_ends_early_is_shown_with_the_end_of_its_log(tmp_path):
    async with Troupe(tmp_path, os.environ) as troupe:
        actor = await troupe.start("short", ["bash", "-c", "echo the reason >&2; exit 3"])

        with pytest.raises(ActorFailed, match=r"short ended with code 3 before it was ready(.|\n)*the reason"):
            await actor.ready(10)
        with pytest.raises(ActorFailed, match="ended with code 3"):
            await troupe.run("again", ["bash", "-c", "exit 3"])


async def test_the_number_of_an_ended_process_is_forgotten(tmp_path):
    async with Troupe(tmp_path, os.environ) as troupe:
        await troupe.run("short", ["true"])

        assert troupe.running == []
