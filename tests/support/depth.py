"""How long the stateful contract tests run: so many examples, each a seed and so many steps.

    WAYPOST_EXAMPLES=200 WAYPOST_STEPS=50 brownie test tests/contracts/curation/test_stateful.py

Seeds are counted from WAYPOST_SEED, or from 0: no two examples are the same (of 200 that Hypothesis drew, 41 came
again), and a run can be repeated. From its seed an example draws all its steps, by weight. One that fails says how to
play it alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from brownie import chain


def play_examples(run: Callable[[int, int], None], *, examples: int, steps: int) -> None:
    """Call `run(seed, steps)` for as many seeds as the environment says, each on the chain as the test found it."""
    examples = int(os.environ.get("WAYPOST_EXAMPLES", examples))
    steps = int(os.environ.get("WAYPOST_STEPS", steps))
    first = int(os.environ.get("WAYPOST_SEED", "0"))
    for seed in range(first, first + examples):
        chain.revert()  # to the snapshot of `fn_isolation`
        try:
            run(seed, steps)
        except BaseException as error:
            error.add_note(f"To play it alone: WAYPOST_SEED={seed} WAYPOST_EXAMPLES=1 WAYPOST_STEPS={steps}")
            raise
    print(f"{examples} examples of {steps} steps")
