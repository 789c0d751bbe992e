"""The ad cache against a model, and whom it draws."""

from collections import Counter
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from offchain.discovery.topics.ad_cache import AdCache
from offchain.discovery.topics.admission import SharedAdmission
from offchain.types import Topic
from tests.support.discovery import record

CAPACITY = 5
TOPICS = [Topic(bytes([number]) * 32) for number in range(3)]


class Cache(RuleBasedStateMachine):
    """Whatever comes, in whatever order, the cache holds what the model holds."""

    def __init__(self):
        super().__init__()
        self.admission = SharedAdmission(CAPACITY)
        self.cache = AdCache(self.admission, Random(1), lan=False)
        self.model = {}
        self.now = 0.0

    @rule(number=st.integers(1, 7), topic=st.sampled_from(TOPICS), subnet=st.integers(0, 2))
    def admit(self, number, topic, subnet):
        enr = record(number, f"192.0.{subnet}.{number}")
        key = (enr.node_id, topic)
        address = (str(enr.ip), enr.udp)
        if key not in self.model and len(self.model) >= CAPACITY:
            with pytest.raises(ValueError, match="full"):
                self.cache.admit(topic, enr, address, self.now)
            return
        self.cache.admit(topic, enr, address, self.now)
        self.model[key] = (enr, self.now + self.admission.lifetime)

    @rule(seconds=st.floats(0, 400))
    def wait(self, seconds):
        self.now += seconds
        self.cache.expire(self.now)
        self.model = {key: value for key, value in self.model.items() if value[1] > self.now}

    @precondition(lambda self: self.model)
    @rule(topic=st.sampled_from(TOPICS), count=st.integers(0, 6))
    def draw(self, topic, count):
        drawn = self.cache.draw(topic, count)
        there = {enr for (_, each), (enr, _) in self.model.items() if each == topic}
        assert len(drawn) == len({ad.enr for ad in drawn}) == min(count, len(there))
        assert {ad.enr for ad in drawn} <= there

    @invariant()
    def holds_what_the_model_holds(self):
        assert {(ad.enr.node_id, ad.topic): (ad.enr, ad.expires) for ad in self.cache} == self.model
        assert len(self.cache) == len(self.model) <= CAPACITY
        assert self.cache.is_full == (len(self.model) == CAPACITY)
        assert self.cache.next_expiry == min((expires for _, expires in self.model.values()), default=float("inf"))

    @invariant()
    def the_strategy_counts_what_is_there(self):
        sizes = self.admission.sizes()
        assert sizes["ad_topics"] == len({topic for _, topic in self.model})
        prefixes = {
            (length, int(enr.ip) >> (32 - length)) for enr, _ in self.model.values() for length in (8, 16, 24, 32)
        }
        assert sizes["ad_prefixes"] == len(prefixes)


TestCache = Cache.TestCase
TestCache.settings = settings(max_examples=40, stateful_step_count=30)


def cache_of(ips, lan=False):
    cache = AdCache(SharedAdmission(), Random(1), lan=lan)
    for number, ip in enumerate(ips, 1):
        cache.admit(TOPICS[0], record(number, ip), (ip, 20_000 + number), 0.0)
    return cache


def test_a_subnet_with_thirty_ads_has_one_part_in_six_of_what_is_drawn():
    cache = cache_of([*(f"192.0.2.{n}" for n in range(1, 31)), *(f"198.51.{n}.1" for n in range(5))])

    drawn = [ad.address[0] for _ in range(50) for ad in cache.draw(TOPICS[0], 6)]

    subnets = Counter(ip.rsplit(".", 1)[0] for ip in drawn)
    assert subnets["192.0.2"] == 50
    assert len(subnets) == 6


def test_nodes_of_one_lan_are_drawn_alike():
    cache = cache_of([f"127.0.0.{n}" for n in range(1, 21)], lan=True)

    seen = {ad.enr.node_id for _ in range(60) for ad in cache.draw(TOPICS[0], 3)}

    assert len(seen) == 20


def test_addresses_of_one_lan_do_not_count_against_each_other():
    cache = cache_of([f"127.0.0.{n}" for n in range(1, 41)], lan=True)

    assert cache.sizes()["ad_prefixes"] == 0
