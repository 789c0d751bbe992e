"""Two archives and the machines between them: whatever the split, the round ends, and nothing is lacking afterwards."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offchain import rlp
from offchain.hashing import keccak256
from offchain.mailserver.reconcile import asker as asker_module
from offchain.mailserver.reconcile import packets, summary, teller
from offchain.mailserver.reconcile.asker import Asker
from offchain.mailserver.reconcile.packets import (
    WINDOW,
    Ask,
    Divided,
    Envelopes,
    Fetch,
    Listed,
    Refuse,
    Same,
    SyncError,
    Tell,
    decode,
    encode,
    window_ranges,
)
from offchain.mailserver.reconcile.summary import Summary
from tests.support.mailserver import MARCH, MemoryArchive, Sample

SPAN = 4 * WINDOW
RANGES = window_ranges(MARCH, MARCH + SPAN - 1)


def mail(number):
    """An envelope whose position is its own: hashes as of real ones, several in a second, some seconds without."""
    sent = MARCH + (number * number) % SPAN
    raw = rlp.encode([sent + 50, 50, b"abcd", number.to_bytes(4, "big"), 7])
    return Sample(raw, keccak256(raw), b"abcd", sent)


MAILS = [mail(number) for number in range(3000)]
BY_RAW = {each.raw: each for each in MAILS}


class Side:
    """A server's archive."""

    def __init__(self, mails=()):
        self.archive = MemoryArchive(mails)
        self.summary = Summary(self.archive, lambda: 0.0)

    def add(self, raws):
        added = [BY_RAW[raw] for raw in raws]
        self.archive.add_many(added)
        self.summary.touched(each.sent for each in added)

    @property
    def kept(self):
        return set(self.archive.kept)


class Traffic:
    def __init__(self):
        self.questions = 0
        self.bytes = 0
        self.envelopes = 0


def answers(side, question):
    if isinstance(question, Ask):
        return [teller.tell(side.summary, question)]
    return list(teller.deliver(side.summary, question))


def carry(packet, traffic):
    code, payload = encode(packet)
    traffic.bytes += len(payload)
    return decode(code, payload)


def pull(mine, other, ranges=RANGES, **options):
    """A whole round, through the codec."""
    traffic = Traffic()
    asker = Asker(mine.summary, ranges, **options)
    while (question := asker.next_question()) is not None:
        traffic.questions += 1
        assert traffic.questions < 10_000
        for answer in answers(other, carry(question, traffic)):
            raws = asker.receive(carry(answer, traffic))
            traffic.envelopes += len(raws)
            mine.add(raws)
    assert not asker.waiting
    return asker, traffic


membership = st.lists(st.sampled_from((0, 1, 2, 3, 3, 3)), min_size=1, max_size=400)


@settings(max_examples=60)
@given(membership, st.sampled_from((1, 3, 128)), st.sampled_from((2, 3, 16)))
def test_after_both_have_asked_both_have_everything_whatever_the_split(split, listed, parts):
    one = Side(each for each, where in zip(MAILS, split, strict=False) if where & 1)
    other = Side(each for each, where in zip(MAILS, split, strict=False) if where & 2)
    everything = one.kept | other.kept
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(summary, "MAX_LISTED", listed)
        patch.setattr(summary, "MAX_PARTS", parts)
        patch.setattr(asker_module, "MAX_FETCHED", 7)

        results = [pull(one, other), pull(other, one)]

    assert all(asker.succeeded for asker, _ in results)
    assert one.kept == other.kept == everything


def test_the_same_sets_cost_one_question_and_no_envelope():
    asker, traffic = pull(Side(MAILS), Side(MAILS))

    assert asker.succeeded
    assert (traffic.questions, traffic.envelopes) == (1, 0)
    assert traffic.bytes < 40 * len(RANGES)


def test_one_missing_of_thousands_is_found_with_few_questions():
    mine, other = Side(MAILS[:1500] + MAILS[1501:]), Side(MAILS)

    asker, traffic = pull(mine, other)

    assert asker.succeeded
    assert mine.kept == other.kept
    assert traffic.envelopes == 1
    assert traffic.questions <= 4
    assert traffic.bytes < 10_000


def test_a_server_that_has_nothing_gets_everything():
    mine, other = Side(), Side(MAILS)

    asker, traffic = pull(mine, other)

    assert asker.succeeded
    assert mine.kept == other.kept
    assert traffic.bytes < 1.3 * sum(len(each.raw) + 72 for each in MAILS)


def test_what_is_outside_the_ranges_is_not_asked_for():
    mine, other = Side(), Side(MAILS)

    pull(mine, other, ranges=RANGES[1:2])

    assert mine.kept == {at for at in other.kept if RANGES[1].begin <= at < RANGES[1].end}


def test_what_is_not_wanted_is_not_fetched():
    mine, other = Side(MAILS[:50]), Side(MAILS[:60])

    asker, traffic = pull(mine, other, unwanted={each.hash for each in MAILS[50:60]})

    assert asker.succeeded
    assert traffic.envelopes == 0


def test_short_answers_are_asked_on(monkeypatch):
    monkeypatch.setattr(teller, "TELL_BYTES", 1)
    mine, other = Side(), Side(MAILS[:100])

    asker, traffic = pull(mine, other)

    assert asker.succeeded
    assert mine.kept == other.kept
    assert traffic.questions >= len(RANGES)


def test_large_deliveries_come_in_packets(monkeypatch):
    monkeypatch.setattr(teller, "SLICE_BYTES", 100)
    mine, other = Side(), Side(MAILS[:40])

    asker, _ = pull(mine, other)

    assert asker.succeeded
    assert mine.kept == other.kept


def test_what_the_other_deleted_meanwhile_is_no_failure():
    mine, other = Side(), Side(MAILS[:10])
    asker = Asker(mine.summary, RANGES)
    asker.receive(teller.tell(other.summary, asker.next_question()))
    fetch = asker.next_question()
    other.archive.kept.clear()

    for packet in teller.deliver(other.summary, fetch):
        assert asker.receive(packet) == ()

    assert asker.next_question() is None
    assert asker.succeeded
    assert len(asker.missing) == 10


# Who does not keep to the protocol


def first_question(mine=None):
    asker = Asker((mine or Side()).summary, RANGES)
    return asker, asker.next_question()


def listed(*mails):
    return Listed(tuple(sorted(each.position for each in mails)))


def halves(range_, depth=0):
    return Divided(((range_.begin + bytes(31 - depth), b"f" * 16), (range_.end, b"g" * 16)))


OUTSIDE = mail(0)  # of the first window
INSIDE_LAST = next(each for each in MAILS if each.position >= RANGES[-1].begin)


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (Tell(7, (Same(),)), "question 7"),
        (Tell(1, (Same(),) * (len(RANGES) + 1)), "answers came"),
        (Tell(1, (listed(INSIDE_LAST),)), "not in the range"),
        (Tell(1, (Divided(((RANGES[0].begin, b"f" * 16), (RANGES[0].end, b"f" * 16))),)), "not the range"),
        (Tell(1, (Divided(((RANGES[0].begin + b"a", b"f" * 16), (RANGES[1].end, b"f" * 16))),)), "not the range"),
        (Envelopes(1, True, ()), "another packet"),
        (Fetch(1, (bytes(36),)), "another packet"),
    ],
)
def test_an_answer_that_does_not_fit_ends_the_round(answer, what):
    asker, _ = first_question()

    with pytest.raises(SyncError, match=what):
        asker.receive(answer)

    assert asker.next_question() is None
    assert not asker.succeeded


def test_an_answer_without_a_question_ends_the_round():
    asker = Asker(Side().summary, RANGES)

    with pytest.raises(SyncError):
        asker.receive(Tell(0, (Same(),)))


def test_a_refusal_ends_the_round_with_its_text():
    asker, _ = first_question()

    assert asker.receive(Refuse(1, "no")) == ()

    assert not asker.waiting
    assert asker.next_question() is None
    assert "'no'" in asker.failure


def fetching(*mails):
    asker, _ = first_question()
    by_range = [[each for each in mails if r.begin <= each.position < r.end] for r in RANGES]
    asker.receive(Tell(1, tuple(listed(*each) for each in by_range)))
    assert isinstance(asker.next_question(), Fetch)
    return asker


@pytest.mark.parametrize(
    ("delivered", "what"),
    [
        (Envelopes(2, True, (MAILS[5].raw,)), "not asked for"),
        (Envelopes(2, True, (MAILS[0].raw, MAILS[0].raw)), "not asked for"),
        (Envelopes(2, True, (b"\x80",)), "not asked for"),
        (Envelopes(2, False, ()), "without envelopes"),
        (Envelopes(2, False, (MAILS[0].raw, MAILS[1].raw)), "not the end"),
        (Tell(2, (Same(),)), "another packet"),
    ],
)
def test_a_delivery_that_does_not_fit_ends_the_round(delivered, what):
    asker = fetching(MAILS[0], MAILS[1])

    with pytest.raises(SyncError, match=what):
        asker.receive(delivered)

    assert asker.next_question() is None


def test_who_lists_what_it_never_delivers_is_left_alone(monkeypatch):
    monkeypatch.setattr(asker_module, "MAX_MISSING", 1)
    asker = fetching(MAILS[0], MAILS[1])

    with pytest.raises(SyncError, match="did not come"):
        asker.receive(Envelopes(2, True, ()))


def test_who_divides_for_ever_is_left_alone():
    asker, question = first_question()
    for depth in range(asker_module.MAX_DEPTH):
        asker.receive(Tell(question.number, (halves(question.questions[0].range, depth),)))
        question = asker.next_question()

    answer = Tell(question.number, (halves(question.questions[0].range, asker_module.MAX_DEPTH),))
    with pytest.raises(SyncError, match=f"divided {asker_module.MAX_DEPTH} times"):
        asker.receive(answer)


def test_a_round_has_a_bounded_number_of_questions(monkeypatch):
    monkeypatch.setattr(asker_module, "MAX_QUESTIONS", 20)
    asker, question = first_question()
    rounds = 0
    while question is not None:
        rounds += 1
        asker.receive(Tell(question.number, tuple(halves(each.range, rounds) for each in question.questions)))
        question = asker.next_question()

    assert "did not end after 20 questions" in asker.failure
    assert rounds <= 20


def test_memory_is_bounded_by_depth_and_not_by_what_is_claimed():
    asker, question = first_question()
    for depth in range(asker_module.MAX_DEPTH):
        ends = tuple((question.questions[0].range.begin + bytes(depth) + bytes((n,)), b"f" * 16) for n in range(1, 16))
        asker.receive(Tell(question.number, (Divided((*ends, (question.questions[0].range.end, b"g" * 16))),)))
        question = asker.next_question()
        assert len(asker._tasks) + len(asker._asked) <= len(RANGES) + 16 * (depth + 1)


# Totals that are remembered


def test_totals_follow_what_is_added():
    side = Side(MAILS[:100])
    before = side.summary.total(RANGES[0])
    added = next(each for each in MAILS[100:] if each.position < RANGES[0].end)

    side.add([added.raw])

    assert side.summary.total(RANGES[0]).count == before.count + 1


def test_totals_are_believed_for_a_while_only():
    now = [0.0]
    archive = MemoryArchive(MAILS[:100])
    looked = Summary(archive, lambda: now[0])
    before = looked.total(RANGES[0])
    archive.add_many(MAILS[100:200])  # by another server that uses the database
    assert looked.total(RANGES[0]) == before

    now[0] += summary.REMEMBERED_FOR

    assert looked.total(RANGES[0]).count > before.count


def test_a_total_during_which_something_is_added_is_not_remembered():
    side = Side(MAILS[:100])
    added = next(each for each in MAILS[100:] if each.position < RANGES[0].end)
    read = side.archive.positions

    def positions(*arguments):
        found = read(*arguments)
        side.archive.positions = read
        side.add([added.raw])
        return found

    side.archive.positions = positions
    before = side.summary.total(RANGES[0])

    assert side.summary.total(RANGES[0]).count == before.count + 1


def test_the_fingerprint_is_that_of_the_specification():
    import hashlib

    from offchain.mailserver.reconcile.fingerprint import Total, total

    high = b"\0" * 4 + b"\xff" * 32
    two = b"\0" * 4 + (2).to_bytes(32, "little")

    assert total([high, two]) == Total(2, 1)
    assert total([high]).plus(total([two])) == Total(2, 1)
    expected = hashlib.sha256((1).to_bytes(32, "little") + (2).to_bytes(8, "little")).digest()[:16]
    assert Total(2, 1).fingerprint == expected
    assert packets.decode(*encode(Refuse(1, ""))) == Refuse(1, "")
