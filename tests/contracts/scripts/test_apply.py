import json

import pytest
from brownie import chain

from scripts import apply
from scripts.session import Refusal
from tests.support.registry import addresses, nodes


@pytest.fixture
def plan(tmp_path):
    def written(steps):
        path = tmp_path / "steps.json"
        path.write_text(json.dumps(steps))
        return str(path)

    return written


@pytest.fixture
def steps(document, proof_file):
    """A new kind, three nodes (proofs in a file and in place), a verdict."""
    first, second, third = nodes(3)
    return [
        {"do": "kinds create", "name": "pushserver"},
        {
            "do": "nodes add", "provider": 1, "kind": "mailserver", "account": 1, "expires": "30d",
            "proofs": [proof_file(first), document(second), document(third)],
        },
        {"do": "nodes remove", "provider": 1, "kind": "mailserver", "nodes": [second.address], "account": 1},
        {"do": "curator accept", "provider": 1, "kind": "mailserver"},
    ]  # fmt: skip


def test_carries_out_the_steps_in_order(registry, owner_curator, provider, steps, plan, walk):
    apply.main(plan(steps))

    first, _, third = addresses(nodes(3))
    assert registry.kindCount() == 2
    assert walk() == [third, first]
    assert owner_curator.verdict(1, 1)[0] == 1


def test_a_dry_run_sends_nothing_and_says_where_it_cannot_look_ahead(registry, provider, steps, plan, capsys):
    height = chain.height

    apply.main(plan(steps), dry_run="yes")

    out = capsys.readouterr().out
    assert chain.height == height
    assert "would create kind 2" in out
    assert "would list 3 mailserver nodes" in out
    assert "step 3, nodes remove: cannot be tried before the steps above have happened" in out


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"do": "nodes burn"}, "there is no command 'nodes burn'"),
        ({"do": "session open"}, "there is no command"),
        ({"do": "nodes _open"}, "there is no command"),
        ({"do": "nodes read_proof", "source": "/etc/passwd"}, "there is no command"),
        ({"no": "do"}, "there is no command None"),
        ({"do": "curator accept"}, "missing"),
        ({"do": "curator accept", "provider": 1, "colour": "red"}, "unknown members colour"),
        ({"do": "nodes add", "provider": 1, "kind": 1, "proofs": ["nowhere.json"]}, "cannot be read"),
    ],
)
def test_nothing_is_sent_when_a_later_step_is_malformed(registry, provider, steps, plan, bad, reason):
    height = chain.height

    with pytest.raises(Refusal, match=reason):
        apply.main(plan([*steps, bad]))
    assert chain.height == height


def test_a_refused_step_says_which_and_what_was_done(registry, provider, plan):
    steps = [{"do": "kinds create", "name": "pushserver"}, {"do": "kinds create", "name": "mailserver"}]

    with pytest.raises(Refusal, match=r"step 2 of 2, kinds create: a kind's name is taken.*1 steps before it are done"):
        apply.main(plan(steps))
    assert registry.kindCount() == 2


@pytest.mark.parametrize("content", ["", "{}", "[1]", "nonsense"])
def test_a_file_without_steps_is_refused(provider, tmp_path, content):
    path = tmp_path / "steps.json"
    path.write_text(content)

    with pytest.raises(Refusal):
        apply.main(str(path))
