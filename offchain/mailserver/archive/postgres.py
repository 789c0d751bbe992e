"""An archive in PostgreSQL, for several mail servers that share one, or one that outgrows a machine.

    days      (day)                              the days that are kept
    topics    (day, topic, b0, b1, b2)           the topics of a day, and the bits of a bloom filter that each needs
    envelopes (topic, sent, hash, size, raw)     partitioned by day: tables d20513, d20514 ...
                  unique (sent, hash), and (topic, sent, hash) with the size

Envelopes come in by COPY into a temporary table, and from there where they are not yet (several servers meet the same
envelopes all the time). A query asks each day's own table, so that plans stay small and are made once; one statement
merges the topics in the order of the index, envelope by envelope, until the page is full (docs/decisions/0031).

Needs asyncpg, which is not installed by default.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from functools import cache
from typing import Any

from offchain.errors import StorageError
from offchain.mailserver.archive.base import (
    MAX_SENT,
    SECONDS_PER_DAY,
    Archivable,
    DayInfo,
    Page,
    Query,
    check_archivable,
    check_query,
    day_at,
    first_position,
    position,
)
from offchain.mailserver.archive.day import MAX_MERGED_TOPICS, MAX_SCANNED, Collector
from offchain.mailserver.archive.pg_connection import Connection, NoSuchTable
from offchain.mailserver.archive.pg_pool import MAX_CONNECTIONS, Pool
from offchain.mailserver.archive.topics import FULL, bit_places, needed_bits

FORMAT = 1
DAYS_BELIEVED = 1.0
"""Seconds for which the list of days is believed: when another server begins a day, it is seen so much later."""

DAY_LOCK = 0x5741_5950_4F53_5400
"""Held while a day is begun or deleted: "WAYPOST", as an integer."""

_LOCK = f"SELECT pg_advisory_xact_lock({DAY_LOCK})"

_SCHEMA = """
CREATE SCHEMA IF NOT EXISTS {schema};
CREATE TABLE IF NOT EXISTS {schema}.format (version int PRIMARY KEY);
INSERT INTO {schema}.format SELECT {version} WHERE NOT EXISTS (SELECT FROM {schema}.format);
CREATE TABLE IF NOT EXISTS {schema}.days (day int PRIMARY KEY);
CREATE TABLE IF NOT EXISTS {schema}.topics (day int, topic int, b0 int, b1 int, b2 int, PRIMARY KEY (day, topic));
CREATE TABLE IF NOT EXISTS {schema}.envelopes
    (topic int NOT NULL, sent bigint NOT NULL, hash bytea NOT NULL, size int NOT NULL, raw bytea NOT NULL,
     UNIQUE (sent, hash)) PARTITION BY RANGE (sent);
CREATE INDEX IF NOT EXISTS envelopes_by_topic ON {schema}.envelopes (topic, sent, hash) INCLUDE (size);
"""

_BEGIN_DAY = """
CREATE TABLE IF NOT EXISTS {table} PARTITION OF {schema}.envelopes FOR VALUES FROM ({begin}) TO ({end});
ALTER TABLE {table} ALTER COLUMN raw SET STORAGE EXTERNAL;
INSERT INTO {schema}.days VALUES ({number}) ON CONFLICT DO NOTHING;
"""

_STAGING = (
    "CREATE TEMPORARY TABLE incoming (topic int, sent bigint, hash bytea, size int, raw bytea) ON COMMIT DELETE ROWS"
)

_INSERT_TOPICS = """
INSERT INTO {schema}.topics SELECT * FROM unnest($1::int[], $2::int[], $3::int[], $4::int[], $5::int[])
ON CONFLICT DO NOTHING
"""

_INSERT = """
INSERT INTO {schema}.envelopes SELECT * FROM incoming ORDER BY sent, hash
ON CONFLICT DO NOTHING RETURNING sent, hash
"""

_MERGE = """
SELECT sent, hash, raw FROM (
    SELECT sent, hash, raw, sum(size) OVER (ORDER BY sent, hash ROWS UNBOUNDED PRECEDING) - size AS before
    FROM (SELECT * FROM ({branches}) AS merged ORDER BY sent, hash LIMIT $4) AS found
) AS cut WHERE before < $5 ORDER BY sent, hash
"""

_BRANCH = """(SELECT sent, hash, size, raw FROM {table}
WHERE topic = ${number} AND (sent, hash) >= ($1, $2) AND sent <= $3 ORDER BY sent, hash LIMIT $4)"""

BRANCHES = (1, 2, 4, 8, 12, 16, 20, 24, 32, 48, 64)
"""Topics that one statement merges; fewer are filled up with nothing. For more there is _MERGE_MANY."""

_MERGE_MANY = """
WITH found AS MATERIALIZED (
    SELECT one.sent, one.hash, one.size
    FROM unnest($5::int[]) AS asked (topic) CROSS JOIN LATERAL (
        SELECT sent, hash, size FROM {table}
        WHERE topic = asked.topic AND (sent, hash) >= ($1, $2) AND sent <= $3
        ORDER BY sent, hash LIMIT $4) AS one
    ORDER BY 1, 2 LIMIT $4
), cut AS MATERIALIZED (
    SELECT sent, hash, sum(size) OVER (ORDER BY sent, hash) - size AS before FROM found
)
SELECT cut.sent, cut.hash, (SELECT raw FROM {table} AS kept WHERE kept.sent = cut.sent AND kept.hash = cut.hash)
FROM cut WHERE before < $6 ORDER BY 1, 2
"""

_SCAN = """
SELECT sent, hash, topic, size FROM {table}
WHERE (sent, hash) >= ($1, $2) AND sent <= $3 ORDER BY sent, hash LIMIT $4
"""

_MATCHING = """
SELECT topic FROM {schema}.topics WHERE day = $1
AND get_bit($2::bytea, b0) = 1 AND get_bit($2::bytea, b1) = 1 AND get_bit($2::bytea, b2) = 1 LIMIT $3
"""

_GET = """
SELECT kept.sent, kept.hash, kept.raw FROM unnest($1::bigint[], $2::bytea[]) AS asked (sent, hash)
JOIN {table} AS kept ON kept.sent = asked.sent AND kept.hash = asked.hash
"""

_POSITIONS = """
SELECT sent, hash FROM {table} WHERE (sent, hash) >= ($1, $2) AND (sent, hash) < ($3, $4)
ORDER BY sent, hash LIMIT $5
"""

_SIZES = """
SELECT day, pg_total_relation_size(name), greatest(reltuples, 0)::bigint
FROM (SELECT day, format('%I.%I', $1::text, 'd' || day)::regclass AS name FROM {schema}.days) AS kept
JOIN pg_class ON pg_class.oid = name ORDER BY day
"""


_ESTIMATE = """
SELECT coalesce(sum(greatest(reltuples, 0)), 0)::bigint FROM pg_class JOIN pg_namespace AS space
ON space.oid = relnamespace WHERE nspname = $1::text AND relkind = 'r' AND relname ~ '^d[0-9]+$'
"""

MAX_COUNTED = 100_000
"""Envelopes that are counted one by one."""


class PostgresArchive:
    """Envelopes in a schema of a PostgreSQL database. Made and used as `archive.base.Archive` says.

    Several may use one schema, in any number of processes. StorageError if the database cannot be reached, or the
    schema was made by another version; what was acknowledged before is there, and the next call is tried afresh.
    """

    waits = True

    def __init__(self, url: str, *, schema: str = "waypost", connections: int = MAX_CONNECTIONS) -> None:
        """`url`: postgresql://user@host/database, with libpq's parameters after a question mark. ConfigError if not."""
        self._schema = schema
        self._known_days: frozenset[int] = frozenset()
        self._listed: tuple[tuple[int, ...], float] = ((), 0.0)
        """The days to look into, and until when that is believed."""
        self._statements: dict[tuple[str, int], str] = {}
        self._pool = Pool(url, self._prepare, connections)
        try:
            with self._pool.borrow() as connection:
                connection.execute(_LOCK)
                connection.execute(self._sql(_SCHEMA, version=FORMAT))
                found = [version for (version,) in connection.fetch(self._sql("SELECT version FROM {schema}.format"))]
            if found != [FORMAT]:
                raise StorageError(f"the schema {schema} holds version {found[0]}, expected {FORMAT}")
        except BaseException:
            self.close()
            raise

    def add_many(self, envelopes: Sequence[Archivable]) -> list[bool]:
        """Store durably, all in one transaction; for each envelope, whether it is new."""
        check_archivable(envelopes)
        rows: dict[bytes, Archivable] = {}
        first: list[bool] = []
        for each in envelopes:
            at = position(each.sent, each.hash)
            first.append(at not in rows)
            rows.setdefault(at, each)
        if not rows:
            return []
        days = {each.sent // SECONDS_PER_DAY for each in envelopes}
        for attempt in range(3):
            self._begin_days(days - self._known_days)
            try:
                added = self._insert(rows, days)
                break
            except NoSuchTable:
                self._known_days = frozenset()  # another server has deleted it meanwhile
                if attempt == 2:
                    raise StorageError("days are deleted as fast as they are begun") from None
        return [
            is_first and position(each.sent, each.hash) in added
            for is_first, each in zip(first, envelopes, strict=True)
        ]

    def query(self, query: Query) -> Page:
        """The next page, oldest first; of the days that are there, if some are deleted meanwhile."""
        check_query(query)
        page = Collector(query.limit, query.max_bytes)
        upper = min(query.upper, MAX_SENT)
        first = first_position(query)
        if query.limit < 1 or upper < 0 or first[:4] > upper.to_bytes(4, "big"):
            return Page([], None, None)
        topics = tuple(dict.fromkeys(query.topics))
        bloom = FULL if query.bloom is None else int.from_bytes(query.bloom, "big")

        def look(connection: Connection) -> None:
            for day in self._days_between(connection, day_at(first), upper // SECONDS_PER_DAY):
                if page.full:
                    return
                wanted = topics or self._matching(connection, day, bloom)
                if wanted is None:
                    self._scan(connection, day, first, upper, bloom, page)
                else:
                    self._merge(connection, day, first, upper, wanted, page)

        self._pool.read(look)
        return Page(page.envelopes, page.last, page.cursor)

    def positions(self, begin: bytes, end: bytes, limit: int) -> list[bytes]:
        """The first positions from begin to before end, in order."""

        def look(connection: Connection) -> list[bytes]:
            found: list[bytes] = []
            for day in self._days_between(connection, day_at(begin), day_at(end)):
                if len(found) < limit:
                    values = (*_bound(begin), *_bound(end), limit - len(found))
                    rows = self._ask(connection, _POSITIONS, *values, day=day)
                    found += [position(sent, hash_) for sent, hash_ in rows]
            return found

        return self._pool.read(look)

    def get_many(self, positions: Collection[bytes]) -> list[bytes | None]:
        """The envelopes at these positions; None where there is none."""
        by_day: defaultdict[int, list[bytes]] = defaultdict(list)
        for at in positions:
            by_day[day_at(at)].append(at)

        def look(connection: Connection) -> dict[bytes, bytes]:
            found: dict[bytes, bytes] = {}
            for day, of_day in by_day.items():
                if self._days_between(connection, day, day):
                    found.update(self._get(connection, day, of_day))
            return found

        found = self._pool.read(look)
        return [found.get(at) for at in positions]

    def days(self) -> list[DayInfo]:
        """What is kept, oldest first. The size is that of tables and indexes."""
        rows = self._pool.read(lambda connection: self._ask(connection, _SIZES, self._schema))
        return [DayInfo(day, size, count) for day, size, count in rows]

    def count(self) -> int:
        """How many envelopes are kept: exactly while they are few, else as the database estimates it."""

        def look(connection: Connection) -> int:
            estimate = int(self._ask(connection, _ESTIMATE, self._schema)[0][0])
            if estimate > MAX_COUNTED:
                return estimate
            return int(self._ask(connection, "SELECT count(*) FROM {schema}.envelopes")[0][0])

        return self._pool.read(look)

    def delete_day(self, day: int) -> None:
        """Forget a whole day, once those who read it are done."""
        self._known_days -= {day}
        self._statements.clear()
        with self._pool.borrow() as connection:
            connection.execute(_LOCK)
            connection.execute(self._sql("DROP TABLE IF EXISTS {table}", day))
            connection.fetch(self._sql("DELETE FROM {schema}.topics WHERE day = $1"), day)
            connection.fetch(self._sql("DELETE FROM {schema}.days WHERE day = $1"), day)
        self._listed = ((), 0.0)

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    # Writing

    def _prepare(self, connection: Connection) -> None:
        connection.execute(_STAGING)

    def _begin_days(self, days: Collection[int]) -> None:
        if not days:
            return
        with self._pool.borrow() as connection:
            connection.execute(_LOCK)
            for day in sorted(days):
                begin, end = day * SECONDS_PER_DAY, (day + 1) * SECONDS_PER_DAY
                connection.execute(self._sql(_BEGIN_DAY, day, begin=begin, end=end, number=day))
        self._known_days |= set(days)
        self._listed = ((), 0.0)

    def _insert(self, rows: dict[bytes, Archivable], days: Collection[int]) -> set[bytes]:
        """The positions that were not there before. NoSuchTable if one of the days is deleted."""
        topics = {(each.sent // SECONDS_PER_DAY, each.topic) for each in rows.values()}
        bits = [(day, _number(topic), *bit_places(topic)) for day, topic in sorted(topics)]
        incoming = [(_number(each.topic), each.sent, each.hash, len(each.raw), each.raw) for each in rows.values()]
        with self._pool.borrow() as connection:
            connection.copy("incoming", incoming)
            connection.fetch(self._sql(_INSERT_TOPICS), *(list(column) for column in zip(*bits, strict=True)))
            added = connection.fetch(self._sql(_INSERT))
        return {position(sent, hash_) for sent, hash_ in added}

    # Reading

    def _days_between(self, connection: Connection, first: int, last: int) -> list[int]:
        listed, until = self._listed
        if until <= time.monotonic():
            listed = tuple(day for (day,) in self._ask(connection, "SELECT day FROM {schema}.days ORDER BY day"))
            self._listed = (listed, time.monotonic() + DAYS_BELIEVED)
        return [day for day in listed if first <= day <= last]

    def _matching(self, connection: Connection, day: int, bloom: int) -> Sequence[bytes] | None:
        """The day's topics that the filter lets through; None if they are so many that a scan is better."""
        if bloom == FULL:
            return None
        bits = bloom.to_bytes(64, "big")
        rows = self._ask(connection, _MATCHING, day, bits, MAX_MERGED_TOPICS + 1)
        if len(rows) > MAX_MERGED_TOPICS:
            return None
        return [topic.to_bytes(4, "big", signed=True) for (topic,) in rows]

    def _merge(
        self, connection: Connection, day: int, first: bytes, upper: int, topics: Sequence[bytes], page: Collector
    ) -> None:
        if not topics:
            return
        numbers: list[int | None] = [_number(each) for each in topics]
        values = (*_bound(first), upper, page.left)
        branches = next((count for count in BRANCHES if count >= len(numbers)), None)
        if branches is None:
            rows = self._ask(connection, _MERGE_MANY, *values, numbers, page.room, day=day)
        else:
            padded = numbers + [None] * (branches - len(numbers))
            rows = self._ask(connection, _merge_of(branches), *values, page.room, *padded, day=day)
        for sent, hash_, raw in rows:
            if raw is not None and not page.take(position(sent, hash_), raw):
                return

    def _scan(self, connection: Connection, day: int, first: bytes, upper: int, bloom: int, page: Collector) -> None:
        """Every envelope of the range, one by one, those that the filter lets through."""
        missing = FULL ^ bloom
        while True:
            limit = min(page.left, MAX_SCANNED) if not missing else max(page.scans_left, 1)
            rows = self._ask(connection, _SCAN, *_bound(first), upper, limit, day=day)
            fitting, room = [], page.room
            end: bytes | None = None
            for sent, hash_, topic, size in rows:
                at = position(sent, hash_)
                if missing and needed_bits(topic.to_bytes(4, "big", signed=True)) & missing:
                    page.scans_left -= 1
                    if page.scans_left <= 0:
                        end = at
                        break
                    continue
                fitting.append(at)
                room -= size
                if room <= 0 or len(fitting) >= page.left:
                    break
            raws = self._get(connection, day, fitting) if fitting else {}
            for at in fitting:
                if at in raws and not page.take(at, raws[at]):
                    return
            if end is not None:
                page.give_up(end)
                return
            if len(rows) < limit:
                return
            first = position(*rows[-1][:2]) + b"\0"

    def _get(self, connection: Connection, day: int, positions: Sequence[bytes]) -> dict[bytes, bytes]:
        """Envelopes of a day by position, those that are there."""
        values = [int.from_bytes(at[:4], "big") for at in positions], [at[4:] for at in positions]
        rows = self._ask(connection, _GET, *values, day=day)
        return {position(sent, hash_): raw for sent, hash_, raw in rows}

    def _ask(self, connection: Connection, statement: str, *values: object, day: int = 0) -> list[Any]:
        """Rows of a statement; none if the day is deleted meanwhile."""
        composed = self._statements.get((statement, day))
        if composed is None:
            composed = self._statements[statement, day] = self._sql(statement, day)
        try:
            return connection.fetch(composed, *values)
        except NoSuchTable:
            return []

    def _sql(self, text: str, day: int = 0, **numbers: int) -> str:
        schema = '"' + self._schema.replace('"', '""') + '"'
        return text.format(schema=schema, table=f"{schema}.d{day}", **numbers)


@cache
def _merge_of(branches: int) -> str:
    """The statement for so many topics: $5 is the room in bytes, the topics come behind it."""
    each = (_BRANCH.replace("{number}", str(6 + number)) for number in range(branches))
    return _MERGE.replace("{branches}", " UNION ALL ".join(each))


def _number(topic: bytes) -> int:
    """A topic as PostgreSQL's integer, which has a sign."""
    return int.from_bytes(topic, "big", signed=True)


def _bound(bound: bytes) -> tuple[int, bytes]:
    """A position, or the first bytes of one, as the table's columns."""
    return int.from_bytes(bound[:4].ljust(4, b"\0"), "big"), bound[4:]
