"""When to look around again."""

from offchain.discovery.walk import Pacer


def waits(pacer, news):
    """How long it waits after each of these attempts."""
    found, now = [], 0.0
    for each in news:
        pacer.done(now, news=each)
        found.append(pacer.due - now)
        now = pacer.due
    return found


def test_the_first_attempt_is_due_at_once():
    assert Pacer(start=1, floor=1, ceiling=8, eager=2).due == 0.0


def test_eager_at_first_then_twice_as_long_each_time_up_to_the_ceiling():
    assert waits(Pacer(start=1, floor=1, ceiling=8, eager=2), [False] * 6) == [1, 1, 2, 4, 8, 8]


def test_news_makes_it_look_again_soon():
    assert waits(Pacer(start=1, floor=2, ceiling=8, eager=0), [False, False, True, False]) == [2, 4, 2, 4]


def test_news_at_first_does_not_slow_it_down():
    assert waits(Pacer(start=1, floor=5, ceiling=8, eager=2), [True, True, True]) == [1, 1, 5]


def test_hurry_makes_it_due_now_and_eager_again():
    pacer = Pacer(start=1, floor=1, ceiling=8, eager=1)
    waits(pacer, [False] * 5)

    pacer.hurry(50.0)

    assert pacer.due == 50.0
    assert waits(pacer, [False]) == [1]
