from hypothesis import given
from hypothesis import strategies as st

from offchain.mailserver.archive.topics import REMEMBERED_ANSWERS, TopicSet, needed_bits, topic_in
from offchain.whisper.bloom import envelope_matches, merge, topic_bloom
from offchain.whisper.envelope import Envelope

topics = st.binary(min_size=4, max_size=4)


@given(wanted=st.lists(topics, min_size=1, max_size=60), other=topics)
def test_agrees_with_the_protocol_on_what_a_filter_lets_through(wanted, other):
    bloom = merge(*map(topic_bloom, wanted))

    found = TopicSet([other, *wanted], 1000).matching(int.from_bytes(bloom, "big"))

    assert set(found) == {each for each in [other, *wanted] if envelope_matches(bloom, each)}
    assert set(wanted) <= set(found)


@given(st.lists(st.lists(topics, max_size=20), max_size=6), st.lists(topics, max_size=10))
def test_topics_that_came_in_parts_are_found_like_those_that_came_at_once(parts, wanted):
    known = TopicSet([], 1000)
    for part in parts:
        known.add(part)
    everything = [each for part in parts for each in part]
    asked = int.from_bytes(merge(*map(topic_bloom, wanted + everything[:2])), "big")

    assert known.matching(asked) == TopicSet(everything, 1000).matching(asked)
    assert known.matching(2**512 - 1) == list(dict.fromkeys(everything))


@given(topic=topics)
def test_needs_no_bit_that_a_right_filter_lacks(topic):
    assert needed_bits(topic) & ~int.from_bytes(topic_bloom(topic), "big") == 0


@given(
    expiry=st.integers(0, 2**32 - 1),
    ttl=st.integers(0, 2**32 - 1),
    topic=topics,
    size=st.sampled_from((0, 1, 30, 45, 50, 200, 70_000)),
)
def test_finds_the_topic_in_an_envelope(expiry, ttl, topic, size):
    assert topic_in(Envelope.create(expiry, ttl, topic, bytes(size)).raw) == topic


def test_a_topic_added_later_is_among_the_answers():
    known = TopicSet([b"aaaa"], 10)
    bloom = int.from_bytes(topic_bloom(b"bbbb"), "big")
    before = known.matching(bloom)
    known.add([b"bbbb"])

    assert (before, known.matching(bloom)) == ([], [b"bbbb"])


def test_remembers_a_bounded_number_of_answers():
    known = TopicSet([b"aaaa"], 10)
    for bloom in range(10 * REMEMBERED_ANSWERS):
        known.matching(bloom)

    assert len(known._answers) <= REMEMBERED_ANSWERS


def test_gives_up_beyond_its_capacity():
    known = TopicSet([b"aaaa", b"bbbb"], 2)
    assert not known.overflown

    known.add([b"cccc"])

    assert known.overflown
