import random

import pytest

from scripts.lists import ZERO_ADDRESS, predecessors


def test_hints_hold_at_the_moment_of_leaving():
    assert predecessors(["a", "b", "c"], ["b"]) == ["a"]
    assert predecessors(["a", "b", "c"], ["a", "b", "c"]) == [ZERO_ADDRESS] * 3
    assert predecessors(["a", "b", "c"], ["c", "b", "a"]) == ["b", "a", ZERO_ADDRESS]
    assert predecessors(["a", "b", "c"], ["b", "c"]) == ["a", "a"]


def test_hints_agree_with_a_list_that_shrinks():
    rng = random.Random(1)
    for _ in range(200):
        order = [str(number) for number in range(rng.randint(1, 12))]
        leaving = rng.sample(order, rng.randint(1, len(order)))
        shrinking, expected = list(order), []
        for node in leaving:
            at = shrinking.index(node)
            expected.append(shrinking[at - 1] if at else ZERO_ADDRESS)
            shrinking.remove(node)

        assert predecessors(order, leaving) == expected


def test_nobody_leaves_twice_or_from_elsewhere():
    for leaving in (["a", "a"], ["z"], [ZERO_ADDRESS]):
        with pytest.raises(KeyError):
            predecessors(["a", "b"], leaving)
