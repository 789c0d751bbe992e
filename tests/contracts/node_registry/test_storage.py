"""Raw storage, read as a client reads it by eth_getProof, says what the getters say."""

import pytest
from brownie import chain, web3

from scripts import export_abi
from tests.support.registry import DAY, MAILSERVERS, Node, addresses, nodes
from tests.support.storage import mapping_slot, slot_number, words

LAYOUT = {
    "_commitment": (0, 0, "bytes32"),
    "_nameFallback": (1, 0, "string"),
    "_versionFallback": (2, 0, "string"),
    "_owner": (3, 0, "address"),
    "_pendingOwner": (4, 0, "address"),
    "_kindCount": (4, 20, "uint24"),
    "_pausedUntil": (4, 23, "uint48"),
    "_providerCount": (4, 29, "uint24"),
    "successor": (5, 0, "address"),
    "_providers": (6, 0, "mapping(uint256 => struct NodeRegistry.Provider)"),
    "_nodes": (7, 0, "mapping(address => struct INodeRegistry.NodeInfo)"),
    "headOf": (8, 0, "mapping(uint256 => mapping(uint256 => address))"),
    "topicOf": (9, 0, "mapping(uint256 => bytes32)"),
    "kindOf": (10, 0, "mapping(bytes32 => uint256)"),
    "enrSeqOf": (11, 0, "mapping(address => uint64)"),
}
"""Part of the interface: a change here is a new contract for every client."""

NODE_INFO = {"next": (0, 0), "providerId": (0, 20), "kind": (0, 23), "expiresAt": (0, 26), "generation": (0, 30)}
PROVIDER = {"admin": (0, 0), "pendingAdmin": (1, 0), "metadataHash": (2, 0), "operators": (3, 0)}


@pytest.fixture(scope="module")
def compiled():
    """The compiler's storage layout of the registry."""
    return export_abi.compiled()["contracts"]["contracts/NodeRegistry.sol"]["NodeRegistry"]["storageLayout"]


def test_the_layout_is_as_documented(compiled):
    places = {name: (at["slot"], at["offset"], at["type"]) for name, at in export_abi.storage(compiled).items()}

    assert places == LAYOUT


@pytest.mark.parametrize(("struct", "expected"), [("NodeInfo", NODE_INFO), ("Provider", PROVIDER)])
def test_the_structs_are_as_documented(compiled, struct, expected):
    (members,) = [kind["members"] for kind in compiled["types"].values() if kind["label"].endswith(f".{struct}")]

    assert {member["label"]: (int(member["slot"]), member["offset"]) for member in members} == expected


def test_the_commitment_is_slot_zero(registry, provider):
    version, digest = registry.commitment()

    word = words(web3, registry, 0)

    assert (word & 0xFFFFFFFF, (word >> 32).to_bytes(28, "big")) == (version, bytes(digest))


def test_a_node_is_one_slot(registry, provider, listed):
    fleet = addresses(listed(nodes(3)))

    for node in [*fleet, Node.number(9).address]:
        word = words(web3, registry, mapping_slot(slot_number("NodeRegistry", "_nodes"), node))
        following, provider_id, kind, expires_at, generation = registry.nodeOf(node)
        assert word & (1 << 160) - 1 == int(following, 16)
        assert word >> 160 & 0xFFFFFF == provider_id
        assert word >> 184 & 0xFFFFFF == kind
        assert word >> 208 & 0xFFFFFFFF == expires_at
        assert word >> 240 == generation


def test_a_lists_head_is_one_slot(registry, provider, listed):
    fleet = addresses(listed(nodes(2)))

    word = words(web3, registry, mapping_slot(slot_number("NodeRegistry", "headOf"), provider, MAILSERVERS))

    assert word == int(fleet[-1], 16) == int(registry.headOf(provider, MAILSERVERS), 16)


def test_a_provider_is_four_slots(registry, provider, admin, operator, newcomer):
    registry.transferAdmin(provider, newcomer, {"from": admin})
    start = int(mapping_slot(slot_number("NodeRegistry", "_providers"), provider), 16)

    assert words(web3, registry, hex(start)) == int(admin.address, 16)
    assert words(web3, registry, hex(start + 1)) == int(newcomer.address, 16)
    assert words(web3, registry, hex(start + 2)) == int(str(registry.metadataHashOf(provider)), 16)
    assert words(web3, registry, mapping_slot(start + 3, operator.address)) == 1
    assert words(web3, registry, mapping_slot(start + 3, newcomer.address)) == 0


def test_kinds_and_records_are_mappings(registry, provider, admin, stranger, listed):
    registry.createKind("pushserver", {"from": stranger})
    (node,) = addresses(listed(nodes(1)))
    registry.publishEnr(node, 77, b"record", {"from": admin})
    topic = int(str(registry.topicOf(2)), 16)

    assert words(web3, registry, mapping_slot(slot_number("NodeRegistry", "topicOf"), 2)) == topic
    assert words(web3, registry, mapping_slot(slot_number("NodeRegistry", "kindOf"), topic)) == 2
    assert words(web3, registry, mapping_slot(slot_number("NodeRegistry", "enrSeqOf"), node)) == 77


def test_counts_pause_and_guardian_share_a_slot(registry, provider, guardian, newcomer, stranger):
    registry.createKind("pushserver", {"from": stranger})
    registry.pauseAdditions(chain[-1].timestamp + DAY, {"from": guardian})
    registry.transferOwnership(newcomer, {"from": guardian})

    word = words(web3, registry, 4)

    assert word & (1 << 160) - 1 == int(newcomer.address, 16)
    assert word >> 160 & 0xFFFFFF == registry.kindCount() == 2
    assert word >> 184 & (1 << 48) - 1 == registry.pausedUntil()
    assert word >> 232 == registry.providerCount() == 1
