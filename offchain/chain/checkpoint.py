"""What survives the end of the process: SQLite, one writer, one transaction for each step.

    meta      whose facts these are, and up to which block they are proven
    tables    the base of the ledger: listings, removals, verdicts, providers, kinds, operators, enrs
    pending   what came after it, as logs: final chunks that are not proven yet, and blocks that may be reorganised away

Nodes that were listed together and expire together are one row: a batch costs what one node would.

A step is in the database completely or not at all, whenever the process is killed; the position of the follower and
the facts it has seen are written together. A file that belongs to something else is refused, never overwritten.
"""

from __future__ import annotations

import sqlite3
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from offchain.chain.commitment import Commitment
from offchain.chain.events import PlainLog, RemovalReason, VerdictStatus
from offchain.chain.facts import Enr, Facts, Listing, Origin, Provider, Removal, Settings, Verdict
from offchain.chain.header import Header
from offchain.chain.ledger import Absorbed, Block, Chunk
from offchain.errors import StorageError
from offchain.types import Address, Kind, KindId, NodeAddress, NodeId, ProviderId

APPLICATION_ID: Final = 0x57595054
"""SQLite's mark for whose file it is: "WYPT"."""

SCHEMA_VERSION: Final = 1

_SCHEMA: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE listing (block INTEGER, log_index INTEGER, expires_at INTEGER, provider INTEGER NOT NULL,
  kind INTEGER NOT NULL, tx BLOB NOT NULL, nodes BLOB NOT NULL, PRIMARY KEY (block, log_index, expires_at))
  WITHOUT ROWID;
CREATE TABLE removal (node BLOB PRIMARY KEY, node_id BLOB NOT NULL, reason INTEGER NOT NULL, provider INTEGER NOT NULL,
  kind INTEGER NOT NULL, block INTEGER NOT NULL, log_index INTEGER NOT NULL, tx BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE verdict (curator BLOB, provider INTEGER, kind INTEGER, status INTEGER NOT NULL, until BLOB NOT NULL,
  weight BLOB NOT NULL, block INTEGER NOT NULL, tx BLOB NOT NULL, PRIMARY KEY (curator, provider, kind)) WITHOUT ROWID;
CREATE TABLE provider (id INTEGER PRIMARY KEY, admin BLOB NOT NULL, pending_admin BLOB NOT NULL, uri TEXT NOT NULL,
  block INTEGER NOT NULL, tx BLOB NOT NULL);
CREATE TABLE kind (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE operator (provider INTEGER, account BLOB, PRIMARY KEY (provider, account)) WITHOUT ROWID;
CREATE TABLE enr (node BLOB PRIMARY KEY, seq BLOB NOT NULL, record BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE pending (first INTEGER PRIMARY KEY, last INTEGER NOT NULL, chunk INTEGER NOT NULL, header BLOB,
  logs BLOB NOT NULL);
"""
_CONTENT: Final = (
    "listing", "removal", "verdict", "provider", "kind", "operator", "enr", "pending"
)  # fmt: skip


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


@dataclass(slots=True)
class Saved:
    """What a database held when it was opened."""

    base: Facts = field(default_factory=Facts)
    base_header: Header | None = None
    commitment: Commitment = field(default_factory=Commitment)
    proven: Proven | None = None
    chunks: list[Chunk] = field(default_factory=list)
    chunks_header: Header | None = None
    """Of the last block of the last chunk, if it was known."""
    blocks: list[tuple[Header, tuple[PlainLog, ...]]] = field(default_factory=list)
    code_hash: bytes | None = None


_Row = tuple[int, int, int]
"""Which nodes stand together: block and index of the log that listed them, and when they expire."""

_logs_encoder = msgspec.msgpack.Encoder()
_logs_decoder = msgspec.msgpack.Decoder(tuple[PlainLog, ...])


class Checkpoint:
    """One database. Errors: StorageError, saying what is wrong with which file."""

    def __init__(self, path: Path, identity: Identity) -> None:
        self.path = path
        self._identity = identity
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
        """Give the file back. Nothing is lost without it."""
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
            except (msgspec.DecodeError, ValueError, TypeError, KeyError, OverflowError) as error:
                raise StorageError(f"{self.path} is damaged ({error}); delete it to synchronise again") from error

    def base_header(self) -> Header | None:
        """The block up to which the tables are, None if nothing was proven yet."""
        with self._errors():
            encoded = self._meta().get("base")
        return None if encoded is None else _header_in(encoded)

    # Writing, one transaction each

    def add_chunk(self, chunk: Chunk, header: Header | None = None) -> None:
        """Keep final blocks whose logs are not proven yet; `header` is of the last of them."""
        encoded = None if header is None else _header_out(header)
        with self._transaction():
            self._insert_pending([(chunk.first, chunk.last, 1, encoded, _logs_encoder.encode(chunk.logs))])

    def switch(self, above: int, added: Sequence[Block]) -> None:
        """Forget the blocks above a height, and keep others."""
        with self._transaction():
            self._db.execute("DELETE FROM pending WHERE first > ?", (above,))
            self._insert_pending(
                (
                    block.header.number,
                    block.header.number,
                    0,
                    _header_out(block.header),
                    _logs_encoder.encode(block.logs),
                )
                for block in added
            )

    def prove(self, absorbed: Absorbed | None, base: Header, commitment: Commitment, proven: Proven) -> None:
        """Write what the base took in, drop what is pending up to the base block, and say what is proven."""
        with self._transaction():
            if absorbed is not None:
                self._absorb(absorbed)
                self._db.execute("DELETE FROM pending WHERE last <= ?", (base.number,))
                self._put("base", _header_out(base))
                self._put("commitment", commitment.word)
            self._put("proven", msgspec.msgpack.encode(proven))

    def discard_pending(self) -> None:
        """Forget everything that came after the base."""
        with self._transaction():
            self._db.execute("DELETE FROM pending")

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
        if version != SCHEMA_VERSION:
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
        stored = meta.get("curators", b"")
        known = {Address(stored[at : at + 20]) for at in range(0, len(stored), 20)}
        if not self._identity.curators <= known:
            # The verdicts of a curator that is new here lie in blocks that were passed: read them again.
            for table in _CONTENT:
                self._db.execute(f"DELETE FROM {table}")
            self._db.execute("DELETE FROM meta WHERE key IN ('base', 'commitment', 'proven', 'settings')")
        for curator in known - self._identity.curators:
            self._db.execute("DELETE FROM verdict WHERE curator = ?", (curator,))
        if known != self._identity.curators:
            # Pending logs may be of curators that no longer count; they are fetched again.
            self._db.execute("DELETE FROM pending")
            self._put_curators()

    def _put_curators(self) -> None:
        self._put("curators", b"".join(sorted(self._identity.curators)))

    # Inside

    def _meta(self) -> dict[str, bytes]:
        return dict(self._db.execute("SELECT key, value FROM meta").fetchall())

    def _put(self, key: str, value: bytes) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def _insert_pending(self, rows: Iterable[tuple[int, int, int, bytes | None, bytes]]) -> None:
        self._db.executemany("INSERT INTO pending VALUES (?, ?, ?, ?, ?)", rows)

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
        self._load_facts(saved.base, meta)
        for first, last, is_chunk, header, logs in self._db.execute("SELECT * FROM pending ORDER BY first"):
            decoded = _logs_decoder.decode(logs)
            if is_chunk:
                saved.chunks.append(Chunk(first, last, decoded))
                saved.chunks_header = None if header is None else _header_in(header)
            else:
                saved.blocks.append((_header_in(header), decoded))
        return saved

    def _load_facts(self, facts: Facts, meta: dict[str, bytes]) -> None:
        rows = self._db.execute
        listings = facts.listings
        for block, index, expires_at, provider, kind, tx, nodes in rows("SELECT * FROM listing"):
            origin = Origin(provider, kind, block, index, tx)
            for node_id in split(nodes):
                listings[NodeAddress(node_id[12:])] = Listing(node_id, expires_at, origin)
        facts.removals = {
            node: Removal(node_id, RemovalReason(reason), Origin(provider, kind, block, index, tx))
            for node, node_id, reason, provider, kind, block, index, tx in rows("SELECT * FROM removal")
        }
        facts.verdicts = {
            (curator, provider, kind): Verdict(
                VerdictStatus(status), int.from_bytes(until, "big"), int.from_bytes(weight, "big"), block, tx
            )
            for curator, provider, kind, status, until, weight, block, tx in rows("SELECT * FROM verdict")
        }
        facts.providers = {
            ProviderId(key): Provider(admin, pending, uri, block, tx)
            for key, admin, pending, uri, block, tx in rows("SELECT * FROM provider")
        }
        facts.kinds = {KindId(key): Kind(name) for key, name in rows("SELECT * FROM kind")}
        facts.operators = dict.fromkeys(rows("SELECT * FROM operator"), True)
        facts.enrs = {node: Enr(int.from_bytes(seq, "big"), record) for node, seq, record in rows("SELECT * FROM enr")}
        if "settings" in meta:
            facts.settings_here = msgspec.msgpack.decode(meta["settings"], type=Settings)

    def _absorb(self, absorbed: Absorbed) -> None:
        layer, many = absorbed.layer, self._db.executemany
        self._absorb_listings(absorbed)
        many(
            "INSERT OR REPLACE INTO removal VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (node, each.node_id, int(each.reason), at.provider, at.kind, at.block, at.log_index, at.tx)
                for node, each in layer.removals.items()
                if each is not None and (at := each.origin)
            ],
        )
        many(
            "INSERT OR REPLACE INTO verdict VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    *key,
                    int(each.status),
                    each.until.to_bytes(8, "big"),
                    each.weight.to_bytes(16, "big"),
                    each.block,
                    each.tx,
                )
                for key, each in layer.verdicts.items()
                if each is not None
            ],
        )
        many(
            "INSERT OR REPLACE INTO provider VALUES (?, ?, ?, ?, ?, ?)",
            [(key, *provider) for key, provider in layer.providers.items() if provider is not None],
        )
        many("INSERT OR REPLACE INTO kind VALUES (?, ?)", layer.kinds.items())
        many("INSERT OR REPLACE INTO operator VALUES (?, ?)", [key for key, yes in layer.operators.items() if yes])
        many(
            "DELETE FROM operator WHERE provider = ? AND account = ?",
            [key for key, yes in layer.operators.items() if not yes],
        )
        many(
            "INSERT OR REPLACE INTO enr VALUES (?, ?, ?)",
            [(node, enr.seq.to_bytes(8, "big"), enr.record) for node, enr in layer.enrs.items() if enr is not None],
        )
        if layer.settings_here is not None:
            self._put("settings", msgspec.msgpack.encode(layer.settings_here))

    def _absorb_listings(self, absorbed: Absorbed) -> None:
        """Rewrite the rows of nodes that were, or now are, listed and expire together."""
        came: dict[_Row, list[NodeId]] = {}
        origins: list[Origin] = []
        last: Origin | None = None
        row, nodes = (0, 0, 0), []
        for entry in absorbed.layer.listings.values():
            if entry is None:
                continue
            if entry.origin is not last or row[2] != entry.expires_at:
                last = entry.origin
                row = (last.block, last.log_index, entry.expires_at)
                if row in came:
                    nodes = came[row]
                else:
                    nodes = came[row] = []
                    origins.append(last)
            nodes.append(entry.node_id)
        rows = list(zip(came, origins, strict=True))
        if self._db.execute("SELECT EXISTS (SELECT 1 FROM listing)").fetchone()[0]:
            self._merge_rows(absorbed.replaced, came)
        self._db.executemany(
            "INSERT OR REPLACE INTO listing VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(*each, origin.provider, origin.kind, origin.tx, b"".join(came[each])) for each, origin in rows],
        )

    def _merge_rows(self, replaced: Iterable[Listing], came: dict[_Row, list[NodeId]]) -> None:
        left: dict[_Row, set[NodeId]] = defaultdict(set)
        for listing in replaced:
            left[listing.origin.block, listing.origin.log_index, listing.expires_at].add(listing.node_id)
        for row in left.keys() | came.keys():
            self._merge_row(row, left.get(row, set()), came)

    def _merge_row(self, row: _Row, left: set[NodeId], came: dict[_Row, list[NodeId]]) -> None:
        """Take nodes that left out of a row in the table, and put the others of that row with those that come."""
        where = "WHERE block = ? AND log_index = ? AND expires_at = ?"
        found = self._db.execute(f"SELECT nodes FROM listing {where}", row).fetchone()
        if found is None:
            return
        stay = [node_id for node_id in split(found[0]) if node_id not in left]
        if row in came:
            came[row][:0] = stay
        elif stay:
            self._db.execute(f"UPDATE listing SET nodes = ? {where}", (b"".join(stay), *row))
        else:
            self._db.execute(f"DELETE FROM listing {where}", row)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._errors():
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
        except UnicodeDecodeError as error:
            raise StorageError(f"{self.path} is damaged; delete it to synchronise again") from error


_MEANINGS: Final = {
    "not a database": "is not a database; name another file",
    "malformed": "is damaged; delete it to synchronise again",
    "locked": "is in use by another process",
    "full": "cannot be written: the disk is full",
    "readonly": "cannot be written: no permission",
    "disk I/O": "cannot be read or written: the disk reports an error",
}


def split(nodes: bytes) -> tuple[NodeId, ...]:
    """The ids in a row of listings; ValueError if they are not whole."""
    count, rest = divmod(len(nodes), 32)
    if rest:
        raise ValueError(f"found {len(nodes)} bytes of node ids")
    return struct.unpack("32s" * count, nodes) if count > 1 else (NodeId(nodes),)


def _header_out(header: Header) -> bytes:
    return msgspec.msgpack.encode((header.number, header.hash, header.parent, header.timestamp, header.state_root))


def _header_in(blob: bytes) -> Header:
    return Header(*msgspec.msgpack.decode(blob, type=tuple[int, bytes, bytes, int, bytes]))


def _shown(value: bytes | None) -> str:
    if value is None:
        return "missing"
    return f"0x{value.hex()}" if len(value) == 20 else value.decode("ascii", "replace")
