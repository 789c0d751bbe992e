import pytest
from brownie import web3
from brownie.exceptions import VirtualMachineError

from tests.support.registry import ZERO_ADDRESS, Replayed


def test_begins_with_the_kind_of_mail_servers(registry):
    topic = web3.keccak(text="mailserver")

    assert registry.kindCount() == 1
    assert registry.kindOf(topic) == 1
    assert registry.topicOf(1) == "0x" + topic.hex().removeprefix("0x")


def test_begins_with_nobody_listed(registry, guardian):
    assert registry.providerCount() == 0
    assert registry.headOf(1, 1) == ZERO_ADDRESS
    assert registry.successor() == ZERO_ADDRESS
    assert registry.pausedUntil() == 0
    assert registry.owner() == guardian


def test_the_first_event_is_committed(registry):
    logs = web3.eth.get_logs({"address": registry.address, "fromBlock": 0})

    version, digest = registry.commitment()

    assert Replayed.of(logs).commitment == (version, bytes(digest)) == (1, bytes(digest))


def test_proofs_are_bound_to_a_domain_that_wallets_can_show(registry):
    fields, name, version, chain_id, contract, salt, extensions = registry.eip712Domain()

    assert (bytes(fields), name, version) == (b"\x0f", "Waypost NodeRegistry", "1")
    assert (chain_id, contract, bytes(salt), extensions) == (web3.eth.chain_id, registry.address, bytes(32), ())


def test_holds_no_funds(registry, stranger):
    balance = stranger.balance()

    with pytest.raises(VirtualMachineError):
        stranger.transfer(registry, 1)

    assert registry.balance() == 0
    assert stranger.balance() == balance
