"""`waypost providers` and `waypost own` (rule X9): a preview first, a question if nothing would be left, one file."""

from __future__ import annotations

import json

import pytest

from offchain.cli import knowledge
from offchain.cli.main import main
from offchain.cli.policy_edits import Preview
from offchain.enode import Enode
from offchain.keys import PrivateKey
from offchain.types import MAILSERVER, NodeId, parse_ip

KEY = PrivateKey(b"\x07" * 32)
ENODE = Enode(KEY.public, parse_ip("10.0.0.1"), 30303, 30304).text
CURATOR = "0x" + "22" * 20
DEPLOYMENT = {
    "network": "testnet",
    "chainId": 31337,
    "contracts": {
        "NodeRegistry": {"address": "0x" + "11" * 20, "block": 3},
        "OwnerCurator": {"address": CURATOR, "block": 4},
    },
}
ONE, TWO, THREE = (NodeId(bytes((number,)) * 32) for number in (1, 2, 3))


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "here.json").write_text(json.dumps(DEPLOYMENT))
    (tmp_path / "config.toml").write_text('[chain]\ndeployment = "here.json"\nrpc = ["http://127.0.0.1:1"]\n')
    monkeypatch.setenv("WAYPOST_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def run(home, capsys, monkeypatch):
    """Run a command line; a switch leaves these nodes of these."""

    def run(*arguments, before=(ONE, TWO, THREE), after=(ONE, TWO)):
        seen = Preview.between(MAILSERVER, before, after)
        monkeypatch.setattr(knowledge, "preview", lambda settings, output, wait, kind, changed: seen)
        code = main([*arguments, "--json"])
        captured = capsys.readouterr()
        return int(code), json.loads(captured.out) if captured.out else None, captured.err

    return run


def policy(home):
    path = home / "policy.json"
    return json.loads(path.read_text()) if path.exists() else None


def test_a_dry_run_says_what_would_happen_and_writes_nothing(run, home):
    code, answer, _ = run("providers", "block", "7", "--dry-run")

    assert code == 0
    assert answer["summary"] == "2 of 3 mailserver nodes stay"
    assert (answer["stay"], answer["nodes"], answer["leaving"]) == (2, 3, ["0x" + "03" * 32])
    assert policy(home) is None


def test_a_switch_is_written_with_the_default_spelled_out(run, home):
    run("providers", "block", "7")

    assert policy(home) == {
        "schemaVersion": 1,
        "curators": [CURATOR],
        "threshold": 1,
        "chosen": [],
        "blocked": [7],
        "blockedNodes": [],
        "own": [],
    }


def test_a_switch_and_its_opposite_cancel_out(run, home):
    for action in ("block", "unblock", "trust", "untrust"):
        run("providers", action, "7")

    assert (policy(home)["blocked"], policy(home)["chosen"]) == ([], [])


def test_what_would_leave_nothing_is_asked_first(run, home):
    code, _, err = run("providers", "block", "7", after=())

    assert code == 2
    assert "No mailserver node would be left. Go on? Nobody can answer here: give --yes" in err
    assert policy(home) is None
    assert run("providers", "block", "7", "--yes", after=())[0] == 0
    assert policy(home)["blocked"] == [7]


def test_a_switch_that_is_set_already_changes_nothing(run, home):
    run("providers", "block", "7")

    assert run("providers", "block", "7", after=())[1]["changed"] is False


def test_own_nodes_come_and_go(run, home):
    added = run("own", "add", ENODE, "--label", "at home")[1]
    listed = run("own", "list")[1]["own"]

    assert added["nodeId"] == "0x" + KEY.public.node_id.hex()
    assert listed == [{"nodeId": added["nodeId"], "kind": "mailserver", "url": ENODE, "label": "at home"}]
    assert run("own", "remove", "at home")[0] == 0
    assert policy(home)["own"] == []
    assert run("own", "remove", "at home")[0] == 1


def test_a_damaged_policy_is_named_and_left_alone(run, home):
    (home / "policy.json").write_text("{")

    code, answer, _ = run("providers", "block", "7")

    assert code == 1
    assert "policy.json" in answer["error"]["message"]
    assert (home / "policy.json").read_text() == "{"
