"""Connections to PostgreSQL, for threads to borrow: a bounded number, opened anew when the database was away."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TypeVar

from offchain.errors import StorageError
from offchain.mailserver.archive.pg_connection import Connection, DatabaseError, Loop

MAX_CONNECTIONS = 8

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

_Result = TypeVar("_Result")


class Pool:
    """Hands out connections. StorageError if the database cannot be reached, DatabaseError if it refuses something."""

    def __init__(self, url: str, prepare: Callable[[Connection], None], most: int = MAX_CONNECTIONS) -> None:
        """`prepare` is called with every new connection."""
        self._url = url
        self._prepare = prepare
        self._loop = Loop()
        self._slots = threading.BoundedSemaphore(most)
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._lent = 0
        self._closed = False

    @contextmanager
    def borrow(self, transaction: bool = True) -> Iterator[Connection]:
        """A connection, in a transaction that is committed at the end or each statement by itself; waits for one.

        What fails is a DatabaseError, and nothing of a transaction was done.
        """
        with self._slots, self._lending():
            connection = self._take()
            try:
                with connection.transaction() if transaction else nullcontext():
                    yield connection
            except DatabaseError:
                self._give_back(connection)
                raise
            except BaseException:
                connection.close()
                raise
            self._give_back(connection)

    def read(self, action: Callable[[Connection], _Result]) -> _Result:
        """Look something up; once more if the connection turned out to be dead."""
        with self.borrow(transaction=False) as connection:
            try:
                return action(connection)
            except DatabaseError:
                if not connection.closed:
                    raise
        with self.borrow(transaction=False) as connection:
            return action(connection)

    def close(self) -> None:
        """Close what is not lent; the rest when it comes back."""
        with self._lock:
            was_closed, self._closed = self._closed, True
            unused = self._lent == 0
        if not was_closed and unused:
            self._end()

    @contextmanager
    def _lending(self) -> Iterator[None]:
        """Counts who is inside: the last one to leave a closed pool ends it."""
        with self._lock:
            if self._closed:
                raise StorageError("the archive is closed")
            self._lent += 1
        try:
            yield
        finally:
            with self._lock:
                self._lent -= 1
                last = self._closed and self._lent == 0
            if last:
                self._end()

    def _take(self) -> Connection:
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return self._open()
            if not connection.closed:
                return connection

    def _give_back(self, connection: Connection) -> None:
        if not connection.closed:
            with self._lock:
                self._idle.append(connection)

    def _open(self) -> Connection:
        connection = Connection(self._loop, self._url)
        try:
            connection.execute(";".join(SESSION))
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _end(self) -> None:
        """Nobody is inside, and nobody comes in any more."""
        for each in self._idle:
            each.close()
        self._idle.clear()
        self._loop.stop()
