"""`waypost discover` and `waypost node run` as people run them: two servers on the network, one of them trusted."""

import json
import shutil
import subprocess
import sys
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import pytest

from offchain.keys import PrivateKey
from tests.support.chain_world import ACCEPTED, Unavailable, World
from tests.support.node_process import running_node

TIME = "60"


@pytest.fixture
def world():
    """A chain on which the curator accepts a provider, who lists one node."""
    try:
        world = World()
    except Unavailable as reason:
        pytest.skip(str(reason))
    try:
        provider = world.create_provider(world.operators[0])
        world.judge(provider, ACCEPTED)
        world.listed = PrivateKey.generate()
        world.list_node(provider, world.operators[0], world.listed)
        world.mine(3)
        yield world
    finally:
        world.close()


@pytest.fixture
def network(tmp_path):
    """Starts nodes."""
    with ExitStack() as stack:

        def start(name, *options, key=None):
            return stack.enter_context(running_node(tmp_path / name, *options, key=key))

        yield start


def discover(home, *options):
    """The command's lines, and its exit code."""
    home.mkdir(exist_ok=True)
    (home / "config.toml").write_text("[discovery]\nlan = true\n")
    program = shutil.which("waypost", path=str(Path(sys.executable).parent))
    done = subprocess.run(
        [program, "discover", *options, "--home", str(home), "--json"],
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
    )
    return [json.loads(line) for line in done.stdout.splitlines()], done.returncode


def deployment(world, path):
    path.write_text(
        json.dumps(
            {
                "network": "test",
                "chainId": world.config(path.parent).chain_id,
                "contracts": {
                    "NodeRegistry": {"address": world.registry.address, "block": world.registry_block},
                    "OwnerCurator": {"address": world.curator.address, "block": world.curator_block},
                },
            }
        )
    )
    return ["--deployment", str(path), "--rpc", world.url]


def test_who_is_found_is_shown_with_the_reason_why_it_is_trusted_or_not(world, network, tmp_path):
    boot = network("boot").record
    good = network("good", "--bootnode", boot.text, "--kind", "mailserver", key=world.listed).record
    bad = network("bad", "--bootnode", boot.text, "--kind", "mailserver").record

    lines, code = discover(
        tmp_path / "user",
        *("mailserver", "--bootnode", boot.text, "--for", TIME, "--count", "1", "--wait", "60"),
        *deployment(world, tmp_path / "deployment.json"),
    )

    assert code == 0
    assert lines[-1]["event"] == "done"
    assert lines[-1]["trusted"] == 1
    found = {each["nodeId"]: each for each in lines if each["event"] == "found"}
    shown = found["0x" + good.node_id.hex()]
    assert shown["trusted"] is True
    assert shown["reason"].startswith("listed by provider 1")
    assert (shown["enr"], shown["udp"]) == (good.text, good.udp)
    assert all(not each["trusted"] for node_id, each in found.items() if node_id == "0x" + bad.node_id.hex())


def test_where_nobody_is_trusted_the_code_says_so(world, network, tmp_path):
    boot = network("boot").record
    bad = network("bad", "--bootnode", boot.text, "--kind", "mailserver").record

    for seconds in ("3", "12", "48"):  # what ends it is the time alone
        lines, code = discover(
            tmp_path / "user",
            *("mailserver", "--bootnode", boot.text, "--bootnode", bad.text, "--for", seconds, "--wait", "60"),
            *deployment(world, tmp_path / "deployment.json"),
        )
        if code != 1:
            break

    assert code == 3
    [shown] = [each for each in lines if each["event"] == "found"]
    assert shown["nodeId"] == "0x" + bad.node_id.hex()
    assert shown["trusted"] is False
    assert shown["reason"]


def test_without_a_registry_everybody_is_shown_and_nobody_is_called_trusted(network, tmp_path):
    boot = network("boot").record
    server = network("server", "--bootnode", boot.text, "--kind", "pushserver").record

    lines, code = discover(tmp_path / "user", "pushserver", "--bootnode", boot.text, "--for", TIME, "--count", "1")

    assert code == 0
    assert [(each["nodeId"], each["trusted"]) for each in lines if each["event"] == "found"] == [
        ("0x" + server.node_id.hex(), None)
    ]


def test_a_node_answers_for_its_health_and_its_counters(network):
    boot = network("boot", "--http-port", "0")
    network("other", "--bootnode", boot.record.text)

    with urllib.request.urlopen(boot.ready["url"] + "/healthz", timeout=60) as answer:
        health = json.load(answer)
    with urllib.request.urlopen(boot.ready["url"] + "/metrics", timeout=60) as answer:
        metrics = answer.read().decode()

    assert health["healthy"] is True
    assert 'waypost_discovery{what="sessions"}' in metrics
