"""What only PostgreSQL does: several servers on one database."""

import threading

import pytest

from offchain.errors import ConfigError, StorageError
from offchain.mailserver.archive import Query
from tests.support.mailserver import DAY, MARCH, raws, sample

EVERYTHING = Query(0, 2**32 - 1)


def test_servers_on_one_database_share_what_they_keep(open_postgres):
    one, other = open_postgres(), open_postgres()

    assert one.add_many([sample(MARCH, 1), sample(MARCH, 2)]) == [True, True]
    assert other.add_many([sample(MARCH, 2), sample(MARCH + DAY, 3)]) == [False, True]

    assert one.query(EVERYTHING) == other.query(EVERYTHING)
    assert one.count() == other.count() == 3


def test_servers_that_store_the_same_at_the_same_time_each_store_it_once(open_postgres):
    archives = [open_postgres(connections=2) for _ in range(3)]
    samples = [sample(MARCH + n % 3 * DAY, n) for n in range(300)]
    new, failures = [], []

    def add(archive, batches):
        try:
            for batch in batches:
                new.extend(zip(batch, archive.add_many(batch), strict=True))
        except Exception as error:
            failures.append(error)

    ways = [list(samples), samples[::-1], samples[150:] + samples[:150]]
    parts = [[way[at : at + 50] for at in range(0, 300, 50)] for way in ways]
    threads = [threading.Thread(target=add, args=each) for each in zip(archives, parts, strict=True)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert failures == []
    assert sorted(each.hash for each, is_new in new if is_new) == sorted(each.hash for each in samples)
    assert archives[0].query(EVERYTHING).envelopes == raws(samples)


def test_a_day_that_another_server_deleted_is_begun_again(open_postgres):
    one, other = open_postgres(), open_postgres()
    one.add_many([sample(MARCH, 1)])

    other.delete_day(MARCH // DAY)

    assert one.query(EVERYTHING).envelopes == []
    assert one.add_many([sample(MARCH, 2)]) == [True]
    assert other.query(EVERYTHING).envelopes == raws([sample(MARCH, 2)])


def test_a_day_deleted_between_being_found_and_being_asked_is_left_out(open_postgres, monkeypatch):
    one, other = open_postgres(), open_postgres()
    one.add_many([sample(MARCH, 1), sample(MARCH + DAY, 2)])
    find = one._days_between

    def find_and_lose(*arguments):
        found = find(*arguments)
        other.delete_day(MARCH // DAY)
        return found

    monkeypatch.setattr(one, "_days_between", find_and_lose)

    assert one.query(EVERYTHING).envelopes == raws([sample(MARCH + DAY, 2)])


def test_goes_on_after_its_connections_were_cut(open_postgres):
    archive = open_postgres()
    archive.add_many([sample(MARCH, 1)])
    with archive._pool.borrow() as connection:
        [(process,)] = connection.fetch("SELECT pg_backend_pid()")
    with open_postgres()._pool.borrow() as killer:
        killer.fetch("SELECT pg_terminate_backend($1)", process)

    assert archive.query(EVERYTHING).envelopes == raws([sample(MARCH, 1)])
    assert archive.add_many([sample(MARCH, 2)]) == [True]


def test_a_connection_cut_while_it_is_used_is_replaced(open_postgres):
    archive, other = open_postgres(), open_postgres()
    lent = []

    def die_at_first(connection):
        lent.append(connection)
        if len(lent) == 1:
            [(process,)] = connection.fetch("SELECT pg_backend_pid()")
            with other._pool.borrow() as killer:
                killer.fetch("SELECT pg_terminate_backend($1)", process)
        return connection.fetch("SELECT 7")[0][0]

    assert archive._pool.read(die_at_first) == 7
    assert len(lent) == 2
    assert lent[0].closed


def test_what_the_database_refuses_leaves_a_connection_that_can_be_used(open_postgres):
    archive = open_postgres(connections=1)

    with (
        pytest.raises(StorageError, match="the archive's database failed: division by zero"),
        archive._pool.borrow() as connection,
    ):
        connection.fetch("SELECT 1 / 0")
    with pytest.raises(StorageError, match="the archive's database failed"):
        archive._pool.read(lambda connection: connection.fetch("SELECT $1::int", 2**40))

    assert archive.add_many([sample(MARCH, 1)]) == [True]
    with archive._pool.borrow() as same:
        assert same is connection


def test_what_is_lent_while_the_archive_is_closed_is_closed_when_it_comes_back(open_postgres):
    archive = open_postgres()
    with archive._pool.borrow() as connection:
        archive.close()
        assert connection.fetch("SELECT 7")[0][0] == 7

    assert connection.closed
    with pytest.raises(StorageError, match="the archive is closed"):
        archive.count()


def test_one_who_is_interrupted_leaves_nothing_half_done(open_postgres):
    archive = open_postgres()
    lent = []

    def change_and_be_interrupted():
        with archive._pool.borrow() as connection:
            lent.append(connection)
            connection.execute(archive._sql("UPDATE {schema}.format SET version = 9"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        change_and_be_interrupted()

    assert lent[0].closed
    assert open_postgres().add_many([sample(MARCH, 1)]) == [True]
    assert archive.count() == 1


def test_a_batch_is_stored_whole_or_not_at_all(open_postgres, monkeypatch):
    archive = open_postgres()
    archive.add_many([sample(MARCH, 1)])
    monkeypatch.setattr("offchain.mailserver.archive.postgres._INSERT", "INSERT INTO {schema}.nowhere VALUES (1)")

    with pytest.raises(StorageError):
        archive.add_many([sample(MARCH, 2), sample(MARCH + DAY, 3)])

    monkeypatch.undo()
    assert archive.query(EVERYTHING).envelopes == raws([sample(MARCH, 1)])
    assert archive.add_many([sample(MARCH, 2), sample(MARCH + DAY, 3)]) == [True, True]


def test_a_schema_of_another_version_is_left_alone(open_postgres):
    archive = open_postgres()
    with archive._pool.borrow() as connection:
        connection.execute(archive._sql("UPDATE {schema}.format SET version = 9"))

    with pytest.raises(StorageError, match="holds version 9, expected 1"):
        open_postgres()


def test_says_when_there_is_no_database(tmp_path):
    postgres = pytest.importorskip("offchain.mailserver.archive.postgres")

    with pytest.raises(StorageError, match="cannot be reached"):
        postgres.PostgresArchive(f"postgresql://nobody@/none?host={tmp_path}")


@pytest.mark.parametrize("url", ["not a = valid = url", "host=localhost", "postgresql://me:pass/word@host/database"])
def test_says_what_is_no_database_without_quoting_it(url):
    postgres = pytest.importorskip("offchain.mailserver.archive.postgres")

    with pytest.raises(ConfigError, match=r"as PostgreSQL wants it: postgresql://user@host/database$"):
        postgres.PostgresArchive(url)
