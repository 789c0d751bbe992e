"""Who may import whom, as docs and design have it; read from the source of every module, whether it is run or not."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "offchain"

FOUNDATION = {"types", "errors", "hashing", "rlp", "config"}
IDENTITY = {*FOUNDATION, "keys"}
RECORDS = {*IDENTITY, "enr", "enode", "contact"}

MAY_IMPORT = {
    "errors": set(),
    "hashing": set(),
    "types": {"hashing"},
    "rlp": {"errors"},
    "config": {"types"},
    "keys": FOUNDATION,
    "enr": IDENTITY,
    "enode": IDENTITY,
    "contact": {*IDENTITY, "enr", "enode"},
    "possession": IDENTITY,
    "texts": set(),
    "chain": RECORDS,
    "trust": {*RECORDS, "chain"},
    "discovery": RECORDS,
    "rlpx": RECORDS,
    "whisper": {*RECORDS, "rlpx"},
    "mailserver": {*RECORDS, "rlpx", "whisper"},
    "client": {*RECORDS, "chain", "trust", "discovery", "rlpx", "whisper"},
    "pushserver": {*RECORDS, "rlpx", "whisper", "client"},
    "node": {*RECORDS, "chain", "trust", "discovery", "rlpx", "whisper", "mailserver", "client"},
    "web": {*RECORDS, "chain", "trust", "discovery", "rlpx", "whisper", "mailserver", "client", "node"},
    "cli": None,
}
"""For each module or package of offchain, the others that it may import; None for all. What is not named, may not."""

CODECS_AND_MACHINES = [
    "chain/commitment.py",
    "chain/events.py",
    "chain/facts.py",
    "chain/folding.py",
    "chain/follower.py",
    "chain/header.py",
    "chain/layers.py",
    "chain/ledger.py",
    "chain/listings.py",
    "chain/proof.py",
    "trust/explain.py",
    "trust/freshness.py",
    "trust/policy.py",
    "discovery/address.py",
    "discovery/access.py",
    "discovery/agreement.py",
    "discovery/calls.py",
    "discovery/contacts.py",
    "discovery/endpoint.py",
    "discovery/explore.py",
    "discovery/limits.py",
    "discovery/lookup.py",
    "discovery/message.py",
    "discovery/node.py",
    "discovery/packet.py",
    "discovery/requests.py",
    "discovery/session.py",
    "discovery/table.py",
    "discovery/walk.py",
    "discovery/wire.py",
    "mailserver/answer.py",
    "mailserver/dialer.py",
    "mailserver/fair_queue.py",
    "mailserver/quota.py",
    "mailserver/sync.py",
    "client/pool_machine.py",
    "client/finder_machine.py",
    "client/history.py",
    "client/cross_check.py",
    "client/clock_watch.py",
    "client/keyring.py",
    "client/dialect.py",
    "contact.py",
    "enode.py",
    "enr.py",
    "keys.py",
    "possession.py",
    "pushserver/grant.py",
    "pushserver/watch.py",
    "rlp.py",
    "rlpx/auth.py",
    "rlpx/ecies.py",
    "rlpx/frame.py",
    "rlpx/p2p.py",
    "rlpx/connection.py",
    "mailserver/reconcile/fingerprint.py",
    "mailserver/reconcile/packets.py",
    "mailserver/reconcile/asker.py",
    "whisper/envelope.py",
    "whisper/bloom.py",
    "whisper/cipher.py",
    "whisper/packets.py",
    "whisper/mail.py",
]
"""Files that decide: no tasks, sockets or clocks."""

IO_MODULES = {"asyncio", "socket", "time", "threading", "aiohttp", "selectors"}


def modules():
    return sorted(path for path in PACKAGE.rglob("*.py"))


def name_of(path):
    """The first part of a module's name below offchain: "client" for offchain/client/pool.py."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports_of(path):
    """Every module that a file imports, with its full name, imports inside functions and for typing included."""
    package = ("offchain", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            if module == "offchain":
                yield from (f"offchain.{alias.name}" for alias in node.names)
            else:
                yield module


def inside_imports_of(path):
    names = (name.split(".") for name in imports_of(path))
    return {parts[1] for parts in names if parts[0] == "offchain" and len(parts) > 1 and not parts[1].startswith("__")}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_only_what_stands_left_of_it(path):
    name = name_of(path)
    if name == "__init__":
        assert inside_imports_of(path) == set(), "offchain/__init__.py imports nothing of the package"
        return
    assert name in MAY_IMPORT, f"say in MAY_IMPORT what {name} may import"
    allowed = MAY_IMPORT[name]

    forbidden = set() if allowed is None else inside_imports_of(path) - allowed - {name}

    assert forbidden == set()


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_never_imports_brownie_or_tests(path):
    roots = {name.split(".")[0] for name in imports_of(path)}

    assert roots.isdisjoint({"brownie", "tests", "scripts", "hypothesis", "pytest"})


@pytest.mark.parametrize("file", CODECS_AND_MACHINES)
def test_what_decides_has_no_sockets_tasks_or_clocks(file):
    roots = {name.split(".")[0] for name in imports_of(PACKAGE / file)}

    assert roots.isdisjoint(IO_MODULES)


def test_the_rules_themselves_have_no_cycle():
    rank = {name: position for position, name in enumerate(MAY_IMPORT)}

    for name, allowed in MAY_IMPORT.items():
        for other in (allowed or set()) - {"types", "errors", "hashing", "rlp", "config"}:
            assert rank[other] < rank[name], f"{name} may import {other}, which stands to its right"


def test_mail_servers_clients_and_discovery_see_trust_only_through_the_view():
    for package in ("discovery", "mailserver", "client", "pushserver"):
        for path in sorted((PACKAGE / package).rglob("*.py")):
            assert "trust" not in inside_imports_of(path), path


USES_THE_PUSH_SERVER = {"cli/commands/push.py", "cli/pushing.py", "cli/demo/push.py"}
"""What users type to be pushed to, and the demonstration of it: they use the package, and nothing else uses them."""


def test_one_line_outside_its_package_knows_the_push_server():
    lines = [
        (place, line.strip())
        for path in modules()
        if name_of(path) != "pushserver" and (place := str(path.relative_to(PACKAGE))) not in USES_THE_PUSH_SERVER
        for line in path.read_text().splitlines()
        if "pushserver" in line.lower() or "push server" in line.lower() or "wppush" in line.lower()
    ]

    assert lines == [("node/kinds.py", 'Kind("pushserver"): "offchain.pushserver.service:open_service",')]


def test_nothing_but_the_command_line_imports_the_push_server():
    importers = {
        str(path.relative_to(PACKAGE))
        for path in modules()
        if name_of(path) != "pushserver" and "pushserver" in inside_imports_of(path)
    }

    assert importers == USES_THE_PUSH_SERVER - {"cli/commands/push.py"}
