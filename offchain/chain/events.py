"""Logs of the registry and of curators as typed events.

    topics    keccak256 of the event's signature, then its indexed arguments, 32 bytes each
    data      the other arguments in the canonical ABI encoding; for the registry the first word is the version

Sources: interfaces/INodeRegistry.sol, interfaces/ICurator.sol, the Solidity ABI specification ("strict encoding").
Whatever the contracts cannot emit is refused with one error, `EventError`: a wrong count of topics, an argument out of
its range, a missing or extra byte, an offset that is not the canonical one, padding that is not zero.

Events are msgspec structures, not dataclasses: building one costs a fraction, and a backfill builds many thousands.
"""

from __future__ import annotations

import struct
from binascii import unhexlify
from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Any, Final

import msgspec

from offchain.errors import DecodeError
from offchain.hashing import keccak256
from offchain.types import Address, Kind, KindId, NodeAddress, NodeId, ProviderId, parse_kind

UINT24_MAX: Final = 2**24 - 1
UINT32_MAX: Final = 2**32 - 1
UINT64_MAX: Final = 2**64 - 1
UINT128_MAX: Final = 2**128 - 1
UINT256_MAX: Final = 2**256 - 1
INT64_MAX: Final = 2**63 - 1
"""SQLite's largest integer."""

_WORD = 32
_BATCH_HEAD = struct.Struct(">" + "28xI" * 6)
"""Provider, kind, version, expiry, offset and length of a batch: six words, each a 32-bit number."""
_BATCH_ZEROS = int.from_bytes((b"\xff" * 28 + bytes(4)) * 6, "big")
"""What must be zero in them."""
_ADDRESS_PADDING = bytes(12)


class EventError(DecodeError):
    """The log is not one that the contract can have emitted."""


class RemovalReason(IntEnum):
    """Why a node left its list."""

    WITHDRAWN = 0
    """The provider removed it."""
    EXPIRED = 1
    """Its listing had expired and somebody pruned it."""


class VerdictStatus(IntEnum):
    """What a curator says of a provider."""

    NONE = 0
    ACCEPTED = 1
    REJECTED = 2


class RawLog(msgspec.Struct, frozen=True, gc=False):
    """A log as JSON-RPC writes it; what else an endpoint sends is ignored."""

    address: str
    topics: list[str]
    data: str
    blockNumber: str
    blockHash: str
    transactionHash: str
    logIndex: str
    removed: bool | None = None


class PlainLog(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A log as bytes; what checkpoints store."""

    address: bytes
    topic_count: int
    payload: bytes
    """Topics, then data, without a seam: what the log commitment hashes."""
    block: int
    index: int
    """Of the log in its block."""
    block_hash: bytes
    tx: bytes


class Position(msgspec.Struct, frozen=True, gc=False):
    """Where on the chain something was said, and by which contract."""

    contract: Address
    block: int
    index: int
    """Of the log in its block."""
    block_hash: bytes
    tx: bytes


class Event(msgspec.Struct, frozen=True, gc=False):
    """What all events have."""

    at: Position


class RegistryEvent(Event, frozen=True):
    """What all events of the registry have."""

    version: int
    """The registry's version after it."""


class ProviderCreated(RegistryEvent, frozen=True):
    """Somebody created a provider."""

    provider: ProviderId
    admin: Address
    metadata_uri: str
    """Not checked by anybody; bytes that are not UTF-8 are replaced."""


class ProviderMetadata(RegistryEvent, frozen=True):
    """A provider's description moved."""

    provider: ProviderId
    metadata_uri: str


class AdminTransferStarted(RegistryEvent, frozen=True):
    """An admin named a successor."""

    provider: ProviderId
    admin: Address
    pending_admin: Address


class AdminTransferred(RegistryEvent, frozen=True):
    """The named successor accepted."""

    provider: ProviderId
    previous_admin: Address
    new_admin: Address


class OperatorSet(RegistryEvent, frozen=True):
    """An admin lets somebody manage the provider's nodes, or no longer."""

    provider: ProviderId
    operator: Address
    allowed: bool


class KindCreated(RegistryEvent, frozen=True):
    """A kind got its small id."""

    kind: KindId
    name: Kind


class NodesAdded(RegistryEvent, frozen=True):
    """A provider listed nodes, all with the same expiry."""

    provider: ProviderId
    kind: KindId
    expires_at: int
    """Unix time from which the listings no longer count."""
    nodes: tuple[NodeId, ...]


class NodesRemoved(RegistryEvent, frozen=True):
    """Nodes left their list."""

    provider: ProviderId
    kind: KindId
    reason: RemovalReason
    nodes: tuple[NodeAddress, ...]


class NodesRenewed(RegistryEvent, frozen=True):
    """A provider extended listings."""

    provider: ProviderId
    kind: KindId
    expires_at: int
    nodes: tuple[NodeAddress, ...]


class NodeEnr(RegistryEvent, frozen=True):
    """A node's record was published; its signature is for its user to check."""

    node: NodeAddress
    seq: int
    enr: bytes


class AdditionsPaused(RegistryEvent, frozen=True):
    """The guardian stopped additions until a time."""

    until: int


class SuccessorAnnounced(RegistryEvent, frozen=True):
    """The guardian named the contract that follows."""

    successor: Address


class VerdictChanged(Event, frozen=True):
    """A curator's verdict changed."""

    curator: Address
    provider: ProviderId
    kind: KindId
    """0 for all kinds."""
    status: VerdictStatus
    until: int
    """Unix time from which it no longer counts; 0 if it does not end."""
    weight: int


SIGNATURES: Final[dict[type[Event], str]] = {
    ProviderCreated: "ProviderCreated(uint256,address,uint256,string)",
    ProviderMetadata: "ProviderMetadata(uint256,uint256,string)",
    AdminTransferStarted: "AdminTransferStarted(uint256,address,address,uint256)",
    AdminTransferred: "AdminTransferred(uint256,address,address,uint256)",
    OperatorSet: "OperatorSet(uint256,address,uint256,bool)",
    KindCreated: "KindCreated(uint256,uint256,string)",
    NodesAdded: "NodesAdded(uint256,uint256,uint256,uint256,bytes32[])",
    NodesRemoved: "NodesRemoved(uint256,uint256,uint256,uint8,address[])",
    NodesRenewed: "NodesRenewed(uint256,uint256,uint256,uint256,address[])",
    NodeEnr: "NodeEnr(address,uint256,uint64,bytes)",
    AdditionsPaused: "AdditionsPaused(uint256,uint256)",
    SuccessorAnnounced: "SuccessorAnnounced(address,uint256)",
    VerdictChanged: "VerdictChanged(uint256,uint256,uint8,uint64,uint128)",
}

TOPICS: Final[dict[type[Event], bytes]] = {kind: keccak256(text.encode()) for kind, text in SIGNATURES.items()}


def decode_log(raw: RawLog | dict[str, Any]) -> Event:
    """The event that a JSON-RPC log stands for; EventError if it is none of ours."""
    if isinstance(raw, dict):
        try:
            raw = msgspec.convert(raw, RawLog)
        except msgspec.ValidationError as error:
            raise EventError(f"not a log: {error}") from None
    return decode(plain_log(raw))


def plain_log(raw: RawLog) -> PlainLog:
    """The log as bytes; EventError if a field is not hexadecimal of its size, or the log was `removed`."""
    return plain_logs((raw,))[0]


def plain_logs(raws: Iterable[RawLog]) -> tuple[PlainLog, ...]:
    """Several logs as bytes. Written for speed: a backfill spends most of its time here and in reading JSON."""
    logs: list[PlainLog] = []
    addresses: dict[str, bytes] = {}
    hash_text, block_hash, number_text, block = "", b"", "", 0
    for raw in raws:
        if raw.removed:
            raise EventError("the log is marked as removed")
        count = len(raw.topics)
        topics, data, tx = "".join(raw.topics), raw.data, raw.transactionHash
        size = 64 * count + len(data) - 2
        if not 1 <= count <= 4 or len(topics) != 66 * count or data[:2] != "0x" or len(tx) != 66:
            raise EventError(
                f"found {count} topics in {len(topics)} characters and data {data[:8]!r}, expected hexadecimal"
            )
        try:
            # "0x" cannot occur within hexadecimal digits, so this strips the prefixes and nothing else.
            found = unhexlify(topics.replace("0x", "") + data[2:] + tx[2:])
            if raw.address not in addresses:
                addresses[raw.address] = unhexlify(raw.address[2:])
            if raw.blockHash != hash_text:
                hash_text = raw.blockHash
                block_hash = unhexlify(hash_text[2:])
            if raw.blockNumber != number_text:
                number_text = raw.blockNumber
                block = int(number_text, 16)
            index = int(raw.logIndex, 16)
        except ValueError:
            raise EventError("a field of the log is not hexadecimal") from None
        address = addresses[raw.address]
        if len(found) * 2 != size + 64:
            raise EventError("a topic does not start with 0x")
        if len(address) != 20 or len(block_hash) != 32:
            raise EventError("an address or hash of the log has the wrong size")
        if not (0 <= block <= INT64_MAX and 0 <= index <= INT64_MAX):
            raise EventError("the log's position is out of range")
        logs.append(PlainLog(address, count, found[:-32], block, index, block_hash, found[-32:]))
    return tuple(logs)


def decode(log: PlainLog) -> Event:
    """The event that a log stands for; EventError if the contracts cannot have emitted it."""
    payload = log.payload
    try:
        count, decoder = _DECODERS[payload[:32]]
    except KeyError:
        raise EventError(f"no event has the topic {payload[:32].hex()}") from None
    if count != log.topic_count:
        raise EventError(f"found {log.topic_count} topics, expected {count}")
    at = Position(Address(log.address), log.block, log.index, log.block_hash, log.tx)
    return decoder(at, payload)


def decode_all(logs: Iterable[PlainLog]) -> list[Event]:
    """The events of several logs, in their order."""
    return [decode(log) for log in logs]


def is_registry_topic(topic: bytes) -> bool:
    """Whether an event with this topic is the registry's, and so part of its log commitment."""
    return topic in _REGISTRY_TOPICS


def _uint(payload: bytes, at: int, maximum: int) -> int:
    value = int.from_bytes(payload[at : at + _WORD], "big")
    if value > maximum or len(payload) < at + _WORD:
        raise EventError(f"found {len(payload)} bytes and the number {value} at {at}, expected at most {maximum}")
    return value


def _address(payload: bytes, at: int) -> Address:
    word = payload[at : at + _WORD]
    if len(word) != _WORD or word[:12] != _ADDRESS_PADDING:
        raise EventError(f"found {word.hex()} at {at}, expected an address")
    return Address(word[12:])


def _end(payload: bytes, expected: int) -> None:
    if len(payload) != expected:
        raise EventError(f"found {len(payload)} bytes, expected {expected}")


def _tail(payload: bytes, head: int, slot: int) -> tuple[int, int]:
    """Length and start of the one dynamic argument, whose offset stands at `slot` and is counted from `head`."""
    offset = _uint(payload, slot, UINT32_MAX)
    if head + offset != slot + _WORD:
        raise EventError(f"found the offset {offset}, expected {slot + _WORD - head}")
    return _uint(payload, slot + _WORD, UINT32_MAX), slot + 2 * _WORD


def _bytes(payload: bytes, head: int, slot: int) -> bytes:
    size, start = _tail(payload, head, slot)
    end = start + size
    padded = start + (size + 31) // 32 * 32
    _end(payload, padded)
    if payload[end:].strip(b"\0"):
        raise EventError("the padding is not zero")
    return payload[start:end]


def _words(payload: bytes, head: int, slot: int) -> tuple[bytes, ...]:
    count, start = _tail(payload, head, slot)
    _end(payload, start + _WORD * count)
    if count == 0:
        raise EventError("the batch is empty")
    if count == 1:
        return (payload[start:],)
    return struct.unpack_from("32s" * count, payload, start)


def _addresses(payload: bytes, head: int, slot: int) -> tuple[NodeAddress, ...]:
    words = _words(payload, head, slot)
    for word in words:
        if word[:12] != _ADDRESS_PADDING:
            raise EventError(f"found {word.hex()}, expected an address")
    return tuple([NodeAddress(word[12:]) for word in words])


def _provider(payload: bytes, at: int = 32) -> ProviderId:
    provider = _uint(payload, at, UINT24_MAX)
    if provider == 0:
        raise EventError("no provider has the id 0")
    return ProviderId(provider)


def _kind(payload: bytes, at: int = 64) -> KindId:
    kind = _uint(payload, at, UINT24_MAX)
    if kind == 0:
        raise EventError("no kind has the id 0")
    return KindId(kind)


def _uri(payload: bytes, head: int, slot: int) -> str:
    return _bytes(payload, head, slot).decode("utf-8", "replace")


def _provider_created(at: Position, p: bytes) -> ProviderCreated:
    return ProviderCreated(at, _uint(p, 96, UINT32_MAX), _provider(p), _address(p, 64), _uri(p, 96, 128))


def _provider_metadata(at: Position, p: bytes) -> ProviderMetadata:
    return ProviderMetadata(at, _uint(p, 64, UINT32_MAX), _provider(p), _uri(p, 64, 96))


def _admin_transfer_started(at: Position, p: bytes) -> AdminTransferStarted:
    _end(p, 160)
    return AdminTransferStarted(at, _uint(p, 128, UINT32_MAX), _provider(p), _address(p, 64), _address(p, 96))


def _admin_transferred(at: Position, p: bytes) -> AdminTransferred:
    _end(p, 160)
    return AdminTransferred(at, _uint(p, 128, UINT32_MAX), _provider(p), _address(p, 64), _address(p, 96))


def _operator_set(at: Position, p: bytes) -> OperatorSet:
    _end(p, 160)
    return OperatorSet(at, _uint(p, 96, UINT32_MAX), _provider(p), _address(p, 64), bool(_uint(p, 128, 1)))


def _kind_created(at: Position, p: bytes) -> KindCreated:
    name = _bytes(p, 64, 96)
    try:
        kind = parse_kind(name.decode("ascii"))
    except ValueError:
        raise EventError(f"{name!r} is not a kind's name") from None
    return KindCreated(at, _uint(p, 64, UINT32_MAX), _kind(p, 32), kind)


def _nodes_added(at: Position, p: bytes) -> NodesAdded:
    count = (len(p) - 224) // 32
    if count > 0 and len(p) == 224 + 32 * count and not int.from_bytes(p[32:224], "big") & _BATCH_ZEROS:
        # The path that nearly every event of a backfill takes: all fixed words at once.
        provider, kind, version, expires_at, offset, length = _BATCH_HEAD.unpack_from(p, 32)
        if offset == 96 and length == count and 0 < provider <= UINT24_MAX and 0 < kind <= UINT24_MAX:
            nodes = (p[224:],) if count == 1 else struct.unpack_from("32s" * count, p, 224)
            return NodesAdded(at, version, provider, kind, expires_at, nodes)
    words = _words(p, 96, 160)
    version, expires_at = _uint(p, 96, UINT32_MAX), _uint(p, 128, UINT32_MAX)
    return NodesAdded(at, version, _provider(p), _kind(p), expires_at, words)  # type: ignore[arg-type]


def _nodes_removed(at: Position, p: bytes) -> NodesRemoved:
    nodes = _addresses(p, 96, 160)
    reason = RemovalReason(_uint(p, 128, len(RemovalReason) - 1))
    return NodesRemoved(at, _uint(p, 96, UINT32_MAX), _provider(p), _kind(p), reason, nodes)


def _nodes_renewed(at: Position, p: bytes) -> NodesRenewed:
    nodes = _addresses(p, 96, 160)
    return NodesRenewed(at, _uint(p, 96, UINT32_MAX), _provider(p), _kind(p), _uint(p, 128, UINT32_MAX), nodes)


def _node_enr(at: Position, p: bytes) -> NodeEnr:
    enr = _bytes(p, 64, 128)
    return NodeEnr(at, _uint(p, 64, UINT32_MAX), NodeAddress(_address(p, 32)), _uint(p, 96, UINT64_MAX), enr)


def _additions_paused(at: Position, p: bytes) -> AdditionsPaused:
    _end(p, 96)
    return AdditionsPaused(at, _uint(p, 32, UINT32_MAX), _uint(p, 64, INT64_MAX))


def _successor_announced(at: Position, p: bytes) -> SuccessorAnnounced:
    _end(p, 96)
    return SuccessorAnnounced(at, _uint(p, 64, UINT32_MAX), _address(p, 32))


def _verdict_changed(at: Position, p: bytes) -> VerdictChanged:
    _end(p, 192)
    # A curator may name any number as provider and kind, whether the registry knows them or not.
    provider, kind = ProviderId(_uint(p, 32, UINT256_MAX)), KindId(_uint(p, 64, UINT256_MAX))
    status = VerdictStatus(_uint(p, 96, len(VerdictStatus) - 1))
    until, weight = _uint(p, 128, UINT64_MAX), _uint(p, 160, UINT128_MAX)
    return VerdictChanged(at, at.contract, provider, kind, status, until, weight)


_DECODERS: Final[dict[bytes, tuple[int, Callable[[Position, bytes], Event]]]] = {
    TOPICS[ProviderCreated]: (3, _provider_created),
    TOPICS[ProviderMetadata]: (2, _provider_metadata),
    TOPICS[AdminTransferStarted]: (4, _admin_transfer_started),
    TOPICS[AdminTransferred]: (4, _admin_transferred),
    TOPICS[OperatorSet]: (3, _operator_set),
    TOPICS[KindCreated]: (2, _kind_created),
    TOPICS[NodesAdded]: (3, _nodes_added),
    TOPICS[NodesRemoved]: (3, _nodes_removed),
    TOPICS[NodesRenewed]: (3, _nodes_renewed),
    TOPICS[NodeEnr]: (2, _node_enr),
    TOPICS[AdditionsPaused]: (1, _additions_paused),
    TOPICS[SuccessorAnnounced]: (2, _successor_announced),
    TOPICS[VerdictChanged]: (3, _verdict_changed),
}

_REGISTRY_TOPICS: Final = frozenset(topic for kind, topic in TOPICS.items() if issubclass(kind, RegistryEvent))
