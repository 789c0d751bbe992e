"""Logs as events: what the contracts emit is read, anything else is one error."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.chain import events
from offchain.chain.events import SIGNATURES, TOPICS, EventError, PlainLog, RawLog, decode, decode_log, plain_log
from tests.support.chain import (
    ADMIN,
    CURATOR,
    LATER,
    REGISTRY,
    Said,
    altered,
    event,
    kind_created,
    node_ids,
    nodes_added,
    nodes_removed,
    nodes_renewed,
    provider_created,
    raw_log,
    verdict_changed,
    word,
)

ABI = Path(__file__).parents[3] / "offchain" / "chain" / "abi"

SAMPLES = {
    "ProviderCreated": provider_created(1),
    "ProviderMetadata": Said(REGISTRY, events.ProviderMetadata, (1,), ("string",), ("ipfs://x",)),
    "AdminTransferStarted": Said(REGISTRY, events.AdminTransferStarted, (1, ADMIN, b"\xbb" * 20), (), ()),
    "AdminTransferred": Said(REGISTRY, events.AdminTransferred, (1, ADMIN, b"\xbb" * 20), (), ()),
    "OperatorSet": Said(REGISTRY, events.OperatorSet, (1, ADMIN), ("bool",), (True,)),
    "KindCreated": kind_created(2, "pushserver"),
    "NodesAdded": nodes_added(1, node_ids(1, 2, 3)),
    "NodesRemoved": nodes_removed(1, node_ids(1, 2)),
    "NodesRenewed": nodes_renewed(1, node_ids(3)),
    "NodeEnr": Said(REGISTRY, events.NodeEnr, (b"\x01" * 20,), ("uint64", "bytes"), (2**64 - 1, b"\xf8" * 45)),
    "AdditionsPaused": Said(REGISTRY, events.AdditionsPaused, (), ("uint256",), (LATER,)),
    "SuccessorAnnounced": Said(REGISTRY, events.SuccessorAnnounced, (b"\x22" * 20,), (), ()),
    "VerdictChanged": verdict_changed(1, 1, kind=2, until=LATER, weight=2**100),
}
"""One of each event."""

samples = pytest.mark.parametrize("said", SAMPLES.values(), ids=SAMPLES)


def test_knows_every_event_of_the_interface_by_the_topic_that_the_compiler_gave_it():
    declared = {
        f"{entry['name']}({','.join(part['type'] for part in entry['inputs'])})"
        for name in ("NodeRegistry", "OwnerCurator")
        for entry in json.loads((ABI / f"{name}.json").read_text())["abi"]
        if entry["type"] == "event"
    }
    of_openzeppelin = {
        "OwnershipTransferStarted(address,address)",
        "OwnershipTransferred(address,address)",
        "EIP712DomainChanged()",
        "CuratorSet(address,bool)",
    }

    assert declared - of_openzeppelin == set(SIGNATURES.values())
    assert {kind.__name__ for kind in TOPICS} == set(SAMPLES)


def test_reads_a_batch_with_its_position():
    found = decode_log(raw_log(nodes_added(7, node_ids(1, 2)), version=9, block=5, index=3))

    assert found.provider == 7
    assert found.kind == 1
    assert found.version == 9
    assert found.expires_at == LATER
    assert found.nodes == tuple(node_ids(1, 2))
    assert (found.at.contract, found.at.block, found.at.index) == (REGISTRY, 5, 3)


def test_reads_removals_by_address():
    found = event(nodes_removed(7, node_ids(1, 2), reason=1))

    assert found.nodes == tuple(node[12:] for node in node_ids(1, 2))
    assert found.reason is events.RemovalReason.EXPIRED


def test_reads_a_verdict_with_the_curator_who_gave_it():
    found = event(verdict_changed(3, 2, kind=1, until=5, weight=6))

    assert (found.curator, found.provider, found.kind) == (CURATOR, 3, 1)
    assert (found.status, found.until, found.weight) == (events.VerdictStatus.REJECTED, 5, 6)


def test_reads_a_verdict_on_a_provider_that_no_registry_can_have():
    assert event(verdict_changed(2**256 - 1, 1, kind=2**200)).provider == 2**256 - 1


def test_replaces_what_is_not_text_in_a_metadata_uri():
    said = Said(REGISTRY, events.ProviderCreated, (1, ADMIN), ("bytes",), (b"\xff\xfe",))

    assert event(said).metadata_uri == "��"


@samples
def test_reads_each_event(said):
    found = event(said, version=4)

    assert type(found) is said.event
    assert said.contract == CURATOR or found.version == 4


@samples
def test_refuses_each_event_with_another_number_of_topics(said):
    log = plain_log(raw_log(said))
    for count in {0, 1, 2, 3, 4, 5} - {log.topic_count}:
        with pytest.raises(EventError):
            decode(_changed(log, topic_count=count))


@samples
def test_refuses_each_event_with_bytes_missing_or_added(said):
    log = plain_log(raw_log(said))
    for end in range(len(log.payload)):
        with pytest.raises(EventError):
            decode(_changed(log, payload=log.payload[:end]))
    for more in (1, 31, 32, 64):
        with pytest.raises(EventError):
            decode(_changed(log, payload=log.payload + bytes(more)))


@samples
@given(flip=st.integers(0, 8 * 32 - 1), at=st.integers(0, 40))
def test_reads_or_refuses_a_changed_bit_with_the_one_error(said, flip, at):
    log = plain_log(raw_log(said))
    payload = bytearray(log.payload)
    payload[(32 * at + flip // 8) % len(payload)] ^= 1 << flip % 8
    try:
        decode(_changed(log, payload=bytes(payload)))
    except EventError:
        pass


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (32, word(0)),
        (32, word(2**24)),
        (64, word(0)),
        (64, word(2**24)),
        (96, word(2**32)),
        (128, word(2**32)),
        (160, word(128)),
        (160, word(64)),
        (192, word(2)),
        (192, word(2**200)),
    ],
)
def test_refuses_a_batch_with_a_number_out_of_range_or_another_offset(where, value):
    log = plain_log(raw_log(nodes_added(1, node_ids(1))))
    payload = log.payload[:where] + value + log.payload[where + 32 :]

    with pytest.raises(EventError):
        decode(_changed(log, payload=payload))


def test_refuses_a_batch_without_nodes():
    with pytest.raises(EventError, match="empty"):
        event(nodes_added(1, []))


def test_refuses_a_kind_whose_name_the_contract_would_have_refused():
    for name in ("", "UPPER", "-x", "a" * 33, "ä"):
        with pytest.raises(EventError):
            event(kind_created(2, name))


def test_refuses_text_whose_padding_is_not_zero():
    log = plain_log(raw_log(kind_created(2, "abc")))

    with pytest.raises(EventError, match="padding"):
        decode(_changed(log, payload=log.payload[:-1] + b"\1"))


def test_refuses_an_unknown_topic():
    with pytest.raises(EventError, match="no event"):
        decode(_changed(plain_log(raw_log(nodes_added(1, node_ids(1)))), payload=bytes(320)))


def test_refuses_a_log_that_was_removed():
    with pytest.raises(EventError, match="removed"):
        plain_log(altered(raw_log(nodes_added(1, node_ids(1))), removed=True))


@pytest.mark.parametrize(
    "changes",
    [
        {"address": "0x" + "11" * 19},
        {"address": "0x" + "zz" * 20},
        {"topics": []},
        {"topics": ["0x" + "11" * 32] * 5},
        {"topics": ["11" * 33]},
        {"topics": ["0x" + "1 " * 32]},
        {"data": ""},
        {"data": "0x1"},
        {"data": "0x" + "g0"},
        {"blockNumber": "latest"},
        {"blockNumber": "-0x1"},
        {"blockNumber": hex(2**64)},
        {"logIndex": ""},
        {"blockHash": "0x00"},
        {"transactionHash": "0x"},
    ],
)
def test_refuses_a_log_whose_fields_are_not_what_json_rpc_says(changes):
    with pytest.raises(EventError):
        plain_log(altered(raw_log(nodes_added(1, node_ids(1))), **changes))


@given(st.dictionaries(st.sampled_from(RawLog.__struct_fields__), st.one_of(st.none(), st.text(), st.integers())))
def test_refuses_an_object_that_is_not_a_log_with_the_one_error(document):
    with pytest.raises(EventError):
        decode_log(document)


@given(st.integers(0, 5), st.sampled_from(list(TOPICS.values())), st.binary(max_size=400))
def test_reads_or_refuses_noise_with_the_one_error(count, topic, noise):
    try:
        decode(PlainLog(bytes(REGISTRY), count, topic + noise, 1, 0, bytes(32), bytes(32)))
    except EventError:
        pass


def _changed(log, **changes):
    values = {name: getattr(log, name) for name in log.__struct_fields__}
    return PlainLog(**{**values, **changes})
