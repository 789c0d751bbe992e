"""The policy, and the file that it is kept in."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.errors import ConfigError, StorageError
from offchain.trust.policy import OwnNode, Policy
from offchain.trust.policy_file import load_policy, policy_from_json, policy_to_json, save_policy
from offchain.types import Kind

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


def test_refuses_a_threshold_below_one_and_a_curator_named_twice():
    with pytest.raises(ValueError, match="threshold"):
        Policy(threshold=0)
    with pytest.raises(ValueError, match="twice"):
        Policy(curators=(b"\1" * 20, b"\1" * 20))
