"""The commands of curators, providers and token holders, as people would use them."""

import json

import pytest
from brownie import TestToken, chain

from scripts import ballot_secrets, deploy, deploy_token_curator, live, tcr_walkthrough, token_curator
from scripts.ballot_secrets import Secret
from scripts.session import Refusal, utc
from scripts.terms import TOKEN
from tests.support.curation import Play, endow, pass_time

REASON = "https://reason.example"


@pytest.fixture
def play(registry, guardian, provider, admin, rival, operator):
    token = TestToken.deploy(10**9 * TOKEN, {"from": guardian})
    play = Play(deploy_token_curator.deploy(guardian, registry, token), registry)
    for who in (admin, rival, operator):
        token.transfer(who, 100_000 * TOKEN, {"from": guardian})
    return play


@pytest.fixture
def salts(tmp_path):
    return str(tmp_path / "deep" / "ballots.jsonl")


@pytest.fixture
def listed(play, provider, admin):
    token_curator.apply(provider, kind="mailserver", uri=REASON, account=admin)
    pass_time(play.terms.listing.apply_period)
    token_curator.finalise(provider, kind="mailserver", account=admin)
    return provider


def test_a_challenge_from_beginning_to_end(play, listed, admin, rival, operator, salts, capsys):
    poll = token_curator.challenge(listed, kind="mailserver", uri=REASON, account=rival)
    token_curator.evidence(poll, uri=REASON, account=admin)
    token_curator.deposit("20000", account=operator)
    secret = token_curator.commit(poll, "remove", "20000", salts=salts, account=operator)
    assert ballot_secrets.read(ballot_secrets.Path(salts)) == [secret]
    play.until_reveal(poll)
    assert token_curator.reveal(salts=salts, account=operator) == 1
    token_curator.show(listed, account=admin)
    assert "committed 20,000 TEST; revealed 20,000 TEST to remove, 0 TEST to keep" in capsys.readouterr().out
    play.until_end(poll)
    assert token_curator.resolve(listed, kind="mailserver", account=admin) == "succeeded"
    token_curator.claim(poll, account=operator)
    token_curator.take_out(0.5, account=operator)
    token_curator.show(listed, account=admin)

    assert play.verdict(listed)[0] == 2
    assert "rejected" in capsys.readouterr().out


def test_leaving_with_the_deposit(play, listed, admin):
    token_curator.top_up(listed, "1.5", kind="mailserver", account=admin)
    token_curator.withdraw(listed, "1.5", kind="mailserver", account=admin)
    token_curator.announce_exit(listed, kind="mailserver", account=admin)
    pass_time(play.terms.listing.exit_delay)
    token_curator.exit(listed, kind="mailserver", account=admin)
    token_curator.withdraw(listed, 1_000, kind="mailserver", account=admin)

    assert play.reserve() == 0


def test_a_dry_run_says_what_would_happen_and_sends_nothing(play, provider, admin, salts, capsys):
    height = chain.height
    token_curator.apply(provider, uri=REASON, account=admin, dry_run=True)
    token_curator.terms(account=admin)
    assert chain.height == height
    said = capsys.readouterr().out
    assert "would let TokenCurator take 1,000 TEST" in said
    assert "would apply for provider 1, all kinds, with 1,000 TEST at stake" in said


def test_nothing_is_approved_for_what_the_contract_refuses(play, listed, admin, rival):
    """An approval would cost gas, and leave the tokens open to be taken."""
    height = chain.height

    for dry_run in (True, False):
        with pytest.raises(Refusal, match="not in the state"):
            token_curator.apply(listed, kind="mailserver", account=admin, amount=5_000, dry_run=dry_run)
        with pytest.raises(Refusal, match="not the provider's admin in the registry"):
            token_curator.top_up(listed, 1, kind="mailserver", account=rival, dry_run=dry_run)

    assert chain.height == height
    assert play.made.token.allowance(admin, play.curator) == play.made.token.allowance(rival, play.curator) == 0


def test_shows_when_things_can_be_done(play, provider, admin, capsys):
    token_curator.show(provider, account=admin)
    assert capsys.readouterr().out.splitlines()[-1] == "provider 1: never applied for"

    token_curator.apply(provider, kind="mailserver", uri=REASON, account=admin)
    token_curator.show(provider, account=admin)
    assert f"  finalise from {utc(play.listing(provider)['readyAt'])}" in capsys.readouterr().out

    pass_time(play.terms.listing.apply_period)
    token_curator.finalise(provider, kind="mailserver", account=admin)
    token_curator.announce_exit(provider, kind="mailserver", account=admin)
    assert "announce that provider 1, kind 1, will leave" in capsys.readouterr().out
    ready = play.listing(provider)["readyAt"]
    token_curator.show(provider, account=admin)
    window = f"exit announced: from {utc(ready)}, before {utc(ready + play.terms.listing.exit_window)}"
    assert window in capsys.readouterr().out

    pass_time(play.terms.listing.exit_delay + play.terms.listing.exit_window)
    token_curator.show(provider, account=admin)
    assert "exit announced: let lapse; announce it again" in capsys.readouterr().out
    with pytest.raises(Refusal, match="there is no provider 9"):
        token_curator.show(9, account=admin)


def test_refusals_say_what_is_wrong(play, listed, admin, rival, stranger, salts):
    for call, words in (
        (lambda: token_curator.apply(listed, kind="mailserver", account=admin), "not in the state"),
        (lambda: token_curator.apply(9, account=admin), "no provider 9"),
        (lambda: token_curator.apply(listed, kind="pigeons", account=admin), "no kind 'pigeons'"),
        (lambda: token_curator.challenge(listed, kind="mailserver", account=rival), "where the evidence is"),
        (lambda: token_curator.challenge(listed, kind="mailserver", uri=REASON, account=stranger), "has 0 TEST"),
        (lambda: token_curator.deposit("many", account=rival), "no amount"),
        (lambda: token_curator.deposit("-1", account=rival), "no amount"),
        (lambda: token_curator.deposit("nan", account=rival), "no amount"),
        (lambda: token_curator.deposit("0." + "0" * 18 + "1", account=rival), "no amount"),
        (lambda: token_curator.commit(1, "maybe", 1, account=rival, salts=salts), "expected remove"),
        (lambda: token_curator.commit(1, "keep", "0.000000000000000001", account=rival, salts=salts), "multiple"),
        (lambda: token_curator.commit(1, "keep", 1, account=rival, salts=salts), "no such poll"),
        (lambda: token_curator.reveal(account=rival, salts=salts), "could be revealed"),
        (lambda: token_curator.propose("quorum", account=rival), "name=value"),
        (lambda: token_curator.propose("colour=1", account=rival), "no such figure"),
        (lambda: token_curator.resolve(listed, kind="mailserver", account=rival), "not under challenge"),
    ):
        with pytest.raises(Refusal, match=words):
            call()


def test_secrets_outlive_crashes_and_attempts_that_failed(play, listed, rival, operator, salts):
    """Each attempt is on the disk before it is sent; the one that arrived is found by its commitment."""
    poll = token_curator.challenge(listed, kind="mailserver", uri=REASON, account=rival)
    path = ballot_secrets.Path(salts)
    with pytest.raises(Refusal):
        token_curator.commit(poll, "keep", 1, salts=salts, account=operator)  # has brought nothing yet
    path.write_text(path.read_text() + '{"chain_id": 1, "ballot')  # cut off
    token_curator.deposit(1, account=operator)
    token_curator.commit(poll, "remove", 1, salts=salts, account=operator)
    play.until_reveal(poll)

    assert len(ballot_secrets.read(path)) == 2
    assert path.stat().st_mode & 0o777 == 0o600
    assert token_curator.reveal(poll, salts=salts, account=operator) == 1
    assert play.box.countOf(poll)[2:] == (TOKEN, 0)


def test_nothing_is_sent_if_the_secret_cannot_be_kept(play, listed, rival, operator, tmp_path):
    poll = token_curator.challenge(listed, kind="mailserver", uri=REASON, account=rival)
    token_curator.deposit(1, account=operator)
    (tmp_path / "file").write_text("")
    height = chain.height

    with pytest.raises(Refusal, match="could not be kept"):
        token_curator.commit(poll, "remove", 1, salts=str(tmp_path / "file" / "ballots.jsonl"), account=operator)

    assert chain.height == height


def test_the_role_changes_terms(play, guardian, stranger, capsys):
    token_curator.propose("quorum=20000", "slash=50", account=guardian)
    pass_time(play.parameters.DELAY())
    token_curator.execute("quorum=20000", "slash=50", account=stranger)

    assert (play.terms.voting.quorum, play.terms.voting.slash) == (20_000 * TOKEN, 50)
    assert token_curator.terms(account=stranger) == play.terms


def test_a_vote_changes_terms(registry, guardian, provider, admin, rival, operator, salts, tmp_path, monkeypatch):
    token = TestToken.deploy(10**9 * TOKEN, {"from": guardian})
    play = Play(deploy_token_curator.deploy(guardian, registry, token, by_vote=True), registry)
    endow(play, guardian, (admin, rival, operator))
    proposal = token_curator.propose("quorum=20000", account=admin)
    poll = token_curator.challenge_terms(proposal, uri=REASON, account=rival)
    token_curator.commit(poll, "keep", 20_000, salts=salts, account=operator)
    play.until_reveal(poll)
    token_curator.reveal(poll, salts=salts, account=operator)
    play.until_end(poll)
    token_curator.resolve_terms(proposal, account=rival)
    token_curator.apply_terms(proposal, "quorum=20000", account=rival)
    pass_time(play.parameters.DELAY())
    token_curator.execute("quorum=20000", account=rival)

    assert play.terms.voting.quorum == 20_000 * TOKEN


@pytest.fixture
def record(tmp_path, guardian):
    """A file with a registry and an owner's curator."""
    deploy.main(record=tmp_path / "local.json", account=guardian)
    return tmp_path / "local.json"


@pytest.fixture
def coin(guardian):
    return TestToken.deploy(10**9 * TOKEN, {"from": guardian})


def test_the_deployment_is_recorded_beside_what_is_there(record, guardian):
    before = json.loads(record.read_text())["contracts"]

    made = deploy_token_curator.main("by=vote", f"record={record}", account=guardian)

    after = json.loads(record.read_text())["contracts"]
    assert {name: after[name] for name in before} == before
    assert after["TokenCurator"]["address"] == made.curator.address
    assert after["TokenCurator"]["block"] == made.curator.tx.block_number
    assert made.parameters.owner() == made.vote
    record.write_text(json.dumps({"network": "x", "chainId": 1, "contracts": {}}))
    with pytest.raises(Refusal, match="is of chain 1"):
        deploy_token_curator.main(record=record, account=guardian)


def test_a_deployment_can_be_tried_first(capsys, registry, guardian, coin):
    height = chain.height
    assert deploy_token_curator.main("dry_run=yes", f"token={coin.address}", account=guardian) is None
    assert chain.height == height
    said = capsys.readouterr().out
    assert "would deploy DiscoveryLens" in said
    assert "would let ParameterVote use the ballot box" in said
    with pytest.raises(Refusal, match="expected role or vote"):
        deploy_token_curator.main("by=lot", account=guardian)
    with pytest.raises(Refusal, match="no token at 0x"):
        deploy_token_curator.main(f"token={guardian}", account=guardian)
    with pytest.raises(Refusal, match="no token at 0x"):
        deploy_token_curator.main(f"token={registry}", account=guardian)


class Died(BaseException):
    """The process ended here."""


@pytest.mark.parametrize("sent", [1, 5, 6, 8, 9])
def test_a_deployment_that_died_anywhere_is_finished_by_running_it_again(record, coin, guardian, sent, monkeypatch):
    """Nine transactions: five contracts, two consumers, and the terms handed over. Each in turn is the last that was
    sent, and the process dies before it knows of it."""
    options = {"token": coin.address, "by": "vote", "record": str(record), "account": guardian}
    first, left = guardian.nonce, [sent]

    def settle(*_):
        left[0] -= 1
        if left[0] == 0:
            raise Died
        return original(*_)

    original = live.settle
    monkeypatch.setattr(live, "settle", settle)
    with pytest.raises(Died):
        deploy_token_curator.main(**options)
    monkeypatch.undo()
    assert guardian.nonce == first + sent

    if sent == 9:
        with pytest.raises(Refusal, match="has all of it already"):
            deploy_token_curator.main(**options)
    else:
        made = deploy_token_curator.main(**options)
        assert made.parameters.owner() == made.vote
        assert all(made.ballot_box.consumerOf(each)[0] for each in (made.curator, made.vote))

    assert guardian.nonce == first + 9
    document = json.loads(record.read_text())
    assert "pending" not in document
    assert set(deploy_token_curator.NAMES) < set(document["contracts"])
    with pytest.raises(Refusal, match="has all of it already"):
        deploy_token_curator.main(**options)


def test_a_deployment_is_gone_on_with_by_the_same_account_and_options(record, coin, guardian, rival, monkeypatch):
    options = {"token": coin.address, "record": str(record)}

    def die(*_):
        raise Died

    monkeypatch.setattr(live, "settle", die)
    with pytest.raises(Died):
        deploy_token_curator.main(**options, account=guardian)
    monkeypatch.undo()

    with pytest.raises(Refusal, match="begun by 0x"):
        deploy_token_curator.main(**options, account=rival)
    with pytest.raises(Refusal, match="has other arguments of its constructor"):
        deploy_token_curator.main(**options, treasury=str(rival), account=guardian)


def test_the_walkthrough_ends_as_it_says(capsys):
    assert tcr_walkthrough.main() == (1, 2)
    said = capsys.readouterr().out
    assert "the challenge succeeded" in said
    assert "the challenge failed" in said


def test_a_secret_is_read_back_as_it_was(tmp_path):
    secret = Secret(31337, "0xAb", 7, "0xCd", 1, 10_000, "0x11")
    path = tmp_path / "ballots.jsonl"
    ballot_secrets.keep(path, secret)

    assert ballot_secrets.of(path, 31337, "0xaB", "0xcD") == [secret]
    assert ballot_secrets.of(path, 1, "0xab", "0xcd") == []
    assert ballot_secrets.read(tmp_path / "none") == []
