import pytest
from brownie import accounts

from scripts import live, providers, session
from scripts.session import Refusal, Session, moment, split_words
from scripts.signers import sender_of


def test_words_with_a_known_name_are_options():
    words = ("1", "https://x.example/?a=b", "dry_run=yes", "--account=ops", "expires=90d")

    assert split_words(words, {"dry_run", "account", "expires"}) == (
        ["1", "https://x.example/?a=b"],
        {"dry_run": "yes", "account": "ops", "expires": "90d"},
    )


@pytest.mark.parametrize(
    ("word", "expected"), [("1800000000", 1_800_000_000), ("2d", 172_900), ("30m", 1_900), ("5s", 105)]
)
def test_moments_are_unix_times_or_from_now(word, expected):
    assert moment(word, now=100) == expected


@pytest.mark.parametrize("word", ["", "soon", "-1", "1w", "1.5d", "0x10"])
def test_other_moments_are_refused(word):
    with pytest.raises(Refusal, match="is no time"):
        moment(word, now=100)


def test_accounts_of_the_chain_have_numbers(guardian):
    assert sender_of() == sender_of("0") == sender_of(0) == guardian
    assert sender_of("3") == accounts[3]
    with pytest.raises(Refusal, match="no number 99"):
        sender_of("99")


def test_an_unknown_keystore_is_refused():
    with pytest.raises(Refusal, match="no keystore 'nobody'"):
        sender_of("nobody")


def test_a_key_file_serves_on_local_chains_only(tmp_path, monkeypatch):
    path = tmp_path / "key"
    path.write_text("0x" + "11" * 32)

    assert sender_of(key=path).private_key == "0x" + "11" * 32
    monkeypatch.setattr(live, "LOCAL_CHAINS", frozenset())
    with pytest.raises(Refusal, match="for local chains only"):
        sender_of(key=path)
    with pytest.raises(Refusal, match="say who sends"):
        sender_of()


@pytest.mark.parametrize("content", ["", "0x11", "zz" * 32, "11" * 33])
def test_a_file_without_a_key_is_refused_and_not_shown(tmp_path, content):
    path = tmp_path / "key"
    path.write_text(content)

    with pytest.raises(Refusal, match="64 hex digits") as refused:
        sender_of(key=path)
    assert len(content) < 5 or content not in str(refused.value)


def test_the_contracts_reason_is_told_in_words(registry, provider, stranger):
    opened = Session.open(account=stranger)

    with pytest.raises(Refusal, match=r"the caller is not the provider's admin: NotAdmin\(providerId 1, caller 0x"):
        opened.send(registry, "setMetadata", provider, "x", words="describe")


def test_every_error_of_the_registry_has_words(registry):
    errors = {entry["name"] for entry in registry.abi if entry["type"] == "error"}
    of_libraries = {"AddressEmptyCode", "FailedCall", "InvalidShortString", "StringTooLong"}

    unexplained = {name for name in errors - of_libraries if name not in session._notices()}

    assert {name for name in unexplained if not name.startswith("Ownable")} == set()


def test_unknown_options_are_an_error(registry, provider):
    with pytest.raises(TypeError):
        providers.show(colour="red")


def test_a_run_ends_with_one_line(monkeypatch, registry, provider, stranger):
    monkeypatch.setattr(session.CONFIG.__class__, "mode", "run")

    with pytest.raises(SystemExit, match="refused: there is no provider 9"):
        providers.metadata(9, "x")
    with pytest.raises(SystemExit, match=r"usage: metadata\(provider, uri"):
        providers.metadata(provider)
