"""Connections to PostgreSQL, for threads to borrow: a bounded number, opened anew when the database was away."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TypeVar

import psycopg

from offchain.errors import StorageError

MAX_CONNECTIONS = 8
CONNECT_TIMEOUT = 5
"""Seconds, as libpq wants them: whole."""

SESSION = (
    "SET plan_cache_mode = force_generic_plan",  # the statements name a day's table, so that one plan fits all values
    "SET enable_bitmapscan = off",  # would read a whole range to sort it; the index gives the order with the first row
    "SET enable_seqscan = off",
    "SET enable_hashjoin = off",
    "SET enable_mergejoin = off",
    "SET random_page_cost = 1",
    "SET jit = off",
    "SET statement_timeout = '30s'",
    "SET lock_timeout = '10s'",
)

Connection = psycopg.Connection[tuple[object, ...]]
_Result = TypeVar("_Result")


class Pool:
    """Hands out connections. StorageError if the database cannot be reached, or refuses what is asked of it."""

    def __init__(self, url: str, prepare: Callable[[Connection], None], most: int = MAX_CONNECTIONS) -> None:
        """`prepare` is called with every new connection."""
        self._url = url
        self._prepare = prepare
        self._slots = threading.BoundedSemaphore(most)
        self._idle: list[Connection] = []
        self._closed = False

    @contextmanager
    def borrow(self, transaction: bool = True) -> Iterator[Connection]:
        """A connection, in a transaction that is committed at the end or each statement by itself; waits for one."""
        with self._slots:
            if self._closed:
                raise StorageError("the archive is closed")
            try:
                connection = self._idle.pop() if self._idle else self._open()
            except psycopg.Error as error:
                raise StorageError(f"the archive's database cannot be reached: {_text(error)}") from error
            try:
                with connection.transaction() if transaction else nullcontext():
                    yield connection
            except psycopg.Error:
                self._idle, idle = [], self._idle  # if the database was away, so were they
                for each in (*idle, connection) if connection.closed else ():
                    each.close()
                if not connection.closed:
                    self._idle = [*idle, connection]
                raise
            except BaseException:
                connection.close()
                raise
            if self._closed:
                connection.close()
            else:
                self._idle.append(connection)

    def read(self, action: Callable[[Connection], _Result]) -> _Result:
        """Look something up; once more if the connection turned out to be dead."""
        try:
            try:
                with self.borrow(transaction=False) as connection:
                    return action(connection)
            except psycopg.OperationalError:
                with self.borrow(transaction=False) as connection:
                    return action(connection)
        except psycopg.Error as error:
            raise StorageError(f"the archive's database failed: {_text(error)}") from error

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A connection to change something with. What fails is a StorageError, and nothing of it was done."""
        try:
            with self.borrow() as connection:
                yield connection
        except psycopg.Error as error:
            raise StorageError(f"the archive's database failed: {_text(error)}") from error

    def close(self) -> None:
        """Close what is not lent; the rest when it comes back."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def _open(self) -> Connection:
        connection: Connection = psycopg.connect(
            self._url, autocommit=True, connect_timeout=CONNECT_TIMEOUT, prepare_threshold=3
        )
        try:
            for statement in SESSION:
                connection.execute(statement.encode())
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection


def _text(error: psycopg.Error) -> str:
    """The first line of an error: the others may quote values."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
