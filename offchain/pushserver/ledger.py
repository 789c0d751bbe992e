"""The grants that are in force, in SQLite: one for each client and endpoint, bounded, there again after a restart.

Also until when mail was looked at, so that what came while the server was down is found when it is back, and who was
told of what since a little before, so that nobody hears of it twice.

What a call has written is on disk when it returns.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from offchain.errors import StorageError
from offchain.pushserver.grant import Grant, GrantError
from offchain.types import NodeId

MAX_GRANTS = 100_000
MAX_PER_CLIENT = 8
"""Devices of one client."""

FORMAT = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS grants (
    client BLOB NOT NULL, endpoint TEXT NOT NULL, issued INTEGER NOT NULL, expires INTEGER NOT NULL,
    "grant" BLOB NOT NULL, PRIMARY KEY (client, endpoint)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS looked (one INTEGER PRIMARY KEY CHECK (one = 1), until INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS told (
    client BLOB NOT NULL, endpoint TEXT NOT NULL, hash BLOB NOT NULL, sent INTEGER NOT NULL,
    PRIMARY KEY (client, endpoint, hash)
) WITHOUT ROWID;
"""


class Ledger:
    """A small SQLite file. StorageError if it cannot be used."""

    def __init__(self, path: Path | str) -> None:
        """`path` may be ":memory:"."""
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
            found = self._db.execute("PRAGMA user_version").fetchone()[0]
            if found not in (0, FORMAT):
                raise StorageError(f"{path} holds version {found}, expected {FORMAT}")
            self._db.executescript(_SCHEMA)
            self._db.execute(f"PRAGMA user_version = {FORMAT}")
        except sqlite3.Error as error:
            raise StorageError(f"{path} cannot be used: {error}") from error

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def put(self, client: NodeId, grant: Grant) -> None:
        """Take in a grant in place of an older one for the same endpoint. GrantError if there is a newer, or too many.

        One without topics stays, so that what it revoked does not come back, and goes when it expires.
        """
        try:
            row = self._db.execute(
                "SELECT issued FROM grants WHERE client = ? AND endpoint = ?", [client, grant.endpoint]
            ).fetchone()
            if row is not None and row[0] >= grant.issued:
                raise GrantError("a grant as new as this one is known already")
            if row is None:
                (total,) = self._db.execute("SELECT count(*) FROM grants").fetchone()
                (own,) = self._db.execute("SELECT count(*) FROM grants WHERE client = ?", [client]).fetchone()
                if own >= MAX_PER_CLIENT:
                    raise GrantError(f"a client has at most {MAX_PER_CLIENT} grants")
                if total >= MAX_GRANTS:
                    raise GrantError("this server takes no more grants")
            values = [client, grant.endpoint, grant.issued, grant.expires, grant.encode()]
            self._db.execute("INSERT OR REPLACE INTO grants VALUES (?, ?, ?, ?, ?)", values)
        except sqlite3.Error as error:
            raise StorageError(f"a grant cannot be kept: {error}") from error

    def forget(self, client: NodeId, endpoint: str) -> None:
        """The endpoint is no more."""
        self._write("DELETE FROM grants WHERE client = ? AND endpoint = ?", client, endpoint)

    def expire(self, now: float) -> None:
        """Forget what has expired."""
        self._write("DELETE FROM grants WHERE expires <= ?", int(now))

    def looked(self) -> int | None:
        """Until when, in Unix seconds, everybody was told of mail; None at first."""
        row = self._db.execute("SELECT until FROM looked").fetchone()
        return None if row is None else int(row[0])

    def note_looked(self, until: int) -> None:
        """Everybody was told of mail sent before this time, or will not be."""
        self._write("INSERT OR REPLACE INTO looked VALUES (1, ?)", until)

    def note_told(self, client: NodeId, endpoint: str, envelopes: Iterable[tuple[bytes, int]]) -> None:
        """The endpoint heard of these: hashes, and when they were sent."""
        rows = [(client, endpoint, *each) for each in envelopes]
        try:
            with self._db:
                self._db.execute("BEGIN")
                self._db.executemany("INSERT OR IGNORE INTO told VALUES (?, ?, ?, ?)", rows)
        except sqlite3.Error as error:
            raise StorageError(f"it cannot be noted who was told: {error}") from error

    def told(self) -> list[tuple[tuple[NodeId, str], bytes]]:
        """Which client's endpoint heard of which envelope."""
        rows = self._db.execute("SELECT client, endpoint, hash FROM told").fetchall()
        return [((NodeId(client), endpoint), envelope_hash) for client, endpoint, envelope_hash in rows]

    def forget_told(self, before: int) -> None:
        """Of envelopes sent before this time nobody will hear again."""
        self._write("DELETE FROM told WHERE sent < ?", before)

    def all(self) -> list[tuple[NodeId, Grant]]:
        """Every grant with its client."""
        rows = self._db.execute('SELECT client, "grant" FROM grants').fetchall()
        return [(NodeId(client), Grant.decode(data)) for client, data in rows]

    def _write(self, statement: str, *values: object) -> None:
        try:
            self._db.execute(statement, values)
        except sqlite3.Error as error:
            raise StorageError(f"the grants cannot be written: {error}") from error
