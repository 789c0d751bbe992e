from offchain.mailserver.archive import DayInfo
from offchain.mailserver.retention import Retention
from tests.support.mailserver import DAY, MARCH

TODAY = MARCH // DAY


def days(*ages, size=100, count=10):
    return [DayInfo(TODAY - age, size, count) for age in ages]


def settled(retention, now=MARCH, elapsed=0.0):
    """A retention whose clock has gone evenly for long enough."""
    retention.due([], now - 7200, elapsed)
    return retention


def test_deletes_the_days_past_their_time():
    retention = settled(Retention(30, 10**9))

    assert retention.due(days(40, 31, 30, 1, 0), MARCH, 7200.0) == [TODAY - 40, TODAY - 31]


def test_keeps_an_envelope_that_it_would_take():
    retention = settled(Retention(30, 10**9))
    oldest_day = retention.oldest(MARCH + 5) // DAY

    assert retention.due([DayInfo(oldest_day, 1, 1)], MARCH + 5, 7205.0) == []


def test_deletes_the_oldest_days_until_the_rest_fits():
    retention = settled(Retention(30, 250))

    assert retention.due(days(4, 3, 2, 1), MARCH, 7200.0) == [TODAY - 4, TODAY - 3]


def test_deletes_the_oldest_days_until_the_rest_is_few_enough():
    retention = settled(Retention(30, 10**9, 25))

    assert retention.due(days(4, 3, 2, 1), MARCH, 7200.0) == [TODAY - 4, TODAY - 3]
    assert retention.due(days(2, 1), MARCH, 7201.0) == []


def test_never_deletes_today_however_much_it_is():
    retention = settled(Retention(30, 50))

    assert retention.due(days(1, 0), MARCH, 7200.0) == [TODAY - 1]
    assert retention.due(days(0), MARCH, 7201.0) == []


def test_never_deletes_the_only_days_because_the_clock_is_ahead():
    retention = settled(Retention(30, 50), now=MARCH + 100 * DAY)

    assert retention.due(days(0), MARCH, 7200.0) == []


def test_deletes_nothing_for_its_age_just_after_the_start():
    retention = Retention(30, 10**9)

    assert retention.due(days(40), MARCH, 0.0) == []
    assert retention.due(days(40), MARCH + 3599, 3599.0) == []
    assert retention.due(days(40), MARCH + 3600, 3600.0) == [TODAY - 40]


def test_a_clock_that_jumps_ahead_deletes_nothing_for_a_while():
    retention = settled(Retention(30, 10**9))

    assert retention.due(days(10, 0), MARCH + 365 * DAY, 7260.0) == []
    assert retention.due(days(10, 0), MARCH + 60, 7320.0) == []  # and back, as soon as somebody noticed


def test_a_clock_set_back_deletes_nothing():
    retention = settled(Retention(30, 10**9))

    assert retention.due(days(10, 0), MARCH - 365 * DAY, 7260.0) == []


def test_a_clock_that_stays_where_it_jumped_is_believed_after_a_while():
    retention = settled(Retention(30, 10**9))
    later = MARCH + 365 * DAY
    retention.due(days(10), later, 7260.0)

    assert retention.due(days(10), later + 3600, 7260.0 + 3600) == [TODAY - 10]


def test_too_much_is_deleted_even_before_the_clock_has_settled():
    retention = Retention(30, 150)

    assert retention.due(days(3, 2, 1), MARCH, 0.0) == [TODAY - 3, TODAY - 2]
