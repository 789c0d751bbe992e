"""One search: from far to near, five a bucket, and company that means ill."""

from random import Random

from offchain.discovery.topics.discoverer import ALPHA, F_LOOKUP, K_LOOKUP, MUST_KNOW, Discoverer
from offchain.discovery.topics.registrar import MAX_RETURNED
from offchain.discovery.topics.service_table import Exclusions, ServiceTable
from offchain.enr import Enr
from offchain.types import MAILSERVER, NodeId, topic_of
from tests.support.discovery import key, numbers_at, record

TOPIC = topic_of(MAILSERVER)


def speakers(distance, count):
    return [
        (Enr.create(key(number), 1, ip="127.0.0.1", udp=2_000, extra={"ng": b"\1"}), ("127.0.0.1", 2_000))
        for number in numbers_at(NodeId(TOPIC), distance, count)
    ]


def search(per_distance, **options):
    table = ServiceTable(TOPIC, key(1).public.node_id, Exclusions(), Random(1), lan=True)
    for distance, count in per_distance.items():
        for each in speakers(distance, count):
            table.add(*each, 0.0)
    return Discoverer(table, **options)


def run(discoverer, answer):
    """Answer every query; `answer` gives (advertisers, hints) or None. Whom it asked, in order."""
    asked = []
    while queries := discoverer.next_queries():
        for enr in queries:
            asked.append(enr)
            answered = answer(enr)
            if answered is None:
                discoverer.failed(enr.node_id)
            else:
                discoverer.answered(enr.node_id, *answered, 0.0)
    return asked


def test_five_registrars_of_each_bucket_are_asked_far_ones_first_and_none_twice():
    discoverer = search({256: 12, 255: 7, 254: 2})

    asked = run(discoverer, lambda enr: ([], []))

    distances = [discoverer.table.bucket_of(enr.node_id) for enr in asked]
    assert distances == [256] * K_LOOKUP + [255] * K_LOOKUP + [254] * 2
    assert len({enr.node_id for enr in asked}) == len(asked)
    assert discoverer.done


def test_five_are_asked_at_a_time():
    assert len(search({256: 12, 255: 7}).next_queries()) == ALPHA


def test_a_search_ends_when_enough_was_found():
    discoverer = search({256: 12, 255: 12})

    asked = run(discoverer, lambda enr: ([record(number) for number in range(2, 12)], []))
    few = len(asked)
    assert few == 2 * K_LOOKUP

    names = iter(range(100, 1_000))
    discoverer = search({256: 12, 255: 12})
    asked = run(discoverer, lambda enr: ([record(next(names)) for _ in range(10)], []))
    assert discoverer.done
    assert len(discoverer.found) >= F_LOOKUP
    assert len(asked) == MUST_KNOW


def test_who_does_not_answer_is_replaced_by_another_of_the_bucket():
    discoverer = search({256: 12})

    asked = run(discoverer, lambda enr: None)

    assert len(asked) == 12
    assert discoverer.done


def test_hints_are_asked_too():
    discoverer = search({256: 1})
    hints = [*speakers(255, 1), *speakers(254, 1)]

    asked = run(discoverer, lambda enr: ([], hints))

    assert {enr.node_id for enr in asked} >= {enr.node_id for enr, _ in hints}


def test_the_newest_record_of_an_advertiser_counts_and_is_news():
    discoverer = search({256: 2})
    first, second = discoverer.next_queries()

    assert discoverer.answered(first.node_id, [record(5, seq=1)], [], 0.0) == [record(5, seq=1)]
    assert discoverer.answered(second.node_id, [record(5, seq=3)], [], 0.0) == [record(5, seq=3)]
    assert discoverer.found[record(5).node_id].seq == 3


# Company that means ill


def test_of_ten_thousand_records_in_an_answer_ten_count():
    discoverer = search({256: 1})
    [enr] = discoverer.next_queries()
    many = [record(number % 50 + 2) for number in range(10_000)]

    assert len(discoverer.answered(enr.node_id, many, [], 0.0)) == MAX_RETURNED


def test_hints_into_one_bucket_do_not_keep_a_search_from_others():
    discoverer = search({256: 6, 255: 6})
    poison = speakers(250, 12)

    asked = run(discoverer, lambda enr: ([], poison))

    distances = [discoverer.table.bucket_of(enr.node_id) for enr in asked]
    assert distances.count(256) == distances.count(255) == K_LOOKUP
    assert distances.count(250) <= K_LOOKUP


def test_answers_of_those_who_were_not_asked_change_nothing():
    discoverer = search({256: 1})

    assert discoverer.answered(NodeId(bytes(32)), [record(2)], [], 0.0) == []
    discoverer.failed(NodeId(bytes(32)))
    assert discoverer.found == {}


def test_with_twenty_identities_next_to_the_topic_an_honest_server_is_still_found():
    """The attacker's nodes are the nearest there are, and name only each other."""
    discoverer = search({256: 8, 255: 4, 254: 2, 251: 10, 250: 10})
    evil = {enr.node_id for distance in (251, 250) for enr, _ in speakers(distance, 10)}
    honest = record(7)

    run(discoverer, lambda enr: ([record(n) for n in range(50, 60)], []) if enr.node_id in evil else ([honest], []))

    assert honest.node_id in discoverer.found


def test_names_that_few_registrars_know_do_not_end_a_search():
    names = iter(range(100, 10_000))
    asked = []

    def answer(enr):
        asked.append(enr)
        return ([record(next(names)) for _ in range(10)] if len(asked) % 3 == 0 else [], [])

    discoverer = search({256: 6, 255: 6, 254: 6, 253: 6, 252: 6})

    assert len(run(discoverer, answer)) == 5 * K_LOOKUP
    assert len(discoverer.found) >= F_LOOKUP
