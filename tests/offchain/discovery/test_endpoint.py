"""Our own address by vote."""

from hypothesis import given
from hypothesis import strategies as st

from offchain.discovery.endpoint import (
    LISTEN,
    MAX_VOTES,
    MIN_VOTERS,
    RETRY,
    VOTE_LIFETIME,
    EndpointVote,
    OwnAddress,
)

HERE, THERE = ("8.8.8.8", 9000), ("9.9.9.9", 9000)
OURS = {"ip": bytes((8, 8, 8, 8)), "udp": (9000).to_bytes(2, "big")}
NOWHERE = {"ip": None, "udp": None}


def cast(vote, count, endpoint, *, start=0, now=0.0, ip=lambda n: f"20.{n // 256}.{n % 256}.1"):
    for number in range(start, start + count):
        vote.cast(number.to_bytes(32, "big"), ip(number), endpoint, now)


def test_ten_distinct_voters_are_believed_and_nine_are_not():
    vote = EndpointVote()
    cast(vote, MIN_VOTERS - 1, HERE)
    assert vote.winner(0.0) is None

    cast(vote, 1, HERE, start=MIN_VOTERS)

    assert vote.winner(0.0) == HERE


def test_one_voter_counts_once_however_often_it_votes():
    vote = EndpointVote()
    for _ in range(50):
        cast(vote, 3, HERE)

    assert vote.winner(0.0) is None


def test_voters_of_one_subnet_count_three_times_at_most():
    vote = EndpointVote()
    cast(vote, 200, THERE, ip=lambda n: f"20.0.0.{n}")
    assert vote.winner(0.0) is None

    cast(vote, MIN_VOTERS, HERE, start=1_000)

    assert vote.winner(0.0) == HERE


def test_without_a_clear_margin_nobody_wins():
    vote = EndpointVote()
    cast(vote, 12, HERE)
    cast(vote, 7, THERE, start=100)
    assert vote.winner(0.0) is None

    cast(vote, 2, HERE, start=200)

    assert vote.winner(0.0) == HERE


def test_the_last_word_of_a_voter_counts():
    vote = EndpointVote()
    cast(vote, MIN_VOTERS, HERE)
    cast(vote, MIN_VOTERS, THERE)

    assert vote.winner(0.0) == THERE


def test_votes_age():
    vote = EndpointVote()
    cast(vote, MIN_VOTERS, HERE)

    assert vote.winner(VOTE_LIFETIME - 1) == HERE
    assert vote.winner(VOTE_LIFETIME) is None
    assert len(vote) == 0


def test_another_port_is_another_address():
    vote = EndpointVote()
    for number in range(30):
        cast(vote, 1, (HERE[0], 9_000 + number), start=number)

    assert vote.winner(0.0) is None


def test_a_vote_says_whether_it_is_news():
    vote = EndpointVote()

    assert vote.cast(b"a", "20.0.0.1", HERE, 0.0)
    assert not vote.cast(b"a", "20.0.0.1", HERE, 1.0)
    assert vote.cast(b"a", "20.0.0.1", THERE, 2.0)


@given(st.lists(st.tuples(st.integers(0, 40), st.sampled_from([HERE, THERE])), max_size=120))
def test_the_winner_always_has_ten_voters_and_twice_the_rest(votes):
    vote, model = EndpointVote(), {}
    for voter, endpoint in votes:
        cast(vote, 1, endpoint, start=voter)
        model[voter] = endpoint
    counts = {each: list(model.values()).count(each) for each in (HERE, THERE)}
    expected = [each for each, other in ((HERE, THERE), (THERE, HERE)) if counts[each] >= max(10, 2 * counts[other])]

    assert vote.winner(0.0) == (expected[0] if expected else None)


def test_votes_are_bounded():
    vote = EndpointVote()
    cast(vote, MAX_VOTES + 100, HERE)

    assert len(vote) == MAX_VOTES


# What becomes of it in the record


def elected(own, endpoint=HERE, now=0.0, ip="20.{}.0.1"):
    """Ten nodes see us there; what changes in the record."""
    changes = {}
    for number in range(MIN_VOTERS):
        changes |= own.seen(bytes([number]) * 32, ip.format(number), endpoint, now)
    return changes


def test_an_address_that_wins_is_published_once():
    own = OwnAddress(4)

    assert elected(own) == OURS
    assert elected(own) == {}


def test_an_address_at_which_nobody_calls_is_withdrawn(caplog):
    own = OwnAddress(4)
    elected(own)

    assert own.next_deadline() == LISTEN
    assert own.handle_timeouts(LISTEN - 1) == {}
    assert own.handle_timeouts(LISTEN) == NOWHERE
    assert "nobody called at 8.8.8.8 port 9000" in caplog.text
    assert own.handle_timeouts(LISTEN + 1) == {}


def test_an_address_at_which_somebody_calls_stays():
    own = OwnAddress(4)
    elected(own)

    own.called(LISTEN - 1)

    assert own.next_deadline() == float("inf")
    assert own.handle_timeouts(10 * LISTEN) == {}


def test_an_address_at_which_somebody_called_lately_needs_no_probation():
    own = OwnAddress(4)
    own.called(100.0)

    elected(own, now=200.0)

    assert own.next_deadline() == float("inf")


def test_a_withdrawn_address_is_not_published_again_at_once_but_another_is():
    own = OwnAddress(4)
    elected(own)
    own.handle_timeouts(LISTEN)

    assert elected(own, now=LISTEN + 1) == {}
    assert elected(own, THERE, now=LISTEN + 2)["ip"] == bytes((9, 9, 9, 9))


def test_after_hours_the_address_is_tried_again_if_others_still_see_us_there():
    own = OwnAddress(4)
    elected(own)
    own.handle_timeouts(LISTEN)
    elected(own, now=LISTEN + RETRY - 1)

    assert own.next_deadline() == LISTEN + RETRY
    assert own.handle_timeouts(LISTEN + RETRY) == OURS
    assert own.handle_timeouts(2 * LISTEN + RETRY) == NOWHERE


def test_votes_count_for_the_family_over_which_they_came():
    four, six = OwnAddress(4), OwnAddress(6)
    ours6 = ("2001:4860::1", 9000)

    assert elected(four, ours6) == {}
    assert elected(six, ours6) == {}, "who was asked over IPv4 cannot know our IPv6 address"
    changes = elected(six, ours6, ip="2a01:{}::1")
    assert changes.keys() == {"ip6", "udp6"}
