import pytest
from brownie import web3

from tests.contracts.errors import reverts_with


def topic(name):
    return "0x" + web3.keccak(text=name).hex().removeprefix("0x")


@pytest.mark.parametrize("name", ["pushserver", "a", "9", "store-node", "x--y", "a" * 32])
def test_anyone_names_a_kind(registry, stranger, name):
    tx = registry.createKind(name, {"from": stranger})

    assert tx.return_value == registry.kindCount() == 2
    assert registry.topicOf(2) == topic(name)
    assert registry.kindOf(topic(name)) == 2
    assert dict(tx.events["KindCreated"]) == {"kind": 2, "version": 2, "name": name}


@pytest.mark.parametrize(
    "name",
    ["", "-a", "a-", "-", "Mail", "mail server", "mail_server", "mailsérver", "a" * 33, "a\n", "a\0", "`", "{", "/"],
)
def test_other_names_are_refused(registry, stranger, name):
    with reverts_with("InvalidKindName", name):
        registry.createKind(name, {"from": stranger})


def test_a_name_is_taken_once(registry, stranger):
    with reverts_with("KindExists", 1):
        registry.createKind("mailserver", {"from": stranger})


def test_unknown_kinds_have_no_topic(registry):
    assert registry.topicOf(2) == registry.topicOf(0) == "0x" + "00" * 32
    assert registry.kindOf(topic("pushserver")) == 0
