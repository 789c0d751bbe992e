from offchain.client.clock_watch import REMEMBERED, ClockWatch
from offchain.whisper.envelope import Fault

A, B, C, D = (bytes((n,)) * 32 for n in range(4))
FUTURE = f"the request is an envelope {Fault.FUTURE.value}"
OLD = Fault.EXPIRED.value


def watch():
    notices = []
    return ClockWatch(notices.append), notices


def test_one_server_may_be_wrong_itself():
    clock, notices = watch()
    clock.heard(A, FUTURE)
    clock.heard(A, FUTURE)

    assert (clock.notice, notices) == (None, [])


def test_two_servers_say_that_it_is_us_and_it_is_told_once():
    clock, notices = watch()
    for each in (A, B, C):
        clock.heard(each, FUTURE)

    assert "ahead: 3 servers" in clock.notice
    assert notices == ["this machine's clock seems to be ahead: 2 servers say that its messages come from the future"]


def test_a_clock_that_is_behind_is_said_to_be():
    clock, notices = watch()
    clock.heard(A, OLD)
    clock.heard(B, OLD)

    assert "behind" in notices[0]


def test_servers_that_disagree_say_nothing():
    clock, _ = watch()
    for each, text in ((A, FUTURE), (C, OLD), (B, FUTURE), (D, OLD)):
        clock.heard(each, text)

    assert clock.notice is None


def test_the_notice_ends_when_servers_take_what_we_make_and_comes_again():
    clock, notices = watch()
    for _ in range(2):
        clock.heard(A, OLD)
        clock.heard(B, OLD)
        clock.heard(A, None)
        assert clock.notice is None

    assert len(notices) == 2


def test_other_refusals_and_old_messages_say_nothing_of_the_clock():
    clock, notices = watch()
    for each in (A, B, C):
        clock.heard(each, "too many requests")
        clock.heard(each, OLD, fresh=False)

    assert notices == []


def test_remembers_a_bounded_number_of_servers():
    clock, _ = watch()
    for number in range(3 * REMEMBERED):
        clock.heard(number.to_bytes(32, "big"), OLD)

    assert len(clock._said) == REMEMBERED
