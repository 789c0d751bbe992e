"""Our own address by vote."""

from hypothesis import given
from hypothesis import strategies as st

from offchain.discovery.endpoint import MAX_VOTES, MIN_VOTERS, VOTE_LIFETIME, EndpointVote

HERE, THERE = ("8.8.8.8", 9000), ("9.9.9.9", 9000)


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
