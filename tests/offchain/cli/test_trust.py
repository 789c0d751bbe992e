"""`waypost status`, `nodes`, `verify` (rules X1, X13): the answer, its words and its exit code, from what is known."""

from __future__ import annotations

import json
import time

import pytest

from offchain.cli import knowledge
from offchain.cli.main import main
from offchain.cli.output import Exit
from offchain.enr import Enr
from offchain.keys import PrivateKey

NODE = "0x" + "ab" * 32
CURATOR = "0x" + "12" * 20
LATER = time.time() + 10_000


class Known:
    """Knowledge that says what the test wants."""

    def __init__(self, state="FRESH", **verify):
        self.state = state
        self.asked = []
        self._verify = {
            "trusted": True,
            "own": False,
            "expiresAt": LATER,
            "summary": "listed by provider 1",
            "reasons": ["listed by provider 1 in block 5", "which curator 0x12 accepts"],
            **verify,
        }

    def status(self):
        node = {"nodeId": NODE, "state": "ready", "address": "10.0.0.1:1", "own": False, "reason": None}
        trust = {
            "state": self.state,
            "provenBlock": 7,
            "endpoints": [{"name": "one", "latency": 0.12345678}],
            "alarm": None,
        }
        trust["provenAt"] = 1.8e9
        trust["policy"] = {"curators": [CURATOR], "rule": "one curator decides alone"}
        return {"state": self.state, "serving": True, "trust": trust, "poolNodes": [node]}

    def nodes(self, kind):
        row = {"nodeId": NODE, "provider": 1, "expiresAt": LATER, "own": False, "state": "ready"}
        return {"state": self.state, "kind": kind, "nodes": [row] if self._verify["trusted"] else []}

    def verify(self, kind, identity):
        self.asked.append((kind, identity))
        return {"state": self.state, "kind": kind, "nodeId": "0x" + identity.hex(), **self._verify}


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Run a command line on knowledge; its exit code, standard output and standard error."""
    monkeypatch.setenv("WAYPOST_HOME", str(tmp_path))

    def run(known, *arguments):
        monkeypatch.setattr(knowledge, "learn", lambda settings, output, wait: known)
        code = main(list(arguments))
        captured = capsys.readouterr()
        return int(code), captured.out, captured.err

    return run


@pytest.mark.parametrize(
    ("known", "code"),
    [
        (Known(), Exit.YES),
        (Known(trusted=False), Exit.UNTRUSTED),
        (Known(trusted=False, expiresAt=None), Exit.UNTRUSTED),
        (Known(trusted=False, expiresAt=1_000), Exit.STALE),
        (Known("STALE"), Exit.STALE),
        (Known("EXPIRED", trusted=False), Exit.STALE),
        (Known("NEVER", trusted=False), Exit.STALE),
        (Known("TAMPERED"), Exit.TAMPERED),
        (Known("TAMPERED", trusted=False), Exit.TAMPERED),
        (Known("EXPIRED", own=True), Exit.YES),
        (Known("TAMPERED", own=True), Exit.YES),
    ],
)
def test_the_exit_code_is_the_answer(run, known, code):
    assert run(known, "verify", NODE)[0] == code


def test_every_reason_is_shown(run):
    _, out, _ = run(Known(), "verify", NODE)

    assert out.splitlines() == [
        f"{NODE} is trusted as mailserver",
        "  - listed by provider 1 in block 5",
        "  - which curator 0x12 accepts",
        "  - what is known of the registry is FRESH",
    ]
    assert "NOT trusted" in run(Known(trusted=False), "verify", NODE)[1]


def test_the_answer_is_a_document_whatever_it_is(run):
    code, out, _ = run(Known(trusted=False), "verify", NODE, "--json")

    assert code == Exit.UNTRUSTED
    assert json.loads(out)["reasons"] == ["listed by provider 1 in block 5", "which curator 0x12 accepts"]


@pytest.mark.parametrize("text", [NODE, NODE[2:], "0x" + "ab" * 20])
def test_a_node_is_named_by_id_or_address(run, text):
    known = Known()

    run(known, "verify", text, "--kind", "pushserver")

    assert known.asked == [("pushserver", bytes.fromhex(text.removeprefix("0x")))]


def test_a_node_is_named_by_a_record_that_says_no_address(run):
    key, known = PrivateKey(bytes((7,)) * 32), Known()

    run(known, "verify", Enr.create(key, 1).text)

    assert known.asked == [("mailserver", key.public.node_id)]


@pytest.mark.parametrize("text", ["", "0x12", "zz" * 32, "enode://12@10.0.0.1:1", "enr:xx"])
def test_what_names_no_node_is_refused_in_words(run, text):
    code, _, err = run(Known(), "verify", text)

    assert code == Exit.ERROR
    assert "names no node" in err


@pytest.mark.parametrize(("state", "code"), [("FRESH", 0), ("STALE", 4), ("EXPIRED", 4), ("NEVER", 4), ("TAMPERED", 5)])
def test_status_and_nodes_end_with_the_state(run, state, code):
    assert run(Known(state), "status")[0] == code
    assert run(Known(state), "nodes")[0] == code


def test_status_shows_the_pool_in_words(run):
    out = run(Known(), "status")[1]

    assert "provenBlock  7" in out
    assert "latency 0.123 s" in out
    assert "provenAt     20" in out
    assert "alarm" not in out, "what there is not"
    assert "10.0.0.1:1" in out


def test_status_says_first_whose_word_counts(run):
    out = run(Known(), "status")[1]

    assert out.splitlines()[0] == "FRESH; one curator decides alone"


def test_curators_are_shown_by_the_names_that_the_deployment_has_for_them(run, tmp_path):
    deployment = {"network": "here", "chainId": 1, "contracts": {"TokenCurator": {"address": CURATOR, "block": 1}}}
    (tmp_path / "here.json").write_text(json.dumps(deployment))
    (tmp_path / "config.toml").write_text('[chain]\ndeployment = "here.json"\n')

    out = run(Known(reasons=[f"curator {CURATOR} rejects"]), "verify", NODE)[1]

    assert f"  - curator TokenCurator {CURATOR} rejects" in out.splitlines()


def test_nodes_are_a_table_or_the_hint_where_to_look(run):
    assert f"{NODE}  provider 1" in run(Known(), "nodes")[1]
    assert "no mailserver is trusted; see: waypost status" in run(Known(trusted=False), "nodes")[1]
