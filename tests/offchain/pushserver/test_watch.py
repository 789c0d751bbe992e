from dataclasses import replace
from itertools import pairwise

import pytest

from offchain.pushserver import watch as watch_module
from offchain.pushserver.grant import Grant
from offchain.pushserver.watch import PAUSE, RETRIES, Watch

A, B = b"a" * 32, b"b" * 32
TOPIC, OTHER = b"abcd", b"efgh"
NOW = 1000.0
GRANT = Grant(b"s" * 32, 900, 5000, "https://push.example/1", b"\x04" * 65, b"a" * 16, (TOPIC,))
DEVICE = (A, GRANT.endpoint)


def watching(*grants):
    watch = Watch()
    for client, grant in grants or ((A, GRANT),):
        watch.granted(client, grant)
    return watch


def arrive(watch, number, topic=TOPIC, now=NOW, sent=None):
    watch.envelope(number.to_bytes(32, "big"), topic, int(now) if sent is None else sent, now)


def test_pushes_once_for_an_envelope_of_a_granted_topic():
    watch = watching()
    arrive(watch, 1)
    arrive(watch, 1)
    arrive(watch, 2, OTHER)

    (push,) = watch.due(NOW)

    assert (push.client, push.grant, push.topic, push.count) == (A, GRANT, TOPIC, 1)
    assert watch.due(NOW) == []


def test_who_is_connected_is_not_pushed_to():
    watch = watching((A, GRANT), (B, GRANT))
    arrive(watch, 1)
    watch.came(A)
    arrive(watch, 2)

    assert [push.client for push in watch.due(NOW)] == [B]
    watch.left(A)
    arrive(watch, 3)
    assert [push.client for push in watch.due(NOW + PAUSE)] == [A]


def test_several_within_a_pause_are_one_push():
    watch = watching()
    arrive(watch, 1)
    watch.due(NOW)
    watch.pushed(DEVICE, NOW)
    for number in range(2, 7):
        arrive(watch, number, now=NOW + 1)

    assert watch.due(NOW + PAUSE - 1) == []
    (push,) = watch.due(NOW + PAUSE)
    assert push.count == 5


def test_what_was_there_before_the_grant_and_after_its_end_is_not_pushed():
    watch = watching()
    arrive(watch, 1, sent=GRANT.issued - 1)
    arrive(watch, 2, now=float(GRANT.expires))

    assert watch.due(NOW) == []


def test_a_push_that_fails_is_tried_again_ever_later_and_given_up():
    watch, now, times = watching(), NOW, []
    arrive(watch, 1)
    while watch.due(now):
        times.append(now)
        if not watch.failed(DEVICE, now):
            break
        now = watch._waiting[DEVICE].at

    assert len(times) == RETRIES
    pauses = [b - a for a, b in pairwise(times)]
    assert pauses == sorted(pauses)
    assert watch.due(now + 10_000) == []


def test_the_push_service_says_when_to_come_again_within_reason():
    watch = watching()
    arrive(watch, 1)
    watch.due(NOW)
    watch.failed(DEVICE, NOW, retry_after=100.0)
    assert watch.due(NOW + 99) == []
    watch.due(NOW + 100)
    watch.failed(DEVICE, NOW + 100, retry_after=1e9)

    assert watch.due(NOW + 100 + 3_600)


def test_what_came_while_a_push_failed_is_counted_with_it():
    watch = watching()
    arrive(watch, 1)
    watch.due(NOW)
    arrive(watch, 2)
    watch.failed(DEVICE, NOW)

    (push,) = watch.due(NOW + 1000)
    assert push.count == 2


def test_revoking_ends_it_and_nothing_is_left_of_it():
    watch = watching()
    arrive(watch, 1)
    watch.granted(A, replace(GRANT, issued=950, topics=()))

    assert watch.due(NOW + 100) == []
    assert (watch.devices, list(watch.topics)) == (0, [])
    watch.pushed(DEVICE, NOW)
    assert watch.failed(DEVICE, NOW) is False


def test_so_many_are_under_way_at_a_time_and_so_many_hashes_remembered(monkeypatch):
    monkeypatch.setattr(watch_module, "IN_FLIGHT", 2)
    monkeypatch.setattr(watch_module, "MAX_SEEN", 3)
    watch = watching(*((bytes((n,)) * 32, GRANT) for n in range(5)))
    for number in range(10):
        arrive(watch, number)

    first = watch.due(NOW)
    assert len(first) == 2
    assert watch.due(NOW) == []
    for push in first:
        watch.pushed((push.client, push.grant.endpoint), NOW)
    assert len(watch.due(NOW)) == 2
    assert len(watch._seen) == 3


@pytest.mark.parametrize("topics", [(TOPIC,), (OTHER,), (TOPIC, OTHER)])
def test_a_newer_grant_takes_the_place_of_the_older(topics):
    watch = watching()
    watch.granted(A, replace(GRANT, issued=950, topics=topics))

    assert set(watch.topics) == set(topics)
    assert watch.devices == 1


def test_what_somebody_is_still_to_be_told_of_is_not_behind_us():
    watch = watching((A, GRANT), (B, GRANT))
    assert watch.pending_since(NOW) == NOW
    arrive(watch, 1, sent=950)
    arrive(watch, 2, sent=920)
    assert watch.pending_since(NOW) == 920

    for push in watch.due(NOW):
        assert watch.pending_since(NOW) == 920
        if push.client == A:
            watch.pushed((A, GRANT.endpoint), NOW)
        else:
            watch.failed((B, GRANT.endpoint), NOW)
    assert watch.pending_since(NOW) == 920

    (again,) = watch.due(NOW + 3_600)
    watch.pushed((again.client, GRANT.endpoint), NOW + 3_600)
    assert watch.pending_since(NOW + 3_600) == NOW + 3_600


def test_grants_that_expired_are_not_watched_any_more():
    watch = watching((A, GRANT), (B, replace(GRANT, topics=(OTHER,), expires=9_000)))

    watch.expire(5_000.0)

    assert (watch.devices, list(watch.topics)) == (1, [OTHER])


def test_the_queue_is_bounded_by_the_devices_whatever_arrives():
    watch = watching((A, GRANT), (B, GRANT))
    for number in range(5_000):
        arrive(watch, number)

    assert len(watch._waiting) == 2
    assert [push.count for push in watch.due(NOW)] == [5_000, 5_000]


def test_who_heard_of_an_envelope_before_a_restart_does_not_hear_of_it_again():
    other = replace(GRANT, endpoint="https://push.example/2")
    before = watching((A, GRANT), (A, other))
    arrive(before, 1)
    told = [(DEVICE, envelope_hash) for envelope_hash, _ in before.due(NOW)[0].envelopes]

    after = Watch(told)
    for grant in (GRANT, other):
        after.granted(A, grant)
    arrive(after, 1)
    arrive(after, 2)

    assert {push.grant.endpoint: push.count for push in after.due(NOW)} == {GRANT.endpoint: 1, other.endpoint: 2}


def test_a_push_names_a_bounded_number_of_envelopes_also_those_of_pushes_that_failed(monkeypatch):
    monkeypatch.setattr(watch_module, "MAX_TOLD", 3)
    watch = watching()
    arrive(watch, 1)
    (first,) = watch.due(NOW)
    for number in range(2, 7):
        arrive(watch, number, sent=990)
    assert watch.failed(DEVICE, NOW)

    (second,) = watch.due(NOW + 100)

    assert first.envelopes == (((1).to_bytes(32, "big"), int(NOW)),)
    assert second.count == 6
    assert second.envelopes == (*first.envelopes, *(((number).to_bytes(32, "big"), 990) for number in (2, 3)))
