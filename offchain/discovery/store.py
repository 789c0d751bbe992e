"""The nodes that answered us, in SQLite: seeds for the next start, so that nobody who is quick to call us then can be
all the company we have.

The file is a cache. Its state after a kill at any instant is that of the last completed write; one that cannot be read
is set aside and begun anew, with a warning.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from offchain.enr import Enr, EnrError
from offchain.errors import StorageError

logger = logging.getLogger("offchain.discovery")

MAX_NODES = 2_000
"""Nodes kept; those that answered longest ago go."""

SEEDS = 30
"""Nodes to start from, drawn at random among those kept."""

MAX_AGE = 5 * 86_400.0
"""Seconds since a node's last answer after which it is no seed any more."""

FORMAT = 1
BUSY_TIMEOUT = 2.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS nodes (id BLOB PRIMARY KEY, record BLOB NOT NULL, answered REAL NOT NULL) WITHOUT ROWID
"""


class NodeStore:
    """A small SQLite file, which several processes may use. Times are seconds since 1970."""

    def __init__(self, path: Path | str) -> None:
        """`path` may be ":memory:". StorageError if there can be no file at the path."""
        self._path = path
        try:
            self._db = self._opened()
        except sqlite3.DatabaseError as error:
            if not self._set_aside(error):
                raise StorageError(f"the nodes known cannot be kept in {path}: {error}") from error
            try:
                self._db = self._opened()
            except sqlite3.Error as second:
                raise StorageError(f"the nodes known cannot be kept in {path}: {second}") from second

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def put(self, records: Iterable[Enr], now: float) -> None:
        """These nodes answered lately. A file that cannot be written costs a warning."""
        try:
            with self._db:
                self._db.executemany(
                    "INSERT INTO nodes VALUES (?, ?, ?) "
                    "ON CONFLICT (id) DO UPDATE SET record = excluded.record, answered = excluded.answered",
                    [(enr.node_id, enr.raw, now) for enr in records],
                )
                self._db.execute(
                    "DELETE FROM nodes WHERE answered <= ? OR answered > ?", [now - MAX_AGE, now + MAX_AGE]
                )
                self._db.execute(
                    "DELETE FROM nodes WHERE id IN (SELECT id FROM nodes ORDER BY answered DESC, id LIMIT -1 OFFSET ?)",
                    [MAX_NODES],
                )
        except sqlite3.Error as error:
            logger.warning("the nodes known cannot be written to %s: %s", self._path, error)

    def seeds(self, now: float, count: int = SEEDS) -> list[Enr]:
        """Nodes to start from: at most `count` of those that answered in the last five days, their records checked."""
        try:
            rows = self._db.execute(
                "SELECT record FROM nodes WHERE abs(answered - ?) < ? ORDER BY random() LIMIT ?",
                [now, MAX_AGE, count],
            ).fetchall()
        except sqlite3.Error as error:
            logger.warning("the nodes known cannot be read from %s: %s", self._path, error)
            return []
        found = []
        for (raw,) in rows:
            try:
                found.append(Enr.decode(raw))
            except (EnrError, TypeError) as error:
                logger.warning("%s holds what is no record: %s", self._path, error)
        return found

    def __len__(self) -> int:
        count: int = self._db.execute("SELECT count(*) FROM nodes").fetchone()[0]
        return count

    def _opened(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT)
        try:
            found = db.execute("PRAGMA user_version").fetchone()[0]
            if found not in (0, FORMAT):
                raise sqlite3.DatabaseError(f"version {found}, expected {FORMAT}")
            if db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("it is damaged")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            with db:
                db.execute(_SCHEMA)
                db.execute(f"PRAGMA user_version = {FORMAT}")
                db.execute("SELECT id, record, answered FROM nodes LIMIT 1")
        except sqlite3.Error:
            db.close()
            raise
        return db

    def _set_aside(self, error: sqlite3.Error) -> bool:
        """Whether there is room for a new file now."""
        path = Path(self._path)
        if isinstance(error, sqlite3.OperationalError) or not path.is_file():
            return False
        aside = path.with_name(path.name + ".damaged")
        try:
            path.replace(aside)
            for suffix in ("-wal", "-shm", "-journal"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
        except OSError:
            return False
        logger.warning("%s cannot be read (%s): begun anew; the old file is %s", path, error, aside.name)
        return True
