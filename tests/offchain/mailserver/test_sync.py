import pytest

from offchain.mailserver import sync
from offchain.mailserver.sync import OVERLAP, CatchUp, Meetings
from offchain.whisper.mail import SyncResponse

NODE, OTHER = b"n" * 32, b"o" * 32
NOW = 1_000_000.0


def cursor(number):
    return number.to_bytes(4, "big") + bytes(32)


def test_asks_on_until_there_is_no_cursor():
    round_ = CatchUp(5, 9)
    assert (round_.request.lower, round_.request.upper, round_.request.cursor) == (5, 9, b"")

    round_.receive(SyncResponse((b"..",)))
    assert round_.request.cursor == b""
    round_.receive(SyncResponse(cursor=cursor(6), final=True))
    assert (round_.request.lower, round_.request.cursor) == (5, cursor(6))
    round_.receive(SyncResponse(final=True))

    assert round_.request is None
    assert round_.succeeded


@pytest.mark.parametrize("again", [cursor(6), cursor(5)])
def test_a_cursor_that_does_not_move_on_ends_the_round(again):
    round_ = CatchUp(5, 9)
    round_.receive(SyncResponse(cursor=cursor(6), final=True))
    round_.receive(SyncResponse(cursor=again, final=True))

    assert round_.request is None
    assert not round_.succeeded
    assert "does not move on" in round_.failure


def test_a_server_that_never_ends_is_left_alone(monkeypatch):
    monkeypatch.setattr(sync, "MAX_PAGES", 3)
    round_ = CatchUp(5, 9)
    for number in range(10, 20):
        round_.receive(SyncResponse(cursor=cursor(number), final=True))

    assert "did not end after 3 pages" in round_.failure


def test_a_refusal_ends_the_round():
    round_ = CatchUp(5, 9)
    round_.receive(SyncResponse(final=True, error="not trusted"))

    assert (round_.request, round_.failure, round_.succeeded) == (None, "not trusted", False)


def test_the_first_meeting_asks_for_the_whole_time():
    request = Meetings(catch_up=86_400).begin(NODE, NOW).request

    assert (request.lower, request.upper) == (NOW - 86_400, NOW + 10)


def test_a_later_meeting_asks_from_the_last_one_with_an_overlap():
    meetings = Meetings(catch_up=86_400)
    meetings.part(NODE, NOW - 1000)

    assert meetings.begin(NODE, NOW).request.lower == NOW - 1000 - OVERLAP
    assert meetings.begin(OTHER, NOW).request.lower == NOW - 86_400


def test_no_meeting_asks_further_back_than_the_time_allowed():
    meetings = Meetings(catch_up=100)
    meetings.part(NODE, NOW - 5000)

    assert meetings.begin(NODE, NOW).request.lower == NOW - 100
