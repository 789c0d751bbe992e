import pytest

from offchain.errors import StorageError
from offchain.keys import PrivateKey
from offchain.mailserver.answer import SLICE, SLICE_BYTES, Answer, SyncAnswer
from offchain.whisper.envelope import Envelope
from offchain.whisper.mail import Completion, HistoryRequest, SyncRequest, SyncResponse, decode_completion
from offchain.whisper.protocol import Code
from offchain.whisper.sealed import AnswerOpener, AnswerSealer
from tests.support.mailserver import MARCH, MemoryArchive, raws, sample

ID = b"i" * 32


def run(answer):
    """All packets of an answer, slice by slice."""
    slices = []
    while not answer.finished:
        slices.append(answer.step())
    return slices


def asked(limit=2000, cursor=b"", batch=True, **changes):
    return HistoryRequest(
        **{"lower": 0, "upper": MARCH + 10_000, "topics": (b"abcd",)} | changes, limit=limit, cursor=cursor, batch=batch
    )


def mail_in(packets):
    return [each.raw for code, payload in packets if code == Code.DIRECT for each in Envelope.decode_many(payload)]


def end_of(packets):
    code, payload = packets[-1]
    assert code == Code.REQUEST_COMPLETE
    return decode_completion(payload)


def test_all_envelopes_in_order_and_then_the_completion():
    samples = [sample(MARCH + n, n) for n in range(10)]

    (packets,) = run(Answer(MemoryArchive(samples), asked(), ID))

    assert mail_in(packets) == raws(samples)
    assert end_of(packets) == Completion(ID, samples[-1].hash)


def test_a_sealed_answer_is_the_same_answer_for_one_reader():
    samples = [sample(MARCH + n, n, size=3_000) for n in range(100)]
    server, client = PrivateKey(b"\1" * 32), PrivateKey(b"\2" * 32)

    parts = run(Answer(MemoryArchive(samples), asked(), ID, AnswerSealer(server, client.public, ID)))

    opener = AnswerOpener(client, server.public, ID)
    packets = [(code, opener.open(payload)) for part in parts for code, payload in part]
    assert len(packets) > 2
    assert packets == [packet for part in run(Answer(MemoryArchive(samples), asked(), ID)) for packet in part]


def test_nothing_found_is_a_completion_with_zeros():
    (packets,) = run(Answer(MemoryArchive(), asked(), ID))

    assert [code for code, _ in packets] == [Code.REQUEST_COMPLETE]
    assert end_of(packets) == Completion(ID)


def test_a_limit_reached_gives_the_cursor_of_the_last_envelope():
    samples = [sample(MARCH + n, n) for n in range(10)]

    packets = [packet for part in run(Answer(MemoryArchive(samples), asked(limit=4), ID)) for packet in part]

    assert mail_in(packets) == raws(samples[:4])
    assert end_of(packets) == Completion(ID, samples[3].hash, samples[3].position)


def test_cursors_lead_through_everything():
    samples = [sample(MARCH + n // 3, n) for n in range(20)]
    archive = MemoryArchive(samples)
    found, cursor = [], b""
    while True:
        packets = [packet for part in run(Answer(archive, asked(limit=3, cursor=cursor), ID)) for packet in part]
        found += mail_in(packets)
        cursor = end_of(packets).cursor
        if not cursor:
            break

    assert found == raws(samples)


def test_a_long_answer_comes_in_slices():
    samples = [sample(MARCH + n, n) for n in range(SLICE * 2 + 10)]
    archive = MemoryArchive(samples)

    slices = run(Answer(archive, asked(), ID))

    assert [len(mail_in(part)) for part in slices] == [SLICE, SLICE, 10]
    assert all(query.limit <= SLICE and query.max_bytes == SLICE_BYTES for query in archive.queries)


def test_large_envelopes_make_small_slices():
    samples = [sample(MARCH + n, n, size=50_000) for n in range(9)]

    slices = run(Answer(MemoryArchive(samples), asked(), ID))

    assert [len(mail_in(part)) for part in slices] == [3, 3, 3, 0]


def test_an_old_client_gets_one_envelope_a_packet():
    samples = [sample(MARCH + n, n) for n in range(3)]

    (packets,) = run(Answer(MemoryArchive(samples), asked(batch=False), ID))

    assert [payload for code, payload in packets if code == Code.DIRECT] == raws(samples)


def test_an_answer_cut_short_says_where_to_go_on():
    samples = [sample(MARCH + n, n) for n in range(SLICE + 10)]
    answer = Answer(MemoryArchive(samples), asked(), ID)
    answer.step()

    packets = answer.complete()

    assert answer.finished
    assert end_of(packets) == Completion(ID, samples[SLICE - 1].hash, samples[SLICE - 1].position)


def test_topics_count_and_not_the_filter_if_there_are_both():
    archive = MemoryArchive([sample(MARCH, 1)])

    (packets,) = run(Answer(archive, asked(bloom=bytes(64)), ID))

    assert len(mail_in(packets)) == 1


def test_a_filter_counts_without_topics():
    archive = MemoryArchive([sample(MARCH, 1)])

    (packets,) = run(Answer(archive, asked(bloom=bytes(64), topics=()), ID))

    assert mail_in(packets) == []


def test_a_broken_archive_is_told():
    archive = MemoryArchive()
    archive.failure = StorageError("broken")

    with pytest.raises(StorageError):
        Answer(archive, asked(), ID).step()


def test_a_sync_answer_ends_with_a_final_part_that_has_the_cursor():
    samples = [sample(MARCH + n, n) for n in range(SLICE + 10)]

    slices = run(SyncAnswer(MemoryArchive(samples), SyncRequest(0, MARCH + 10_000, limit=SLICE + 5)))
    parts = [SyncResponse.decode(payload) for part in slices for code, payload in part]

    assert all(code == Code.SYNC_RESPONSE for part in slices for code, _ in part)
    assert [raw for part in parts for raw in part.envelopes] == raws(samples[: SLICE + 5])
    assert [part.final for part in parts] == [False, False, True]
    assert parts[-1].cursor == samples[SLICE + 4].position


def test_a_sync_answer_with_everything_has_no_cursor():
    slices = run(SyncAnswer(MemoryArchive([sample(MARCH, 1)]), SyncRequest(0, MARCH)))
    parts = [SyncResponse.decode(payload) for part in slices for _, payload in part]

    assert parts[-1] == SyncResponse(final=True)
