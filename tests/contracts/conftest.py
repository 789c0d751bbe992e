"""Contracts and people of the contract tests. Every test starts from the same chain."""

from __future__ import annotations

from pathlib import Path

import pytest
from brownie import accounts, chain, web3

from scripts import anvil, deploy
from tests.support import brownie_speed, immutables, modifiers
from tests.support.registry import DAY, MAILSERVERS, ZERO_ADDRESS, addresses, possession

anvil.install(web3)
immutables.install()
brownie_speed.install()

TOO_LONG = {
    "node_registry/test_stateful.py",
    "curation/test_stateful.py",
    "curation/test_stateful_terms.py",
    "curation/test_contest.py",
    "test_gas.py",
    "scripts",
}
"""Left out of a run with coverage, which traces every transaction and every call. What they reach the others reach too;
and what goes past Brownie, as the stateful ones do, counts for nothing."""


def pytest_configure(config):
    if config.getoption("--coverage"):
        brownie_speed.forget_traces()
        modifiers.install()


def pytest_ignore_collect(collection_path, config):
    if config.getoption("--coverage") and str(collection_path.relative_to(Path(__file__).parent)) in TOO_LONG:
        return True
    return None


PEOPLE = ("guardian", "admin", "operator", "stranger", "newcomer", "rival", "curator")


@pytest.fixture(autouse=True)
def isolation(fn_isolation):
    """Undo on the chain what a test did."""


def _person(role: str):
    @pytest.fixture(scope="session", name=role)
    def person():
        return accounts[PEOPLE.index(role)]

    return person


guardian, admin, operator, stranger, newcomer, rival, curator = map(_person, PEOPLE)


@pytest.fixture(scope="module")
def contracts(guardian):
    """What `brownie run deploy` deploys."""
    return deploy.deploy(guardian)


@pytest.fixture(scope="module")
def registry(contracts):
    return contracts[0]


@pytest.fixture(scope="module")
def owner_curator(contracts):
    return contracts[1]


@pytest.fixture(scope="module")
def provider(registry, admin, operator):
    """A provider with an operator."""
    registry.createProvider("https://provider.example", {"from": admin})
    registry.setOperator(1, operator, True, {"from": admin})
    return 1


@pytest.fixture(scope="module")
def rival_provider(registry, provider, rival):
    registry.createProvider("https://rival.example", {"from": rival})
    return 2


@pytest.fixture
def now():
    """The time of the latest block; the next one's is this or little more."""
    return chain[-1].timestamp


@pytest.fixture
def expiry(now):
    return now + 100 * DAY


@pytest.fixture
def agree(registry, now):
    """The possession proofs of nodes for a provider, good for a day."""

    def made(provider, nodes, **terms):
        return [possession(registry, node, provider, now + DAY, **terms) for node in nodes]

    return made


@pytest.fixture
def listed(registry, provider, admin, expiry, agree):
    """Put nodes on the provider's list, in the given order."""

    def put(nodes):
        registry.addNodes(provider, MAILSERVERS, expiry, agree(provider, nodes), {"from": admin})
        return nodes

    return put


@pytest.fixture
def walk(registry, provider):
    """The addresses in a list, head first."""

    def walked(provider=provider, kind=MAILSERVERS):
        return list(registry.nodesOf(provider, kind, ZERO_ADDRESS, 10_000)[0])

    return walked


@pytest.fixture
def same_order():
    """Whether a walk shows just these nodes, the one added last first."""

    def same(walked, nodes):
        return walked == addresses(nodes)[::-1]

    return same
