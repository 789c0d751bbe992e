import io
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.mailserver.archive import tools
from offchain.mailserver.archive.tools import CopyError, check, export, import_, read_copy
from offchain.whisper.envelope import Envelope
from tests.support.mailserver import DAY, MARCH, MemoryArchive

MAILS = [
    Envelope.create(MARCH + n * 7000 + 50, 50, b"ab" + bytes((n % 5, 0)), n.to_bytes(4, "big") * 10) for n in range(60)
]


def copied(archive, **range_):
    file = io.BytesIO()
    count = export(archive, file, **range_)
    file.seek(0)
    return file, count


def everything(archive):
    return archive.positions(b"", b"\xff" * 36, 10_000)


def test_a_copy_holds_everything_and_taking_it_in_twice_does_no_harm(archive):
    archive.add_many(MAILS)
    file, count = copied(archive)
    other = MemoryArchive()

    assert count == 60
    assert import_(other, file) == (60, 60)
    file.seek(0)
    assert import_(other, file) == (60, 0)
    assert everything(other) == everything(archive)


def test_a_copy_goes_from_one_kind_of_archive_into_the_other(archive):
    file, _ = copied(MemoryArchive(MAILS))

    import_(archive, file)

    assert everything(archive) == sorted(each.sent.to_bytes(4, "big") + each.hash for each in MAILS)


def test_a_copy_of_a_stretch_of_time(archive):
    archive.add_many(MAILS)
    lower, upper = MARCH + 2 * 7000, MARCH + DAY

    file, count = copied(archive, lower=lower, upper=upper)

    assert {Envelope.decode(raw) for raw in read_copy(file)} == {each for each in MAILS if lower <= each.sent <= upper}
    assert count == 11


@given(st.data())
def test_a_damaged_copy_is_noticed(data):
    file, _ = copied(MemoryArchive(MAILS[:3]))
    whole = file.getvalue()
    if data.draw(st.booleans()):
        damaged = whole[: data.draw(st.integers(0, len(whole) - 1))]
    else:
        at = data.draw(st.integers(0, len(whole) - 1))
        damaged = whole[:at] + bytes((whole[at] ^ data.draw(st.integers(1, 255)),)) + whole[at + 1 :]

    with pytest.raises(CopyError):
        import_(MemoryArchive(), io.BytesIO(damaged))


@given(st.binary(max_size=200), st.booleans())
def test_noise_is_a_copy_error(noise, begins_well):
    with pytest.raises(CopyError):
        list(read_copy(io.BytesIO(tools.MAGIC * begins_well + noise)))


def test_a_copy_followed_by_something_is_not_one():
    file, _ = copied(MemoryArchive(MAILS[:3]))

    with pytest.raises(CopyError, match="damaged"):
        list(read_copy(io.BytesIO(file.getvalue() + b"x")))


def test_a_sound_archive_is_found_to_be(archive, monkeypatch):
    monkeypatch.setattr(tools, "SAMPLE", 1)
    monkeypatch.setattr(tools, "PAGE", 7)
    archive.add_many(MAILS)
    told = []

    report = check(archive, told.append)

    assert (report.envelopes, report.faults) == (60, 0)
    assert told == [7, 14, 21, 28, 35, 42, 49, 56]


@pytest.mark.parametrize(
    ("break_it", "complaint"),
    [
        (lambda archive, at: archive.kept.update({at: SimpleNamespace(raw=b"\xc0", topic=b"", sent=0)}), "at"),
        (lambda archive, at: archive.kept.update({at: MAILS[5]}), "another time or hash"),
        (lambda archive, at: setattr(archive, "get_many", lambda many: [None] * len(many)), "not there"),
    ],
)
def test_faults_are_found_and_told(break_it, complaint):
    archive = MemoryArchive(MAILS)
    break_it(archive, MAILS[3].sent.to_bytes(4, "big") + MAILS[3].hash)
    archive.days = lambda: MemoryArchive(MAILS).days()

    report = check(archive)

    assert report.faults >= 1
    assert any(complaint in text for text in report.texts)
    assert len(report.texts) <= tools.MAX_FAULTS


def test_an_envelope_that_its_topic_does_not_find_is_a_fault(monkeypatch):
    monkeypatch.setattr(tools, "SAMPLE", 1)
    archive = MemoryArchive(MAILS)
    query = archive.query
    archive.query = lambda asked: query(asked) if asked.topics != (MAILS[1].topic,) else MemoryArchive().query(asked)

    report = check(archive)

    assert report.faults == len([each for each in MAILS if each.topic == MAILS[1].topic])
