"""What survives the end of the process: SQLite, one writer, one transaction for each step.

    meta      whose facts these are, up to which block they are proven, and whether the head went back
    withheld  who is withheld because it did
    layer     final blocks, in layers of which each says what it changed in those before it: first the base of the
              ledger, then its stage, which is not proven yet
    pending   what came after them, as logs: blocks that may be reorganised away

A layer is one row however much is in it, so that a long backfill is written as fast as its bytes, and proving it moves
nothing; small ones are joined as they come, so that there are few.

A step is in the database completely or not at all, whenever the process is killed; the position of the follower and
the facts it has seen are written together. A file that belongs to something else is refused, never overwritten.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

import cramjam
import msgspec

from offchain.chain import layers
from offchain.chain.commitment import Commitment
from offchain.chain.events import PlainLog
from offchain.chain.facts import TABLES, Facts
from offchain.chain.folding import merge
from offchain.chain.header import Header
from offchain.chain.ledger import Block
from offchain.errors import StorageError
from offchain.types import Address, Kind, NodeId

log = logging.getLogger("offchain.chain")

APPLICATION_ID: Final = 0x57595054
"""SQLite's mark for whose file it is: "WYPT"."""

SCHEMA_VERSION: Final = 3

_SCHEMA: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE layer (last INTEGER PRIMARY KEY, entries INTEGER NOT NULL, facts BLOB NOT NULL);
CREATE TABLE withheld (kind TEXT, node BLOB, PRIMARY KEY (kind, node)) WITHOUT ROWID;
CREATE TABLE pending (block INTEGER PRIMARY KEY, header BLOB NOT NULL, logs BLOB NOT NULL);
"""

LOG_PAGES: Final = 4_096
"""Pages in SQLite's log (16 MB) from which it is emptied into the file, for which the disk is waited for."""

JOINED: Final = 64 * 1024
"""Bytes from which a layer is not joined with those after it until the database is opened again."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose facts a database holds."""

    chain_id: int
    registry: Address
    start: int
    """The registry's first block."""
    curators: frozenset[Address] = frozenset()


class Proven(msgspec.Struct, frozen=True):
    """Up to where the facts are proven, and when that was."""

    block: int
    hash: bytes
    at: float
    """Unix time that the proof speaks of."""


class Staged(msgspec.Struct, frozen=True):
    """Up to where there are final blocks that are not proven yet."""

    block: int
    commitment: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
    """After it, as the registry's slot would hold it."""
    header: Header | None = None
    """Of that block, if it was known."""


class Doubt(msgspec.Struct, frozen=True):
    """Blocks were taken back, and nothing has replaced them yet."""

    until: int
    """The height at which the head must have been proven before all counts again."""
    since: float = math.inf
    """Unix time when they were; a proven final block that is younger ends the doubt whatever the height was."""
    policy: bytes = b""
    """Under which policy it was looked who is to be withheld, in the words of who withholds; empty if nobody looked."""


@dataclass(slots=True)
class Saved:
    """What a database held when it was opened."""

    base: Facts = field(default_factory=Facts)
    base_header: Header | None = None
    commitment: Commitment = field(default_factory=Commitment)
    proven: Proven | None = None
    stage: Facts = field(default_factory=Facts)
    """What the final blocks above the base change in it."""
    staged: Staged | None = None
    blocks: list[tuple[Header, tuple[PlainLog, ...]]] = field(default_factory=list)
    doubt: Doubt | None = None
    withheld: list[tuple[Kind, NodeId]] = field(default_factory=list)
    code_hash: bytes | None = None


_logs_encoder = msgspec.msgpack.Encoder()
_logs_decoder = msgspec.msgpack.Decoder(tuple[PlainLog, ...])


class Checkpoint:
    """One database. Errors: StorageError, saying what is wrong with which file."""

    def __init__(self, path: Path, identity: Identity) -> None:
        self.path = path
        self._identity = identity
        self._lock = threading.Lock()
        """Held for a transaction: large layers are written in a thread."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, timeout=0.5, check_same_thread=False)
        except (sqlite3.Error, OSError) as error:
            raise StorageError(f"{path} cannot be opened: {error}") from error
        try:
            self._open()
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Give the file back, after what a thread is writing. Nothing is lost without it."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Reading

    def load(self) -> Saved:
        """All that is in the database."""
        with self._errors():
            try:
                return self._load()
            except (msgspec.DecodeError, cramjam.DecompressionError, ValueError, TypeError, KeyError) as error:
                raise StorageError(f"{self.path} is damaged ({error}); delete it to synchronise again") from error

    def base_header(self) -> Header | None:
        """The block up to which the tables are, None if nothing was proven yet."""
        with self._errors():
            encoded = self._meta().get("base")
            return None if encoded is None else _header_in(encoded)

    # Writing, one transaction each

    def add_stage(self, layer: Facts, staged: Staged) -> None:
        """Keep what more final blocks change, which are not proven yet."""
        with self._transaction():
            self._append(layer, staged.block, above=self._base_block())
            self._put("stage", msgspec.msgpack.encode(staged))

    def switch(self, above: int, added: Sequence[Block]) -> None:
        """Forget the blocks above a height, and keep others."""
        with self._transaction():
            self._db.execute("DELETE FROM pending WHERE block > ?", (above,))
            rows = [(block.header.number, _header_out(block.header), _logs_out(block.logs)) for block in added]
            self._db.executemany("INSERT INTO pending VALUES (?, ?, ?)", rows)

    def take_back(self, above: int, doubt: Doubt, withheld: Iterable[tuple[Kind, NodeId]] = ()) -> None:
        """Forget the blocks above a height, with nothing in their place yet, and keep who is withheld therefore."""
        with self._transaction():
            self._db.execute("DELETE FROM pending WHERE block > ?", (above,))
            self._db.execute("DELETE FROM layer WHERE last > ?", (above,))
            stage = self._meta().get("stage")  # Without a layer if there was nothing in its blocks.
            if stage is not None and msgspec.msgpack.decode(stage, type=Staged).block > above:
                self._db.execute("DELETE FROM meta WHERE key = 'stage'")
            self._put_doubt(doubt, withheld)

    def keep_doubt(self, doubt: Doubt, withheld: Iterable[tuple[Kind, NodeId]]) -> None:
        """Keep who is withheld now, beside those who were."""
        with self._transaction():
            self._put_doubt(doubt, withheld)

    def end_doubt(self) -> None:
        """Forget who was withheld: other blocks are where some had been taken back."""
        with self._transaction():
            self._db.execute("DELETE FROM meta WHERE key = 'doubt'")
            self._db.execute("DELETE FROM withheld")

    def prove(self, absorbed: Facts | None, base: Header, commitment: Commitment, proven: Proven) -> None:
        """Make the stage part of the base, with a layer on top, and say what is proven.

        The layer is what became final of the pending blocks, which are dropped; without one the base does not move.
        """
        with self._transaction():
            if absorbed is not None:
                self._append(absorbed, base.number)
                self._db.execute("DELETE FROM pending WHERE block <= ?", (base.number,))
                self._db.execute("DELETE FROM meta WHERE key = 'stage'")
                self._put("base", _header_out(base))
                self._put("commitment", commitment.word)
            self._put("proven", msgspec.msgpack.encode(proven))

    def discard_pending(self) -> None:
        """Forget everything that came after the base."""
        with self._transaction():
            self._discard_pending()

    def set_code_hash(self, code_hash: bytes) -> None:
        """Remember which code the registry has."""
        with self._transaction():
            self._put("code_hash", code_hash)

    # Opening

    def _open(self) -> None:
        with self._errors():
            db = self._db
            # WAL with an exclusive lock: a second process is refused at once, and no shared memory file is needed.
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            application = db.execute("PRAGMA application_id").fetchone()[0]
            tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if application != APPLICATION_ID and (application or tables):
                raise StorageError(f"{self.path} is the database of another program")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA cache_size = -8192")
            db.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
            db.execute("BEGIN EXCLUSIVE")
            try:
                if tables:
                    self._check_identity()
                else:
                    self._create()
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    def _create(self) -> None:
        for statement in _SCHEMA.split(";\n"):
            if statement.strip():
                self._db.execute(statement)
        self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self._put("chain_id", str(self._identity.chain_id).encode())
        self._put("registry", self._identity.registry)
        self._put("start", str(self._identity.start).encode())
        self._put_curators()

    def _check_identity(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if not 1 <= version <= SCHEMA_VERSION:
            raise StorageError(f"{self.path} has schema {version}, expected {SCHEMA_VERSION}; delete it to start again")
        meta = self._meta()
        expected = {
            "chain_id": str(self._identity.chain_id).encode(),
            "registry": bytes(self._identity.registry),
            "start": str(self._identity.start).encode(),
        }
        for key, value in expected.items():
            if meta.get(key) != value:
                raise StorageError(
                    f"{self.path} holds another history: its {key} is {_shown(meta.get(key))}, "
                    f"expected {_shown(value)}; name another file, or delete this one"
                )
        if version < SCHEMA_VERSION:
            log.warning("%s has the older schema %d: it is emptied and synchronised again", self.path, version)
            for (table,) in self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                self._db.execute(f'DROP TABLE "{table}"')
            self._create()
            return
        stored = meta.get("curators", b"")
        known = {Address(stored[at : at + 20]) for at in range(0, len(stored), 20)}
        if not self._identity.curators <= known:
            # The verdicts of a curator that is new here lie in blocks that were passed: read them again.
            self._db.execute("DELETE FROM layer")
            self._db.execute("DELETE FROM meta WHERE key IN ('base', 'commitment', 'proven', 'stage')")
        if gone := known - self._identity.curators:
            self._drop_curators(gone)
        if known != self._identity.curators:
            # What is not proven may be of curators that no longer count; it is fetched again. Till then it is not known
            # whom it took away.
            if (lost := self._highest_pending()) is not None:
                earlier = msgspec.msgpack.decode(meta["doubt"], type=Doubt).until if "doubt" in meta else 0
                self._put_doubt(Doubt(max(lost, earlier)), ())
            self._discard_pending()
            self._put_curators()

    def _put_curators(self) -> None:
        self._put("curators", b"".join(sorted(self._identity.curators)))

    # Inside

    def _meta(self) -> dict[str, bytes]:
        return dict(self._db.execute("SELECT key, value FROM meta").fetchall())

    def _put(self, key: str, value: bytes) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def _base_block(self) -> int:
        """The block up to which layers are part of the base; those above are the stage."""
        row = self._db.execute("SELECT value FROM meta WHERE key = 'base'").fetchone()
        return -1 if row is None else _header_in(row[0]).number

    def _highest_pending(self) -> int | None:
        """The last block that is not part of the base."""
        last = self._db.execute("SELECT max(last) FROM layer WHERE last > ?", (self._base_block(),)).fetchone()[0]
        block = self._db.execute("SELECT max(block) FROM pending").fetchone()[0]
        return max((each for each in (last, block) if each is not None), default=None)

    def _put_doubt(self, doubt: Doubt, withheld: Iterable[tuple[Kind, NodeId]]) -> None:
        self._put("doubt", msgspec.msgpack.encode(doubt))
        self._db.executemany("INSERT OR IGNORE INTO withheld VALUES (?, ?)", list(withheld))

    def _discard_pending(self) -> None:
        self._db.execute("DELETE FROM pending")
        self._db.execute("DELETE FROM layer WHERE last > ?", (self._base_block(),))
        self._db.execute("DELETE FROM meta WHERE key = 'stage'")

    def _load(self) -> Saved:
        problem = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise ValueError(problem)
        meta = self._meta()
        saved = Saved(code_hash=meta.get("code_hash"))
        if "base" in meta:
            saved.base_header = _header_in(meta["base"])
            saved.commitment = Commitment.from_word(meta["commitment"])
        if "proven" in meta:
            saved.proven = msgspec.msgpack.decode(meta["proven"], type=Proven)
        if "doubt" in meta:
            saved.doubt = msgspec.msgpack.decode(meta["doubt"], type=Doubt)
        saved.withheld = [(Kind(kind), NodeId(node)) for kind, node in self._db.execute("SELECT * FROM withheld")]
        entries, base_block = 0, self._base_block()
        for last, count, encoded in self._db.execute("SELECT last, entries, facts FROM layer ORDER BY last"):
            if last <= base_block:
                saved.base.absorb(_layer_in(encoded))
                entries += count
            else:
                merge(saved.stage, _layer_in(encoded))
        if entries > 2 * _entries(saved.base) + 1_000:
            self._join_all(saved.base, base_block)
        if "stage" in meta:
            saved.staged = msgspec.msgpack.decode(meta["stage"], type=Staged)
        elif _entries(saved.stage):
            raise ValueError("there are facts above the base, and nothing says up to where")
        for _, header, logs in self._db.execute("SELECT * FROM pending ORDER BY block"):
            saved.blocks.append((_header_in(header), _logs_in(logs)))
        return saved

    def _append(self, layer: Facts, last: int, above: int = -1) -> None:
        """Put a layer on top of those that end above a block."""
        if _entries(layer) or layer.settings_here is not None:
            self._insert_layer(last, layer)
        self._join(above)

    def _join(self, above: int) -> None:
        """Join the top layers while the next one is not twice as large: so each entry is rewritten a few times only."""
        rows = self._db.execute("SELECT last, length(facts) FROM layer WHERE last > ? ORDER BY last DESC", (above,))
        top, size = list[int](), 0
        for last, length in rows.fetchall():
            if top and length >= min(2 * size, JOINED):
                break
            top.append(last)
            size += length
        if len(top) < 2:
            return
        joined = Facts()
        for (encoded,) in self._db.execute("SELECT facts FROM layer WHERE last >= ? ORDER BY last", (top[-1],)):
            merge(joined, _layer_in(encoded))
        self._db.execute("DELETE FROM layer WHERE last >= ?", (top[-1],))
        self._insert_layer(top[0], joined)

    def _insert_layer(self, last: int, layer: Facts) -> None:
        self._db.execute("INSERT INTO layer VALUES (?, ?, ?)", (last, _entries(layer), _layer_out(layer)))

    def _join_all(self, base: Facts, base_block: int) -> None:
        """Write one layer in place of those of the base: most of what they say is no longer so."""
        with self._transaction():
            self._db.execute("DELETE FROM layer WHERE last <= ?", (base_block,))
            self._insert_layer(base_block, base)

    def _drop_curators(self, gone: Set[Address]) -> None:
        """Forget the verdicts of curators."""
        for last, encoded in self._db.execute("SELECT last, facts FROM layer").fetchall():
            layer = _layer_in(encoded)
            kept = {key: verdict for key, verdict in layer.verdicts.items() if key[0] not in gone}
            if len(kept) < len(layer.verdicts):
                layer.verdicts = kept
                self._db.execute("UPDATE layer SET facts = ? WHERE last = ?", (_layer_out(layer), last))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock, self._errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            try:
                self._db.execute("COMMIT")
            except sqlite3.Error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Say what SQLite's errors mean."""
        try:
            yield
        except sqlite3.Error as error:
            text = str(error)
            for part, meaning in _MEANINGS.items():
                if part in text:
                    raise StorageError(f"{self.path} {meaning}") from error
            raise StorageError(f"{self.path} cannot be used: {text}") from error
        except (UnicodeDecodeError, msgspec.DecodeError, layers.LayerError, cramjam.DecompressionError) as error:
            raise StorageError(f"{self.path} is damaged; delete it to synchronise again") from error


_MEANINGS: Final = {
    "not a database": "is not a database; name another file",
    "malformed": "is damaged; delete it to synchronise again",
    "locked": "is in use by another process",
    "full": "cannot be written: the disk is full",
    "readonly": "cannot be written: no permission",
    "disk I/O": "cannot be read or written: the disk reports an error",
}


def _entries(layer: Facts) -> int:
    """How much a layer says."""
    return sum(len(getattr(layer, table)) for table in TABLES)


def _layer_out(layer: Facts) -> bytes:
    return bytes(cramjam.snappy.compress_raw(layers.encode(layer)))


def _layer_in(blob: bytes) -> Facts:
    return layers.decode(bytes(cramjam.snappy.decompress_raw(blob)))


def _logs_out(logs: Sequence[PlainLog]) -> bytes:
    return bytes(cramjam.snappy.compress_raw(_logs_encoder.encode(logs)))


def _logs_in(blob: bytes) -> tuple[PlainLog, ...]:
    return _logs_decoder.decode(cramjam.snappy.decompress_raw(blob))


def _header_out(header: Header) -> bytes:
    return msgspec.msgpack.encode((header.number, header.hash, header.parent, header.timestamp, header.state_root))


def _header_in(blob: bytes) -> Header:
    return Header(*msgspec.msgpack.decode(blob, type=tuple[int, bytes, bytes, int, bytes]))


def _shown(value: bytes | None) -> str:
    if value is None:
        return "missing"
    return f"0x{value.hex()}" if len(value) == 20 else value.decode("ascii", "replace")
