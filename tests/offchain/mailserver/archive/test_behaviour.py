"""What every archive does, LMDB and PostgreSQL alike."""

import threading

import pytest

from offchain.errors import StorageError
from offchain.mailserver.archive import Query
from tests.support.mailserver import DAY, MARCH, bloom, old_bloom, pages, raws, sample

EVERYTHING = Query(0, 2**32 - 1)


def test_gives_back_what_it_was_given_oldest_first(archive):
    samples = [sample(MARCH + second, number) for number, second in enumerate((30, 10, 20, 10))]

    assert archive.add_many(samples) == [True] * 4

    page = archive.query(EVERYTHING)
    assert page.envelopes == raws(samples)
    assert page.last == samples[0].position
    assert page.cursor is None


def test_says_which_envelopes_are_new(archive):
    first, second = sample(MARCH, 1), sample(MARCH, 2)
    archive.add_many([first])

    assert archive.add_many([first, second, second]) == [False, True, False]
    assert archive.query(EVERYTHING).envelopes == raws([first, second])


def test_both_ends_of_the_range_belong_to_it(archive):
    samples = [sample(MARCH + n, n) for n in range(5)]
    archive.add_many(samples)

    assert archive.query(Query(MARCH + 1, MARCH + 3)).envelopes == raws(samples[1:4])
    assert archive.query(Query(MARCH + 1, MARCH + 3, topics=(b"abcd",))).envelopes == raws(samples[1:4])


@pytest.mark.parametrize("choice", [{"topics": (b"abcd", b"wxyz")}, {"bloom": bloom(b"abcd", b"wxyz")}, {}])
def test_pages_join_without_gap_or_overlap(archive, choice):
    samples = [sample(MARCH - 3 + n // 3, n, (b"abcd", b"wxyz")[n % 2]) for n in range(25)]
    archive.add_many(samples)

    found = pages(archive, Query(MARCH - 10, MARCH + 10, limit=4, **choice))

    assert [each for page in found for each in page] == raws(samples)
    assert all(len(page) == 4 for page in found[:-1])


def test_a_page_that_reached_its_limit_has_a_cursor_even_if_nothing_follows(archive):
    archive.add_many([sample(MARCH, 1), sample(MARCH, 2)])

    page = archive.query(Query(MARCH, MARCH, limit=2))

    assert page.cursor == page.last == sample(MARCH, 2).position
    assert archive.query(Query(MARCH, MARCH, limit=2, cursor=page.cursor)).envelopes == []


def test_a_page_ends_when_its_bytes_are_used_up(archive):
    samples = [sample(MARCH, n, size=1000) for n in range(6)]
    archive.add_many(samples)

    page = archive.query(Query(MARCH, MARCH, max_bytes=2500))

    assert page.envelopes == raws(samples[:3])
    assert page.cursor == samples[2].position


@pytest.mark.parametrize(
    ("cursor", "expected"),
    [
        (sample(MARCH + 2, 999).position, slice(3, None)),  # of an envelope that this archive never had
        (sample(0, 0).position, slice(0, None)),
        (sample(MARCH + 100, 0).position, slice(0, 0)),
        (b"\xff" * 36, slice(0, 0)),
        (bytes(36), slice(0, None)),
    ],
)
def test_a_cursor_from_elsewhere_is_a_place_in_time(archive, cursor, expected):
    samples = [sample(MARCH + n, n) for n in range(5)]
    archive.add_many(samples)

    assert archive.query(Query(MARCH, MARCH + 50, cursor=cursor)).envelopes == raws(samples[expected])
    assert archive.query(Query(MARCH, MARCH + 50, topics=(b"abcd",), cursor=cursor)).envelopes == raws(
        samples[expected]
    )


def test_a_cursor_before_the_range_does_not_widen_it(archive):
    samples = [sample(MARCH + n, n) for n in range(5)]
    archive.add_many(samples)

    assert archive.query(Query(MARCH + 3, MARCH + 50, cursor=samples[0].position)).envelopes == raws(samples[3:])


def test_a_bloom_filter_of_an_old_program_finds_its_topic(archive):
    topic = bytes((0x10, 0x11, 0x80, 0))  # two bits in one byte: the old filter has lost the first of them
    assert old_bloom(topic) != bloom(topic)
    archive.add_many([sample(MARCH, 1, topic), sample(MARCH, 2, b"zzzz")])

    for asked in (bloom(topic), old_bloom(topic)):
        assert archive.query(Query(MARCH, MARCH, bloom=asked)).envelopes == [sample(MARCH, 1, topic).raw]


def test_a_bloom_filter_without_a_bit_finds_nothing(archive):
    archive.add_many([sample(MARCH, 1)])

    assert archive.query(Query(0, MARCH, bloom=bytes(64))).envelopes == []


def test_a_topic_that_came_after_the_first_question_is_found_by_bloom_too(archive):
    archive.add_many([sample(MARCH, 1, b"aaaa")])
    archive.query(Query(MARCH, MARCH, bloom=bloom(b"bbbb")))
    archive.add_many([sample(MARCH, 2, b"bbbb")])

    assert archive.query(Query(MARCH, MARCH, bloom=bloom(b"bbbb"))).envelopes == [sample(MARCH, 2, b"bbbb").raw]


@pytest.mark.parametrize(
    "query",
    [
        Query(5, 4),
        Query(2**32, 2**64),
        Query(0, 2**64, limit=0),
        Query(0, 2**64, limit=-5),
        Query(-10, -1),
        Query(0, 2**64, topics=(b"none",)),
    ],
)
def test_a_range_without_anything_in_it_gives_an_empty_page(archive, query):
    archive.add_many([sample(MARCH, 1)])

    page = archive.query(query)

    assert (page.envelopes, page.last, page.cursor) == ([], None, None)


@pytest.mark.parametrize(
    "query",
    [
        Query(0, 1, cursor=b"short"),
        Query(0, 1, bloom=b"short"),
        Query(0, 1, topics=(b"abc",)),
        Query(0, 1, topics=tuple(n.to_bytes(4, "big") for n in range(513))),
    ],
)
def test_what_is_not_a_query_is_refused(archive, query):
    with pytest.raises(ValueError, match=r"expected|has"):
        archive.query(query)


def test_deletes_whole_days(archive):
    samples = [sample(MARCH + n * DAY // 2, n) for n in range(6)]
    archive.add_many(samples)
    days = archive.days()

    archive.delete_day(days[0].day)

    assert archive.query(EVERYTHING).envelopes == raws(samples[2:])
    assert [each.day for each in archive.days()] == [each.day for each in days[1:]]
    assert archive.add_many(samples[:1]) == [True]


def test_merges_topics_across_days_in_the_order_of_time(archive):
    samples = [sample(MARCH - 5 + n, n, (b"aaaa", b"bbbb", b"cccc")[n % 3]) for n in range(12)]
    archive.add_many(samples)

    page = archive.query(Query(MARCH - 5, MARCH + 20, topics=(b"cccc", b"aaaa", b"aaaa")))

    assert page.envelopes == raws(each for each in samples if each.topic != b"bbbb")


@pytest.mark.parametrize("count", [2, 3, 20, 64, 65, 200])
def test_merges_however_many_topics(archive, count):
    topics = [number.to_bytes(4, "big") for number in range(3 * count)]
    samples = [sample(MARCH + at * 7 % 1_000, at, topics[at % len(topics)]) for at in range(1_200)]
    archive.add_many(samples)
    asked = tuple(topics[count : 2 * count])
    wanted = raws(each for each in samples if each.topic in asked)

    found = pages(archive, Query(0, MARCH + DAY, asked, limit=50))

    assert [raw for page in found for raw in page] == wanted
    assert all(len(page) == 50 for page in found[:-1])


def test_times_far_off_are_just_other_days(archive):
    samples = [sample(0, 1), sample(MARCH, 2), sample(2**32 - 1, 3)]
    archive.add_many(samples)

    assert archive.query(EVERYTHING).envelopes == raws(samples)


def test_lists_positions_from_one_bound_to_before_another(archive):
    samples = sorted((sample(MARCH - 5 + n % 11, n) for n in range(40)), key=lambda each: each.position)
    archive.add_many(samples)
    places = [each.position for each in samples]

    assert archive.positions(b"", b"\xff" * 36, 100) == places
    assert archive.positions(places[3], places[20], 100) == places[3:20]
    assert archive.positions(places[3], places[20], 5) == places[3:8]
    assert archive.positions(places[3] + b"\0", places[20], 1) == places[4:5]
    assert archive.positions(MARCH.to_bytes(4, "big"), (MARCH + 2).to_bytes(4, "big"), 100) == [
        each.position for each in samples if MARCH <= each.sent < MARCH + 2
    ]
    assert archive.positions(places[3][:7], places[3][:6], 100) == []


def test_gives_envelopes_by_position_in_the_order_asked(archive):
    samples = [sample(MARCH - 2 + n, n) for n in range(5)]
    archive.add_many(samples)
    other = sample(MARCH + 5 * DAY, 9)

    asked = [samples[4].position, other.position, samples[0].position, sample(MARCH, 77).position]

    assert archive.get_many(asked) == [samples[4].raw, None, samples[0].raw, None]
    assert archive.get_many([]) == []


def test_counts_and_says_what_is_kept(archive):
    archive.add_many([sample(MARCH + n * DAY, n) for n in range(3)])

    assert archive.count() == 3
    assert [each.day for each in archive.days()] == [MARCH // DAY + n for n in range(3)]
    assert all(each.size > 0 for each in archive.days())


def test_nothing_works_after_closing(archive):
    archive.add_many([sample(MARCH, 1)])
    archive.close()

    with pytest.raises(StorageError, match="closed"):
        archive.add_many([sample(MARCH, 1)])
    with pytest.raises(StorageError, match="closed"):
        archive.positions(b"", b"\xff" * 36, 1)


def test_a_filter_that_lets_too_much_through_is_answered_in_short_pages(archive):
    topics = [n.to_bytes(3, "big") + b"\x01" for n in range(600)]
    samples = [sample(MARCH + n % 50, n, topics[n % 600]) for n in range(6000)]
    archive.add_many(samples)
    filter_ = bytes(64 - 1) + b"\x80"  # one bit: no topic passes
    almost_all = bytearray(b"\xff" * 64)
    almost_all[600 % 256 // 8] &= 0xFE

    assert [each for page in pages(archive, Query(MARCH, MARCH + 50, bloom=filter_)) for each in page] == []
    wanted = [
        each for each in samples if not any(n & ~f for n, f in zip(old_bloom(each.topic), almost_all, strict=True))
    ]
    found = [each for page in pages(archive, Query(MARCH, MARCH + 50, bloom=bytes(almost_all))) for each in page]
    assert found == raws(wanted)


def test_readers_and_a_writer_do_not_disturb_each_other(archive):
    failures = []
    done = threading.Event()

    def read():
        while not done.is_set():
            try:
                found = [each for page in pages(archive, Query(MARCH, MARCH + 10, limit=7)) for each in page]
                assert len(found) == len(set(found))
            except Exception as error:
                failures.append(error)
                return

    readers = [threading.Thread(target=read) for _ in range(3)]
    for each in readers:
        each.start()
    for first in range(0, 200, 20):
        archive.add_many([sample(MARCH + n % 10, n) for n in range(first, first + 20)])
    done.set()
    for each in readers:
        each.join()

    assert failures == []
    assert archive.count() == 200
