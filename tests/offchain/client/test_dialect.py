"""Which way of asking is tried of which server, and reading from servers as they were deployed."""

import time
from contextlib import suppress

import pytest

from offchain.client.dialect import REMEMBERED, Dialect, Dialects
from offchain.client.history import Query, ServerFailed
from offchain.client.mailbox import Mail
from offchain.rlpx.peer import Disconnected
from offchain.types import NodeId
from offchain.whisper.envelope import PowRule, mine
from offchain.whisper.mail import Layout
from tests.support.client import FakeServer, key, running
from tests.support.old_server import OldServer
from tests.support.virtual_time import run

A = NodeId(b"\x0a" * 32)
TOPIC, OTHER = b"abcd", b"efgh"
STATUSD = "statusd/linux-amd64/go1.21.13"


def ways(fields, client_id=STATUSD, **settings):
    """All that are tried when each is refused."""
    dialects = Dialects(**settings)
    found = [dialects.of(A, client_id, fields)]
    while dialects.refused(A, "query range is invalid"):
        found.append(dialects.of(A, client_id, fields))
    return found


def test_a_waypost_server_is_asked_in_one_way_only():
    assert ways(5, "Waypost/v0.1.0", by_password=True) == [Dialect(Layout.TOPICS)]


def test_of_a_sealed_answer_there_is_no_way_down():
    assert ways(5, sealed=True, by_password=True) == [Dialect(Layout.SEALED)]


@pytest.mark.parametrize(("fields", "first"), [(3, Layout.BINARY_112), (5, Layout.RLP), (6, Layout.TOPICS)])
def test_the_handshake_says_what_to_try_first_and_everything_is_tried_at_last(fields, first):
    found = ways(fields)

    assert found[0] == Dialect(first)
    assert {each.layout for each in found} == {Layout.TOPICS, Layout.RLP, Layout.BINARY_112}
    assert len(found) == 3


def test_the_password_is_used_only_if_it_is_allowed_and_after_the_servers_own_key():
    assert not any(each.by_password for each in ways(5))
    assert ways(5, by_password=True)[:2] == [Dialect(Layout.RLP), Dialect(Layout.RLP, by_password=True)]
    assert len(ways(5, by_password=True)) == 6


def test_what_was_understood_is_kept_whatever_is_refused_later():
    dialects = Dialects()
    dialects.of(A, STATUSD, 5)
    assert dialects.refused(A, "no")
    chosen = dialects.of(A, STATUSD, 5)
    dialects.understood(A)

    assert not dialects.trying(A)
    assert not dialects.refused(A, "no")
    assert dialects.of(A, STATUSD, 5) == chosen


@pytest.mark.parametrize("text", ["rate limit exceeded", "too many requests: try again in 3.0 s"])
def test_a_server_that_wants_to_be_asked_later_is_not_asked_otherwise(text):
    dialects = Dialects()
    first = dialects.of(A, STATUSD, 5)

    assert not dialects.refused(A, text)
    assert dialects.of(A, STATUSD, 5) == first


def test_when_all_ways_failed_it_begins_anew():
    dialects = Dialects()
    first = dialects.of(A, STATUSD, 5)
    while dialects.refused(A):
        pass

    assert dialects.of(A, STATUSD, 5) == first


def test_a_server_that_runs_another_program_now_is_tried_anew():
    dialects = Dialects()
    dialects.of(A, STATUSD, 5)
    dialects.understood(A)

    assert dialects.of(A, "Waypost/v0.1.0", 5) == Dialect(Layout.TOPICS)


def test_remembers_a_bounded_number_of_servers():
    dialects = Dialects()
    for number in range(REMEMBERED + 10):
        dialects.of(NodeId(number.to_bytes(32, "big")), STATUSD, 5)

    assert not dialects.trying(NodeId((0).to_bytes(32, "big")))
    assert dialects.trying(NodeId((REMEMBERED + 9).to_bytes(32, "big")))


# Whole readings


class Deployed(FakeServer):
    """An old server at the end of a connection in memory."""

    def __init__(self, number, program, mails, **kinds):
        super().__init__(number)
        self.old = OldServer(program, key(number), mails, **kinds)

    client_id = STATUSD

    async def _serve(self, peer):
        peer.send_now("shh", [(0, self.old.status)])
        with suppress(Disconnected):
            while True:
                for message in await peer.receive_many():
                    if message.code == 126:
                        peer.send_now("shh", self.old.answer(message.payload, peer.remote))


def mails(count=10, topic=TOPIC):
    now = int(time.time())
    return sorted(
        (mine(now, 400 + number // 2, topic, bytes([number]), 0) for number in range(count)),
        key=lambda each: each.position,
    )


def read(*servers, page_size=3, topics=(TOPIC,), limit=None, **changes):
    """What a client finds, and how it ended."""

    events = []

    async def fetch():
        now = int(time.time())
        async with running(*servers, **changes) as setting:
            query = Query(topics, now - 1_000, now, page_size=page_size, limit=limit)
            events.extend([event async for event in setting.mailbox.fetch(query)])

    assert run(fetch(), 600.0)
    return [event.envelope for event in events if isinstance(event, Mail)], events


@pytest.mark.parametrize("page_size", [1, 2, 3, 10, 100])
@pytest.mark.parametrize(
    ("program", "newest_first", "own_key", "layout"),
    [
        ("0.13", True, False, Layout.BINARY_76),
        ("0.35", False, False, Layout.RLP),
        ("0.35", False, True, Layout.RLP),
        ("0.35", True, False, Layout.RLP),
        ("0.50", False, True, Layout.TOPICS),
        ("0.50", True, False, Layout.TOPICS),
    ],
)
def test_every_deployed_server_is_read_to_its_end(program, newest_first, own_key, layout, page_size):
    stored = mails()
    server = Deployed(1, program, stored + mails(5, OTHER), newest_first=newest_first, takes_own_key=own_key)

    found, events = read(server, page_size=page_size, password_requests=not own_key)

    assert found == stored
    assert events[-1].complete
    assert server.old.asked[0] == (layout, not own_key)
    assert len(server.old.asked) == len(stored) // page_size + 1
    assert not any(isinstance(event, ServerFailed) for event in events)


def test_a_server_that_takes_the_password_only_is_not_asked_by_it_unless_the_user_allows_it():
    server = Deployed(1, "0.35", mails())

    found, events = read(server)

    assert found == []
    assert not events[-1].complete
    assert server.old.asked == []
    assert "failed to decrypt" in next(event.reason for event in events if isinstance(event, ServerFailed))


def test_the_first_ones_of_a_server_that_gives_the_newest_first():
    stored = mails()

    found, events = read(Deployed(1, "0.35", stored, newest_first=True, takes_own_key=True), limit=4)

    assert found == stored[:4]
    assert (events[-1].complete, events[-1].cursor) == (True, stored[3].position)


@pytest.mark.parametrize("newest_first", [False, True])
def test_what_an_old_server_began_another_finishes_and_the_other_way_round(newest_first):
    stored = mails()
    first = set()
    for seed in range(4):
        old = Deployed(1, "0.35", stored, newest_first=newest_first, takes_own_key=True)
        old.old.answer = silent_after(old.old.answer, 2)

        found, events = read(old, FakeServer(2, stored, None, "cut"), seed=seed)

        assert found == stored
        assert events[-1].complete
        first.add(events[0].node_id)
    assert len(first) == 2


def silent_after(answer, pages):
    """The first answers, and nothing more."""
    left = [pages]

    def some(packet, client):
        left[0] -= 1
        return answer(packet, client) if left[0] >= 0 else []

    return some


def test_what_was_learnt_of_a_server_is_used_for_the_next_query():
    server = Deployed(1, "0.50", mails(), takes_own_key=True)
    server.old.program = "0.35"
    server.old.__class__ = type("Pretends", (OldServer,), {"status": OldServer("0.50", key(1), ()).status})

    async def twice():
        now = int(time.time())
        async with running(server) as setting:
            for _ in range(2):
                *_, end = [event async for event in setting.mailbox.fetch(Query((TOPIC,), now - 1_000, now))]
                assert end.complete

    assert run(twice(), 60.0)
    assert server.old.refused == ["query range is invalid: from > to (4165960811 > 15572868)"]
    assert [layout for layout, _ in server.old.asked] == [Layout.RLP, Layout.RLP]


def test_a_binary_request_has_proof_of_work_for_old_and_for_new_programs():
    assert Dialect(Layout.BINARY_112).pow_rules == (PowRule.LEADING, PowRule.TRAILING)
    assert Dialect(Layout.RLP).pow_rules == (PowRule.LEADING,)
