import pytest
from brownie import chain

from scripts import curator as curator_script
from scripts import kinds, providers
from scripts.session import Refusal
from tests.support.registry import DAY, ZERO_ADDRESS


def test_creates_a_provider(registry, stranger):
    number = providers.create("https://x.example", account=stranger)

    assert registry.adminOf(number) == stranger


def test_a_dry_run_tells_the_next_number_and_creates_nothing(registry, provider, capsys):
    assert providers.create("https://x.example", dry_run="yes") == provider + 1

    assert registry.providerCount() == provider
    out = capsys.readouterr().out
    assert "would create provider 2, described at 'https://x.example'" in out
    assert "gas" in out


def test_manages_metadata_and_operators(registry, provider, admin, newcomer):
    providers.metadata("1", "https://new.example", account=admin)
    providers.operator("1", newcomer.address, account=admin)
    assert registry.isOperator(provider, newcomer)

    providers.operator("1", newcomer.address, "no", account=admin)
    assert not registry.isOperator(provider, newcomer)


def test_hands_a_provider_over_in_two_steps(registry, provider, admin, newcomer):
    providers.transfer("1", newcomer.address, account=admin)
    assert registry.adminOf(provider) == admin

    providers.accept_admin("1", account=newcomer)
    assert registry.adminOf(provider) == newcomer


def test_withdraws_an_offer(registry, provider, admin, newcomer, capsys):
    providers.transfer("1", newcomer.address, account=admin)
    providers.transfer("1", ZERO_ADDRESS, account=admin)

    assert registry.pendingAdminOf(provider) == ZERO_ADDRESS
    assert "withdraw the offer of provider 1" in capsys.readouterr().out


def test_shows_providers(registry, provider, admin, capsys):
    providers.show()

    assert f"provider 1: admin {admin}; nodes: none" in capsys.readouterr().out


@pytest.mark.parametrize("number", ["0", "2", "x", "-1"])
def test_an_unknown_provider_is_refused(registry, provider, admin, number):
    with pytest.raises(Refusal):
        providers.metadata(number, "x", account=admin)


@pytest.mark.parametrize("word", ["0x12", "somebody", ZERO_ADDRESS[:-1]])
def test_what_is_no_address_is_refused(registry, provider, admin, word):
    with pytest.raises(Refusal, match="is not an address"):
        providers.operator("1", word, account=admin)


def test_creates_and_shows_kinds(registry, provider, capsys):
    assert kinds.create("pushserver") == 2

    kinds.show()

    assert f"kind 2: topic {registry.topicOf(2)}" in capsys.readouterr().out


def test_curators_accept_reject_and_clear(owner_curator, registry, provider, guardian, now, capsys):
    curator_script.accept("1", account=guardian)
    assert owner_curator.verdict(1, 0) == (1, 0, 0)
    curator_script.reject("1", kind="mailserver", until="1d", account=guardian)
    assert owner_curator.verdict(1, 1)[0] == 2
    curator_script.clear("1", account=guardian)
    assert owner_curator.verdict(1, 0) == (0, 0, 0)


def test_shows_verdicts_with_their_ends(owner_curator, registry, provider, guardian, capsys):
    curator_script.show("1")
    assert "provider 1: nothing is said of it\n" in capsys.readouterr().out

    curator_script.accept("1", account=guardian)
    curator_script.reject("1", kind="mailserver", until="1893456000", account=guardian)
    capsys.readouterr()
    curator_script.show("1")
    assert capsys.readouterr().out.splitlines() == [
        "provider 1, all kinds: accepted",
        "provider 1, kind 1: rejected until 2030-01-01 00:00:00 UTC",
    ]

    chain.sleep(20 * 365 * DAY)
    chain.mine()
    curator_script.show("1")
    assert "rejected until 2030-01-01 00:00:00 UTC, which is over" in capsys.readouterr().out
    with pytest.raises(Refusal, match="there is no provider 5"):
        curator_script.show("5")


def test_a_verdict_on_nobody_is_refused(owner_curator, registry, provider, guardian):
    with pytest.raises(Refusal, match="there is no provider 5"):
        curator_script.accept("5", account=guardian)


def test_the_owner_permits_curators(owner_curator, registry, provider, guardian, curator):
    curator_script.permit(curator.address, "yes", account=guardian)

    curator_script.accept("1", account=curator)

    assert owner_curator.verdict(1, 0)[0] == 1
