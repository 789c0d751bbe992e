"""Gas of every call against the committed figures: a row that grows by more than one per cent fails."""

import json
from pathlib import Path

import pytest
from brownie import NodeRegistry, OwnerCurator, accounts

from bench.gas import GOALS, RESULTS, measure

TOLERANCE = 1.01


@pytest.fixture(scope="module")
def used(guardian):
    registry = NodeRegistry.deploy(guardian, {"from": guardian})
    return measure(registry, OwnerCurator.deploy(guardian, {"from": guardian}), accounts)


COMMITTED = json.loads(Path(RESULTS).read_text())


@pytest.mark.parametrize("call", COMMITTED)
def test_no_call_costs_more_than_it_did(used, call):
    assert used[call] <= COMMITTED[call] * TOLERANCE, "if this is meant: python bench/gas.py --save"


@pytest.mark.parametrize("call", GOALS)
def test_goals_are_met(used, call):
    assert used[call] <= GOALS[call]


def test_every_call_has_a_committed_figure(used):
    assert used.keys() == COMMITTED.keys()
