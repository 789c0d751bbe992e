import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from offchain.errors import StorageError
from offchain.mailserver.archive import Query, day
from offchain.mailserver.archive.lmdb import LmdbArchive
from tests.support.mailserver import DAY, MARCH, bloom, pages, raws, sample

ROOT = Path(__file__).parents[4]
EVERYTHING = Query(0, 2**32 - 1)


@pytest.fixture
def archive(tmp_path):
    archive = LmdbArchive(tmp_path / "archive", initial_map=1024 * 1024)
    yield archive
    archive.close()


def test_a_day_with_too_many_topics_is_searched_envelope_by_envelope(archive, monkeypatch):
    monkeypatch.setattr(day, "MAX_KNOWN_TOPICS", 10)
    monkeypatch.setattr(day, "MAX_SCANNED", 7)
    samples = [sample(MARCH, n, bytes((n, n + 64, n + 128, 0))) for n in range(40)]
    archive.add_many(samples)
    wanted = bloom(samples[3].topic, samples[33].topic)

    found = pages(archive, Query(MARCH, MARCH, bloom=wanted, limit=100))

    assert [each for page in found for each in page] == raws([samples[3], samples[33]])
    assert len(found) == 6  # no page looked at more than it may


def test_grows_beyond_its_first_map(archive):
    samples = [sample(MARCH, n, size=3000) for n in range(1500)]  # 4.5 MB into a map of 1 MB

    for first in range(0, 1500, 500):
        assert all(archive.add_many(samples[first : first + 500]))

    assert [each for page in pages(archive, Query(MARCH, MARCH)) for each in page] == raws(samples)


def test_growing_waits_for_those_who_read_and_they_for_it(tmp_path):
    path = tmp_path / "day"
    path.mkdir()
    one_day = day.Day(MARCH // DAY, path, initial_map=256 * 1024)
    reading, go_on = threading.Event(), threading.Event()
    seen = []

    def read():
        with one_day._reading() as txn:
            reading.set()
            go_on.wait(10)
            seen.append(txn.stat(one_day._d)["entries"])

    reader = threading.Thread(target=read)
    reader.start()
    reading.wait(10)
    writer = threading.Thread(target=one_day.add, args=([sample(MARCH, n, size=3000) for n in range(300)],))
    writer.start()
    writer.join(0.05)
    grew_at_once = not writer.is_alive()
    go_on.set()
    reader.join(10)
    writer.join(10)

    assert not grew_at_once
    assert seen == [0]  # the reader's snapshot held until its end
    assert one_day.count() == 300
    one_day.close()


def test_keeps_everything_when_opened_again(tmp_path):
    samples = [sample(MARCH + n * DAY, n) for n in range(3)]
    archive = LmdbArchive(tmp_path)
    archive.add_many(samples)
    archive.close()

    archive = LmdbArchive(tmp_path)

    assert archive.query(EVERYTHING).envelopes == raws(samples)
    assert archive.add_many(samples) == [False] * 3
    archive.close()


def test_works_with_fewer_open_days_than_it_has(tmp_path):
    samples = [sample(MARCH + n * DAY // 2, n) for n in range(20)]
    archive = LmdbArchive(tmp_path, max_open_days=2)
    archive.add_many(samples)

    assert archive.query(EVERYTHING).envelopes == raws(samples)
    assert archive.count() == 20
    assert len(archive.days()) == 10
    archive.close()


def test_a_day_that_is_closed_between_being_found_and_being_used_is_opened_again(archive, monkeypatch):
    archive.add_many([sample(MARCH, 1)])
    find = archive._day
    closed = []

    def find_and_close_once(number, make=False):
        found = find(number, make)
        if not closed:
            closed.append(found)
            archive._close_day(number)
        return found

    monkeypatch.setattr(archive, "_day", find_and_close_once)

    assert archive.query(EVERYTHING).envelopes == [sample(MARCH, 1).raw]
    assert len(closed) == 1


def test_a_day_deleted_while_it_is_asked_for_is_left_out(archive, monkeypatch):
    archive.add_many([sample(MARCH, 1), sample(MARCH + DAY, 2)])
    find = archive._day

    def find_too_late(number, make=False):
        if number == MARCH // DAY:
            monkeypatch.undo()
            archive.delete_day(number)
        return find(number, make)

    monkeypatch.setattr(archive, "_day", find_too_late)

    assert archive.query(EVERYTHING).envelopes == [sample(MARCH + DAY, 2).raw]
    assert len(archive.days()) == 1


def test_a_half_deleted_day_is_gone_after_the_next_start(tmp_path):
    archive = LmdbArchive(tmp_path)
    archive.add_many([sample(MARCH, 1), sample(MARCH + DAY, 2)])
    archive.close()
    tmp_path.joinpath("2026-03-01").rename(tmp_path / ".gone-2026-03-01")

    archive = LmdbArchive(tmp_path)

    assert archive.query(EVERYTHING).envelopes == [sample(MARCH + DAY, 2).raw]
    assert not tmp_path.joinpath(".gone-2026-03-01").exists()
    archive.close()


def test_does_not_touch_a_folder_of_somebody_else(tmp_path):
    tmp_path.joinpath("thesis.tex").write_text("years of work")

    with pytest.raises(StorageError, match=r"is not an archive: it holds 'thesis.tex'"):
        LmdbArchive(tmp_path)

    assert tmp_path.joinpath("thesis.tex").read_text() == "years of work"
    assert [each.name for each in tmp_path.iterdir()] == ["thesis.tex"]


def test_does_not_open_an_archive_of_another_version(tmp_path):
    tmp_path.joinpath("waypost-archive").write_text("waypost archive 9\n")

    with pytest.raises(StorageError, match="'waypost archive 9', expected 'waypost archive 1'"):
        LmdbArchive(tmp_path)


def test_a_file_in_the_way_of_the_folder_is_said(tmp_path):
    tmp_path.joinpath("file").write_text("")

    with pytest.raises(StorageError, match="cannot be used"):
        LmdbArchive(tmp_path / "file")


def test_only_one_at_a_time_may_have_the_archive(tmp_path):
    archive = LmdbArchive(tmp_path)

    with pytest.raises(StorageError, match="in use by another process"):
        LmdbArchive(tmp_path)

    archive.close()
    LmdbArchive(tmp_path).close()


@pytest.mark.parametrize(
    "damage", [lambda data: b"\xa5" * len(data), lambda data: data[: len(data) // 2], lambda _: b"x"]
)
def test_a_damaged_day_is_named(tmp_path, damage):
    archive = LmdbArchive(tmp_path)
    archive.add_many([sample(MARCH, n, size=900) for n in range(100)])
    archive.close()
    data = tmp_path / "2026-03-01" / "data.mdb"
    data.write_bytes(damage(data.read_bytes()))

    with pytest.raises(StorageError, match="2026-03-01"):
        LmdbArchive(tmp_path)

    data.parent.rename(tmp_path / "2026-03-01.damaged")
    LmdbArchive(tmp_path).close()  # as the message advises


def test_a_closed_archive_says_so(tmp_path):
    archive = LmdbArchive(tmp_path)
    archive.add_many([sample(MARCH, 1)])
    archive.close()

    with pytest.raises(StorageError, match="closed"):
        archive.query(EVERYTHING)
    with pytest.raises(StorageError, match="closed"):
        archive.add_many([sample(MARCH, 2)])


def run(script, folder):
    """Run a script in a process of its own; its output."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def test_everything_confirmed_survives_a_kill(tmp_path):
    writer = run(
        """
        import sys
        from pathlib import Path
        from offchain.mailserver.archive.lmdb import LmdbArchive
        from tests.support.mailserver import DAY, MARCH, pages, sample
        archive = LmdbArchive(Path(sys.argv[1]))
        for number in range(1_000_000):
            archive.add_many([sample(MARCH - 50 + number, 10 * number + n) for n in range(10)])
            print(number, flush=True)
        """,
        tmp_path,
    )
    confirmed = [int(writer.stdout.readline()) for _ in range(100)][-1]
    writer.kill()
    rest = writer.stdout.read().split("\n")[:-1]
    writer.wait()
    writer.stdout.close()
    confirmed = int(rest[-1]) if rest else confirmed

    archive = LmdbArchive(tmp_path)
    expected = raws(sample(MARCH - 50 + number, 10 * number + n) for number in range(confirmed + 1) for n in range(10))
    by_time = [each for page in pages(archive, EVERYTHING) for each in page]
    by_topic = [each for page in pages(archive, Query(0, 2**32 - 1, topics=(b"abcd",))) for each in page]

    assert by_time[: len(expected)] == expected
    assert by_topic == by_time  # no envelope without its index, and none in the index alone
    archive.close()


def test_a_full_disk_is_an_error_that_loses_nothing_and_can_pass(tmp_path):
    # A limit on the size of files stands for the disk: the same writes fail, with another number.
    writer = run(
        """
        import resource, sys
        from pathlib import Path
        from offchain.errors import StorageError
        from offchain.mailserver.archive import Query
        from offchain.mailserver.archive.lmdb import LmdbArchive
        from tests.support.mailserver import MARCH, pages, sample
        archive = LmdbArchive(Path(sys.argv[1]))
        batches = [[sample(MARCH, 100 * number + n, size=1000) for n in range(100)] for number in range(60)]
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, resource.RLIM_INFINITY))
        stored = 0
        try:
            for batch in batches:
                archive.add_many(batch)
                stored += 1
        except StorageError as error:
            print("cannot be written" in str(error))
        print(0 < stored < 60)
        print(len(archive.query(Query(0, 2**32 - 1, limit=9999, max_bytes=10**9)).envelopes) == 100 * stored)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        for batch in batches[stored:]:
            print(all(archive.add_many(batch)))
        print(len(archive.query(Query(0, 2**32 - 1, limit=9999, max_bytes=10**9)).envelopes) == 6000)
        """,
        tmp_path,
    )
    printed = writer.communicate()[0].split()

    assert writer.returncode == 0
    assert len(printed) > 4
    assert set(printed) == {"True"}
