import random
from dataclasses import replace
from ipaddress import ip_address

from offchain.contact import Contact
from offchain.keys import PrivateKey
from offchain.mailserver import dialer as dialer_module
from offchain.mailserver.dialer import FIRST_PAUSE, LONGEST_PAUSE, Dialer

CONTACTS = [
    Contact(own.public.node_id, own.public, ip_address("127.0.0.1"), 30303)
    for own in (PrivateKey(bytes((n,)) * 32) for n in range(1, 21))
]
OWN = CONTACTS[0].node_id
OTHERS = CONTACTS[1:]


def everybody(_):
    return True


def a_dialer(target=8, contacts=OTHERS):
    made = Dialer(OWN, target, random.Random(1))
    for each in contacts:
        made.offer(each)
    return made


def test_calls_as_many_as_are_wanted_and_none_twice():
    made = a_dialer()

    chosen = made.due(0.0, (), everybody)

    assert len({each.node_id for each in chosen}) == 8
    assert made.due(0.0, (), everybody) == []


def test_links_that_exist_count_whoever_called():
    made = a_dialer(target=3)
    linked = [OTHERS[0].node_id, OTHERS[1].node_id]

    chosen = made.due(0.0, linked, everybody)

    assert len(chosen) == 1
    assert chosen[0].node_id not in linked


def test_calls_only_whom_we_trust():
    made = a_dialer()
    trusted = {OTHERS[3].node_id, OTHERS[5].node_id}

    assert {each.node_id for each in made.due(0.0, (), trusted.__contains__)} == trusted


def test_never_calls_itself():
    assert a_dialer(contacts=CONTACTS[:1]).due(0.0, (), everybody) == []


def test_calls_again_after_a_pause_that_grows():
    made = a_dialer(contacts=OTHERS[:1])
    now, pauses = 0.0, []
    for _ in range(12):
        assert made.due(now, (), everybody) == OTHERS[:1]
        made.failed(OTHERS[0].node_id, now)
        start = now
        while not (found := made.due(now, (), everybody)):
            now += 0.5
        pauses.append(now - start)
        made._dialing.discard(found[0].node_id)

    assert 0.8 * FIRST_PAUSE <= pauses[0] <= 1.2 * FIRST_PAUSE + 0.5
    assert pauses[1] > 1.2 * pauses[0]
    assert max(pauses) <= 1.2 * LONGEST_PAUSE + 0.5


def test_success_makes_the_pause_short_again():
    made = a_dialer(contacts=OTHERS[:1])
    for _ in range(10):
        made.failed(OTHERS[0].node_id, 0.0)
    made.reached(OTHERS[0].node_id)
    made.failed(OTHERS[0].node_id, 0.0)

    assert made.due(1.3 * FIRST_PAUSE, (), everybody) == OTHERS[:1]


def test_a_newer_record_replaces_an_older_and_is_tried_at_once():
    made = a_dialer(contacts=[replace(OTHERS[0], seq=5)])
    made.due(0.0, (), everybody)
    made.failed(OTHERS[0].node_id, 0.0)

    made.offer(replace(OTHERS[0], seq=4, tcp=4))
    assert made.due(0.0, (), everybody) == []
    made.offer(replace(OTHERS[0], seq=6, tcp=6))
    assert [each.tcp for each in made.due(0.0, (), everybody)] == [6]


def test_replacing_forgets_the_others():
    made = a_dialer(contacts=OTHERS[:3])
    made.replace(OTHERS[2:5])

    assert {each.node_id for each in made.due(0.0, (), everybody)} == {each.node_id for each in OTHERS[2:5]}


def test_remembers_a_bounded_number(monkeypatch):
    monkeypatch.setattr(dialer_module, "MAX_CANDIDATES", 5)
    made = a_dialer(target=100)

    assert {each.node_id for each in made.due(0.0, (), everybody)} == {each.node_id for each in OTHERS[-5:]}
