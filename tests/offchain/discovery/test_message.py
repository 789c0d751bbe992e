"""Messages: vectors of topic discovery, round trips, and every kind of noise."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offchain import rlp
from offchain.discovery import message as messages
from offchain.discovery.message import (
    FindNode,
    MessageError,
    Nodes,
    Ping,
    Pong,
    RegConfirmation,
    RegTopic,
    TalkRequest,
    TalkResponse,
    TopicNodes,
    TopicQuery,
)
from tests.support.discovery import record, vectors

TOPICS = vectors("discv5_topics")["messages"]

request_ids = st.binary(max_size=8)
numbers = st.integers(0, 2**64 - 1)
blobs = st.binary(max_size=80)
topics = st.binary(min_size=32, max_size=32)
distances = st.lists(st.integers(0, 256), max_size=8).map(tuple)
records = st.lists(st.sampled_from([record(n).raw for n in range(3)]), max_size=3).map(tuple)
ips = st.integers(0, 2**32 - 1).map(IPv4Address) | st.integers(0, 2**128 - 1).map(IPv6Address)

any_message = st.one_of(
    st.builds(Ping, request_ids, numbers),
    st.builds(Pong, request_ids, numbers, ips, st.integers(0, 65535)),
    st.builds(FindNode, request_ids, distances),
    st.builds(Nodes, request_ids, numbers, records),
    st.builds(TalkRequest, request_ids, blobs, blobs),
    st.builds(TalkResponse, request_ids, blobs),
    st.builds(RegTopic, request_ids, topics, st.just(record(1).raw), blobs, distances),
    st.builds(RegConfirmation, request_ids, numbers, blobs, numbers),
    st.builds(TopicQuery, request_ids, topics, distances),
    st.builds(TopicNodes, request_ids, numbers, records),
)


@settings(max_examples=300)
@given(any_message)
def test_a_message_comes_back(message):
    assert messages.decode(messages.encode(message)) == message


@pytest.mark.parametrize("name", list(TOPICS))
def test_reads_and_writes_the_vectors_of_topic_discovery(name):
    raw = bytes.fromhex(TOPICS[name])

    message = messages.decode(raw)

    assert messages.encode(message) == raw
    assert message.request_id == b"\0\0\0\1"


def test_reads_the_specifications_ping():
    assert messages.decode(bytes.fromhex("01c6840000000102")) == Ping(b"\0\0\0\1", 2)


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_noise_is_refused_with_the_one_error(noise):
    try:
        messages.decode(noise)
    except MessageError:
        pass


items = st.recursive(st.binary(max_size=40), lambda inner: st.lists(inner, max_size=5), max_leaves=12)


@settings(max_examples=300)
@given(st.integers(0, 12), st.lists(items, max_size=6))
def test_any_rlp_is_a_message_or_refused_with_the_one_error(kind, body):
    try:
        message = messages.decode(bytes((kind,)) + rlp.encode(body))
    except MessageError:
        return
    assert messages.encode(message) == bytes((kind,)) + rlp.encode(body)


@settings(max_examples=100)
@given(any_message, st.data())
def test_a_truncated_message_is_refused(message, data):
    raw = messages.encode(message)

    with pytest.raises(MessageError):
        messages.decode(raw[: data.draw(st.integers(0, len(raw) - 1))])
    with pytest.raises(MessageError):
        messages.decode(raw + b"\0")


def nested(depth):
    item = []
    for _ in range(depth):
        item = [item]
    return item


RID = b"\0\0\0\1"


@pytest.mark.parametrize(
    ("kind", "body", "reason"),
    [
        (0, [RID], "type is 0"),
        (11, [RID], "type is 11"),
        (1, b"not a list", "expected a list"),
        (1, [RID], "expected 2"),
        (1, [RID, 1, 1], "expected 2"),
        (1, [b"\1" * 9, 1], "at most 8 bytes"),
        (1, [[RID], 1], "found a list"),
        (1, [RID, b"\0\1"], "leading zero"),
        (1, [RID, b"\1" * 9], "at most 8"),
        (1, [RID, nested(5)], "found a list"),
        (1, [RID, nested(40)], "nest deeper"),
        (2, [RID, 1, b"\x7f\0\0", 30303], "4 or 16"),
        (2, [RID, 1, b"", 30303], "4 or 16"),
        (2, [RID, 1, b"\x7f\0\0\1", 65536], "at most 2"),
        (3, [RID, 256], "expected a list"),
        (3, [RID, [257]], "at most 256"),
        (3, [RID, [2**40]], "at most 2"),
        (3, [RID, [[1]]], "found a list"),
        (4, [RID, 1, [b"no record"]], "expected a record"),
        (4, [RID, 1, b"no list"], "not a list"),
        (7, [RID, b"\1" * 31, [], b"", []], "expected 32"),
        (7, [RID, b"\1" * 32, b"", b"", []], "expected a record"),
        (9, [RID, b"\1" * 33, []], "expected 32"),
    ],
)
def test_wrong_shapes_are_refused(kind, body, reason):
    with pytest.raises(MessageError, match=reason):
        messages.decode(bytes((kind,)) + rlp.encode(body))


def test_an_empty_message_is_refused():
    with pytest.raises(MessageError, match="empty"):
        messages.decode(b"")


def test_a_request_id_of_no_bytes_is_legal():
    assert messages.decode(messages.encode(Ping(b"", 1))) == Ping(b"", 1)


def test_a_request_id_of_nine_bytes_is_not_written():
    with pytest.raises(ValueError, match="at most 8"):
        messages.encode(Ping(b"123456789", 1))


def test_a_bad_record_in_an_answer_costs_only_itself():
    broken = rlp.encode([b"sig", 1])

    message = messages.decode(messages.encode(Nodes(RID, 1, (record(1).raw, broken))))

    assert message.records == (record(1).raw, broken)
