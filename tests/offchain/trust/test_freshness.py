"""How long a proof is believed."""

import pytest

from offchain.trust.freshness import Freshness, Limits, freshness

LIMITS = Limits(fresh_for=30.0, keep_for=100.0)


@pytest.mark.parametrize(
    ("age", "alarm", "state"),
    [
        (None, None, Freshness.NEVER),
        (None, "lied", Freshness.TAMPERED),
        (0.0, None, Freshness.FRESH),
        (30.0, None, Freshness.FRESH),
        (30.1, None, Freshness.STALE),
        (100.0, None, Freshness.STALE),
        (100.1, None, Freshness.EXPIRED),
        (0.0, "lied", Freshness.TAMPERED),
        (60.0, "lied", Freshness.TAMPERED),
        (-50.0, None, Freshness.FRESH),
    ],
)
def test_follows_from_the_age_of_the_proof_and_from_an_alarm(age, alarm, state):
    assert freshness(1_000.0, None if age is None else 1_000.0 - age, alarm, LIMITS) is state
