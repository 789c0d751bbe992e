"""`waypost mail follow` as a process, beside a daemon whose servers are fakes: it prints, and ends on Ctrl-C."""

import asyncio
import json
import signal
import sys
import time
from pathlib import Path

import pytest

from offchain.cli.daemon import announced
from offchain.cli.settings import load
from offchain.client.keyring import PersonalKey, topic_of_name
from offchain.web.api import serve_api
from offchain.whisper.cipher import seal_asym
from offchain.whisper.envelope import Envelope
from tests.support.client import CLIENT, FakeServer, running
from tests.support.web import FakeNode

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0


def letter(text):
    data = seal_asym(CLIENT.public, text.encode(), CLIENT)
    return Envelope.create(int(time.time()) + 50, 50, topic_of_name("talk"), data)


async def next_line(process):
    async with asyncio.timeout(PATIENCE):
        return json.loads(await process.stdout.readline())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_prints_what_arrives_and_ends_cleanly(tmp_path, number):
    server = FakeServer(1, [letter("there before")])
    async with (
        running(server, keys=[PersonalKey("own key", CLIENT)]) as setting,
        serve_api(FakeNode(setting), CLIENT, tmp_path) as api,
    ):
        with announced(load(tmp_path, environment={}), api.url):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "offchain.cli.main", "mail", "follow", "--json"),
                *("--home", str(tmp_path), "--topic", "talk", "--since", "10m"),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=ROOT,
                env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
            )
            try:
                ready = await next_line(process)
                texts = []
                while len(texts) < 2:
                    line = await next_line(process)
                    if "message" in line:
                        texts.append(line["message"]["text"])
                        server.mails = [*server.mails, letter("just arrived")]
                process.send_signal(number)
                async with asyncio.timeout(PATIENCE):
                    _, err = await process.communicate()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()

    assert (ready["event"], ready["topics"], ready["schemaVersion"]) == ("ready", ["talk"], 1)
    assert texts == ["there before", "just arrived"]
    assert process.returncode == 0
    assert b"Traceback" not in err
