from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.client.coverage import SETTLING, Coverage, Gap, holes, join
from offchain.client.history import Finished, Query
from offchain.errors import StorageError

A, B = b"aaaa", b"bbbb"
NOW = 10_000.0


@pytest.fixture
def coverage():
    with Coverage(":memory:") as made:
        yield made


def finished(complete=True, cursor=None):
    return Finished(complete, "", 0, 1, (), cursor)


stretches = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)).map(sorted).map(tuple), max_size=8)


@given(stretches, st.integers(0, 40), st.integers(0, 40))
def test_joined_stretches_and_holes_are_what_counting_seconds_gives(read, lower, upper):
    seconds = {second for first, last in read for second in range(first, last + 1)}

    joined = join(read)
    lacking = holes(joined, lower, upper)

    assert {second for first, last in joined for second in range(first, last + 1)} == seconds
    assert all(a[1] + 1 < b[0] for a, b in pairwise(joined))
    assert {s for first, last in lacking for s in range(first, last + 1)} == set(range(lower, upper + 1)) - seconds
    assert lacking == join(lacking)


def test_everything_is_lacking_at_first(coverage):
    assert coverage.gaps([B, A], 5, 9) == [Gap((A, B), 5, 9)]


def test_topics_that_lack_the_same_are_asked_for_together(coverage):
    coverage.cover([A, B], 10, 20)
    coverage.cover([A], 30, 40)

    assert coverage.gaps([A, B], 5, 50) == [
        Gap((A, B), 5, 9),
        Gap((A,), 21, 29),
        Gap((B,), 21, 50),
        Gap((A,), 41, 50),
    ]


def test_a_complete_reading_covers_its_range_up_to_what_may_still_arrive(coverage):
    coverage.finished(Query((A,), 100, 20_000), finished(), NOW)

    assert coverage.covered(A) == [(100, NOW - SETTLING)]


def test_a_reading_that_broke_off_covers_what_is_before_its_cursor(coverage):
    cursor = (500).to_bytes(4, "big") + bytes(32)

    coverage.finished(Query((A,), 100, 900), finished(complete=False, cursor=cursor), NOW)

    assert coverage.gaps([A], 100, 900) == [Gap((A,), 500, 900)]


def test_a_reading_that_never_began_covers_nothing(coverage):
    coverage.finished(Query((A,), 100, 900), finished(complete=False), NOW)
    coverage.finished(Query((), 100, 900), finished(), NOW)

    assert coverage.covered(A) == []


def test_a_reading_from_a_cursor_does_not_cover_what_is_before_it(coverage):
    cursor = (500).to_bytes(4, "big") + bytes(32)

    coverage.finished(Query((A,), 100, 900, cursor=cursor), finished(), NOW)

    assert coverage.covered(A) == [(501, 900)]


def test_is_there_after_a_restart_and_can_be_forgotten(tmp_path):
    with Coverage(tmp_path / "coverage") as first:
        first.cover([A], 1, 5)
        first.cover([A], 10, 15)
    with Coverage(tmp_path / "coverage") as second:
        second.forget_before(7)

        assert second.covered(A) == [(10, 15)]


def test_a_file_that_is_not_one_is_a_storage_error(tmp_path):
    (tmp_path / "other").write_bytes(b"a letter to the editor" * 100)

    with pytest.raises(StorageError, match="cannot be used"):
        Coverage(tmp_path / "other")
