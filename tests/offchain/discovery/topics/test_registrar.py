"""The registrar: who is admitted when, and every way to cheat with a ticket."""

import heapq
from collections import Counter
from random import Random

import pytest

from offchain.discovery.topics.admission import LIFETIME, SharedAdmission, SpecifiedAdmission
from offchain.discovery.topics.registrar import MAX_RETURNED, MAX_USED, Registrar
from offchain.discovery.topics.ticket import KEY_LIFETIME, WINDOW
from offchain.types import MAILSERVER, NodeId, Topic, topic_of
from tests.support.discovery import record

MAIL = topic_of(MAILSERVER)
OTHER = Topic(b"\1" * 32)


def public(number):
    """A public address in a /8 of few others."""
    return f"{number % 90 + 11}.{number // 90}.7.9"


class Desk:
    """A registrar, a clock, and who comes to it."""

    def __init__(self, admission=None, **options):
        self.admission = admission or SpecifiedAdmission()
        self.registrar = Registrar(self.admission, Random(1), lan=False, **options)
        self.now = 1_000.0
        self.ever = []
        """Who was admitted, each time."""

    def ask(self, number, ticket=b"", topic=MAIL, seq=1, ip=None, source=None, node_id=None, newest=0):
        ip = ip or public(number)
        enr = record(number, ip, seq=seq)
        return self.registrar.register(
            node_id or enr.node_id, (source or ip, enr.udp), topic, enr.raw, ticket, newest, self.now
        )

    def fill(self, numbers, topic=MAIL):
        for number in numbers:
            enr = record(number, public(number))
            self.registrar.ads.admit(topic, enr, (public(number), enr.udp), self.now)

    def is_advertised(self, number, topic=MAIL):
        return self.registrar.ads.get(record(number).node_id, topic) is not None


@pytest.fixture
def desk():
    return Desk()


@pytest.fixture
def waiting(desk):
    """A registrar of the specification's strategy with one ad, and a ticket for node 2 that is good at `desk.now`.

    The topic's share of all ads makes a newcomer wait for 300 s, its likeness to the addresses for some more.
    """
    desk.fill([1])
    desk.fill([11, 12], topic=OTHER)
    answer = desk.ask(2)
    assert answer.ticket
    assert 300 < answer.seconds < 800
    desk.now += answer.seconds
    desk.answer = answer
    return desk


# Admission


def test_the_first_is_admitted_at_once_for_the_lifetime_of_an_ad(desk):
    answer = desk.ask(1)

    assert (answer.ticket, answer.seconds) == (b"", LIFETIME)
    assert desk.is_advertised(1)


def test_who_comes_back_when_the_wait_is_over_is_admitted(waiting):
    assert not waiting.is_advertised(2)

    answer = waiting.ask(2, waiting.answer.ticket)

    assert (answer.ticket, answer.seconds) == (b"", LIFETIME)
    assert waiting.is_advertised(2)


def test_what_was_waited_counts_when_others_came_first(waiting):
    waiting.now -= 0.001
    waiting.fill([3])
    waiting.now += 0.001

    whole = waiting.admission.wait(MAIL, public(2), waiting.now)

    answer = waiting.ask(2, waiting.answer.ticket)

    assert answer.ticket
    assert answer.seconds == pytest.approx(whole - waiting.answer.seconds)


def test_ads_are_gone_when_their_lifetime_is_over(desk):
    desk.ask(1)
    desk.now += LIFETIME

    assert desk.registrar.advertisers(MAIL, ("9.9.9.9", 9), desk.now) == []
    assert len(desk.registrar.ads) == 0


def test_who_is_advertised_already_is_told_for_how_long_and_its_newer_record_is_taken(desk):
    desk.ask(1)
    desk.now += 100

    answer = desk.ask(1, seq=5)

    assert (answer.ticket, answer.seconds) == (b"", LIFETIME - 100)
    assert [enr.seq for enr in desk.registrar.advertisers(MAIL, ("9.9.9.9", 9), desk.now)] == [5]


def test_near_the_end_of_its_time_an_ad_can_be_renewed_without_a_gap():
    desk = Desk(SharedAdmission())
    desk.ask(1)
    desk.now += 0.95 * LIFETIME

    answer = desk.ask(1)

    assert (answer.ticket, answer.seconds) == (b"", LIFETIME)
    assert len(desk.registrar.ads) == 1
    desk.now += 0.5 * LIFETIME
    assert desk.registrar.advertisers(MAIL, ("9.9.9.9", 9), desk.now)


def test_a_node_that_moved_waits_again_and_then_has_one_ad(waiting):
    answer = waiting.ask(1, seq=2, ip="99.1.1.1")
    assert answer.ticket
    waiting.now += answer.seconds

    waiting.ask(1, answer.ticket, seq=2, ip="99.1.1.1")

    assert [ad.address[0] for ad in waiting.registrar.ads if ad.enr.node_id == record(1).node_id] == ["99.1.1.1"]


def test_when_the_cache_is_full_the_wait_is_at_least_until_an_ad_goes():
    desk = Desk(SharedAdmission(10))
    desk.fill(range(1, 11))
    desk.now += 500

    answer = desk.ask(20)

    assert answer.ticket
    assert 400 <= answer.seconds <= LIFETIME


def test_the_cache_is_never_above_its_capacity():
    desk = Desk(SharedAdmission(20))
    for number in range(1, 200):
        desk.ask(number, topic=Topic(number.to_bytes(2, "big") * 16))
        desk.now += 1.0
        assert len(desk.registrar.ads) <= 20


def test_an_answer_has_at_most_ten_advertisers(desk):
    desk.fill(range(1, 40))

    assert len(desk.registrar.advertisers(MAIL, ("9.9.9.9", 9), desk.now)) == MAX_RETURNED


def test_private_advertisers_are_not_named_to_public_askers():
    desk = Desk()
    registrar = Registrar(SharedAdmission(), Random(1), lan=True)
    for number, ip in ((1, "192.168.0.1"), (2, public(2))):
        enr = record(number, ip)
        assert registrar.register(enr.node_id, (ip, enr.udp), MAIL, enr.raw, b"", 0, desk.now).ticket == b""

    assert [str(enr.ip) for enr in registrar.advertisers(MAIL, ("9.9.9.9", 9), desk.now)] == [public(2)]
    assert len(registrar.advertisers(MAIL, ("192.168.0.7", 9), desk.now)) == 2


# Tickets


def refused(desk, answer):
    """The ticket was worth nothing: the wait starts anew."""
    return bool(answer.ticket) and answer.seconds > 250 and not desk.is_advertised(2)


def test_a_forged_ticket_is_worth_nothing(waiting):
    forged = bytearray(waiting.answer.ticket)
    forged[20] ^= 1

    assert refused(waiting, waiting.ask(2, bytes(forged)))
    assert waiting.registrar.counts["tickets_refused"] == 1


def test_a_ticket_stolen_by_another_node_is_worth_nothing(waiting):
    assert waiting.ask(3, waiting.answer.ticket).ticket
    assert not waiting.is_advertised(3)


def test_a_ticket_used_from_another_address_is_worth_nothing(waiting):
    answer = waiting.ask(2, waiting.answer.ticket, ip="99.1.1.1", seq=2)

    assert answer.ticket
    assert not waiting.is_advertised(2)


def test_a_ticket_for_another_topic_is_worth_nothing(waiting):
    assert waiting.ask(2, waiting.answer.ticket, topic=OTHER).ticket
    assert not waiting.is_advertised(2, OTHER)


def test_a_ticket_for_another_record_is_worth_nothing(waiting):
    assert refused(waiting, waiting.ask(2, waiting.answer.ticket, seq=2))


def test_an_early_ticket_is_worth_nothing(waiting):
    waiting.now -= 0.1

    assert refused(waiting, waiting.ask(2, waiting.answer.ticket))


def test_a_late_ticket_is_worth_nothing(waiting):
    waiting.now += WINDOW + 0.1

    assert refused(waiting, waiting.ask(2, waiting.answer.ticket))


def test_a_replayed_ticket_gets_the_same_answer_and_nothing_else(waiting):
    waiting.now -= 0.001
    waiting.fill([3])
    waiting.now += 0.001
    first = waiting.ask(2, waiting.answer.ticket)
    waiting.now += 1.0

    assert waiting.ask(2, waiting.answer.ticket) == first
    assert waiting.registrar.counts["tickets_given"] == 2


def test_a_replayed_ticket_of_another_node_gets_no_answer(waiting):
    waiting.ask(2, waiting.answer.ticket)

    assert waiting.ask(3, waiting.answer.ticket) is None


def test_a_ticket_that_was_used_admits_only_once(waiting):
    waiting.ask(2, waiting.answer.ticket)
    admitted = waiting.registrar.counts["ads_admitted"]
    for _ in range(10):
        waiting.now += 0.4
        waiting.ask(2, waiting.answer.ticket)

    assert waiting.registrar.counts["ads_admitted"] == admitted


def test_a_ticket_of_a_key_before_the_previous_is_worth_nothing(waiting):
    for _ in range(2):
        waiting.now += KEY_LIFETIME
        waiting.fill([1])
        waiting.fill([11, 12], topic=OTHER)
        waiting.ask(5)

    assert waiting.ask(2, waiting.answer.ticket).ticket


def test_a_ticket_from_before_a_restart_is_worth_nothing(waiting):
    restarted = Desk()
    restarted.registrar = Registrar(SpecifiedAdmission(), Random(99), lan=False)
    restarted.now = waiting.now
    restarted.fill([1])
    restarted.fill([11, 12], topic=OTHER)

    assert refused(restarted, restarted.ask(2, waiting.answer.ticket))


@pytest.mark.parametrize("make", [SpecifiedAdmission, SharedAdmission])
def test_grinding_gains_nothing(make):
    """Asking anew every second, for a first ticket as short as possible, never comes out before one patient wait."""
    patient, grinding = Desk(make(40)), Desk(make(40))
    for desk in (patient, grinding):
        desk.fill(range(1, 24))
    answer = patient.ask(50)
    assert answer.ticket
    due = patient.now + answer.seconds
    best = float("inf")
    while grinding.now < due - 1:
        offered = grinding.ask(50)
        if not offered.ticket:
            break
        best = min(best, grinding.now + offered.seconds)
        grinding.now += max(answer.seconds / 50, 1.0)

    assert best >= due - 0.1
    assert not grinding.is_advertised(50)


def test_nothing_is_remembered_of_those_who_wait():
    desk = Desk(SharedAdmission(100))
    desk.fill(range(1, 80))
    desk.ask(500)
    before = desk.registrar.sizes()
    for number in range(501, 800):
        assert desk.ask(number, topic=Topic(number.to_bytes(2, "big") * 16)).ticket

    after = desk.registrar.sizes()
    assert after.pop("ad_bounds") <= before.pop("ad_bounds") + before["ad_prefixes"] + before["ad_topics"]
    assert after == before


def test_used_tickets_are_remembered_while_they_are_good_and_no_longer(waiting):
    waiting.ask(2, waiting.answer.ticket)
    assert waiting.registrar.sizes()["used_tickets"] == 1

    waiting.now += WINDOW
    waiting.ask(5)

    assert waiting.registrar.sizes()["used_tickets"] == 0
    assert MAX_USED == 4_096


# Records


@pytest.mark.parametrize(
    "claim",
    [
        {"source": "99.1.1.1"},
        {"node_id": NodeId(bytes(32))},
        {"newest": 2},
        {"ip": "10.0.0.1"},
        {"ip": "127.0.0.1"},
        {"ip": "224.0.0.1"},
    ],
    ids=["address is not the source", "of another node", "older than known", "private", "loopback", "multicast"],
)
def test_a_registration_with_such_a_record_gets_no_answer(desk, claim):
    assert desk.ask(1, **claim) is None
    assert len(desk.registrar.ads) == 0


def test_a_record_with_a_bad_signature_gets_no_answer(desk):
    enr = record(1, public(1))
    bad = enr.raw[:10] + bytes([enr.raw[10] ^ 1]) + enr.raw[11:]

    assert desk.registrar.register(enr.node_id, (public(1), enr.udp), MAIL, bad, b"", 0, desk.now) is None
    assert desk.registrar.counts["registrations_refused"] == 1


# Spam


def flood(desk, bots, seconds):
    """Bots that ask at once, come back with their tickets the moment they are good, and renew. What they hold then."""
    end = desk.now + seconds
    line = [(desk.now, number, ip, topic, b"") for number, ip, topic in bots]
    while line and line[0][0] < end:
        desk.now, number, ip, topic, ticket = heapq.heappop(line)
        answer = desk.ask(number, ticket, topic=topic, ip=ip)
        if not answer.ticket and answer.seconds == LIFETIME:
            desk.ever.append(number)
        heapq.heappush(line, (desk.now + answer.seconds, number, ip, topic, answer.ticket))
    desk.now = end
    held = {ad.enr.node_id for ad in desk.registrar.ads}
    return {number for number, _, _ in bots if record(number).node_id in held}


def diverse(count, topic=None):
    """Bots with addresses in as many places as there are."""
    return [
        (1_000 + n, f"{n % 80 + 11}.{n % 7}.{n % 11}.5", topic or Topic(n.to_bytes(2, "big") * 16))
        for n in range(count)
    ]


def honest(desk, numbers, topic=MAIL):
    return sum(not desk.ask(number, topic=topic).ticket for number in numbers)


def test_spam_from_one_24_gets_one_32nd_of_the_cache_and_delays_nobody_else():
    desk = Desk(SharedAdmission(320))
    bots = [(1_000 + n, f"45.5.5.{n}", Topic(n.to_bytes(2, "big") * 16)) for n in range(1, 120)]

    held = flood(desk, bots, 1_200.0)

    assert len(held) <= 10
    assert honest(desk, range(1, 30)) == 29


def test_spam_under_random_topics_from_diverse_addresses_leaves_room_and_a_wait_below_a_lifetime():
    desk = Desk(SharedAdmission(60))

    held = flood(desk, diverse(300), 870.0)

    assert len(held) < 60
    assert desk.ask(1).seconds <= LIFETIME


def test_spam_for_one_target_topic_from_one_24_is_a_small_part_of_what_its_seekers_are_told():
    desk = Desk(SharedAdmission(320))
    bots = [(1_000 + n, f"45.5.5.{n}", MAIL) for n in range(1, 120)]
    flood(desk, bots, 600.0)
    assert honest(desk, range(1, 10)) == 9

    told = [enr for _ in range(40) for enr in desk.registrar.advertisers(MAIL, ("9.9.9.9", 9), desk.now)]

    bad = sum(str(enr.ip).startswith("45.5.5.") for enr in told)
    assert bad <= len(told) / 10 + 1


def test_spam_for_a_target_topic_from_diverse_addresses_does_not_delay_other_topics():
    desk = Desk(SharedAdmission(60))
    flood(desk, diverse(300, MAIL), 600.0)

    target, other = desk.ask(1), desk.ask(2, topic=OTHER)

    assert target.seconds > 5 * other.seconds or not other.ticket


def test_servers_that_keep_their_tickets_get_their_part_among_ten_times_as_many_spammers_with_diverse_addresses():
    """Only the wait tells them apart: places go to who waited, in turn, and not to who asks most or came first."""
    desk = Desk(SharedAdmission(60))
    servers = [(number, public(number), MAIL) for number in range(5_001, 5_021)]
    spam = diverse(200, MAIL)
    flood(desk, spam, 600.0)
    desk.ever.clear()

    flood(desk, servers + spam, 16 * LIFETIME)

    turns = Counter(number > 5_000 for number in desk.ever)
    assert turns[True] / sum(turns.values()) >= 20 / 220 / 2
