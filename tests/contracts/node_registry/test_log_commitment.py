"""The log commitment: one event per change, one version per event, a hash that anyone recomputes from the logs."""

import random

import pytest
from brownie import chain, web3

from tests.support.registry import DAY, MAILSERVERS, ZERO_ADDRESS, Replayed, addresses, advanced, nodes


@pytest.fixture
def logs_of(registry):
    def read():
        return web3.eth.get_logs({"address": registry.address, "fromBlock": 0})

    return read


@pytest.fixture
def history(registry, provider, rival_provider, admin, operator, guardian, newcomer, stranger, rival, agree, expiry):
    """Every event of the interface at least once, those on nodes for two providers and two kinds."""
    fleet = nodes(4)
    names = addresses(fleet)
    registry.createKind("pushserver", {"from": stranger})
    registry.setMetadata(provider, "", {"from": admin})
    registry.addNodes(provider, MAILSERVERS, expiry, agree(provider, fleet[:3]), {"from": operator})
    registry.addNodes(rival_provider, 2, expiry, agree(rival_provider, fleet[3:], kind=2), {"from": rival})
    registry.renewNodes(provider, MAILSERVERS, expiry + 5, names[:2], {"from": operator})
    registry.renewNodes(rival_provider, 2, expiry + 5, names[3:], {"from": rival})
    registry.publishEnr(names[0], 3, b"\xf8record", {"from": operator})
    registry.publishEnr(names[1], 1, b"", {"from": operator})
    registry.removeNodes(provider, MAILSERVERS, names[1:2], names[2:3], {"from": operator})
    registry.setOperator(provider, operator, False, {"from": admin})
    registry.transferAdmin(provider, newcomer, {"from": admin})
    registry.acceptAdmin(provider, {"from": newcomer})
    registry.pauseAdditions(chain[-1].timestamp + DAY, {"from": guardian})
    registry.resumeAdditions({"from": guardian})
    registry.announceSuccessor(stranger, {"from": guardian})
    registry.transferOwnership(newcomer, {"from": guardian})
    chain.sleep(101 * DAY)
    chain.mine()
    registry.pruneNodes(provider, MAILSERVERS, names[2:3], [ZERO_ADDRESS], {"from": stranger})
    registry.pruneNodes(rival_provider, 2, names[3:], [ZERO_ADDRESS], {"from": stranger})
    return fleet


def test_anyone_recomputes_it_from_the_logs(registry, history, logs_of):
    version, digest = registry.commitment()

    assert Replayed.of(logs_of()).commitment == (version, bytes(digest))


def test_the_logs_rebuild_the_state(registry, provider, rival_provider, history, logs_of, rival, newcomer, operator):
    state = Replayed.of(logs_of())

    assert state.admins == {provider: registry.adminOf(provider), rival_provider: rival.address}
    assert state.admins[provider] == newcomer
    assert state.kinds == {1: "mailserver", 2: "pushserver"}
    assert (provider, operator.address) not in state.operators
    for (provider_id, kind), listed in state.lists.items():
        assert list(registry.nodesOf(provider_id, kind, ZERO_ADDRESS, 99)[0]) == listed
    for node in addresses(history):
        info = registry.nodeOf(node)
        assert info[3] == state.expiry.get(node, 0)
        assert info[4] == state.generations[node]
        assert registry.enrSeqOf(node) == state.records.get(node, 0)
    assert state.paused_until == registry.pausedUntil()
    assert state.successor == registry.successor()
    for provider_id, uri in state.metadata.items():
        assert web3.keccak(text=uri) == web3.to_bytes(hexstr=str(registry.metadataHashOf(provider_id)))


def test_full_ids_are_in_the_logs(history, logs_of):
    state = Replayed.of(logs_of())

    assert state.ids == {node.address: node.id for node in history}


def test_every_event_of_the_interface_was_emitted(history, logs_of):
    from tests.support.registry import UNFOLDED, LogReader, interface

    reader = LogReader("NodeRegistry")
    expected = {entry["name"] for entry in interface("NodeRegistry") if entry["type"] == "event"}

    emitted = {reader.read(log)[0] for log in logs_of()}

    assert emitted | {"EIP712DomainChanged"} == expected | {"EIP712DomainChanged"}
    assert emitted >= UNFOLDED


def test_what_an_endpoint_leaves_out_repeats_alters_or_reorders_shows(registry, history, logs_of):
    version, digest = registry.commitment()
    folded = [log for log in logs_of() if len(log["data"]) or log["topics"]]
    folded = [log for log in folded if not _is_ownership(log)]
    rng = random.Random(1)

    def fold(logs):
        commitment = (0, bytes(28))
        for log in logs:
            commitment = advanced(commitment, log)
        return commitment

    assert fold(folded) == (version, bytes(digest))
    for _ in range(50):
        at = rng.randrange(len(folded) - 1)
        log = folded[at]
        data = bytearray(log["data"])
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        for forged in (
            folded[:at] + folded[at + 1 :],
            folded[: at + 1] + folded[at:],
            [*folded[:at], {"topics": log["topics"], "data": bytes(data)}, *folded[at + 1 :]],
            [*folded[:at], folded[at + 1], log, *folded[at + 2 :]],
            folded[:at],
        ):
            assert fold(forged) != (version, bytes(digest))


def test_versions_go_up_by_one_per_event(registry, history, logs_of):
    from tests.support.registry import UNFOLDED, LogReader

    reader = LogReader("NodeRegistry")
    events = [reader.read(log) for log in logs_of()]

    versions = [values["version"] for name, values in events if name not in UNFOLDED]

    assert versions == list(range(1, len(versions) + 1))


def test_the_version_is_the_first_word_of_every_events_data(registry, history, logs_of):
    versions = [int.from_bytes(log["data"][:32], "big") for log in logs_of() if not _is_ownership(log)]

    assert versions == list(range(1, len(versions) + 1))


def test_a_refused_call_leaves_it_alone(registry, provider, admin):
    from tests.contracts.errors import reverts_with

    before = registry.commitment()
    with reverts_with("NothingChanged"):
        registry.transferAdmin(provider, admin, {"from": admin})

    assert registry.commitment() == before


def _is_ownership(log):
    from tests.support.registry import UNFOLDED, LogReader

    return LogReader("NodeRegistry").read(log)[0] in UNFOLDED
