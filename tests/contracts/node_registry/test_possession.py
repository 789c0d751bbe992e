"""A node is listed only if its own key agreed to just this listing: rules 7 and 8 of the registry's invariants."""

import pytest
from brownie import chain

from offchain.possession import Terms, authorize
from offchain.types import MAILSERVER, Address
from tests.contracts.errors import reverts_with
from tests.support.registry import DAY, MAILSERVERS, Node, nodes, possession

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
RECOVERY_BIT = 1 << 255


@pytest.fixture
def refused(registry, provider, admin, expiry):
    """Expect the registry to refuse a proof."""

    def check(proof, error="InvalidPossession", *arguments, to=provider, by=admin, kind=MAILSERVERS):
        with reverts_with(error, *(arguments or (proof[0],))):
            registry.addNodes(to, kind, expiry, [proof], {"from": by})

    return check


@pytest.fixture
def node():
    return Node.number(0)


def test_the_digest_is_the_one_that_off_chain_code_signs(registry, provider, node, now):
    registry_address = Address(bytes.fromhex(registry.address[2:]))
    terms = Terms(node.id, provider, MAILSERVER, MAILSERVERS, 1, now + DAY, chain.id, registry_address)

    digest = registry.possessionDigest(node.id, provider, MAILSERVERS, now + DAY)

    assert bytes(digest) == terms.digest()


def test_the_digest_is_for_the_next_listing(registry, provider, admin, node, now, agree, listed):
    before = registry.possessionDigest(node.id, provider, MAILSERVERS, now + DAY)
    listed([node])

    assert registry.possessionDigest(node.id, provider, MAILSERVERS, now + DAY) != before


def test_nobody_lists_a_key_that_is_not_theirs(registry, rival_provider, rival, node, now, refused):
    squatter = Node.number(99)
    proof = possession(registry, node, rival_provider, now + DAY, signer=squatter)

    refused(proof, to=rival_provider, by=rival)


def test_a_proof_with_no_signature_is_refused(node, now, refused):
    refused((node.id, now + DAY, bytes(32), bytes(32)))


def test_the_zero_address_is_no_node(now, refused):
    refused((bytes(32), now + DAY, b"\1" * 32, b"\1" * 32))
    refused((b"\xff" * 12 + bytes(20), now + DAY, bytes(32), bytes(32)))


def test_a_used_proof_is_refused(registry, provider, admin, node, agree, listed, refused, expiry):
    (proof,) = agree(provider, [node])
    registry.addNodes(provider, MAILSERVERS, expiry, [proof], {"from": admin})
    registry.removeNodes(provider, MAILSERVERS, [node.address], ["0x" + "00" * 20], {"from": admin})

    refused(proof)


@pytest.mark.parametrize("generation", [0, 2, 3, 65_535, 65_536])
def test_a_proof_for_another_listing_is_refused(provider, node, agree, refused, generation):
    refused(agree(provider, [node], generation=generation)[0])


def test_generations_go_on_after_removal(registry, provider, admin, node, agree, expiry):
    for generation in (1, 2, 3):
        registry.addNodes(provider, MAILSERVERS, expiry, agree(provider, [node]), {"from": admin})
        assert registry.nodeOf(node.address)[4] == generation
        registry.removeNodes(provider, MAILSERVERS, [node.address], ["0x" + "00" * 20], {"from": admin})
    assert registry.nodeOf(node.address)[4] == 3


def test_a_proof_of_another_chain_is_refused(provider, node, agree, refused):
    refused(agree(provider, [node], chain_id=1)[0])


def test_a_proof_of_another_registry_is_refused(provider, node, agree, refused, owner_curator):
    refused(agree(provider, [node], registry_address=owner_curator.address)[0])


def test_a_proof_for_another_provider_is_refused(rival_provider, provider, rival, node, agree, refused):
    refused(agree(provider, [node])[0], to=rival_provider, by=rival)


def test_a_proof_for_another_kind_is_refused(registry, provider, stranger, node, agree, refused):
    registry.createKind("pushserver", {"from": stranger})

    refused(agree(provider, [node])[0], kind=2)


def test_a_proof_past_its_deadline_is_refused(registry, provider, node, now, refused):
    proof = possession(registry, node, provider, now - 1)

    refused(proof, "PossessionExpired", node.id, now - 1)


def test_a_deadline_cannot_be_put_off(registry, provider, node, now, refused):
    node_id, deadline, r, vs = possession(registry, node, provider, now + DAY)

    refused((node_id, deadline + 1, r, vs))


def test_the_high_bits_of_a_node_id_cannot_be_changed(provider, node, agree, refused):
    node_id, deadline, r, vs = agree(provider, [node])[0]
    forged = bytes(12) + node_id[12:]

    refused((forged, deadline, r, vs))


def test_a_signature_with_high_s_is_refused(provider, node, agree, refused):
    node_id, deadline, r, vs = agree(provider, [node])[0]
    number = int.from_bytes(vs, "big")
    s, recovery = number % RECOVERY_BIT, number // RECOVERY_BIT
    twin = (ORDER - s) | (1 - recovery) * RECOVERY_BIT

    refused((node_id, deadline, r, (twin % 2**256).to_bytes(32, "big")))
    refused((node_id, deadline, r, (ORDER // 2 + 1).to_bytes(32, "big")))  # high, and the compact form has room for it


def test_any_flipped_bit_spoils_a_proof(registry, provider, admin, node, agree, expiry):
    node_id, deadline, r, vs = agree(provider, [node])[0]

    for bit in (0, 7, 128, 255):
        mask = (1 << bit).to_bytes(32, "big")
        for altered in (
            (node_id, deadline, _xor(r, mask), vs),
            (node_id, deadline, r, _xor(vs, mask)),
        ):
            with reverts_with("InvalidPossession", node_id):
                registry.addNodes.call(provider, MAILSERVERS, expiry, [altered], {"from": admin})


def test_whoever_sees_a_proof_can_use_it_for_its_provider_only(
    registry, provider, rival_provider, rival, stranger, node, agree, expiry
):
    proofs = agree(provider, [node])

    for thief, theirs in ((rival, rival_provider), (stranger, provider)):
        error = ("InvalidPossession", node.id) if theirs != provider else ("NotOperator", provider, thief)
        with reverts_with(*error):
            registry.addNodes(theirs, MAILSERVERS, expiry, proofs, {"from": thief})


def test_a_typed_data_wallet_makes_the_same_proof(registry, provider, admin, node, now, expiry, walk):
    """EIP-712 by eth-account: a second implementation of the digest."""
    from eth_account import Account

    signed = Account.sign_typed_data(
        node.key.to_bytes(),
        {"name": "Waypost NodeRegistry", "version": "1", "chainId": chain.id, "verifyingContract": registry.address},
        {
            "NodePossession": [
                {"name": "nodeId", "type": "bytes32"},
                {"name": "providerId", "type": "uint256"},
                {"name": "kind", "type": "uint256"},
                {"name": "generation", "type": "uint256"},
                {"name": "deadline", "type": "uint256"},
            ]
        },
        {"nodeId": node.id, "providerId": provider, "kind": 1, "generation": 1, "deadline": now + DAY},
    )
    vs = signed.s | (signed.v - 27) * RECOVERY_BIT

    proof = (node.id, now + DAY, signed.r.to_bytes(32, "big"), vs.to_bytes(32, "big"))
    registry.addNodes(provider, MAILSERVERS, expiry, [proof], {"from": admin})

    assert walk() == [node.address]


def test_a_node_whose_generations_are_used_up_needs_a_new_key(registry, provider, admin, node, agree, listed, refused):
    slot = node_slot(registry, node)
    chain_set_storage(registry, slot, 65_535 << 240)

    refused(agree(provider, [node], generation=65_536)[0], "GenerationsExhausted", node.address)


def node_slot(registry, node) -> str:
    from tests.support.storage import mapping_slot, slot_number

    return mapping_slot(slot_number("NodeRegistry", "_nodes"), node.address)


def chain_set_storage(contract, slot, value: int) -> None:
    from brownie import web3

    web3.provider.make_request("anvil_setStorageAt", [contract.address, slot, "0x" + value.to_bytes(32, "big").hex()])


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def test_agreements_made_off_chain_are_deterministic(registry, provider, node, now):
    registry_address = Address(bytes.fromhex(registry.address[2:]))
    terms = Terms(node.id, provider, MAILSERVER, MAILSERVERS, 1, now + DAY, chain.id, registry_address)

    assert authorize(node.key, terms) == authorize(node.key, terms)
    assert nodes(1)[0].id == node.id
