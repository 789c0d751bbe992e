"""Reading history: pages, cursors, failover, and everything a server can do wrong."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offchain.client import history
from offchain.client.history import (
    Ask,
    Asked,
    Finished,
    HistoryMachine,
    PageRead,
    Query,
    Received,
    Report,
    ServerFailed,
)
from offchain.errors import ConfigError
from offchain.types import NodeId
from offchain.whisper.envelope import Envelope
from offchain.whisper.mail import Completion, Failure, decode_completion

TIMEOUT = 10.0
TOPIC, OTHER_TOPIC = b"\x01\x02\x03\x00", b"\xaa\xbb\xcc\x00"
START = 1_700_000_000
A, B, C = (NodeId(bytes((number,)) * 32) for number in (0xA, 0xB, 0xC))
REQUEST = b"\x07" * 32
VECTORS = Path(__file__).parents[2] / "vectors" / "mail_requests.json"


def envelope(sent, number=0, topic=TOPIC):
    return Envelope.create(sent + 50, 50, topic, number.to_bytes(4, "big"))


def in_order(envelopes):
    return sorted(envelopes, key=lambda each: each.position)


def query(**changes):
    return Query(**{"topics": (TOPIC,), "lower": START, "upper": START + 1_000, "page_size": 3, **changes})


def make(now=0.0, seed=1, **changes):
    return HistoryMachine(query(**changes), random.Random(seed), now, timeout=TIMEOUT)


def asked(machine):
    """The request that the machine wants sent, which is then sent."""
    (ask,) = [action for action in machine.take_actions() if isinstance(action, Ask)]
    machine.sent(REQUEST, 0.0)
    return ask


def reports(machine):
    return [action for action in machine.take_actions() if isinstance(action, Report)]


def received(machine):
    return [event.envelope for event in machine.take_events() if isinstance(event, Received)]


def answer(machine, node_id, mails, *, more, now=1.0):
    """Deliver a page and complete it."""
    mails = in_order(mails)
    machine.delivered(node_id, mails, now)
    last = mails[-1].hash if mails else bytes(32)
    machine.completed(node_id, Completion(REQUEST, last, mails[-1].position if more else b""), now)


def one_ask(node_id=A, **changes):
    machine = make(**changes)
    machine.assign(node_id, 0.0)
    return machine, asked(machine)


MAILS = in_order([envelope(START + second, second) for second in (1, 2, 3, 5, 8)])


def test_asks_for_a_page_and_gives_out_what_came_in_order():
    machine, ask = one_ask()

    machine.delivered(A, [MAILS[2], MAILS[0]], 1.0)
    machine.delivered(A, [MAILS[1]], 1.5)
    nothing_yet = received(machine)
    machine.completed(A, Completion(REQUEST, MAILS[2].hash), 2.0)
    events = machine.take_events()

    assert (ask.node_id, ask.lower, ask.upper, ask.limit, ask.cursor) == (A, START, START + 1_000, 3, b"")
    assert nothing_yet == []
    assert [event.envelope for event in events if isinstance(event, Received)] == MAILS[:3]
    assert events[-1] == Finished(True, "the end of the range was reached", 3, 1, (A,), None)
    assert reports(machine) == [Report(A, None)]
    assert machine.over


def test_reads_page_after_page_from_the_same_server():
    machine, _ = one_ask()

    answer(machine, A, MAILS[:3], more=True)
    second = asked(machine)
    answer(machine, A, MAILS[3:], more=False)
    events = machine.take_events()

    assert second.cursor == MAILS[2].position
    assert [event.envelope for event in events if isinstance(event, Received)] == MAILS
    assert [(event.page, event.envelopes) for event in events if isinstance(event, PageRead)] == [(1, 3), (2, 2)]


def test_stops_at_the_limit_and_says_where_to_continue():
    machine, _ = one_ask(limit=4)

    answer(machine, A, MAILS[:3], more=True)
    second = asked(machine)
    answer(machine, A, MAILS[3:4], more=True)
    finished = machine.take_events()[-1]

    assert second.limit == 1
    assert (finished.complete, finished.reason) == (True, "the limit was reached")
    assert finished.cursor == MAILS[3].position


def test_continues_where_an_earlier_query_ended():
    _, ask = one_ask(cursor=MAILS[1].position)

    assert ask.cursor == MAILS[1].position


def test_an_empty_answer_ends_the_query():
    machine, _ = one_ask()

    machine.completed(A, Completion(REQUEST), 1.0)

    assert machine.take_events()[-1].complete
    assert machine.over


def test_another_server_continues_from_the_last_cursor_and_each_mail_comes_once():
    machine, _ = one_ask()
    answer(machine, A, MAILS[:3], more=True)
    asked(machine)
    machine.delivered(A, [MAILS[3]], 2.0)

    machine.lost(A, "curator delisted provider 1", 2.5)
    wants = machine.wants_server(2.5)
    machine.assign(B, 2.5)
    third = asked(machine)
    answer(machine, B, MAILS[3:], more=False, now=3.0)
    events = machine.take_events()

    assert wants
    assert (third.node_id, third.cursor) == (B, MAILS[2].position)
    assert [event.envelope for event in events if isinstance(event, Received)] == MAILS
    assert [event for event in events if isinstance(event, ServerFailed)] == [
        ServerFailed(A, "curator delisted provider 1")
    ]
    assert events[-1].servers == (A, B)


def test_what_a_lost_server_delivered_is_kept_even_if_the_next_lacks_it():
    machine, _ = one_ask()
    machine.delivered(A, [MAILS[0], MAILS[1]], 1.0)
    machine.lost(A, "the connection was reset", 1.5)

    machine.assign(B, 1.5)
    asked(machine)
    answer(machine, B, [MAILS[1], MAILS[2]], more=False, now=2.0)

    assert received(machine) == MAILS[:3]


def test_what_a_lost_server_delivered_beyond_the_cursor_waits_for_its_turn():
    machine, _ = one_ask()
    machine.delivered(A, [MAILS[0], MAILS[4]], 1.0)
    machine.lost(A, "the connection was reset", 1.5)
    machine.assign(B, 1.5)
    asked(machine)

    answer(machine, B, MAILS[:3], more=True, now=2.0)
    first = received(machine)
    asked(machine)
    answer(machine, B, [MAILS[3]], more=False, now=3.0)

    assert first == MAILS[:3]
    assert received(machine) == MAILS[3:]


def test_a_silent_server_is_left_after_the_timeout_and_reported():
    machine, _ = one_ask()
    machine.delivered(A, MAILS[:1], 4.0)

    machine.tick(4.0 + TIMEOUT - 0.01)
    still = machine.serving
    machine.tick(machine.next_deadline())

    assert still == A
    assert machine.serving is None
    assert reports(machine) == [Report(A, "it was silent for 10 s")]
    assert machine.exclude == {A}


def test_a_server_that_trickles_without_end_is_left():
    machine, _ = one_ask(page_size=1_000)
    now = 0.0
    while machine.serving == A and now < 1_000.0:
        now += TIMEOUT / 2
        machine.delivered(A, [envelope(START + 1, round(now))], now)
        machine.tick(now)

    assert now <= history.SLOWEST_PAGE * TIMEOUT
    assert reports(machine) == [Report(A, "it did not finish a page within 100 s")]


def test_time_in_which_nobody_looked_is_not_held_against_the_server():
    machine, _ = one_ask()

    machine.postpone(500.0)
    machine.tick(500.0)

    assert machine.serving == A


def test_a_refusal_is_passed_on_and_another_server_asked():
    machine, _ = one_ask()

    machine.completed(A, Failure(REQUEST, "too many requests"), 1.0)

    assert reports(machine) == [Report(A, "it refused the request: too many requests")]
    assert machine.wants_server(1.0)


@pytest.mark.parametrize(
    ("mail", "complaint"),
    [
        (envelope(START - 1), "outside the range"),
        (envelope(START + 1_001), "outside the range"),
        (Envelope.create(10, 50, TOPIC, b""), "outside the range"),
        (envelope(START + 1, topic=OTHER_TOPIC), "a topic that was not asked for"),
    ],
)
def test_an_envelope_that_was_not_asked_for_is_misbehaviour(mail, complaint):
    machine, _ = one_ask()

    machine.delivered(A, [mail], 1.0)

    (report,) = reports(machine)
    assert report.misbehaved
    assert complaint in report.reason
    assert received(machine) == []


def test_every_topic_passes_when_none_is_named():
    machine, ask = one_ask(topics=())

    answer(machine, A, [envelope(START + 1), envelope(START + 2, topic=OTHER_TOPIC)], more=False)

    assert ask.bloom == b"\xff" * 64
    assert len(received(machine)) == 2


def test_what_only_the_bloom_filter_lets_through_is_left_out():
    other, collision = b"\x0a\x0b\x0c\x00", b"\x01\x0b\x03\x00"
    machine, _ = one_ask(topics=(TOPIC, other))
    mails = in_order([envelope(START + 1), envelope(START + 2, topic=collision)])

    answer(machine, A, mails, more=False)

    assert received(machine) == [mails[0]]
    assert machine.over


def test_more_envelopes_than_asked_for_are_misbehaviour_but_repeats_are_not():
    machine, _ = one_ask()
    machine.delivered(A, MAILS[:3] + MAILS[:3], 1.0)
    fine = reports(machine)

    machine.delivered(A, [MAILS[3]], 1.0)

    assert fine == []
    assert "more than the 3" in reports(machine)[0].reason


def test_an_envelope_from_before_the_cursor_is_misbehaviour():
    machine, _ = one_ask(cursor=MAILS[1].position)

    machine.delivered(A, [MAILS[0]], 1.0)

    assert "before the cursor" in reports(machine)[0].reason


@pytest.mark.parametrize(
    ("completion", "complaint"),
    [
        (Completion(REQUEST, MAILS[0].hash, MAILS[0].position), "oldest first"),
        (Completion(REQUEST, MAILS[3].hash), "did not arrive"),
    ],
)
def test_a_completion_that_does_not_fit_what_came_is_misbehaviour(completion, complaint):
    machine, _ = one_ask()
    machine.delivered(A, MAILS[:2], 1.0)

    machine.completed(A, completion, 1.0)

    (report,) = reports(machine)
    assert report.misbehaved
    assert complaint in report.reason
    assert not machine.over


def test_goes_on_from_where_a_server_that_searched_long_came_to():
    machine, _ = one_ask()
    machine.delivered(A, MAILS[:2], 1.0)

    machine.completed(A, Completion(REQUEST, MAILS[1].hash, MAILS[3].position), 1.0)

    assert asked(machine).cursor == MAILS[3].position
    assert received(machine) == MAILS[:2]


def test_a_cursor_that_does_not_move_on_cannot_keep_the_client_busy():
    machine, _ = one_ask(cursor=MAILS[0].position)

    machine.completed(A, Completion(REQUEST, bytes(32), MAILS[0].position), 1.0)

    assert reports(machine)[0].misbehaved


def test_empty_pages_without_end_cannot_keep_the_client_busy():
    machine, _ = one_ask()
    pages = 0
    while machine.serving == A:
        pages += 1
        machine.completed(A, Completion(REQUEST, bytes(32), (START + pages).to_bytes(4, "big") + bytes(32)), 1.0)
        machine.sent(REQUEST, 1.0)

    assert pages == history.MAX_EMPTY_PAGES + 1
    assert reports(machine)[-1].misbehaved


def test_nothing_is_kept_of_an_unfinished_page_of_a_server_that_lied():
    machine, _ = one_ask()
    machine.delivered(A, [MAILS[0]], 1.0)
    machine.delivered(A, [envelope(START - 5)], 1.0)

    machine.assign(B, 1.0)
    asked(machine)
    answer(machine, B, [MAILS[1]], more=False)

    assert received(machine) == [MAILS[1]]


def test_a_server_that_was_not_asked_is_ignored():
    machine, _ = one_ask()

    machine.delivered(B, MAILS[:3], 1.0)
    machine.completed(B, Completion(REQUEST), 1.0)
    machine.completed(A, Completion(b"\x08" * 32), 1.0)
    machine.lost(B, "gone", 1.0)
    machine.broke_protocol(B, "nonsense", 1.0)

    assert machine.serving == A
    assert received(machine) == []


def test_gives_up_after_failures_in_a_row_and_pauses_between_them():
    machine = make()
    now, pauses = 0.0, []
    for number in range(history.MAX_FAILURES):
        pauses.append(machine.pick_after - now)
        now = max(now, machine.pick_after)
        assert machine.wants_server(now)
        machine.assign(NodeId(bytes((number,)) * 32), now)
        machine.take_actions()
        machine.lost(NodeId(bytes((number,)) * 32), "refused", now)

    finished = machine.take_events()[-1]
    assert machine.over
    assert not finished.complete
    assert "5 servers in a row failed" in finished.reason
    assert pauses[:2] == [0.0, 0.0]
    assert all(pause > 0.1 for pause in pauses[2:])


def test_a_page_in_between_forgives_failures():
    machine = make()
    for _ in range(10):
        machine.assign(A, 0.0)
        asked(machine)
        machine.lost(A, "reset", 0.0)
        machine.assign(B, 0.0)
        asked(machine)
        sent = START + 1 + _
        answer(machine, B, [envelope(sent)], more=True)
        machine.lost(B, "reset", 0.0)
        machine.take_actions()

    assert not machine.over


def test_those_that_failed_may_be_asked_again_after_a_pause_if_there_is_nobody_else():
    machine, _ = one_ask()
    machine.lost(A, "reset", 1.0)

    machine.nobody_ready(1.0, "no trusted server is ready")

    assert machine.exclude == frozenset()
    assert not machine.wants_server(1.0)
    assert machine.wants_server(machine.pick_after)


def test_says_once_that_it_waits_and_gives_up_in_the_end():
    machine = make()
    for now in (0.0, 1.0, 2.0):
        machine.nobody_ready(now, "no trusted server is ready")
    machine.tick(machine.next_deadline())
    events = machine.take_events()

    assert [type(event).__name__ for event in events] == ["Waiting", "Finished"]
    assert not events[-1].complete


def test_a_failed_query_says_where_to_continue():
    machine, _ = one_ask()
    answer(machine, A, MAILS[:3], more=True)
    asked(machine)
    machine.lost(A, "reset", 2.0)

    machine.tick(machine.next_deadline())

    assert machine.take_events()[-1].cursor == MAILS[2].position


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"lower": 5, "upper": 4}, "ends .4. before it begins .5."),
        ({"lower": -1}, "not a range"),
        ({"upper": 1 << 32}, "not a range"),
        ({"page_size": 0}, "1 to 1000"),
        ({"page_size": 1_001}, "1 to 1000"),
        ({"limit": 0}, "at least 1"),
        ({"topics": (b"abc",)}, "4 bytes"),
        ({"topics": (TOPIC,) * 513}, "at most 512"),
        ({"cursor": b"x"}, "36 bytes"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(changes, complaint):
    with pytest.raises(ConfigError, match=complaint):
        query(**changes)


@settings(max_examples=300)
@given(st.data())
def test_whatever_fails_every_mail_comes_once_and_in_order(data):
    """Honest servers that hold everything, cut off, silent, refusing or repeating themselves at any point."""
    sizes = st.tuples(st.integers(0, 20), st.integers(0, 3))
    truth = in_order({m.position: m for m in (envelope(START + s, n) for s, n in data.draw(st.lists(sizes)))}.values())
    machine = make(page_size=data.draw(st.integers(1, 5)), seed=data.draw(st.integers(0, 5)))
    got, now, failures = [], 0.0, 0
    while not machine.over:
        now = max(now, machine.pick_after)
        if machine.serving is None:
            server = data.draw(st.sampled_from([A, B, C]))
            machine.assign(server, now)
        (ask,) = [action for action in machine.take_actions() if isinstance(action, Ask)]
        machine.sent(REQUEST, now)
        rest = [mail for mail in truth if mail.position > ask.cursor]
        page = rest[: ask.limit]
        how = data.draw(st.sampled_from(["whole"] * 3 + ["cut", "silent", "refuse", "again"]))
        if failures >= history.MAX_FAILURES - 1:
            how = "whole"
        failures = 0 if how in ("whole", "again") else failures + 1
        if how == "cut":
            machine.delivered(server, page[: data.draw(st.integers(0, len(page)))], now)
            machine.lost(server, "reset", now)
        elif how == "silent":
            now = machine.next_deadline()
            machine.tick(now)
        elif how == "refuse":
            machine.completed(server, Failure(REQUEST, "busy"), now)
        else:
            machine.delivered(server, data.draw(st.permutations(page)), now)
            if how == "again":
                machine.delivered(server, page, now)
            more = len(page) == ask.limit
            last = page[-1].hash if page else bytes(32)
            machine.completed(server, Completion(REQUEST, last, page[-1].position if more and page else b""), now)
        events = machine.take_events()
        got += [event.envelope for event in events if isinstance(event, Received)]

    assert isinstance(events[-1], Finished)
    assert events[-1].complete
    assert got == truth


items = st.one_of(
    st.tuples(st.just("deliver"), st.sampled_from([A, B]), st.integers(-2, 12), st.sampled_from([TOPIC, OTHER_TOPIC])),
    st.tuples(st.just("complete"), st.sampled_from([A, B]), st.integers(0, 4), st.booleans()),
    st.tuples(st.just("fail"), st.sampled_from([A, B])),
    st.tuples(st.just("lose"), st.sampled_from([A, B])),
    st.tuples(st.just("break"), st.sampled_from([A, B])),
    st.tuples(st.just("tick"), st.floats(0, 60)),
    st.tuples(
        st.just("nobody"),
    ),
)


@settings(max_examples=300)
@given(st.lists(items, max_size=40))
def test_whatever_servers_send_nothing_unasked_comes_out(script):
    machine = make(page_size=4)
    now, got, ends = 0.0, [], 0
    for what, *rest in script:
        if machine.wants_server(now) and what != "nobody":
            machine.assign(A, now)
        if any(isinstance(action, Ask) for action in machine.take_actions()):
            machine.sent(REQUEST, now)
        if what == "deliver":
            server, second, topic = rest
            machine.delivered(server, [envelope(START + second, topic=topic)], now)
        elif what == "complete":
            server, number, more = rest
            mail = MAILS[number]
            machine.completed(server, Completion(REQUEST, mail.hash, mail.position if more else b""), now)
        elif what == "fail":
            machine.completed(rest[0], Failure(REQUEST, "no"), now)
        elif what == "lose":
            machine.lost(rest[0], "gone", now)
        elif what == "break":
            machine.broke_protocol(rest[0], "nonsense", now)
        elif what == "tick":
            now += rest[0]
            machine.tick(now)
        elif machine.wants_server(now):
            machine.nobody_ready(now, "nobody")
        for event in machine.take_events():
            ends += isinstance(event, Finished)
            if isinstance(event, Received):
                assert not ends, "something came after the end"
                got.append(event.envelope)

    assert got == in_order(got)
    assert len({mail.hash for mail in got}) == len(got)
    assert all(mail.topic == TOPIC and START <= mail.sent <= START + 1_000 for mail in got)
    assert ends == machine.over


def test_asked_is_said_for_each_page():
    machine, _ = one_ask()
    answer(machine, A, MAILS[:3], more=True)

    assert [event for event in machine.take_events() if isinstance(event, Asked)] == [Asked(A, 1), Asked(A, 2)]


# Servers of old programs


def of_old_server(*, backwards, **changes):
    machine = make(**changes)
    machine.assign(A, 0.0, old=True)
    return machine, in_order(MAILS)[:: -1 if backwards else 1]


def page(machine, mails, *, cursor=None):
    """A page in the order in which it is given; the cursor is its last envelope, unless another is given."""
    machine.delivered(A, mails, 1.0)
    machine.completed(A, Completion(REQUEST, mails[-1].hash, mails[-1].position if cursor is None else cursor), 1.0)


def test_what_comes_newest_first_is_given_out_at_the_end_in_order():
    machine, mails = of_old_server(backwards=True)
    asks = [asked(machine)]

    page(machine, mails[:3])
    asks.append(asked(machine))
    before = received(machine)
    page(machine, mails[3:], cursor=b"")

    assert [(ask.lower, ask.cursor) for ask in asks] == [(START, b""), (START, mails[2].position)]
    assert before == []
    assert received(machine) == MAILS
    assert machine.over


def test_what_an_old_server_delivers_oldest_first_is_given_out_page_by_page():
    machine, mails = of_old_server(backwards=False)
    asked(machine)

    page(machine, mails[:3])

    assert received(machine) == MAILS[:3]
    assert asked(machine).cursor == MAILS[2].position


@pytest.mark.parametrize("backwards", [False, True])
def test_of_pages_with_one_envelope_the_second_tells_the_order(backwards):
    machine, mails = of_old_server(backwards=backwards, page_size=1)
    given = []

    for each in mails:
        asked(machine)
        page(machine, [each])
        given.append(len(received(machine)))
    asked(machine)
    machine.completed(A, Completion(REQUEST), 1.0)
    given.append(len(received(machine)))

    assert given == ([0, 0, 0, 0, 0, 5] if backwards else [0, 2, 1, 1, 1, 0])


def test_an_old_server_goes_on_where_another_ended_without_its_cursor():
    machine, _ = one_ask()
    answer(machine, A, MAILS[:3], more=True)
    asked(machine)
    machine.lost(A, "gone", 2.0)
    assert received(machine) == MAILS[:3]

    machine.assign(B, 3.0, old=True)
    ask = asked(machine)
    machine.delivered(B, MAILS[:1:-1], 4.0)  # it brings what the second began with, once more
    machine.completed(B, Completion(REQUEST, MAILS[2].hash), 4.0)

    assert (ask.lower, ask.cursor) == (MAILS[2].sent, b"")
    assert received(machine) == MAILS[3:]


def test_an_old_server_that_turns_about_is_left():
    machine, mails = of_old_server(backwards=True, page_size=2)
    asked(machine)
    page(machine, mails[:2])
    asked(machine)

    page(machine, [mails[2]], cursor=mails[0].position)

    assert [report.reason for report in reports(machine)] == ["its cursor does not move on"]


def test_an_old_server_whose_cursor_lies_within_its_page_is_left():
    machine, mails = of_old_server(backwards=False)
    asked(machine)

    page(machine, mails[:3], cursor=mails[1].position)

    assert [report.reason for report in reports(machine)] == ["its cursor does not move on"]


def test_a_range_too_long_to_be_read_backwards_is_said_and_nobody_blamed(monkeypatch):
    monkeypatch.setattr(history, "MAX_BACKWARDS", 2)
    machine, mails = of_old_server(backwards=True)
    asked(machine)

    page(machine, mails[:3])
    failure = next(event for event in machine.take_events() if isinstance(event, ServerFailed))

    assert failure.reason == "it delivers newest first, and more than 2: ask for less"
    assert reports(machine) == []


def test_asks_the_same_page_again_when_it_was_not_understood():
    machine, first = one_ask()

    machine.repeat(1.0)

    assert asked(machine) == first
    answer(machine, A, MAILS[:1], more=False)
    assert [event.page for event in machine.take_events() if isinstance(event, PageRead)] == [1]


RECORDED = [
    ("statusd-0.13 to statusd-0.13", True),
    ("statusd-0.35 to statusd-0.35", False),
]


@pytest.mark.parametrize(("pair", "backwards"), RECORDED)
def test_reads_what_a_deployed_server_really_sent(pair, backwards):
    exchanges = {each["name"]: each for each in json.loads(VECTORS.read_text(encoding="utf-8"))["exchanges"]}
    pages = [exchanges[f"{pair}/limit-3-{which}-page"]["messages"] for which in ("first", "second")]
    request = pages[0][0]["decoded"]
    topic = bytes.fromhex(pages[0][1]["topics"][0])
    machine = make(topics=(topic,), lower=request["lower"], upper=request["upper"])
    machine.assign(A, 0.0, old=True)
    sent = []

    for request, *answers in pages:
        (ask,) = [action for action in machine.take_actions() if isinstance(action, Ask)]
        assert ask.cursor.hex() == request["decoded"].get("cursor", "")
        machine.sent(bytes.fromhex(request["request_id"]), 0.0)
        for each in answers:
            packet = bytes.fromhex(each["packet"])
            if each["code"] == 127:
                sent += Envelope.decode_many(packet)
                machine.delivered(A, Envelope.decode_many(packet), 1.0)
            else:
                machine.completed(A, decode_completion(packet), 1.0)

    assert received(machine) == in_order(sent)
    assert (sent[0].sent > sent[-1].sent) == backwards
    assert machine.over
