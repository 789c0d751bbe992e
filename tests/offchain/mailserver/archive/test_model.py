"""The archive against a model of it: a sorted list."""

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from offchain.mailserver.archive import Query
from offchain.mailserver.archive.lmdb import LmdbArchive
from tests.support.mailserver import DAY, MARCH, bloom, old_bloom, sample

TOPICS = (b"aaaa", b"aaab", b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", bytes((8, 9, 10, 0)))
times = st.integers(-3, 3).map(lambda n: MARCH + n * DAY // 2)
samples = st.builds(sample, times, st.integers(0, 40), st.sampled_from(TOPICS), st.sampled_from((1, 60, 3000)))
ranges = st.integers(-2 * DAY, 2 * DAY).map(lambda n: max(0, MARCH + n))


class ArchiveMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.open()
        self.model = {}

    def open(self):
        self.archive = self.make(Path(self.folder.name))

    @staticmethod
    def make(folder):
        return LmdbArchive(folder, initial_map=64 * 1024, max_open_days=2)

    def teardown(self):
        self.archive.close()
        self.folder.cleanup()

    @rule(batch=st.lists(samples, max_size=12))
    def add(self, batch):
        expected = []
        for each in batch:
            # The hash names the envelope: the same one does not come with another topic.
            expected.append(each.position not in self.model)
            self.model.setdefault(each.position, each)

        assert self.archive.add_many(batch) == expected

    @rule(
        lower=ranges,
        upper=ranges,
        limit=st.integers(1, 10),
        topics=st.lists(st.sampled_from((*TOPICS, b"none")), max_size=4),
        by=st.sampled_from(("topics", "bloom", "all")),
        cursor=st.one_of(st.just(b""), st.builds(lambda at, n: sample(at, n).position, times, st.integers(0, 40))),
    )
    def ask(self, lower, upper, limit, topics, by, cursor):
        asked = set(topics) if by == "topics" and topics else None
        query = Query(lower, upper, (), None, limit, cursor)
        if asked:
            query = Query(lower, upper, tuple(topics), None, limit, cursor)
        elif by == "bloom":
            query = Query(lower, upper, (), bloom(*topics), limit, cursor)
        wanted = [
            each
            for at, each in sorted(self.model.items())
            if lower <= each.sent <= upper and at > cursor and self.matches(each, asked, query.bloom)
        ]

        page = self.archive.query(query)

        assert page.envelopes == [each.raw for each in wanted[:limit]]
        assert page.last == (wanted[:limit][-1].position if wanted else None)
        assert (page.cursor is not None) == (len(wanted) >= limit)
        assert page.cursor in (None, page.last)

    @staticmethod
    def matches(each, asked, filter_):
        if asked is not None:
            return each.topic in asked
        if filter_ is None:
            return True
        return not any(n & ~f for n, f in zip(old_bloom(each.topic), filter_, strict=True))

    @rule(number=st.integers(-2, 1))
    def delete(self, number):
        day = MARCH // DAY + number
        self.archive.delete_day(day)
        self.model = {at: each for at, each in self.model.items() if each.sent // DAY != day}

    @rule()
    def reopen(self):
        self.archive.close()
        self.open()

    @invariant()
    def the_days_add_up(self):
        days = {day.day for day in self.archive.days()}

        assert self.archive.count() == len(self.model)
        assert {each.sent // DAY for each in self.model.values()} <= days


SETTINGS = settings(max_examples=25, stateful_step_count=20, suppress_health_check=list(HealthCheck))


def test_lmdb_does_what_the_model_does():
    run_state_machine_as_test(ArchiveMachine, settings=SETTINGS)


def test_postgres_does_what_the_model_does(open_postgres):
    class PostgresMachine(ArchiveMachine):
        @staticmethod
        def make(folder):
            return open_postgres(connections=2)

        def teardown(self):
            for day in self.archive.days():
                self.archive.delete_day(day.day)
            super().teardown()

    run_state_machine_as_test(PostgresMachine, settings=settings(SETTINGS, max_examples=12))
