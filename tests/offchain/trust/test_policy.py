"""The policy."""

import pytest

from offchain.trust.policy import Policy


def test_refuses_a_threshold_below_one_and_a_curator_named_twice():
    with pytest.raises(ValueError, match="threshold"):
        Policy(threshold=0)
    with pytest.raises(ValueError, match="twice"):
        Policy(curators=(b"\1" * 20, b"\1" * 20))
