"""`waypost node` (rules X6, X7): keys are never overwritten or shown, records and proofs are what they should be."""

from __future__ import annotations

import json
import stat
import time

import pytest

from offchain.cli.main import main
from offchain.enr import Enr
from offchain.keys import PrivateKey
from offchain.possession import Possession

REGISTRY = "0x" + "11" * 20


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("WAYPOST_HOME", str(tmp_path))

    def run(*arguments):
        code = main([*arguments, "--json"])
        captured = capsys.readouterr()
        return int(code), json.loads(captured.out), captured.err

    return run


@pytest.fixture
def deployment(tmp_path):
    path = tmp_path / "here.json"
    contracts = {"NodeRegistry": {"address": REGISTRY, "block": 3}}
    path.write_text(json.dumps({"network": "here", "chainId": 31337, "contracts": contracts}))
    return str(path)


def test_a_new_key_is_readable_by_its_owner_alone_and_not_shown(run, tmp_path):
    code, answer, _ = run("node", "key")

    path = tmp_path / "node.key"
    key = PrivateKey.load(path)
    assert code == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert answer["nodeId"] == "0x" + key.public.node_id.hex()
    assert answer["address"] == "0x" + key.public.address.hex()
    assert answer["publicKey"] == "0x" + key.public.to_bytes().hex()
    assert key.to_bytes().hex() not in json.dumps(answer)


def test_a_key_is_never_overwritten(run):
    run("node", "key")

    code, answer, _ = run("node", "key")

    assert code == 1
    assert "never overwritten" in answer["error"]["message"]
    assert "--show" in answer["error"]["message"]


def test_a_key_that_is_there_can_be_shown(run):
    made = run("node", "key")[1]

    assert run("node", "key", "--show")[1] == made


def test_a_missing_key_is_answered_with_how_to_make_one(run):
    code, answer, _ = run("node", "enr", "--ip", "127.0.0.1")

    assert code == 1
    assert "make one with: waypost node key --out" in answer["error"]["message"]


def test_a_record_is_signed_by_the_key_and_says_what_was_asked(run):
    made = run("node", "key")[1]

    _, answer, _ = run(
        "node", "enr", "--ip", "10.1.2.3", "--udp", "30303", "--tcp", "30304", "--kind", "mailserver", "--seq", "7"
    )

    record = Enr.parse(answer["enr"])
    assert "0x" + record.node_id.hex() == made["nodeId"]
    assert (str(record.ip), record.udp, record.tcp, record.kinds, record.seq) == (
        "10.1.2.3",
        30303,
        30304,
        ("mailserver",),
        7,
    )


@pytest.mark.parametrize(
    ("arguments", "said"), [(("--ip", "somewhere"), "somewhere"), (("--ip", "::1", "--kind", "Mail"), "is not a kind")]
)
def test_a_record_of_nonsense_is_refused_in_words(run, arguments, said):
    run("node", "key")

    code, answer, _ = run("node", "enr", *arguments)

    assert code == 1
    assert said in answer["error"]["message"]


def test_a_proof_is_for_the_terms_that_were_asked(run, deployment):
    made = run("node", "key")[1]

    code, answer, _ = run(
        "node", "authorize", "--provider", "5", "--deployment", deployment,
        "--kind-id", "1", "--generation", "3", "--valid", "100",
    )  # fmt: skip

    terms = Possession.from_json(answer).terms
    assert code == 0
    assert "0x" + terms.node_id.hex() == made["nodeId"]
    assert (terms.provider, terms.kind, terms.kind_id, terms.generation) == (5, "mailserver", 1, 3)
    assert (terms.chain_id, "0x" + terms.registry.hex()) == (31337, REGISTRY)
    assert 90 <= terms.deadline - time.time() <= 100


def test_a_proof_can_be_checked_before_it_costs_anything(run, deployment, tmp_path):
    run("node", "key")
    options = ("--provider", "5", "--deployment", deployment, "--kind-id", "1", "--generation", "1")
    good, late = tmp_path / "good.json", tmp_path / "late.json"
    good.write_text(json.dumps(run("node", "authorize", *options)[1]))
    late.write_text(json.dumps(run("node", "authorize", *options, "--deadline", "1000")[1]))

    assert run("node", "check-proof", str(good))[0] == 0
    code, answer, _ = run("node", "check-proof", str(late))
    assert code == 1
    assert "deadline passed" in answer["error"]["message"]
    (tmp_path / "noise.json").write_text("{}")
    assert "the proof lacks" in run("node", "check-proof", str(tmp_path / "noise.json"))[1]["error"]["message"]
