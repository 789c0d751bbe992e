"""The program in docs/how-to/app-developer.md, run as it stands against a chain and two trusted mail servers."""

import asyncio
import json
import re
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from offchain.config import DiscoveryConfig, MailserverConfig
from offchain.keys import PrivateKey
from offchain.node import open_discovery, open_server
from offchain.trust.policy import Policy
from offchain.trust.policy_file import save_policy
from tests.support.chain_world import ACCEPTED, Unavailable, World

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0
"""Seconds for a run, on a slow and busy machine."""


@pytest.fixture
def world():
    try:
        world = World()
    except Unavailable as missing:
        pytest.skip(str(missing))
    yield world
    world.close()


def the_program():
    text = (ROOT / "docs" / "how-to" / "app-developer.md").read_text()
    return re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]


def write_home(world, home, bootnode):
    """A user's folder: key, configuration, and whom to trust."""
    home.mkdir()
    PrivateKey.generate().save(home / "node.key")
    contracts = {
        "NodeRegistry": {"address": world.registry.address, "block": world.registry_block},
        "OwnerCurator": {"address": world.curator.address, "block": world.curator_block},
    }
    document = {"network": "test", "chainId": world.web3.eth.chain_id, "contracts": contracts}
    (home / "deployment.json").write_text(json.dumps(document))
    (home / "config.toml").write_text(
        f'[chain]\ndeployment = "deployment.json"\nrpc = ["{world.url}"]\npoll_interval = 0.1\n'
        f'[discovery]\nlan = true\nbootnodes = ["{bootnode}"]\n'
    )
    save_policy(home / "policy.json", Policy(curators=(world.curator_address,)))


async def run(program, home, message):
    """What one run of the program prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(program),
        str(home),
        message,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )
    try:
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()
    return out.decode().splitlines()


async def test_the_example_sends_reads_and_follows(world, tmp_path):
    program = tmp_path / "talk.py"
    program.write_text(the_program())
    keys = [PrivateKey.generate() for _ in range(2)]

    def list_servers():
        operator = world.operators[0]
        provider = world.create_provider(operator)
        for key in keys:
            world.list_node(provider, operator, key)
        world.judge(provider, ACCEPTED)
        world.mine(5)

    await asyncio.to_thread(list_servers)
    async with AsyncExitStack() as stack:
        boot = await stack.enter_async_context(open_discovery(PrivateKey.generate(), DiscoveryConfig(lan=True)))
        discovery = DiscoveryConfig(lan=True, bootnodes=(boot.discovery.record.text,))
        for number, key in enumerate(keys):
            home = tmp_path / f"server{number}"
            home.mkdir()
            save_policy(home / "policy.json", Policy(curators=(world.curator_address,)))
            mail = MailserverConfig(home / "mail")
            await stack.enter_async_context(open_server(key, world.config(home), discovery, mail, home / "policy.json"))
        home = tmp_path / "app"
        await asyncio.to_thread(write_home, world, home, boot.discovery.record.text)

        first = await run(program, home, "one")
        second = await run(program, home, "two")

    assert first == ["arrived: one"]
    assert sorted(second)[-1:] == ["history: one"]
    assert "arrived: two" in second or "arrived: one" in second
