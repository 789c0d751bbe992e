"""A connection to PostgreSQL for threads: asyncpg, on an event loop in a thread of its own.

Everything that is asyncpg's is in here, its errors too. Callers wait for what they ask; the loop keeps reading
meanwhile, so that a connection which the database has cut is known to be closed before it is used again.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

import asyncpg

from offchain.errors import ConfigError, StorageError

CONNECT_TIMEOUT = 5.0
"""Seconds."""

CLOSE_TIMEOUT = 2.0
"""Seconds for the database to hear that a connection ends."""

PREPARED = 512
"""Statements that a connection remembers: a few for each day that is asked for."""

_FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""What asyncpg raises: the database's errors, its own, and the network's."""

_Result = TypeVar("_Result")


class DatabaseError(StorageError):
    """The database refused something, or went away."""


class NoSuchTable(DatabaseError):
    """A table, or the partition for a row, is not there."""


class Loop:
    """An event loop in a thread of its own, for as long as it is not stopped."""

    def __init__(self) -> None:
        self._stop = asyncio.Event()
        started: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(target=self._run, args=(started,), name="archive-postgres", daemon=True)
        self._thread.start()
        self._loop = started.result()

    def run(self, action: Coroutine[Any, Any, _Result]) -> _Result:
        """Do something on the loop; its result. If the caller is interrupted, it is cancelled."""
        doing = asyncio.run_coroutine_threadsafe(action, self._loop)
        try:
            return doing.result()
        except BaseException:
            doing.cancel()
            raise

    def stop(self) -> None:
        """End the thread. Nothing may be run afterwards."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self, started: Future[asyncio.AbstractEventLoop]) -> None:
        async def main() -> None:
            started.set_result(asyncio.get_running_loop())
            await self._stop.wait()

        asyncio.run(main())


class Connection:
    """One connection, for one thread at a time. DatabaseError if the database refuses something or is gone."""

    def __init__(self, loop: Loop, url: str) -> None:
        """`url`: postgresql://user@host/database. ConfigError if it is none, StorageError if nothing can be reached."""
        self._loop = loop
        try:
            self._inner: Any = loop.run(
                asyncpg.connect(
                    url,
                    timeout=CONNECT_TIMEOUT,
                    statement_cache_size=PREPARED,
                    max_cached_statement_lifetime=0,
                )
            )
        except _FAILURES as error:
            if isinstance(error, asyncpg.ClientConfigurationError):
                raise ConfigError(_NO_URL) from None
            raise StorageError(f"the archive's database cannot be reached: {_text(error)}") from error
        except ValueError:  # a port that is not a number; the text may quote the password
            raise ConfigError(_NO_URL) from None

    @property
    def closed(self) -> bool:
        """Whether it has ended, by whomever."""
        closed: bool = self._inner.is_closed()
        return closed

    def execute(self, text: str) -> None:
        """Statements without values, separated by semicolons."""
        self._run(self._inner.execute(text))

    def fetch(self, text: str, *values: object) -> list[Any]:
        """The rows of a statement, like tuples. Its values are $1, $2 and so on."""
        rows: list[Any] = self._run(self._inner.fetch(text, *values))
        return rows

    def copy(self, table: str, rows: Iterable[tuple[object, ...]]) -> None:
        """Append rows to a table of this session."""
        self._run(self._inner.copy_records_to_table(table, records=rows))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing: committed at the end, rolled back if something is raised."""
        transaction: Any = self._inner.transaction()
        self._run(transaction.start())
        try:
            yield
        except BaseException:
            try:
                self._run(transaction.rollback())
            except DatabaseError:
                self.close()  # which undoes it too
            raise
        self._run(transaction.commit())

    def close(self) -> None:
        """End it, whatever it is doing."""

        async def close() -> None:
            try:
                await self._inner.close(timeout=CLOSE_TIMEOUT)
            except _FAILURES:
                self._inner.terminate()

        self._loop.run(close())

    def _run(self, action: Coroutine[Any, Any, _Result]) -> _Result:
        try:
            return self._loop.run(action)
        except (asyncpg.UndefinedTableError, asyncpg.CheckViolationError) as error:
            raise NoSuchTable(f"the archive's database failed: {_text(error)}") from error
        except _FAILURES as error:
            raise DatabaseError(f"the archive's database failed: {_text(error)}") from error


_NO_URL = "the archive's database is not given as PostgreSQL wants it: postgresql://user@host/database"


def _text(error: BaseException) -> str:
    """The first line of an error: the others may quote values."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
