"""A token-curated registry with its people: a provider's admin, a challenger, voters, somebody who resolves."""

from __future__ import annotations

import pytest
from brownie import TestToken, accounts

from scripts.deploy_token_curator import deploy
from scripts.terms import TOKEN
from tests.support.curation import Play, endow

ROLES = {"challenger": 7, "alice": 8, "bob": 9, "carol": 2, "resolver": 4, "treasury": 6}
"""Voters are alice, bob and carol."""


def _person(role: str):
    @pytest.fixture(scope="session", name=role)
    def person():
        return accounts[ROLES[role]]

    return person


challenger, alice, bob, carol, resolver, treasury = map(_person, ROLES)


@pytest.fixture(scope="module")
def play(registry, guardian, provider, rival_provider, admin, rival, treasury, challenger, alice, bob, carol, resolver):
    """Deployed as `brownie run deploy_token_curator` does; providers 1 (admin) and 2 (rival); all have tokens."""
    token = TestToken.deploy(10**9 * TOKEN, {"from": guardian})
    made = deploy(guardian, registry, token, treasury=treasury)
    play = Play(made, registry)
    endow(play, guardian, (admin, rival, challenger, alice, bob, carol, resolver))
    return play


@pytest.fixture(scope="module")
def curator(play):
    return play.curator


@pytest.fixture(scope="module")
def box(play):
    return play.box


@pytest.fixture(scope="module")
def parameters(play):
    return play.parameters


@pytest.fixture
def listed(play, provider):
    """Provider 1, listed for mail servers."""
    play.list(provider)
    return provider


@pytest.fixture(scope="module")
def vote(play):
    return play.vote
