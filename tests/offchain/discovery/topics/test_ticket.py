"""Tickets: good for whom and what they were given, once the wait is over, and for nothing else."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.discovery.topics.ticket import KEY_LIFETIME, SIZE, WINDOW, Ad, Sealer, Ticket
from offchain.types import MAILSERVER, NodeId, Topic, topic_of
from tests.support.discovery import record

AD = Ad(topic_of(MAILSERVER), record(1).raw, record(1).node_id, "192.0.2.1")
TICKET = Ticket(asked=90.0, issued=100.0, wait=30.0)


@pytest.fixture
def sealer():
    return Sealer(Random(1))


def test_a_ticket_opens_to_what_was_sealed(sealer):
    assert sealer.open(sealer.seal(TICKET, AD, 100.0), AD) == TICKET


def test_a_ticket_has_53_bytes_whatever_the_ad(sealer):
    assert len(sealer.seal(TICKET, AD, 100.0)) == SIZE == 53


@pytest.mark.parametrize(
    "other",
    [
        replace(AD, topic=Topic(bytes(32))),
        replace(AD, record=record(1, seq=2).raw),
        replace(AD, node_id=NodeId(bytes(32))),
        replace(AD, ip="192.0.2.2"),
        replace(AD, ip="2001:db8::1"),
    ],
    ids=["topic", "record", "node", "address", "family"],
)
def test_a_ticket_for_another_ad_does_not_open(sealer, other):
    assert sealer.open(sealer.seal(TICKET, other, 100.0), AD) is None


def test_a_forged_ticket_does_not_open(sealer):
    sealed = sealer.seal(TICKET, AD, 100.0)

    for position in range(SIZE):
        forged = bytearray(sealed)
        forged[position] ^= 1
        assert sealer.open(bytes(forged), AD) is None


@given(st.binary(max_size=80))
def test_noise_does_not_open(noise):
    assert Sealer(Random(1)).open(noise, AD) is None


def test_a_ticket_of_the_previous_key_opens_and_of_the_one_before_does_not(sealer):
    old = sealer.seal(TICKET, AD, 0.0)
    sealer.seal(TICKET, AD, KEY_LIFETIME)
    assert sealer.open(old, AD) == TICKET

    sealer.seal(TICKET, AD, 2 * KEY_LIFETIME)
    assert sealer.open(old, AD) is None


def test_keys_are_changed_only_when_their_time_is_over(sealer):
    first = sealer.seal(TICKET, AD, 1_000_000.0)
    second = sealer.seal(TICKET, AD, 1_000_000.0 + KEY_LIFETIME - 1)

    assert first[0] == second[0]
    assert first != second


def test_a_ticket_from_before_a_restart_does_not_open(sealer):
    assert Sealer(Random(2)).open(sealer.seal(TICKET, AD, 100.0), AD) is None


@pytest.mark.parametrize(("now", "good"), [(129.9, False), (130.0, True), (130.0 + WINDOW, True), (135.1, False)])
def test_a_ticket_is_good_in_the_five_seconds_after_its_wait(now, good):
    assert TICKET.is_good(now) is good
