import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.whisper import bloom
from offchain.whisper.bloom import BloomError
from tests.support.rlpx import vectors

TOPIC_BLOOMS = vectors("whisper_envelopes")["topic_blooms"]
topics = st.binary(min_size=4, max_size=4)


def test_makes_the_correct_bloom_and_passes_what_foreign_programs_made():
    assert len(TOPIC_BLOOMS) > 50
    for vector in TOPIC_BLOOMS:
        topic = bytes.fromhex(vector["topic"])
        assert bloom.topic_bloom(topic).hex() == vector["bloom_or"]
        assert bloom.envelope_matches(bytes.fromhex(vector["bloom"]), topic), vector["topic"]
        assert bloom.envelope_matches(bytes.fromhex(vector["bloom_or"]), topic), vector["topic"]


def test_some_foreign_blooms_lack_bits_so_the_tolerance_is_needed():
    assert any(vector["bloom"] != vector["bloom_or"] for vector in TOPIC_BLOOMS)


@given(topics)
def test_a_topic_passes_its_own_bloom(topic):
    assert bloom.envelope_matches(bloom.topic_bloom(topic), topic)
    assert 1 <= int.from_bytes(bloom.topic_bloom(topic), "big").bit_count() <= 3


@given(st.lists(topics, min_size=1, max_size=6))
def test_a_merged_bloom_passes_each_of_its_topics(chosen):
    merged = bloom.merge(*map(bloom.topic_bloom, chosen))

    assert all(bloom.envelope_matches(merged, topic) for topic in chosen)
    assert all(bloom.contains(merged, bloom.topic_bloom(topic)) for topic in chosen)


@given(topics)
def test_everything_passes_the_full_bloom_and_nothing_the_empty(topic):
    assert bloom.envelope_matches(bloom.FULL_BLOOM, topic)
    assert not bloom.envelope_matches(bloom.EMPTY_BLOOM, topic)


def test_another_topic_does_not_pass():
    assert not bloom.envelope_matches(bloom.topic_bloom(b"\1\2\3\0"), b"\1\2\4\0")
    assert not bloom.envelope_matches(bloom.topic_bloom(b"\1\2\3\0"), b"\1\2\3\1")


def test_merging_nothing_is_the_empty_bloom():
    assert bloom.merge() == bloom.EMPTY_BLOOM


@given(st.binary(max_size=80), st.binary(max_size=8))
def test_noise_raises_the_one_error(noise, topic):
    if len(noise) != bloom.BLOOM_SIZE:
        for call in (lambda: bloom.merge(noise), lambda: bloom.contains(bloom.FULL_BLOOM, noise)):
            with pytest.raises(BloomError):
                call()
        with pytest.raises(BloomError):
            bloom.envelope_matches(noise, b"abcd")
    if len(topic) != 4:
        with pytest.raises(BloomError):
            bloom.topic_bloom(topic)
        with pytest.raises(BloomError):
            bloom.envelope_matches(bloom.FULL_BLOOM, topic)
