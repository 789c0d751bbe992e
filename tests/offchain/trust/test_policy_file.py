"""The file that the policy is kept in."""

import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.errors import ConfigError, StorageError
from offchain.trust.policy import OwnNode, Policy
from offchain.trust.policy_file import edit_policy, load_policy, policy_from_json, policy_to_json, save_policy
from offchain.types import Kind

ROOT = Path(__file__).parents[3]

providers = st.frozensets(st.integers(1, 2**24 - 1), max_size=4)
policies = st.builds(
    Policy,
    st.lists(st.binary(min_size=20, max_size=20), max_size=3, unique=True).map(tuple),
    st.integers(1, 5),
    providers,
    providers,
    st.frozensets(st.binary(min_size=32, max_size=32), max_size=3),
    st.lists(
        st.builds(OwnNode, st.just(Kind("mailserver")), st.binary(min_size=32, max_size=32), st.text(), st.text()),
        max_size=3,
    ).map(tuple),
)


@given(policies)
def test_is_the_same_after_it_was_written_and_read(policy):
    assert policy_from_json(json.dumps(policy_to_json(policy))) == policy


@given(st.binary(max_size=200))
def test_noise_is_a_config_error(noise):
    with pytest.raises(ConfigError):
        policy_from_json(noise)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"schemaVersion": 2},
        {"schemaVersion": 1, "threshold": 0},
        {"schemaVersion": 1, "curators": ["0x11"]},
        {"schemaVersion": 1, "curators": ["0x" + "11" * 20] * 2},
        {"schemaVersion": 1, "curators": ["zz"]},
        {"schemaVersion": 1, "chosen": ["1"]},
        {"schemaVersion": 1, "blockedNodes": ["0x" + "11" * 20]},
        {"schemaVersion": 1, "own": [{"kind": "No Kind", "nodeId": "0x" + "11" * 32}]},
        {"schemaVersion": 1, "choosen": [1]},
    ],
)
def test_a_document_that_is_no_policy_is_a_config_error(document):
    with pytest.raises(ConfigError):
        policy_from_json(json.dumps(document))


def test_a_file_replaces_the_one_before_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "home" / "policy.json"
    save_policy(path, Policy(chosen=frozenset({1})))
    save_policy(path, Policy(chosen=frozenset({2})))

    assert load_policy(path, Policy()).chosen == {2}
    assert list(path.parent.iterdir()) == [path]


def test_without_a_file_the_default_counts(tmp_path):
    assert load_policy(tmp_path / "none.json", Policy(threshold=3)).threshold == 3


def test_a_file_that_cannot_be_read_or_written_says_so(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_policy(tmp_path, Policy())
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="cannot be written"):
        save_policy(tmp_path / "file" / "policy.json", Policy())
    with pytest.raises(ConfigError, match="file: not a policy"):
        load_policy(tmp_path / "file", Policy())


def choosing(provider):
    """The edit that chooses one more provider."""
    return lambda policy: replace(policy, chosen=policy.chosen | {provider})


def test_an_edit_starts_from_what_the_file_holds_now(tmp_path):
    path = tmp_path / "home" / "policy.json"

    assert edit_policy(path, Policy(threshold=2), choosing(1)) == Policy(threshold=2, chosen=frozenset({1}))
    assert edit_policy(path, Policy(), choosing(2)) == Policy(threshold=2, chosen=frozenset({1, 2}))
    assert load_policy(path, Policy()).chosen == {1, 2}


def test_an_edit_that_is_refused_or_changes_nothing_leaves_the_file_and_the_lock(tmp_path):
    path = tmp_path / "policy.json"

    def refuse(_):
        raise ConfigError("no")

    with pytest.raises(ConfigError, match="no"):
        edit_policy(path, Policy(), refuse)
    assert edit_policy(path, Policy(), lambda policy: policy) == Policy()
    assert not path.exists()


def test_of_edits_by_many_threads_none_is_lost(tmp_path):
    path = tmp_path / "policy.json"
    start = threading.Barrier(4)

    def edit(first):
        start.wait()
        for number in range(first, first + 10):
            edit_policy(path, Policy(), choosing(number))

    threads = [threading.Thread(target=edit, args=(first,)) for first in (1, 11, 21, 31)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert load_policy(path, Policy()).chosen == set(range(1, 41))


EDITOR = """
import sys
from dataclasses import replace
from pathlib import Path
from offchain.trust.policy import Policy
from offchain.trust.policy_file import edit_policy
path, first = Path(sys.argv[1]), int(sys.argv[2])
sys.stdin.readline()
for number in range(first, first + 10):
    edit_policy(path, Policy(), lambda policy: replace(policy, chosen=policy.chosen | {number}))
"""


def test_of_edits_by_two_processes_none_is_lost(tmp_path):
    path = tmp_path / "policy.json"
    command = [sys.executable, "-c", EDITOR, str(path)]
    editors = [
        subprocess.Popen([*command, first], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for first in ("1", "11")
    ]
    for editor in editors:
        editor.stdin.write(b"go\n")
        editor.stdin.flush()
    for editor in editors:
        editor.communicate(timeout=60)

    assert [editor.returncode for editor in editors] == [0, 0]
    assert load_policy(path, Policy()).chosen == set(range(1, 21))


def test_a_lock_that_cannot_be_made_says_so(tmp_path):
    (tmp_path / "file").write_text("x")

    with pytest.raises(StorageError, match="cannot be written"):
        edit_policy(tmp_path / "file" / "policy.json", Policy(), choosing(1))
