import pytest
from brownie import web3

from tests.contracts.errors import reverts_with
from tests.support.registry import MAILSERVERS, ZERO_ADDRESS, nodes

URI = "https://new.example"


def test_anyone_creates_a_provider_and_becomes_its_admin(registry, stranger):
    version = registry.commitment()[0]

    tx = registry.createProvider(URI, {"from": stranger})

    created = tx.return_value
    assert created == registry.providerCount()
    assert registry.adminOf(created) == stranger
    assert registry.metadataHashOf(created) == "0x" + web3.keccak(text=URI).hex().removeprefix("0x")
    assert dict(tx.events["ProviderCreated"]) == {
        "providerId": created,
        "admin": stranger,
        "version": version + 1,
        "metadataURI": URI,
    }


def test_numbers_of_providers_go_up_by_one(registry, provider, stranger, rival):
    assert registry.createProvider("", {"from": stranger}).return_value == provider + 1
    assert registry.createProvider("", {"from": rival}).return_value == provider + 2
    assert registry.providerCount() == 3


def test_metadata_may_be_as_long_as_allowed(registry, stranger):
    longest = registry.MAX_METADATA_LENGTH()
    created = registry.createProvider("x" * longest, {"from": stranger}).return_value

    with reverts_with("MetadataTooLong", longest + 1, longest):
        registry.createProvider("x" * (longest + 1), {"from": stranger})
    with reverts_with("MetadataTooLong", longest + 1, longest):
        registry.setMetadata(created, "x" * (longest + 1), {"from": stranger})


def test_an_admin_changes_the_metadata(registry, provider, admin):
    tx = registry.setMetadata(provider, URI, {"from": admin})

    assert registry.metadataHashOf(provider) == "0x" + web3.keccak(text=URI).hex().removeprefix("0x")
    assert tx.events["ProviderMetadata"]["metadataURI"] == URI


def test_the_same_metadata_again_is_refused(registry, provider, admin):
    with reverts_with("NothingChanged"):
        registry.setMetadata(provider, "https://provider.example", {"from": admin})


@pytest.mark.parametrize("who", ["operator", "stranger", "guardian"])
@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("setMetadata", (URI,)),
        ("transferAdmin", ("0x" + "11" * 20,)),
        ("setOperator", ("0x" + "11" * 20, True)),
    ],
)
def test_only_the_admin_manages_a_provider(registry, provider, request, who, function, arguments):
    caller = request.getfixturevalue(who)

    with reverts_with("NotAdmin", provider, caller):
        getattr(registry, function)(provider, *arguments, {"from": caller})


@pytest.mark.parametrize("provider_id", [0, 2, 2**24 + 1, 2**256 - 1])
def test_a_provider_must_exist(registry, provider, admin, provider_id):
    with reverts_with("UnknownProvider", provider_id):
        registry.setMetadata(provider_id, URI, {"from": admin})
    with reverts_with("UnknownProvider", provider_id):
        registry.acceptAdmin(provider_id, {"from": admin})
    with reverts_with("UnknownProvider", provider_id):
        registry.renewNodes(provider_id, MAILSERVERS, 2**31, [admin], {"from": admin})


def test_a_new_admin_must_accept(registry, provider, admin, newcomer):
    offered = registry.transferAdmin(provider, newcomer, {"from": admin})
    assert registry.adminOf(provider) == admin
    assert registry.pendingAdminOf(provider) == newcomer

    accepted = registry.acceptAdmin(provider, {"from": newcomer})

    assert registry.adminOf(provider) == newcomer
    assert registry.pendingAdminOf(provider) == ZERO_ADDRESS
    assert offered.events["AdminTransferStarted"]["pendingAdmin"] == newcomer
    assert accepted.events["AdminTransferred"]["previousAdmin"] == admin
    assert accepted.events["AdminTransferred"]["newAdmin"] == newcomer


def test_the_old_admin_has_no_say_any_more(registry, provider, admin, newcomer):
    registry.transferAdmin(provider, newcomer, {"from": admin})
    registry.acceptAdmin(provider, {"from": newcomer})

    with reverts_with("NotAdmin", provider, admin):
        registry.setMetadata(provider, URI, {"from": admin})


def test_nobody_else_accepts(registry, provider, admin, newcomer, stranger):
    registry.transferAdmin(provider, newcomer, {"from": admin})

    for other in (stranger, admin):
        with reverts_with("NotPendingAdmin", provider, other):
            registry.acceptAdmin(provider, {"from": other})


def test_nobody_accepts_what_was_not_offered(registry, provider, newcomer):
    with reverts_with("NotPendingAdmin", provider, newcomer):
        registry.acceptAdmin(provider, {"from": newcomer})


def test_an_offer_is_accepted_once(registry, provider, admin, newcomer):
    registry.transferAdmin(provider, newcomer, {"from": admin})
    registry.acceptAdmin(provider, {"from": newcomer})
    registry.transferAdmin(provider, admin, {"from": newcomer})
    registry.acceptAdmin(provider, {"from": admin})

    with reverts_with("NotPendingAdmin", provider, newcomer):
        registry.acceptAdmin(provider, {"from": newcomer})


def test_an_offer_can_be_withdrawn(registry, provider, admin, newcomer):
    registry.transferAdmin(provider, newcomer, {"from": admin})
    registry.transferAdmin(provider, ZERO_ADDRESS, {"from": admin})

    with reverts_with("NotPendingAdmin", provider, newcomer):
        registry.acceptAdmin(provider, {"from": newcomer})


def test_a_later_offer_replaces_an_earlier_one(registry, provider, admin, newcomer, rival):
    registry.transferAdmin(provider, newcomer, {"from": admin})
    registry.transferAdmin(provider, rival, {"from": admin})

    with reverts_with("NotPendingAdmin", provider, newcomer):
        registry.acceptAdmin(provider, {"from": newcomer})


def test_an_offer_that_changes_nothing_is_refused(registry, provider, admin, newcomer):
    for same in (ZERO_ADDRESS, admin):
        with reverts_with("NothingChanged"):
            registry.transferAdmin(provider, same, {"from": admin})
    registry.transferAdmin(provider, newcomer, {"from": admin})
    with reverts_with("NothingChanged"):
        registry.transferAdmin(provider, newcomer, {"from": admin})


def test_an_admin_lets_operators_in_and_out(registry, provider, admin, newcomer):
    tx = registry.setOperator(provider, newcomer, True, {"from": admin})
    assert registry.isOperator(provider, newcomer)
    assert tx.events["OperatorSet"]["allowed"] is True

    registry.setOperator(provider, newcomer, False, {"from": admin})
    assert not registry.isOperator(provider, newcomer)


def test_an_operator_change_that_changes_nothing_is_refused(registry, provider, admin, operator, newcomer):
    with reverts_with("NothingChanged"):
        registry.setOperator(provider, operator, True, {"from": admin})
    with reverts_with("NothingChanged"):
        registry.setOperator(provider, newcomer, False, {"from": admin})


def test_an_operator_of_one_provider_is_none_of_another(registry, rival_provider, operator, expiry, agree):
    proofs = agree(rival_provider, nodes(1))

    with reverts_with("NotOperator", rival_provider, operator):
        registry.addNodes(rival_provider, MAILSERVERS, expiry, proofs, {"from": operator})


def test_a_former_operator_manages_no_nodes(registry, provider, admin, operator, expiry, agree):
    registry.setOperator(provider, operator, False, {"from": admin})

    with reverts_with("NotOperator", provider, operator):
        registry.addNodes(provider, MAILSERVERS, expiry, agree(provider, nodes(1)), {"from": operator})


def test_operators_stay_when_the_admin_changes(registry, provider, admin, operator, newcomer, expiry, agree, walk):
    """As the interface warns."""
    registry.transferAdmin(provider, newcomer, {"from": admin})
    registry.acceptAdmin(provider, {"from": newcomer})

    registry.addNodes(provider, MAILSERVERS, expiry, agree(provider, nodes(1)), {"from": operator})

    assert len(walk()) == 1
