"""How long the stateful contract tests run: so many examples, each a seed and so many steps.

    WAYPOST_EXAMPLES=200 WAYPOST_STEPS=50 brownie test tests/contracts/curation/test_stateful.py

Steps are drawn by weight from the seed, all that were asked for in every example: Hypothesis' own choice of rules
leaves whole rules out of a run and makes most runs short. It draws, keeps and replays the seeds; to shrink one would
teach nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import hypothesis
from brownie import chain
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st


def play_examples(run: Callable[[int, int], None], *, examples: int, steps: int) -> None:
    """Call `run(seed, steps)` for as many seeds as the environment says, each on the chain as the test found it."""
    examples = int(os.environ.get("WAYPOST_EXAMPLES", examples))
    steps = int(os.environ.get("WAYPOST_STEPS", steps))
    done = 0

    @settings(
        max_examples=examples,
        deadline=None,
        phases=(Phase.reuse, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(st.integers(0, 2**64))
    def example(seed: int) -> None:
        nonlocal done
        chain.revert()  # to the snapshot of `fn_isolation`
        run(seed, steps)
        done += 1

    example()
    assert done >= examples
    print(f"{done} examples of {steps} steps")
