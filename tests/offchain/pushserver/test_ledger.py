from dataclasses import replace

import pytest

from offchain.errors import StorageError
from offchain.pushserver import ledger as ledger_module
from offchain.pushserver.grant import Grant, GrantError
from offchain.pushserver.ledger import Ledger

A, B = b"a" * 32, b"b" * 32
GRANT = Grant(b"s" * 32, 100, 1000, "https://push.example/1", b"\x04" * 65, b"a" * 16, (b"abcd",))


@pytest.fixture
def ledger():
    ledger = Ledger(":memory:")
    yield ledger
    ledger.close()


def test_keeps_grants_over_a_restart(tmp_path):
    first = Ledger(tmp_path / "grants")
    first.put(A, GRANT)
    first.close()
    second = Ledger(tmp_path / "grants")

    assert second.all() == [(A, GRANT)]
    second.close()


def test_a_newer_grant_replaces_and_an_older_or_repeated_one_does_not(ledger):
    newer = replace(GRANT, issued=101, topics=())
    ledger.put(A, GRANT)
    ledger.put(A, newer)

    for old in (GRANT, newer):
        with pytest.raises(GrantError, match="known already"):
            ledger.put(A, old)
    assert ledger.all() == [(A, newer)]


def test_the_same_endpoint_of_two_clients_is_two_grants(ledger):
    ledger.put(A, GRANT)
    ledger.put(B, GRANT)

    assert len(ledger.all()) == 2


def test_a_client_has_a_bounded_number_of_devices_and_the_server_of_grants(ledger, monkeypatch):
    monkeypatch.setattr(ledger_module, "MAX_PER_CLIENT", 2)
    monkeypatch.setattr(ledger_module, "MAX_GRANTS", 3)
    for number in range(2):
        ledger.put(A, replace(GRANT, endpoint=f"https://push.example/{number}"))

    with pytest.raises(GrantError, match="at most 2"):
        ledger.put(A, replace(GRANT, endpoint="https://push.example/2"))
    ledger.put(B, GRANT)
    with pytest.raises(GrantError, match="no more grants"):
        ledger.put(b"c" * 32, GRANT)


def test_forgets_what_expired_and_what_is_gone(ledger):
    ledger.put(A, GRANT)
    ledger.put(B, replace(GRANT, expires=2000))

    ledger.expire(1000)
    assert [client for client, _ in ledger.all()] == [B]
    ledger.forget(B, GRANT.endpoint)
    assert ledger.all() == []


def test_a_foreign_file_is_a_storage_error(tmp_path):
    (tmp_path / "other").write_bytes(b"not a database at all" * 100)

    with pytest.raises(StorageError):
        Ledger(tmp_path / "other")


def test_remembers_until_when_mail_was_looked_at(tmp_path):
    first = Ledger(tmp_path / "grants")
    assert first.looked() is None
    first.note_looked(100)
    first.note_looked(200)
    first.close()
    second = Ledger(tmp_path / "grants")

    assert second.looked() == 200
    second.close()


def test_remembers_over_a_restart_who_was_told_of_what_until_that_is_of_no_use(tmp_path):
    first = Ledger(tmp_path / "grants")
    first.note_told(A, GRANT.endpoint, [(b"1" * 32, 100), (b"2" * 32, 200)])
    first.note_told(A, GRANT.endpoint, [(b"2" * 32, 200)])
    first.close()
    second = Ledger(tmp_path / "grants")
    kept = second.told()
    second.forget_told(200)

    assert kept == [((A, GRANT.endpoint), b"1" * 32), ((A, GRANT.endpoint), b"2" * 32)]
    assert second.told() == [((A, GRANT.endpoint), b"2" * 32)]
    second.close()
