"""Snapshots: the event history up to a proven block in one file, so that a new client need not read it from the chain.

    file     = "WYPTSNAP" || version (1 byte) || keccak256(body) (32 bytes) || body
    body     = zlib(msgpack of `_Body`)

The digest finds damage. What finds alteration is the chain: the events must add up to the registry's log commitment and
the verdicts to the curators' slots, both proven by an endpoint. Who exported a snapshot need not be trusted.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Final

import msgspec

from offchain.chain.agreement import agreed_final
from offchain.chain.attest import Attestor
from offchain.chain.checkpoint import Checkpoint, Identity, Proven, Staged
from offchain.chain.commitment import Commitment
from offchain.chain.events import PlainLog
from offchain.chain.facts import Verdict, VerdictKey
from offchain.chain.header import MAX_NUMBER, Header, RawHeader, parse_header
from offchain.chain.ledger import Chunk, Ledger
from offchain.chain.prover import Contradiction, check_quorum
from offchain.chain.ranges import Backfill
from offchain.chain.rpc import BadAnswer, Endpoint, Rpc, RpcError, Unreachable
from offchain.config import ChainConfig
from offchain.errors import ChainError, DecodeError, StorageError
from offchain.hashing import keccak256
from offchain.types import Address

MAGIC: Final = b"WYPTSNAP"
VERSION: Final = 2
MAX_BODY: Final = 1 << 30
"""Bytes of an unpacked body; a larger one is not unpacked."""

_HEAD: Final = len(MAGIC) + 1 + 32


class SnapshotError(DecodeError):
    """The file is not a snapshot, is damaged or altered, or is of another registry."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The history of a registry and of curators up to a block."""

    chain_id: int
    contracts: tuple[Address, ...]
    """The registry, then the curators."""
    start: int
    block: int
    block_hash: bytes
    time: int
    """Of the block, Unix."""
    logs: tuple[PlainLog, ...]


class _Body(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    chain_id: int
    contracts: tuple[bytes, ...]
    start: int
    block: int
    block_hash: bytes
    time: int
    logs: list[tuple[int, int, bytes, int, int, bytes]]
    """Index of the contract, count of topics, payload, block, index in the block, transaction."""


def encode(snapshot: Snapshot) -> bytes:
    """The content of the file."""
    number = {contract: at for at, contract in enumerate(snapshot.contracts)}
    body = _Body(
        snapshot.chain_id,
        snapshot.contracts,
        snapshot.start,
        snapshot.block,
        snapshot.block_hash,
        snapshot.time,
        [
            (number[Address(log.address)], log.topic_count, log.payload, log.block, log.index, log.tx)
            for log in snapshot.logs
        ],
    )
    packed = zlib.compress(msgspec.msgpack.encode(body), 6)
    return MAGIC + bytes([VERSION]) + keccak256(packed) + packed


def decode(data: bytes) -> Snapshot:
    """The snapshot in a file; SnapshotError if there is none."""
    if data[: len(MAGIC)] != MAGIC or len(data) < _HEAD:
        raise SnapshotError("the file is not a snapshot")
    if data[len(MAGIC)] != VERSION:
        raise SnapshotError(f"the snapshot has version {data[len(MAGIC)]}, expected {VERSION}")
    packed = data[_HEAD:]
    if keccak256(packed) != data[_HEAD - 32 : _HEAD]:
        raise SnapshotError("the snapshot is damaged: its content does not match its digest")
    try:
        unpack = zlib.decompressobj()
        plain = unpack.decompress(packed, MAX_BODY)
        if not unpack.eof or unpack.unused_data:
            raise SnapshotError("the snapshot is damaged: it ends early, late, or is too large")
        body = msgspec.msgpack.decode(plain, type=_Body)
    except (zlib.error, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SnapshotError(f"the snapshot is damaged: {error}") from None
    if (
        not body.contracts
        or any(len(contract) != 20 for contract in body.contracts)
        or len(body.block_hash) != 32
        or not 0 <= body.start <= body.block <= MAX_NUMBER
        or not 0 <= body.time <= MAX_NUMBER
    ):
        raise SnapshotError("the snapshot's addresses, blocks or hashes are not usable")
    return Snapshot(
        body.chain_id,
        tuple(map(Address, body.contracts)),
        body.start,
        body.block,
        body.block_hash,
        body.time,
        tuple([_log(body.contracts, *each) for each in body.logs]),
    )


def _log(
    contracts: tuple[bytes, ...], contract: int, topics: int, payload: bytes, block: int, index: int, tx: bytes
) -> PlainLog:
    if not (0 <= contract < len(contracts) and 1 <= topics <= 4 and 32 * topics <= len(payload) and len(tx) == 32):
        raise SnapshotError("a log of the snapshot has a contract, topics or a transaction that cannot be")
    if not (0 <= block <= MAX_NUMBER and 0 <= index <= MAX_NUMBER):
        raise SnapshotError("a log of the snapshot has a position that cannot be")
    return PlainLog(contracts[contract], topics, payload, block, index, bytes(32), tx)


async def collect(
    rpc: Rpc, config: ChainConfig, header: Header, commitment: Commitment, verdicts: dict[VerdictKey, Verdict]
) -> Snapshot:
    """Read the history up to a proven block once more; ChainError if no endpoint gives what was proven."""
    contracts, start = _contracts(config), _start(config)
    last: ChainError | None = None
    for endpoint in rpc.ranked():
        ledger = Ledger(contracts[0], contracts[1:], start)
        logs: list[PlainLog] = []
        backfill = _backfill(rpc, endpoint, config)
        try:
            async for chunk in backfill.chunks(start, header.number):
                ledger.add_chunk(chunk)
                logs += chunk.logs
            if ledger.stage_commitment != commitment or ledger.stage.all_verdicts() != verdicts:
                raise Contradiction(f"{endpoint.name}: the logs it sent are not those that were proven")
            return Snapshot(
                config.chain_id, contracts, start, header.number, header.hash, header.timestamp, tuple(logs)
            )
        except (ChainError, DecodeError) as error:
            rpc.demote(endpoint, str(error))
            last = error if isinstance(error, ChainError) else ChainError(f"{endpoint.name}: {error}")
    assert last is not None
    raise last


def fold(snapshot: Snapshot, config: ChainConfig) -> Ledger:
    """The facts that a snapshot adds up to, unproven; SnapshotError if it is not of this registry, or contradictory."""
    contracts, start = _contracts(config), _start(config)
    if snapshot.chain_id != config.chain_id:
        raise SnapshotError(f"the snapshot is of chain {snapshot.chain_id}, expected {config.chain_id}")
    if snapshot.contracts[0] != contracts[0] or snapshot.start != start:
        raise SnapshotError(
            f"the snapshot is of registry 0x{snapshot.contracts[0].hex()} from block {snapshot.start}, "
            f"expected 0x{contracts[0].hex()} from block {start}"
        )
    if missing := set(contracts) - set(snapshot.contracts):
        raise SnapshotError(f"the snapshot has no verdicts of curator 0x{min(missing).hex()}")
    wanted = set(contracts)
    logs = tuple([log for log in snapshot.logs if log.address in wanted])
    ledger = Ledger(contracts[0], contracts[1:], start)
    try:
        ledger.add_chunk(Chunk(start, snapshot.block, logs))
    except DecodeError as error:
        raise SnapshotError(f"the snapshot was altered: {error}") from None
    return ledger


async def adopt(rpc: Rpc, config: ChainConfig, snapshot: Snapshot, now: float) -> Proven:
    """Have a snapshot proven and begin a database with it. SnapshotError if it is not true, StorageError if there is
    a database already, ChainError if no endpoint can prove anything.
    """
    identity = Identity(
        config.chain_id,
        config.registry.address,
        _start(config),
        frozenset(curator.address for curator in config.curators),
    )
    with Checkpoint(config.database, identity) as checkpoint:
        if (known := checkpoint.base_header()) is not None:
            raise StorageError(f"{config.database} is synchronised to block {known} already; delete it to import")
        last: Exception | None = None
        for endpoint in rpc.ranked():
            try:
                ledger = fold(snapshot, config)
                header, code_hash = await _prove(rpc, endpoint, config, snapshot, ledger)
            except (ChainError, SnapshotError) as error:
                last = error
                rpc.demote(endpoint, str(error))
                continue
            checkpoint.discard_pending()
            checkpoint.set_code_hash(code_hash)
            checkpoint.add_stage(ledger.stage, Staged(ledger.stage_block, ledger.stage_commitment.word, header))
            _, absorbed = ledger.proven(header.number, header.number)
            proven = Proven(header.number, header.hash, min(now, float(header.timestamp)))
            checkpoint.prove(absorbed, header, ledger.base_commitment, proven)
            return proven
    assert last is not None
    raise last


async def _prove(
    rpc: Rpc, endpoint: Endpoint, config: ChainConfig, snapshot: Snapshot, ledger: Ledger
) -> tuple[Header, bytes]:
    """The block at which the snapshot's facts are proven, and the registry's code hash.

    Nodes that keep little state cannot prove an old block: for them the few later events are read, and a recent block
    is proven.
    """
    header = await _header(rpc, endpoint, hex(snapshot.block))
    if header.hash != snapshot.block_hash:
        raise SnapshotError(
            f"the snapshot ends with block 0x{snapshot.block_hash.hex()}, {endpoint.name} has {header} there: "
            "it is altered, or of another chain"
        )
    if header.timestamp != snapshot.time:
        raise SnapshotError(f"the snapshot says that block {header} is of another time: it was altered")
    final = await _header(rpc, endpoint, "finalized")
    agreed = await agreed_final(rpc, endpoint, final.number, config.quorum)
    if agreed is None or agreed < snapshot.block:
        raise ChainError(f"too few endpoints call block {snapshot.block} final to believe in it")
    attestor = Attestor(rpc, config.registry.address, [(curator.address, curator.block) for curator in config.curators])
    for recent in (False, True):
        if recent and agreed > snapshot.block:
            async for chunk in _backfill(rpc, endpoint, config).chunks(snapshot.block + 1, agreed):
                try:
                    ledger.add_chunk(chunk)
                except DecodeError as error:
                    raise SnapshotError(f"the snapshot does not go on as {endpoint.name} says: {error}") from None
            header = await _header(rpc, endpoint, hex(agreed))
        await check_quorum(rpc, endpoint, header, config.quorum)
        try:
            return header, await attestor.check(endpoint, header, ledger.stage_commitment, ledger.stage)
        except (RpcError, Unreachable):
            if recent:
                raise
        except Contradiction as error:
            raise SnapshotError(
                f"the snapshot is not what {endpoint.name} proves for block {header}: it was altered ({error})"
            ) from None
    raise AssertionError("the second attempt ends")


async def _header(rpc: Rpc, endpoint: Endpoint, block: str) -> Header:
    try:
        return parse_header(await rpc.call("eth_getBlockByNumber", [block, False], RawHeader, endpoint=endpoint))
    except DecodeError as error:
        raise BadAnswer(f"{endpoint.name}: {error}") from None


def _backfill(rpc: Rpc, endpoint: Endpoint, config: ChainConfig) -> Backfill:
    return Backfill(
        rpc, endpoint, list(_contracts(config)), range_blocks=config.range_blocks, in_flight=config.in_flight
    )


def _contracts(config: ChainConfig) -> tuple[Address, ...]:
    return (config.registry.address, *(curator.address for curator in config.curators))


def _start(config: ChainConfig) -> int:
    return min([config.registry.block, *(curator.block for curator in config.curators)])
