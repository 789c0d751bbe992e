"""The policy file is followed: changes count, nonsense doesn't."""

import json
import os

import pytest

from offchain.config import ChainConfig, ContractRef
from offchain.errors import ConfigError
from offchain.node.policy_watch import PolicyWatch, default_policy
from offchain.trust.policy import Policy
from offchain.trust.policy_file import save_policy
from offchain.types import Address, ProviderId

CURATOR, OTHER = Address(b"\x01" * 20), Address(b"\x02" * 20)
DEFAULT = Policy(curators=(CURATOR,))
CHOSEN = Policy(curators=(CURATOR,), chosen=frozenset({ProviderId(7)}))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "policy.json"


def test_without_a_file_the_default_holds(path):
    watch = PolicyWatch(path, DEFAULT)

    assert watch.policy == DEFAULT
    assert watch.look() is None


def test_by_default_the_first_configured_curator_decides_alone(tmp_path):
    contracts = tuple(ContractRef(address, 1) for address in (CURATOR, OTHER))
    chain = ChainConfig(("http://127.0.0.1:1",), 1, ContractRef(Address(bytes(20)), 1), contracts, tmp_path / "db")

    assert default_policy(chain) == DEFAULT


def test_notices_a_file_that_appears_changes_and_goes(path):
    watch = PolicyWatch(path, DEFAULT)

    save_policy(path, CHOSEN)
    appeared, again = watch.look(), watch.look()
    path.unlink()
    gone = watch.look()

    assert (appeared, again, gone) == (CHOSEN, None, DEFAULT)


def test_notices_a_change_within_the_clocks_resolution(path):
    save_policy(path, CHOSEN)
    watch = PolicyWatch(path, DEFAULT)
    before = os.stat(path)

    save_policy(path, Policy(curators=(CURATOR,), chosen=frozenset({ProviderId(8)})))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert watch.look().chosen == {8}


def test_a_file_touched_without_a_change_is_no_news(path):
    save_policy(path, CHOSEN)
    watch = PolicyWatch(path, DEFAULT)

    save_policy(path, CHOSEN)

    assert watch.look() is None


def test_a_file_of_no_use_leaves_the_policy_as_it_was_and_says_so_until_it_is_mended(path):
    save_policy(path, CHOSEN)
    watch = PolicyWatch(path, DEFAULT)

    path.write_text("{")
    broken = watch.look()
    error = watch.error
    save_policy(path, DEFAULT)
    mended = watch.look()

    assert broken is None
    assert "policy.json" in error
    assert (mended, watch.error) == (DEFAULT, None)


def test_a_file_of_no_use_at_the_start_is_an_error(path):
    path.write_text(json.dumps({"schemaVersion": 99}))

    with pytest.raises(ConfigError, match="schemaVersion"):
        PolicyWatch(path, DEFAULT)
