"""`waypost export` and `import` on a real chain (rule T13); `waypost watch` that is killed, or asked to end."""

import asyncio
import errno
import json
import os
import random
import signal
import subprocess
import sys
import threading
import zlib
from contextlib import contextmanager, suppress

import msgspec
import pytest

from offchain.chain import snapshot
from offchain.chain.checkpoint import Checkpoint, Identity
from offchain.cli.main import main
from offchain.hashing import keccak256
from offchain.keys import PrivateKey
from tests.support.chain_world import ACCEPTED, ROOT, Unavailable, World, address_of
from tests.support.endpoint_proxy import EndpointProxy

PATIENCE = 60.0
KEYS = [PrivateKey(keccak256(b"snapshot %d" % number)) for number in range(60)]


@pytest.fixture(scope="module")
def world():
    """A chain with a provider that the curator accepts, and three nodes, one of which is gone again; all final."""
    try:
        world = World()
    except Unavailable as reason:
        pytest.skip(str(reason))
    try:
        world.operator = world.operators[0]
        world.provider = world.create_provider(world.operator)
        world.judge(world.provider, ACCEPTED)
        for key in KEYS[:3]:
            world.list_node(world.provider, world.operator, key)
        world.remove_node(world.provider, world.operator, KEYS[1])
        world.mine(4)
        yield world
    finally:
        world.close()


def new_home(world, folder, url=None, chain_id=None):
    """A home folder that follows the chain."""
    (folder / "deployments").mkdir(parents=True)
    contracts = {
        "NodeRegistry": {"address": world.registry.address, "block": world.registry_block},
        "OwnerCurator": {"address": world.curator.address, "block": world.curator_block},
    }
    document = {"network": "here", "chainId": chain_id or world.web3.eth.chain_id, "contracts": contracts}
    (folder / "deployments" / "here.json").write_text(json.dumps(document))
    lines = ["[chain]", 'network = "here"', f'rpc = ["{url or world.url}"]', "poll_interval = 0.1"]
    (folder / "config.toml").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def run(capsys):
    """Run a command; exit code, its document, and standard error."""

    def run(home, *arguments):
        capsys.readouterr()
        code = main(["--home", str(home), "--json", *map(str, arguments)])
        captured = capsys.readouterr()
        lines = captured.out.splitlines()
        return int(code), json.loads(lines[-1]) if lines else None, captured.out + captured.err

    return run


@pytest.fixture(scope="module")
def exported(world, tmp_path_factory):
    """A snapshot file, made by the command."""
    folder = tmp_path_factory.mktemp("exporter")
    file = folder / "history.snapshot"
    assert main(["--home", str(new_home(world, folder / "home")), "--json", "export", str(file)]) == 0
    return file


@contextmanager
def counted(world):
    """A proxy to the chain in a thread of its own, which counts the requests."""
    proxy, ready, loop = EndpointProxy(world.url), threading.Event(), asyncio.new_event_loop()

    async def serve():
        async with proxy.running():
            proxy.end = asyncio.Event()
            ready.set()
            await proxy.end.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(PATIENCE)
        yield proxy
    finally:
        loop.call_soon_threadsafe(proxy.end.set)
        thread.join()
        loop.close()


def test_a_new_client_is_fresh_with_a_few_requests(world, run, exported, tmp_path):
    with counted(world) as proxy:
        home = new_home(world, tmp_path / "home", proxy.url)
        code, document, _ = run(home, "import", exported)
        assert code == 0
        assert document["provenBlock"] == document["block"]
        assert proxy.requests <= 8
        assert proxy.methods["eth_getLogs"] == 0

        code, document, _ = run(home, "verify", "0x" + KEYS[0].public.node_id.hex())
        assert (code, document["state"]) == (0, "FRESH")
        assert proxy.requests <= 25
        assert run(home, "verify", "0x" + KEYS[1].public.node_id.hex())[0] == 3


def body_of(file):
    return msgspec.msgpack.decode(zlib.decompress(file.read_bytes()[41:]))


def file_of(body):
    packed = zlib.compress(msgspec.msgpack.encode(body))
    return snapshot.MAGIC + bytes([snapshot.VERSION]) + keccak256(packed) + packed


def flipped(data, at=-1):
    return data[:at] + bytes([data[at] ^ 1]) + (data[at + 1 :] if at != -1 else b"")


CHAIN, CONTRACTS, START, BLOCK, HASH, TIME, LOGS = range(7)


def change(section, value):
    def alter(body):
        body[section] = value(body[section])

    return alter


def change_log(part, value, which=-1):
    def alter(body):
        body[LOGS][which][part] = value(body[LOGS][which][part])

    return alter


ALTERED = {
    "chain": change(CHAIN, lambda number: number + 1),
    "contracts": change(CONTRACTS, lambda each: [flipped(each[0]), *each[1:]]),
    "a curator": change(CONTRACTS, lambda each: [*each[:1], flipped(each[1])]),
    "start": change(START, lambda number: number + 1),
    "block": change(BLOCK, lambda number: number - 1),
    "block hash": change(HASH, flipped),
    "time": change(TIME, lambda time: time + 1),
    "no logs": change(LOGS, lambda logs: []),
    "one log less": change(LOGS, lambda logs: logs[:-1]),
    "one log twice": change(LOGS, lambda logs: [*logs, logs[-1]]),
    "whose log": change_log(0, lambda at: 1 - at),
    "count of topics": change_log(1, lambda count: count - 1),
    "a log's data": change_log(2, flipped),
    "a log's topic": change_log(2, lambda payload: flipped(payload, 40)),
    "a log's block": change_log(3, lambda block: block + 10**6),
}


@pytest.mark.parametrize("section", ALTERED)
def test_a_file_that_was_altered_in_any_section_is_refused(world, run, exported, tmp_path, section):
    body = body_of(exported)
    ALTERED[section](body)
    altered = tmp_path / "altered"
    altered.write_bytes(file_of(body))
    home = new_home(world, tmp_path / "home")

    code, _, said = run(home, "import", altered)

    assert code == 1
    assert "snapshot" in said
    assert "fault of this program" not in said
    assert run(home, "import", exported)[0] == 0, "what was refused left something behind"


@pytest.mark.parametrize("length", [0, 5, 20, 41, 200, -1])
def test_a_truncated_file_is_refused(world, run, exported, tmp_path, length):
    short = tmp_path / "short"
    short.write_bytes(exported.read_bytes()[:length])

    code, _, said = run(new_home(world, tmp_path / "home"), "import", short)

    assert code == 1
    assert "snapshot" in said


def test_an_endpoint_of_another_chain_proves_nothing(run, exported, tmp_path, world):
    another = World()
    try:
        another.mine(40)
        code, _, said = run(new_home(world, tmp_path / "home", another.url), "import", exported)
    finally:
        another.close()

    assert code == 1
    assert "of another chain" in said


def test_a_client_of_another_chain_refuses_the_file(world, run, exported, tmp_path):
    code, _, said = run(new_home(world, tmp_path / "home", chain_id=5), "import", exported)

    assert code == 1
    assert "expected 5" in said


LITTLE_SPACE = """
import resource, sys
from offchain.cli.main import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(main(sys.argv[2:]))
"""


def with_little_space(size, *arguments):
    """Run a command where no file can be longer than so many bytes, as on a full disk."""
    return subprocess.run(
        [sys.executable, "-c", LITTLE_SPACE, str(size), *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )


def test_an_export_onto_a_full_disk_is_said_and_leaves_no_half_file(world, run, exported, tmp_path, monkeypatch):
    home = new_home(world, tmp_path / "home")
    file = tmp_path / "big.snapshot"
    file.write_bytes(b"the old one")

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("offchain.cli.snapshots.os.fsync", full)
    code, _, said = run(home, "--yes", "export", file)

    assert code == 1
    assert f"{file} cannot be written: No space left on device" in said
    assert file.read_bytes() == b"the old one"
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith("big")] == ["big.snapshot"]


@pytest.mark.parametrize("size", [2_000, 20_000, 60_000])
def test_an_import_onto_a_full_disk_is_said_and_can_be_repeated(world, run, exported, tmp_path, size):
    home = new_home(world, tmp_path / "home")

    done = with_little_space(size, "--home", home, "import", exported)

    if done.returncode:
        assert "chain.sqlite" in done.stderr
        assert "fault of this program" not in done.stderr
        assert run(home, "import", exported)[0] == 0
    else:
        assert size > 20_000


def watching(home):
    """`waypost watch` in a process of its own, after it said that it is ready."""
    command = [sys.executable, "-m", "offchain.cli.main", "--home", home, "--json", "--log", "info", "watch"]
    return subprocess.Popen(
        [*map(str, command), "--http-port", "0"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_service_that_is_asked_to_end_ends_cleanly_and_its_logs_are_json(world, run, exported, tmp_path):
    home = new_home(world, tmp_path / "home")
    assert run(home, "import", exported)[0] == 0
    process = watching(home)
    ready = json.loads(process.stdout.readline())
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=PATIENCE)

    assert process.returncode == 0, errors
    assert ready["event"] == "ready"
    for line in out.splitlines():
        json.loads(line)
    logged = [json.loads(line) for line in errors.splitlines()]
    assert all({"time", "level", "logger", "message"} <= set(each) for each in logged)
    assert not any(each["level"] in ("ERROR", "CRITICAL") for each in logged)


def test_a_service_that_is_killed_again_and_again_loses_nothing_and_doubles_nothing(world, run, tmp_path):
    rng = random.Random(11)
    home = new_home(world, tmp_path / "home")
    for key in KEYS[10:16]:
        process = watching(home)
        with process:
            process.stdout.readline()  # It follows the chain, or does so soon.
            for _ in range(rng.randrange(3)):
                world.mine(1)
            world.list_node(world.provider, world.operator, key)
            world.mine(rng.randrange(4))
            with suppress(subprocess.TimeoutExpired):
                process.wait(rng.uniform(0.0, 0.4))
            os.kill(process.pid, signal.SIGKILL)
    world.mine(4)

    registry = address_of(world.registry)
    curator = address_of(world.curator)
    identity = Identity(world.web3.eth.chain_id, registry, world.registry_block, frozenset({curator}))
    with Checkpoint(home / "chain.sqlite", identity) as checkpoint:
        checkpoint.load()
    for number, code in [(0, 0), (1, 3), (2, 0), *[(number, 0) for number in range(10, 16)]]:
        assert run(home, "verify", "0x" + KEYS[number].public.node_id.hex())[0] == code
    status = run(home, "status")[1]
    assert status["trust"]["registryVersion"] == world.registry.functions.commitment().call()[0]


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"no database at all" * 99, "is not a database"), (None, "is the database of another program")],
)
def test_a_database_of_something_else_is_refused_in_words_and_stays(world, run, tmp_path, content, says):
    import sqlite3

    home = new_home(world, tmp_path / "home")
    path = home / "chain.sqlite"
    if content is None:
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE holidays (day TEXT)")
        database.close()
    else:
        path.write_bytes(content)
    before = path.read_bytes()

    code, _, said = run(home, "status")

    assert code == 1
    assert says in said
    assert path.read_bytes() == before
