"""A registrar under load: the same seed gives the same day, and our strategy does what its decision claims."""

import pytest

from offchain.discovery.sim.registrar import Load, percentile, run
from offchain.discovery.topics.admission import SharedAdmission, SpecifiedAdmission
from tests.support.discovery import vectors


@pytest.mark.parametrize("make", [SpecifiedAdmission, SharedAdmission])
def test_the_same_seed_gives_the_same_trace_and_another_gives_another(make):
    day = Load(hours=0.5)

    assert run(make(), day, 1).trace == run(make(), day, 1).trace != run(make(), day, 2).trace


@pytest.mark.parametrize("attack", ["cache", "target"])
def test_under_attack_the_attackers_share_and_honest_delays_are_below_the_formulas(attack):
    day = Load(attack, hours=3.0)

    ours, formula = run(SharedAdmission(), day, 1), run(SpecifiedAdmission(), day, 1)

    assert ours.hostile_share < formula.hostile_share / 3
    assert percentile(ours.honest_delays, 0.95) < percentile(formula.honest_delays, 0.95) / 3


@pytest.mark.parametrize(("attack", "delays"), [("cache", "honest_p95_s_by_C"), ("target", "target_p95_s_by_Pocc")])
def test_an_attacker_with_ten_times_the_honest_rate_gets_less_than_published_for_the_formula(attack, delays):
    published = vectors("disc_ng_figures")["pr272"][f"{attack}_attack"]
    parameter = "1000" if delays.endswith("C") else "10"

    outcome = run(SharedAdmission(), Load(attack, hours=2.0, attack_rate=0.5), 1)

    assert outcome.hostile_share < published["share_by_rate"]["0.2"] / 4
    waits = outcome.honest_delays if attack == "cache" else outcome.target_delays
    assert percentile(waits, 0.95) < published[delays][parameter]


def test_in_peace_nobody_waits_while_the_cache_is_not_scarce():
    peace = run(SharedAdmission(), Load("none", hours=1.0), 1)

    assert percentile(peace.honest_delays, 1.0) < 0.5


def test_a_percentile_of_nothing_is_zero():
    assert percentile([], 0.95) == 0.0
    assert percentile([1.0, 2.0, 3.0, 4.0], 0.5) == 3.0
