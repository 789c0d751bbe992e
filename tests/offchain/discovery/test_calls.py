"""Requests and their answers: matching, retrying, giving up."""

from ipaddress import ip_address
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.discovery import calls as module
from offchain.discovery.calls import (
    FIRST_TIMEOUT,
    HANDSHAKE_EXTRA,
    MAX_NODES_RECORDS,
    MAX_TIMEOUT,
    MAX_TIMINGS,
    MIN_TIMEOUT,
    Calls,
    Overloaded,
    Timing,
)
from offchain.discovery.message import FindNode, Nodes, Ping, Pong, TalkRequest, TalkResponse, TopicNodes, encode
from offchain.discovery.wire import Remote
from tests.support.discovery import key, record

REMOTE = Remote(key(1).public.node_id, key(1).public, ("127.0.0.1", 9000))
RID = b"12345678"


class FakeWire:
    """Takes down what is sent."""

    def __init__(self):
        self.sent = []
        self.forgotten = []
        self.has_session = True

    def session(self, node_id, address, now):
        return object() if self.has_session else None

    def send_request(self, remote, message, now, *, again=False):
        self.sent.append((message, again))
        return b"nonce%d" % len(self.sent)

    def forget(self, nonce):
        self.forgotten.append(nonce)


@pytest.fixture
def wire():
    return FakeWire()


@pytest.fixture
def calls(wire):
    return Calls(wire, Random(1))


@pytest.fixture
def outcome():
    return []


def start(calls, request, outcome, retries=1):
    calls.start(REMOTE, request, 0.0, lambda answer, now: outcome.append((answer, now)), retries=retries)


def hear(calls, answer, now=0.1, node_id=REMOTE.node_id, address=REMOTE.address):
    return calls.receive(node_id, address, answer, now)


def pong(rid=RID):
    return Pong(rid, 1, ip_address("127.0.0.1"), 9000)


def test_an_answer_ends_the_request(calls, wire, outcome):
    start(calls, Ping(RID, 1), outcome)

    assert hear(calls, pong()) is not None

    assert outcome == [(pong(), 0.1)]
    assert len(calls) == 0
    assert wire.forgotten == [b"nonce1"]


def test_an_answer_counts_once(calls, outcome):
    start(calls, Ping(RID, 1), outcome)
    hear(calls, pong())

    assert hear(calls, pong()) is None
    assert len(outcome) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"answer": pong(b"87654321")},
        {"answer": Nodes(RID, 1, ())},
        {"answer": TalkResponse(RID, b"")},
        {"answer": TopicNodes(RID, 1, ())},
        {"answer": pong(), "node_id": key(2).public.node_id},
        {"answer": pong(), "address": ("127.0.0.1", 9001)},
        {"answer": pong(), "address": ("127.0.0.2", 9000)},
    ],
)
def test_what_was_not_asked_of_this_node_is_no_answer(calls, outcome, wrong):
    start(calls, Ping(RID, 1), outcome)

    assert hear(calls, **wrong) is None
    assert outcome == []


@pytest.mark.parametrize(("request_", "answer"), [(FindNode(RID, (1,)), pong()), (TalkRequest(RID, b"x", b""), pong())])
def test_another_kind_of_answer_is_no_answer(calls, outcome, request_, answer):
    start(calls, request_, outcome)

    assert hear(calls, answer) is None


def test_a_request_without_answer_is_sent_again_and_given_up(calls, wire, outcome):
    start(calls, Ping(RID, 1), outcome)
    calls.handle_timeouts(FIRST_TIMEOUT)
    assert [again for _, again in wire.sent] == [False, True]
    assert outcome == []

    calls.handle_timeouts(2 * FIRST_TIMEOUT)

    assert outcome == [(None, 2 * FIRST_TIMEOUT)]
    assert len(calls) == 0


def test_nothing_happens_before_the_deadline(calls, wire, outcome):
    start(calls, Ping(RID, 1), outcome)

    assert calls.next_deadline() == FIRST_TIMEOUT
    calls.handle_timeouts(FIRST_TIMEOUT - 0.01)
    assert len(wire.sent) == 1


def test_a_handshake_is_given_more_time(calls, wire, outcome):
    wire.has_session = False
    start(calls, Ping(RID, 1), outcome)

    assert calls.next_deadline() == FIRST_TIMEOUT + HANDSHAKE_EXTRA


def test_a_request_that_must_not_be_carried_out_twice_is_sent_once(calls, wire, outcome):
    start(calls, TalkRequest(RID, b"x", b""), outcome, retries=0)
    calls.handle_timeouts(10.0)

    assert len(wire.sent) == 1
    assert outcome == [(None, 10.0)]


def raws(*numbers):
    return tuple(record(n).raw for n in numbers)


def test_nodes_in_several_packets_are_one_answer(calls, outcome):
    start(calls, FindNode(RID, (256,)), outcome)
    hear(calls, Nodes(RID, 3, raws(1)))
    hear(calls, Nodes(RID, 3, raws(2)))
    assert outcome == []

    hear(calls, Nodes(RID, 3, raws(3)))

    assert outcome[0][0].records == raws(1, 2, 3)


def test_nodes_that_come_in_part_are_taken_at_the_deadline(calls, wire, outcome):
    start(calls, FindNode(RID, (256,)), outcome)
    hear(calls, Nodes(RID, 3, raws(1)))

    calls.handle_timeouts(FIRST_TIMEOUT)

    assert outcome[0][0].records == raws(1)
    assert len(wire.sent) == 1


@pytest.mark.parametrize("total", [0, 2**64 - 1])
def test_an_absurd_total_waits_no_longer_than_the_deadline(calls, outcome, total):
    start(calls, FindNode(RID, (256,)), outcome)
    hear(calls, Nodes(RID, total, raws(1)))
    calls.handle_timeouts(FIRST_TIMEOUT)

    assert outcome[0][0].records == raws(1)


def test_the_first_total_counts(calls, outcome):
    start(calls, FindNode(RID, (256,)), outcome)
    hear(calls, Nodes(RID, 2, raws(1)))
    hear(calls, Nodes(RID, 2**60, raws(2)))

    assert outcome[0][0].records == raws(1, 2)


def test_no_more_records_are_taken_than_sixteen(calls, outcome):
    start(calls, FindNode(RID, (256,)), outcome)
    hear(calls, Nodes(RID, 16, raws(*range(10))))
    hear(calls, Nodes(RID, 16, raws(*range(10, 40))))

    assert len(outcome[0][0].records) == MAX_NODES_RECORDS


def test_endless_empty_packets_come_to_an_end(calls, outcome):
    start(calls, FindNode(RID, (256,)), outcome)
    for _ in range(1_000):
        hear(calls, Nodes(RID, 2**60, ()))

    assert len(outcome) == 1


def test_a_node_that_stops_gives_everything_up(calls, outcome):
    start(calls, Ping(RID, 1), outcome)
    calls.abandon(5.0)

    assert outcome == [(None, 5.0)]
    assert len(calls) == 0
    with pytest.raises(Overloaded, match="stops"):
        start(calls, Ping(RID, 1), outcome)


def test_no_more_requests_are_under_way_than_are_kept(calls, outcome, monkeypatch):
    monkeypatch.setattr(module, "MAX_CALLS", 2)
    start(calls, Ping(b"1", 1), outcome)
    start(calls, Ping(b"2", 1), outcome)

    with pytest.raises(Overloaded, match="under way"):
        start(calls, Ping(b"3", 1), outcome)


def test_request_ids_cannot_be_guessed_from_one_another(calls):
    ids = {calls.new_id() for _ in range(100)}

    assert len(ids) == 100
    assert {len(each) for each in ids} == {8}


def test_what_is_sent_is_the_encoded_request(calls, wire, outcome):
    start(calls, Ping(RID, 7), outcome)

    assert wire.sent[0][0] == encode(Ping(RID, 7))


def test_a_node_never_met_gets_700_ms():
    assert Timing().timeout(b"x") == FIRST_TIMEOUT


def test_a_far_node_gets_more_time_and_a_near_one_less():
    timing = Timing()
    for _ in range(50):
        timing.heard(b"far", 1.1)
        timing.heard(b"near", 0.001)

    assert 1.1 < timing.timeout(b"far") < 1.3
    assert timing.timeout(b"near") == MIN_TIMEOUT


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50))
def test_the_wait_stays_within_bounds_whatever_is_heard(times):
    timing = Timing()
    for each in times:
        timing.heard(b"x", each)

    assert MIN_TIMEOUT <= timing.timeout(b"x") <= MAX_TIMEOUT


def test_timings_are_bounded():
    timing = Timing()
    for number in range(MAX_TIMINGS + 10):
        timing.heard(number.to_bytes(4, "big"), 0.1)

    assert len(timing) == MAX_TIMINGS
