"""discv5 messages (discv5-wire.md; topic discovery as merged in June 2026).

    message      = message-type || rlp(message-data)
    PING         = 0x01  [request-id, enr-seq]
    PONG         = 0x02  [request-id, enr-seq, recipient-ip, recipient-port]
    FINDNODE     = 0x03  [request-id, [distance, ...]]
    NODES        = 0x04  [request-id, total, [ENR, ...]]
    TALKREQ      = 0x05  [request-id, protocol, request]
    TALKRESP     = 0x06  [request-id, response]
    REGTOPIC     = 0x07  [request-id, topic, ENR, ticket, [distance, ...]]
    REGCONFIRMATION = 0x08  [request-id, total, ticket, wait-ms]
    TOPICQUERY   = 0x09  [request-id, topic, [distance, ...]]
    TOPICNODES   = 0x0a  [request-id, total, [ENR, ...]]

Strict: exactly these items, integers without leading zeros, distances 0 to 256, request ids of at most 8 bytes.
Records are kept as they came (RLP); whoever uses one decodes it with `Enr.decode`, so that one bad record in an answer
costs only itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol, TypeAlias

from offchain import rlp
from offchain.errors import DecodeError
from offchain.rlp import Item, RlpError
from offchain.types import IpAddress, Topic

MAX_REQUEST_ID = 8
MAX_DISTANCE = 256
TOPIC_SIZE = 32


class MessageError(DecodeError):
    """What was decrypted is not a discv5 message. Drop it."""


@dataclass(frozen=True, slots=True)
class Ping:
    """Are you there? Mine is record number `enr_seq`."""

    request_id: bytes
    enr_seq: int


@dataclass(frozen=True, slots=True)
class Pong:
    """I am; I see you at this address; mine is record number `enr_seq`."""

    request_id: bytes
    enr_seq: int
    ip: IpAddress
    port: int


@dataclass(frozen=True, slots=True)
class FindNode:
    """Whom do you know at these log distances from you? 0 is yourself."""

    request_id: bytes
    distances: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Nodes:
    """One of `total` packets of the answer to FINDNODE, or routing hints beside topic answers."""

    request_id: bytes
    total: int
    records: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class TalkRequest:
    """A request of another protocol."""

    request_id: bytes
    protocol: bytes
    request: bytes


@dataclass(frozen=True, slots=True)
class TalkResponse:
    """Its answer; empty where the protocol is unknown."""

    request_id: bytes
    response: bytes


@dataclass(frozen=True, slots=True)
class RegTopic:
    """Please advertise me under the topic."""

    request_id: bytes
    topic: Topic
    record: bytes
    ticket: bytes
    """Empty at the first attempt."""

    distances: tuple[int, ...]
    """From the topic, at which the advertiser looks for more registrars."""


@dataclass(frozen=True, slots=True)
class RegConfirmation:
    """Admitted (ticket empty; `wait_ms` is the lifetime of the ad), or: come back with the ticket after `wait_ms`."""

    request_id: bytes
    total: int
    ticket: bytes
    wait_ms: int


@dataclass(frozen=True, slots=True)
class TopicQuery:
    """Who advertises the topic?"""

    request_id: bytes
    topic: Topic
    distances: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TopicNodes:
    """These do; `total` counts the NODES packets of the answer too."""

    request_id: bytes
    total: int
    records: tuple[bytes, ...]


Message: TypeAlias = (
    Ping | Pong | FindNode | Nodes | TalkRequest | TalkResponse | RegTopic | RegConfirmation | TopicQuery | TopicNodes
)


class Codec(Protocol):
    """What turns messages into what the packet layer carries: this module, or in simulations nothing at all."""

    def encode(self, message: Message) -> bytes: ...

    def decode(self, data: bytes) -> Message: ...


def encode(message: Message) -> bytes:
    """message-type || rlp(message-data). ValueError if the message breaks the rules that `decode` keeps."""
    if len(message.request_id) > MAX_REQUEST_ID:
        raise ValueError(f"a request id has at most {MAX_REQUEST_ID} bytes, found {len(message.request_id)}")
    rid = rlp.encode(message.request_id)
    match message:
        case Ping():
            return _join(1, rid, rlp.encode(message.enr_seq))
        case Pong():
            ip = rlp.encode(message.ip.packed)
            return _join(2, rid, rlp.encode(message.enr_seq), ip, rlp.encode(message.port))
        case FindNode():
            return _join(3, rid, rlp.encode(message.distances))
        case Nodes():
            return _join(4, rid, rlp.encode(message.total), rlp.encode_list(message.records))
        case TalkRequest():
            return _join(5, rid, rlp.encode(message.protocol), rlp.encode(message.request))
        case TalkResponse():
            return _join(6, rid, rlp.encode(message.response))
        case RegTopic():
            ticket, distances = rlp.encode(message.ticket), rlp.encode(message.distances)
            return _join(7, rid, rlp.encode(message.topic), message.record, ticket, distances)
        case RegConfirmation():
            return _join(8, rid, rlp.encode(message.total), rlp.encode(message.ticket), rlp.encode(message.wait_ms))
        case TopicQuery():
            return _join(9, rid, rlp.encode(message.topic), rlp.encode(message.distances))
        case TopicNodes():
            return _join(10, rid, rlp.encode(message.total), rlp.encode_list(message.records))


def decode(data: bytes) -> Message:
    """The message; MessageError for anything else."""
    if not data:
        raise MessageError("the message is empty")
    known = _DECODERS.get(data[0])
    if known is None:
        raise MessageError(f"message type is {data[0]}")
    size, record_at, decoder = known
    try:
        if record_at is None:
            items = rlp.decode_list(data[1:])
        else:
            parts = rlp.split_list(data[1:])
            items = [part if at == record_at else rlp.decode(part) for at, part in enumerate(parts)]
        if len(items) != size:
            raise MessageError(f"message of type {data[0]} has {len(items)} items, expected {size}")
        request_id = rlp.as_bytes(items[0])
        if len(request_id) > MAX_REQUEST_ID:
            raise MessageError(f"a request id has at most {MAX_REQUEST_ID} bytes, found {len(request_id)}")
        return decoder(request_id, items)
    except RlpError as error:
        raise MessageError(f"message of type {data[0]}: {error}") from None


def _decode_ping(rid: bytes, items: list[Item]) -> Ping:
    return Ping(rid, rlp.as_int(items[1]))


def _decode_pong(rid: bytes, items: list[Item]) -> Pong:
    packed = rlp.as_bytes(items[2])
    if len(packed) not in (4, 16):
        raise MessageError(f"an IP address has 4 or 16 bytes, found {len(packed)}")
    return Pong(rid, rlp.as_int(items[1]), _ip(packed), rlp.as_int(items[3], 2))


def _decode_findnode(rid: bytes, items: list[Item]) -> FindNode:
    return FindNode(rid, _distances(items[1]))


def _decode_nodes(rid: bytes, items: list[Item]) -> Nodes:
    return Nodes(rid, rlp.as_int(items[1]), _records(items[2]))


def _decode_talk_request(rid: bytes, items: list[Item]) -> TalkRequest:
    return TalkRequest(rid, rlp.as_bytes(items[1]), rlp.as_bytes(items[2]))


def _decode_talk_response(rid: bytes, items: list[Item]) -> TalkResponse:
    return TalkResponse(rid, rlp.as_bytes(items[1]))


def _decode_regtopic(rid: bytes, items: list[Item]) -> RegTopic:
    record = _record(rlp.as_bytes(items[2]))
    return RegTopic(rid, _topic(items[1]), record, rlp.as_bytes(items[3]), _distances(items[4]))


def _decode_regconfirmation(rid: bytes, items: list[Item]) -> RegConfirmation:
    return RegConfirmation(rid, rlp.as_int(items[1]), rlp.as_bytes(items[2]), rlp.as_int(items[3]))


def _decode_topicquery(rid: bytes, items: list[Item]) -> TopicQuery:
    return TopicQuery(rid, _topic(items[1]), _distances(items[2]))


def _decode_topicnodes(rid: bytes, items: list[Item]) -> TopicNodes:
    return TopicNodes(rid, rlp.as_int(items[1]), _records(items[2]))


_DECODERS: dict[int, tuple[int, int | None, Callable[[bytes, list[Item]], Message]]] = {
    # type: how many items, which of them holds records and is left as it came, what makes the message
    1: (2, None, _decode_ping),
    2: (4, None, _decode_pong),
    3: (2, None, _decode_findnode),
    4: (3, 2, _decode_nodes),
    5: (3, None, _decode_talk_request),
    6: (2, None, _decode_talk_response),
    7: (5, 2, _decode_regtopic),
    8: (4, None, _decode_regconfirmation),
    9: (3, None, _decode_topicquery),
    10: (3, 2, _decode_topicnodes),
}


@lru_cache(maxsize=1024)
def _ip(packed: bytes) -> IpAddress:
    """Nearly always the same: our own."""
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)


def _join(kind: int, *encoded: bytes) -> bytes:
    return bytes((kind,)) + rlp.encode_list(encoded)


def _topic(item: Item) -> Topic:
    return Topic(rlp.as_bytes(item, TOPIC_SIZE))


def _distances(item: Item) -> tuple[int, ...]:
    distances = tuple([rlp.as_int(each, 2) for each in rlp.as_list(item)])
    if distances and max(distances) > MAX_DISTANCE:
        raise MessageError(f"a distance is {max(distances)}, expected at most {MAX_DISTANCE}")
    return distances


def _record(encoded: bytes) -> bytes:
    if encoded[0] < 0xC0:
        raise MessageError("found a string, expected a record")
    return encoded


def _records(encoded: Item) -> tuple[bytes, ...]:
    return tuple([_record(each) for each in rlp.split_list(rlp.as_bytes(encoded))])
