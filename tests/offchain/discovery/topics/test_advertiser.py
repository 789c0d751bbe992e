"""The advertiser: five registrars a bucket, waiting with tickets, and registrars that mean ill."""

from random import Random

import pytest

from offchain.discovery.topics.advertiser import JITTER, K_REGISTER, MAX_ASKING, MAX_TRIES, Advertiser
from offchain.discovery.topics.registrar import Confirmation
from offchain.discovery.topics.service_table import Exclusions, ServiceTable
from offchain.enr import Enr
from offchain.types import MAILSERVER, NodeId, topic_of
from tests.support.discovery import key, numbers_at

TOPIC = topic_of(MAILSERVER)
LOCAL = key(1).public.node_id
ADMITTED = Confirmation(b"", 900.0)


class Campaign:
    """An advertiser with a service table and a clock."""

    def __init__(self, far, near=0):
        self.exclusions = Exclusions()
        self.table = ServiceTable(TOPIC, LOCAL, self.exclusions, Random(1), lan=True)
        self.advertiser = Advertiser(self.table, self.exclusions, Random(2))
        self.now = 0.0
        self.add(256, far)
        self.add(255, near)

    def add(self, distance, count, start=10_000):
        for number in numbers_at(NodeId(TOPIC), distance, count, start):
            enr = Enr.create(key(number), 1, ip="127.0.0.1", udp=number, extra={"ng": b"\1"})
            self.table.add(enr, ("127.0.0.1", number), self.now)

    def step(self, answer):
        """Ask whom the advertiser says; `answer` is for each of them, None is silence. Whom it asked."""
        asks = self.advertiser.next_asks(self.now)
        for ask in asks:
            if answer is None:
                self.advertiser.failed(ask.enr.node_id, self.now)
            else:
                self.advertiser.answered(ask.enr.node_id, answer, self.now)
        return asks


@pytest.fixture
def one():
    return Campaign(far=1)


def test_five_registrars_of_each_bucket_are_asked_without_a_ticket():
    campaign = Campaign(far=12, near=8)

    asks = campaign.step(ADMITTED)

    assert len(asks) == 2 * K_REGISTER
    assert {ask.ticket for ask in asks} == {b""}
    assert campaign.advertiser.active == 2 * K_REGISTER
    assert campaign.step(ADMITTED) == []


def test_far_buckets_come_first_and_sixteen_are_asked_at_a_time():
    campaign = Campaign(far=5, near=5)
    for distance in (254, 253, 252):
        campaign.add(distance, 5)

    asks = campaign.advertiser.next_asks(0.0)

    assert len(asks) == MAX_ASKING
    distances = [campaign.table.bucket_of(ask.enr.node_id) for ask in asks]
    assert distances == sorted(distances, reverse=True)
    assert campaign.advertiser.next_deadline() == float("inf")


def test_a_ticket_is_brought_back_when_the_wait_is_over_and_not_later_than_it_is_good(one):
    one.step(Confirmation(b"ticket", 30.0))
    one.now = 29.9
    assert one.step(ADMITTED) == []
    assert 30.0 <= one.advertiser.next_deadline() <= 30.0 + JITTER < 35.0

    one.now = one.advertiser.next_deadline()

    assert [ask.ticket for ask in one.step(ADMITTED)] == [b"ticket"]
    assert one.advertiser.active == 1


def test_the_newest_ticket_counts(one):
    one.step(Confirmation(b"first", 30.0))
    one.now = one.advertiser.next_deadline()
    one.step(Confirmation(b"second", 30.0))
    one.now = one.advertiser.next_deadline()

    assert [ask.ticket for ask in one.step(ADMITTED)] == [b"second"]


def test_before_an_ad_goes_another_registrar_is_chosen():
    campaign = Campaign(far=10)
    first = {ask.enr.node_id for ask in campaign.step(ADMITTED)}
    campaign.now = 811.0

    second = {ask.enr.node_id for ask in campaign.step(ADMITTED)}

    assert len(first) == len(second) == K_REGISTER
    assert not first & second
    assert campaign.advertiser.active == 2 * K_REGISTER
    campaign.now = 901.0
    campaign.step(ADMITTED)
    assert campaign.advertiser.active == K_REGISTER


def test_where_there_is_no_other_the_same_registrar_is_asked_anew(one):
    first = one.step(ADMITTED)
    one.now = one.advertiser.next_deadline()
    assert 800.0 < one.now < 830.0

    assert one.step(ADMITTED) == first
    assert one.advertiser.active == 1


def test_a_new_record_makes_everybody_be_asked_anew_without_tickets():
    campaign = Campaign(far=2)
    asks = campaign.advertiser.next_asks(0.0)
    campaign.advertiser.answered(asks[0].enr.node_id, ADMITTED, 0.0)
    campaign.advertiser.answered(asks[1].enr.node_id, Confirmation(b"old", 60.0), 0.0)

    campaign.advertiser.record_changed(1.0)
    campaign.now = 1.0

    assert {(ask.enr.node_id, ask.ticket) for ask in campaign.step(ADMITTED)} == {(a.enr.node_id, b"") for a in asks}


def test_an_answer_that_comes_for_the_old_record_is_not_believed(one):
    [ask] = one.advertiser.next_asks(0.0)
    one.advertiser.record_changed(0.0)
    one.advertiser.answered(ask.enr.node_id, Confirmation(b"for the old one", 60.0), 0.0)

    assert [each.ticket for each in one.step(ADMITTED)] == [b""]


# Registrars that mean ill


def dropped(campaign):
    return campaign.advertiser.pending == campaign.advertiser.active == len(campaign.table) == 0


def test_a_silent_registrar_is_dropped_and_another_asked():
    campaign = Campaign(far=6)
    silent = {ask.enr.node_id for ask in campaign.step(None)}

    others = {ask.enr.node_id for ask in campaign.step(ADMITTED)}

    assert len(others) == 1
    assert not silent & others
    assert all(campaign.exclusions.holds(node_id, 1.0) for node_id in silent)


def test_a_registrar_that_wants_a_wait_above_a_lifetime_is_dropped(one):
    one.step(Confirmation(b"ticket", 900.1))

    assert dropped(one)


def test_a_registrar_with_a_ticket_that_fits_into_no_packet_is_dropped(one):
    one.step(Confirmation(bytes(401), 10.0))

    assert dropped(one)


def test_a_registrar_that_lets_us_wait_for_a_lifetime_and_a_half_is_dropped(one):
    for _ in range(2):
        one.step(Confirmation(b"ticket", 800.0))
        one.now = one.advertiser.next_deadline()

    assert dropped(one)
    assert one.now == float("inf")


def test_a_registrar_that_lets_us_come_back_ten_times_is_dropped(one):
    asked = 0
    while not dropped(one):
        asked += len(one.step(Confirmation(b"ticket", 0.001)))
        one.now = min(one.advertiser.next_deadline(), 1e6)

    assert asked == MAX_TRIES


def test_a_lifetime_above_the_usual_is_not_believed(one):
    one.step(Confirmation(b"", 1e9))

    assert one.advertiser.next_deadline() <= 900.0


def test_a_registrar_that_advertises_for_an_instant_only_is_dropped(one):
    one.step(Confirmation(b"", 0.001))

    assert dropped(one)


def test_answers_of_those_who_were_not_asked_change_nothing(one):
    one.advertiser.answered(NodeId(bytes(32)), ADMITTED, 0.0)
    one.advertiser.failed(NodeId(bytes(32)), 0.0)
    [ask] = one.step(ADMITTED)
    one.advertiser.answered(ask.enr.node_id, Confirmation(b"ticket", 5.0), 0.0)

    assert one.advertiser.active == 1
