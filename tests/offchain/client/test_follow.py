"""What is followed, with servers that are sets of envelopes and a clock that is a number."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from offchain.client.coverage import SETTLING
from offchain.client.follow import LONGEST_FAILING_PAUSE, LONGEST_PAUSE, SWEEP_INTERVAL, CaughtUp, Follow
from offchain.client.history import Finished
from offchain.whisper.envelope import Envelope

TOPIC = b"abcd"
START = 1_700_000_000


def sent(at, number=0):
    return Envelope.create(at + 50, 50, TOPIC, number.to_bytes(4, "big"))


def read(follow, now, held, *, fails_after=None):
    """One reading of a server that holds these; the new envelopes, what was caught up, and the query."""
    query = follow.query(now)
    answer = sorted((e for e in held if query.lower <= e.sent <= query.upper), key=lambda each: each.position)
    answer = [each for each in answer if query.cursor is None or each.position > query.cursor]
    complete = fails_after is None
    new = [each for each in answer[:fails_after] if follow.take(each)]
    reached = query.cursor if complete or not answer[:fails_after] else answer[:fails_after][-1].position
    end = follow.finished(Finished(complete, "", len(new), 1, (), None if complete else reached))
    return new, end, query


def following(since=START):
    return Follow((TOPIC,), since, random.Random(1))


def test_gives_what_was_there_and_then_what_comes_each_once():
    follow = following(START - 100)
    old, new = sent(START - 90), sent(START + 1)

    first, _, _ = read(follow, START, [sent(START - 200), old])
    nothing, _, step = read(follow, START + 2, [old])
    second, _, _ = read(follow, START + 4, [old, new])

    assert (first, nothing, second) == ([old], [], [new])
    assert step.cursor == old.position


def test_what_reached_a_server_late_comes_with_the_next_sweep():
    follow = following()
    late, newer = sent(START + 1), sent(START + 5)

    read(follow, START, [])
    assert read(follow, START + 6, [newer])[0] == [newer]
    assert read(follow, START + 8, [late, newer])[0] == []
    new, _, sweep = read(follow, START + SWEEP_INTERVAL, [late, newer])

    assert new == [late]
    assert sweep.cursor is None


def test_says_up_to_when_everything_was_given_and_asks_for_that_no_more():
    follow = following(START - 1_000)

    _, end, _ = read(follow, START, [])
    _, none, _ = read(follow, START + 2, [])
    _, again, query = read(follow, START + SWEEP_INTERVAL, [])

    assert end == CaughtUp(START - 1_000, START - SETTLING)
    assert none is None
    assert query.lower == START - SETTLING + 1
    assert again == CaughtUp(START - SETTLING + 1, START - SETTLING + int(SWEEP_INTERVAL))


def test_after_a_failure_it_goes_on_where_it_broke_off():
    follow = following(START - 100)
    held = [sent(START - 90 + number, number) for number in range(6)]

    first, end, _ = read(follow, START, held, fails_after=2)
    rest, _, query = read(follow, START + 2, held)

    assert end is None
    assert [*first, *rest] == held
    assert query.cursor == held[1].position


def test_a_machine_that_slept_for_a_day_lacks_nothing():
    follow = following()
    read(follow, START, [])
    held = [sent(START + hour * 3_600, hour) for hour in range(24)]

    assert read(follow, START + 86_400, held)[0] == held


def test_asks_seldom_while_nothing_comes_and_often_when_something_does():
    follow = following()
    pauses = []
    now = START
    for _ in range(10):
        read(follow, now, [])
        pauses.append(follow.pause())
        now += pauses[-1]
    read(follow, now, [sent(int(now))])

    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE
    assert follow.pause() == 1.0


def test_servers_that_fail_are_not_stormed():
    follow = following()
    requests, now = 0, float(START)
    while now < START + 3_600:
        read(follow, now, [], fails_after=0)
        requests += 1
        now += follow.pause()

    assert requests < 90
    assert follow.pause() <= 1.2 * LONGEST_FAILING_PAUSE


def test_a_quiet_day_costs_a_bounded_number_of_requests():
    follow = following()
    requests, now = 0, float(START)
    while now < START + 86_400:
        read(follow, now, [])
        requests += 1
        now += follow.pause()

    assert requests <= 86_400 / LONGEST_PAUSE + 10


def test_a_clock_that_is_set_back_stops_nothing():
    follow = following()
    read(follow, START + 1_000, [])

    query = follow.query(START - 5_000)

    assert query.lower <= query.upper


def test_remembers_only_what_may_come_again():
    follow = following()
    now = START
    for number in range(100):
        read(follow, now, [sent(now, number)])
        now += int(SWEEP_INTERVAL)

    assert len(follow._seen) <= SETTLING / SWEEP_INTERVAL + 2


def test_a_long_history_is_not_remembered_envelope_by_envelope():
    follow = following(START - 100_000)
    held = [sent(START - 100_000 + 20 * number, number) for number in range(5_000)]

    new, _, _ = read(follow, START, held, fails_after=3_000)
    rest, _, _ = read(follow, START + 2, held)

    assert [*new, *rest] == held
    assert len(follow._seen) <= SETTLING / 20 + 1


@settings(max_examples=60)
@given(
    arrivals=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 90)), max_size=15),
    breaks=st.lists(st.one_of(st.none(), st.none(), st.integers(0, 3)), max_size=30),
)
def test_whatever_fails_and_however_late_it_arrives_everything_comes_once(arrivals, breaks):
    """Envelopes reach the server up to a minute and a half late; readings break off after a few; clocks go on."""
    envelopes = {sent(START + at, number): START + at + delay for number, (at, delay) in enumerate(arrivals)}
    follow = following()
    given_out = []
    now = float(START)
    breaking = iter(breaks)
    while now < START + 600:
        held = [each for each, arrived in envelopes.items() if arrived <= now]
        given_out += read(follow, now, held, fails_after=next(breaking, None))[0]
        now += follow.pause()
    held = list(envelopes)
    given_out += read(follow, now, held)[0]
    given_out += read(follow, now + SWEEP_INTERVAL, held)[0]

    assert sorted(given_out, key=lambda each: each.position) == sorted(envelopes, key=lambda each: each.position)
