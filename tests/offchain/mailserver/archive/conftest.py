"""Archives to test: one of each kind, empty."""

import itertools

import pytest

from offchain.mailserver.archive.lmdb import LmdbArchive
from tests.support import postgres

SCHEMAS = itertools.count()


@pytest.fixture(scope="session")
def database():
    """The URL of a PostgreSQL of our own; skips where none can be had."""
    pytest.importorskip("asyncpg", reason="asyncpg is not installed")
    binaries = postgres.binaries()
    if binaries is None:
        pytest.skip("there is no PostgreSQL: neither the system's nor PyPI's pgserver")
    with postgres.cluster(binaries) as url:
        yield url


@pytest.fixture
def open_postgres(database):
    """Opens archives in a schema of their own, all in the same one."""
    from offchain.mailserver.archive.postgres import PostgresArchive

    schema = f"test{next(SCHEMAS)}"
    opened = []

    def open_one(**options):
        opened.append(PostgresArchive(database, schema=schema, **options))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


@pytest.fixture(params=["lmdb", "postgres"])
def archive(request, tmp_path):
    if request.param == "postgres":
        yield request.getfixturevalue("open_postgres")()
        return
    archive = LmdbArchive(tmp_path / "archive", initial_map=1024 * 1024)
    yield archive
    archive.close()
