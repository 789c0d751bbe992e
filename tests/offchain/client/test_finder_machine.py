"""The finder's decisions: who is admitted, who is discarded, and which ids are searched for."""

import random

import pytest

from offchain.client import finder_machine
from offchain.client.finder_machine import Admitted, Discarded, FinderMachine
from offchain.contact import Source
from offchain.types import MAILSERVER
from tests.support.client import FakeTrust, contact

MEMORY = 600.0


@pytest.fixture
def trust():
    return FakeTrust(contact(1).node_id)


@pytest.fixture
def finder(trust):
    return FinderMachine(MAILSERVER, trust, random.Random(1), memory=MEMORY, in_flight=2)


def test_admits_a_trusted_node(finder):
    assert finder.found(contact(1), 0.0) == Admitted(contact(1))


def test_says_nothing_when_the_same_record_is_met_again(finder):
    finder.found(contact(1), 0.0)

    assert finder.found(contact(1), 1.0) is None


def test_admits_a_newer_record_of_a_known_node_and_not_an_older_one(finder):
    finder.found(contact(1, seq=5), 0.0)

    assert finder.found(contact(1, seq=4, ip="10.7.7.7"), 1.0) is None
    assert finder.found(contact(1, seq=6, ip="10.8.8.8"), 2.0) == Admitted(contact(1, seq=6, ip="10.8.8.8"))


def test_discards_an_untrusted_node_with_the_reason_that_trust_gives(finder):
    found = finder.found(contact(2), 0.0)

    assert found == Discarded(contact(2).node_id, "nobody lists it as a mailserver", "10.0.0.2:30303")


def test_does_not_ask_about_an_untrusted_node_again_until_the_memory_ends(finder, trust):
    finder.found(contact(2), 0.0)
    asked = trust.asked

    again = [finder.found(contact(2, seq=seq), float(seq)) for seq in range(1, 100)]

    assert set(again) == {None}
    assert trust.asked == asked
    assert isinstance(finder.found(contact(2), MEMORY), Discarded)


def test_admits_a_remembered_node_the_moment_it_is_trusted_with_its_latest_record(finder, trust):
    finder.found(contact(2, seq=1), 0.0)
    finder.found(contact(2, seq=3, ip="10.8.8.8"), 1.0)
    finder.found(contact(2, seq=2, ip="10.7.7.7"), 2.0)
    trust.add(contact(2).node_id)

    assert finder.trust_changed(contact(2).node_id, True, 3.0) == Admitted(contact(2, seq=3, ip="10.8.8.8"))


def test_admits_a_node_again_whose_trust_ended_and_came_back(finder, trust):
    finder.found(contact(1), 0.0)
    trust.remove(contact(1).node_id)
    finder.trust_changed(contact(1).node_id, False, 1.0)
    met_meanwhile = finder.found(contact(1), 2.0)
    trust.add(contact(1).node_id)

    assert met_meanwhile is None
    assert finder.trust_changed(contact(1).node_id, True, 3.0) == Admitted(contact(1))


def test_admits_the_node_that_a_search_found(finder, trust):
    trust.add(contact(3).node_id)
    finder.want([contact(3).node_id], 5.0)

    assert finder.take_due(5.0) == [contact(3).node_id]
    assert finder.searched(contact(3).node_id, contact(3), 6.0) == Admitted(contact(3))
    assert finder.next_deadline() is None


def test_searches_no_more_when_enough_nodes_are_known(finder):
    finder.want([contact(number).node_id for number in (3, 4, 5)], 0.0)
    running = finder.take_due(0.0)

    finder.want_none()
    finder.searched(running[0], None, 1.0)
    finder.searched(running[1], None, 1.0)

    assert finder.stats()["searched"] == 2
    assert finder.take_due(1.0) == []


def test_rechecking_admits_and_lapses_what_changed_unheard(finder, trust):
    finder.found(contact(1), 0.0)
    finder.found(contact(2), 0.0)
    trust.remove(contact(1).node_id)
    trust.add(contact(2).node_id)

    assert finder.recheck(1.0) == [Admitted(contact(2))]
    assert finder.stats() == {"admitted": 1, "untrusted": 1, "searched": 0}


def test_reconsidering_says_anew_of_each_why_it_is_not_trusted(finder, trust):
    finder.found(contact(2), 0.0)
    finder.found(contact(3), 0.0)
    trust.add(contact(2).node_id)

    admitted, discarded = finder.reconsider(1.0)

    assert admitted == Admitted(contact(2))
    assert discarded.node_id == contact(3).node_id
    assert finder.found(contact(3), 2.0) is None


def test_a_newer_record_of_a_node_whose_trust_ended_unheard_is_discarded(finder, trust):
    finder.found(contact(1), 0.0)
    trust.remove(contact(1).node_id)

    assert isinstance(finder.found(contact(1, seq=2), 1.0), Discarded)
    assert finder.stats() == {"admitted": 0, "untrusted": 1, "searched": 0}


def test_own_nodes_are_admitted_without_trust_and_stay_when_the_registry_says_no(finder, trust):
    own = contact(9, source=Source.OWN)

    admitted = finder.set_own([own], 0.0)
    finder.trust_changed(own.node_id, False, 1.0)
    finder.recheck(2.0)

    assert admitted == [Admitted(own)]
    assert finder.contact(own.node_id) == own
    assert finder.stats()["untrusted"] == 0


def test_a_node_that_is_no_longer_own_is_not_trusted_any_more(finder):
    finder.set_own([contact(9, source=Source.OWN)], 0.0)

    finder.set_own([], 1.0)

    assert finder.found(contact(9), 2.0) is None
    assert finder.stats() == {"admitted": 0, "untrusted": 1, "searched": 0}


def test_searches_for_a_bounded_number_of_ids_at_a_time(finder):
    ids = [contact(number).node_id for number in (3, 4, 5)]
    finder.want(ids, 0.0)

    first = finder.take_due(0.0)
    more = finder.take_due(0.0)
    waiting = finder.next_deadline()
    finder.searched(first[0], None, 1.0)

    assert len(first) == 2
    assert more == []
    assert waiting is None
    assert set(finder.take_due(1.0)) == set(ids) - set(first)


def test_searches_less_and_less_often_for_a_node_that_is_not_found(finder):
    finder.want([contact(3).node_id], 0.0)
    now, delays = 0.0, []
    for _ in range(12):
        assert finder.take_due(now) == [contact(3).node_id]
        finder.searched(contact(3).node_id, None, now)
        delays.append(finder.next_deadline() - now)
        now = finder.next_deadline()

    assert delays[0] < 3.0
    assert delays[-1] > 200.0
    assert max(delays) <= 1.2 * finder_machine.LONGEST_SEARCH_RETRY


def test_a_search_that_ends_with_another_node_counts_as_not_found(finder):
    finder.want([contact(3).node_id], 0.0)
    finder.take_due(0.0)

    assert finder.searched(contact(3).node_id, contact(1), 1.0) is None
    assert finder.next_deadline() > 1.0


def test_does_not_search_for_a_node_that_is_known(finder):
    finder.found(contact(1), 0.0)

    finder.want([contact(1).node_id], 0.0)

    assert finder.take_due(0.0) == []


def test_strangers_cannot_make_it_remember_without_bound(finder, monkeypatch):
    monkeypatch.setattr(finder_machine, "MAX_REMEMBERED", 10)

    for number in range(2, 60):
        finder.found(contact(number), 0.0)

    assert finder.stats()["untrusted"] == 10
