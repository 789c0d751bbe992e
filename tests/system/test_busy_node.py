"""A program that is busy with something else while answers arrive."""

import asyncio
import re
import time
import urllib.request

from offchain.config import DiscoveryConfig
from offchain.discovery import Discovery
from offchain.discovery.calls import FIRST_TIMEOUT
from offchain.keys import PrivateKey
from tests.support.node_process import running_node
from tests.support.prober import PATIENCE

ASKED = 50


def requests_of(other):
    """How many requests the node has answered."""
    with urllib.request.urlopen(other.ready["url"] + "/metrics", timeout=PATIENCE) as answer:
        return int(re.search(r'what="requests"} (\d+)', answer.read().decode())[1])


def be_busy(other, answered):
    """Take the program's time for longer than an answer may take, and until the other node has answered so much."""
    begin = time.monotonic()
    while requests_of(other) < answered:
        assert time.monotonic() - begin < PATIENCE
        time.sleep(0.05)
    time.sleep(max(0.0, begin + 2 * FIRST_TIMEOUT - time.monotonic()))


async def test_answers_that_arrived_meanwhile_are_in_time_and_nothing_is_asked_again(tmp_path):
    with running_node(tmp_path, "--http-port", "0") as other:
        async with Discovery(PrivateKey.generate(), DiscoveryConfig(lan=True)) as node:
            await node.ping(other.record)
            before = requests_of(other)
            asking = [asyncio.create_task(node.ping(other.record)) for _ in range(ASKED)]
            await asyncio.sleep(0)

            be_busy(other, before + ASKED)
            await asyncio.gather(*asking)
            await node.ping(other.record)

        assert node.stats().get("dropped_unasked", 0) == 0, "second answers, to what was asked twice"
