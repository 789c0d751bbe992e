import json

import pytest

from offchain.cli.main import main
from offchain.mailserver.archive.lmdb import LmdbArchive
from offchain.whisper.envelope import Envelope

MARCH = 20_513 * 86_400
MAILS = [Envelope.create(MARCH + n * 7000 + 50, 50, b"abcd", n.to_bytes(4, "big") * 10) for n in range(30)]


@pytest.fixture
def home(tmp_path):
    archive = LmdbArchive(tmp_path / "archive")
    archive.add_many(MAILS)
    archive.close()
    return tmp_path


def run(capsys, home, *arguments):
    code = main(["mailserver", "archive", *map(str, arguments), "--home", str(home), "--json"])
    out = capsys.readouterr().out
    return code, json.loads(out) if out else None


def test_says_what_the_archive_holds(capsys, home):
    code, document = run(capsys, home, "stats")

    assert code == 0
    assert document["envelopes"] == 30
    assert [each["day"] for each in document["days"]] == ["2026-03-01", "2026-03-02", "2026-03-03"]
    assert document["bytes"] == sum(each["bytes"] for each in document["days"])


def test_checks_the_archive(capsys, home):
    code, document = run(capsys, home, "check")

    assert code == 0
    assert (document["sound"], document["envelopes"], document["faults"]) == (True, 30, 0)


def test_a_fault_ends_the_check_with_code_1(capsys, home):
    archive = LmdbArchive(home / "archive")
    day = archive._day(archive.days()[0].day)
    with day._env.begin(write=True) as txn:
        cursor = txn.cursor(day._d)
        cursor.first()
        txn.put(cursor.key(), b"\xc0", db=day._d)
    archive.close()

    code, document = run(capsys, home, "check")

    assert code == 1
    assert (document["sound"], document["faults"]) == (False, 1)


def test_copies_out_and_in(capsys, home, tmp_path):
    copy = tmp_path / "copy"

    assert run(capsys, home, "export", copy)[1]["envelopes"] == 30
    first = run(capsys, home, "import", copy, "--data", tmp_path / "other")
    second = run(capsys, home, "import", copy, "--data", tmp_path / "other")

    assert (first[1]["envelopes"], first[1]["new"]) == (30, 30)
    assert second[1]["new"] == 0
    assert [each.name for each in tmp_path.glob("copy*")] == ["copy"]


def test_a_damaged_copy_is_an_error_and_leaves_what_was_there(capsys, home, tmp_path):
    (tmp_path / "copy").write_bytes(b"waypost envelopes 1\n\0\0")

    code, _ = run(capsys, home, "import", tmp_path / "copy")

    assert code == 1
    assert run(capsys, home, "stats")[1]["envelopes"] == 30


def test_an_archive_that_a_server_uses_is_left_alone(capsys, home):
    archive = LmdbArchive(home / "archive")

    assert main(["mailserver", "archive", "check", "--home", str(home)]) == 1
    assert "in use by another process" in capsys.readouterr().err
    archive.close()
