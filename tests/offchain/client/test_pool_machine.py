"""The pool's decisions: single ones, and every sequence of calls against a simple model."""

import random
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from offchain.client import pool_machine
from offchain.client.health import Health
from offchain.client.pool_machine import Close, Connect, PoolMachine, State, What
from offchain.contact import Source
from offchain.types import MAILSERVER
from tests.support.client import FakeTrust, contact

GRAYLIST = 30.0


def make(trust, *, target=3, seed=1):
    return PoolMachine(MAILSERVER, trust, random.Random(seed), target=target, graylist=GRAYLIST)


def trusting(*numbers):
    return FakeTrust(*(contact(number).node_id for number in numbers))


def connects(pool):
    return [action for action in pool.take_actions() if isinstance(action, Connect)]


def kinds(pool):
    return [event.what for event in pool.take_events()]


def with_ready(*numbers, target=3, seed=1):
    """A pool in which the nodes of these numbers are ready, and its trust."""
    trust = trusting(*numbers)
    pool = make(trust, target=target, seed=seed)
    for number in numbers:
        pool.offer(contact(number), 0.0)
    for action in connects(pool):
        pool.connected(action.connection, 0.1)
    pool.take_events()
    return pool, trust


def state_of(pool, number):
    return {node.contact.node_id: node.state for node in pool.nodes()}.get(contact(number).node_id)


def test_connects_to_a_trusted_node_and_then_it_may_be_picked():
    pool = make(trusting(1))

    taken = pool.offer(contact(1), 0.0)
    (connect,) = connects(pool)
    picked_early = pool.pick()
    pool.connected(connect.connection, 0.2)

    assert taken
    assert picked_early is None
    assert pool.pick() == contact(1).node_id
    assert kinds(pool) == [What.ADMITTED, What.CONNECTING, What.READY]


def test_discards_a_node_that_nobody_lists_and_says_why():
    pool = make(FakeTrust())

    taken = pool.offer(contact(1), 5.0)
    (event,) = pool.take_events()

    assert not taken
    assert (event.what, event.time, event.reason) == (What.DISCARDED, 5.0, "nobody lists it as a mailserver")
    assert pool.take_actions() == []


def test_opens_no_more_connections_than_wanted_and_refills_when_one_is_lost():
    pool = make(trusting(1, 2, 3), target=2)
    for number in (1, 2, 3):
        pool.offer(contact(number), 0.0)
    first, second = connects(pool)
    pool.connected(first.connection, 0.1)
    pool.connected(second.connection, 0.1)

    pool.failed(first.connection, "the connection was reset", 10.0)

    (third,) = connects(pool)
    assert {first.contact, second.contact, third.contact} == {contact(1), contact(2), contact(3)}


def test_drops_a_node_in_the_same_call_when_its_trust_ends():
    pool, trust = with_ready(1, 2)
    connection = pool.connection_of(contact(1).node_id)
    trust.remove(contact(1).node_id)

    pool.trust_changed(contact(1).node_id, False, "curator delisted provider 1", 7.0, block=99, reaction=0.001)

    assert pool.take_actions() == [Close(connection, contact(1).node_id, "curator delisted provider 1")]
    (event,) = pool.take_events()
    assert (event.what, event.block, event.reaction, event.connected) == (What.DROPPED, 99, 0.001, True)
    assert pool.pick() == contact(2).node_id


def test_never_picks_a_node_whose_trust_ended_even_before_the_change_is_heard_of():
    pool, trust = with_ready(1)

    trust.remove(contact(1).node_id)

    assert pool.pick() is None


def test_gives_up_connecting_when_trust_ends_meanwhile():
    trust = trusting(1)
    pool = make(trust)
    pool.offer(contact(1), 0.0)
    (connect,) = connects(pool)
    trust.remove(contact(1).node_id)
    pool.trust_changed(contact(1).node_id, False, "removed", 0.5)

    wanted = pool.connected(connect.connection, 1.0)

    assert not wanted
    assert pool.take_actions() == [Close(connect.connection, contact(1).node_id, "removed")]
    assert pool.nodes() == []


def test_does_not_take_a_connection_that_was_made_after_trust_ended_unheard():
    trust = trusting(1)
    pool = make(trust)
    pool.offer(contact(1), 0.0)
    (connect,) = connects(pool)

    trust.remove(contact(1).node_id)

    assert not pool.connected(connect.connection, 1.0)
    assert pool.pick() is None


def test_rechecks_everybody_after_changes_may_have_been_missed():
    pool, trust = with_ready(1, 2, 3)
    trust.remove(contact(2).node_id)

    pool.recheck(9.0)

    (event,) = pool.take_events()
    assert (event.what, event.node_id) == (What.DROPPED, contact(2).node_id)
    assert [type(action) for action in pool.take_actions()] == [Close]


def test_picks_every_ready_node_equally_often():
    pool, _ = with_ready(1, 2, 3)

    counts = Counter(pool.pick() for _ in range(3_000))

    assert set(counts) == {contact(number).node_id for number in (1, 2, 3)}
    assert min(counts.values()) > 900


def test_connects_to_candidates_at_random():
    seen = set()
    for seed in range(30):
        pool = make(FakeTrust(), target=1, seed=seed)
        pool._trust = trusting(1, 2, 3)
        pool.set_target(0, 0.0)
        for number in (1, 2, 3):
            pool.offer(contact(number), 0.0)
        pool.set_target(1, 0.0)
        seen |= {action.contact.node_id for action in connects(pool)}

    assert seen == {contact(number).node_id for number in (1, 2, 3)}


def test_does_not_pick_an_excluded_node():
    pool, _ = with_ready(1, 2)

    assert {pool.pick({contact(1).node_id}) for _ in range(20)} == {contact(2).node_id}


def test_waits_longer_after_each_failure_and_graylists_after_the_third():
    pool = make(trusting(1), target=1)
    pool.offer(contact(1), 0.0)
    now, delays, states = 0.0, [], []
    for _ in range(5):
        (connect,) = connects(pool)
        pool.failed(connect.connection, "connection refused", now)
        states.append(state_of(pool, 1))
        delays.append(pool.nodes()[0].retry_at - now)
        now = pool.nodes()[0].retry_at
        pool.tick(now)

    assert states == [State.FAILED, State.FAILED, State.GRAYLISTED, State.GRAYLISTED, State.GRAYLISTED]
    for delay, base in zip(delays, (1.0, 2.0, 30.0, 60.0, 120.0), strict=True):
        assert 0.8 * base <= delay <= 1.2 * base


def test_the_delay_never_exceeds_an_hour_by_more_than_the_jitter():
    pool = make(trusting(1), target=1)
    pool.offer(contact(1), 0.0)
    now = 0.0
    for _ in range(40):
        (connect,) = connects(pool)
        pool.failed(connect.connection, "connection refused", now)
        delay = pool.nodes()[0].retry_at - now
        now += 10_000.0
        pool.tick(now)

    assert delay <= 1.2 * pool_machine.LONGEST_GRAYLIST


def test_comes_back_within_the_first_graylist_time_when_nobody_else_serves():
    pool = make(trusting(1), target=1)
    pool.offer(contact(1), 0.0)
    now = 0.0
    for _ in range(12):
        (connect,) = connects(pool)
        pool.failed(connect.connection, "network is unreachable", now)
        assert pool.next_deadline() - now <= GRAYLIST
        now = pool.next_deadline()
        pool.tick(now)

    assert state_of(pool, 1) is State.CONNECTING


def test_a_node_that_broke_the_protocol_is_graylisted_at_once_and_stays_so():
    pool, _ = with_ready(1, target=1)
    connection = pool.connection_of(contact(1).node_id)

    pool.report_failure(contact(1).node_id, "sent an envelope nobody asked for", 1.0, misbehaved=True)
    pool.offer(contact(1, seq=2, ip="10.9.9.9"), 2.0)
    pool.retry_now(3.0)
    pool.tick(20.0)

    assert pool.take_actions() == [Close(connection, contact(1).node_id, "sent an envelope nobody asked for")]
    assert state_of(pool, 1) is State.GRAYLISTED


def test_a_success_wipes_out_failures():
    pool = make(trusting(1), target=1)
    pool.offer(contact(1), 0.0)
    for now in (0.0, 5.0):
        (connect,) = connects(pool)
        pool.failed(connect.connection, "refused", now)
        pool.tick(now + 4.0)
    (connect,) = connects(pool)
    pool.connected(connect.connection, 10.0)

    pool.report_success(contact(1).node_id)
    pool.failed(connect.connection, "reset", 11.0)

    assert state_of(pool, 1) is State.FAILED
    assert pool.nodes()[0].failures == 1


def test_a_node_that_accepts_and_hangs_up_again_and_again_is_graylisted():
    pool = make(trusting(1), target=1)
    pool.offer(contact(1), 0.0)
    now = 0.0
    for _ in range(3):
        (connect,) = connects(pool)
        pool.connected(connect.connection, now)
        pool.failed(connect.connection, "too many peers", now + 0.1)
        now += 5.0
        pool.tick(now)

    assert state_of(pool, 1) is State.GRAYLISTED


def failing(number, times, *, until=10.0):
    """A pool whose node failed so many times in a row, and the moment of the last failure."""
    pool = make(trusting(number), target=1)
    now = 0.0
    pool.offer(contact(number), now)
    for _ in range(times):
        (connect,) = connects(pool)
        pool.failed(connect.connection, "refused", now)
        failed_at, now = now, pool.next_deadline()
        pool.tick(now)
    return pool, failed_at


def test_a_node_that_failed_before_a_restart_waits_as_long_as_it_would_have_had_to():
    before, failed_at = failing(1, 4)
    (health,) = before.health()
    after = make(trusting(1, 2), target=1)

    after.remember([health], failed_at + 1.0)
    after.offer(contact(1), failed_at + 1.0)
    after.offer(contact(2), failed_at + 1.0)

    (node,) = [each for each in after.nodes() if each.contact.node_id == health.node_id]
    assert (node.state, node.failures, node.reason) == (State.GRAYLISTED, 4, "refused")
    assert node.retry_at == health.retry_at
    assert [connect.contact.node_id for connect in connects(after)] == [contact(2).node_id]


def test_after_a_restart_it_is_tried_soon_when_nobody_else_is_there():
    before, failed_at = failing(1, 12)
    after = make(trusting(1), target=1)

    after.remember(before.health(), failed_at + 1.0)
    after.offer(contact(1), failed_at + 1.0)
    after.tick(failed_at + 2.9)
    assert connects(after) == []
    after.tick(failed_at + 3.1)

    assert [connect.contact.node_id for connect in connects(after)] == [contact(1).node_id]


def test_failures_are_forgiven_one_an_hour_over_restarts_and_without():
    before, failed_at = failing(1, 5)
    (health,) = before.health()
    for hours, left in ((0.5, 5), (1, 4), (3.2, 2), (4.9, 1)):
        after = make(trusting(1), target=1)
        after.remember([health], failed_at + hours * 3_600)
        after.offer(contact(1), failed_at + hours * 3_600)
        assert [node.failures for node in after.nodes()] == [left]

    long_after = make(trusting(1), target=1)
    long_after.remember([health], failed_at + 6 * 3_600)
    assert long_after.health() == []

    (connect,) = connects(before)
    before.failed(connect.connection, "refused again", failed_at + 4 * 3_600)
    assert [node.failures for node in before.nodes()] == [2]


def test_a_node_that_broke_the_protocol_is_still_graylisted_after_a_restart():
    pool, _ = with_ready(1, target=1)
    pool.report_failure(contact(1).node_id, "it lied", 10.0, misbehaved=True)
    after = make(trusting(1), target=1)

    after.remember(pool.health(), 11.0)
    after.offer(contact(1), 11.0)

    assert [node.state for node in after.nodes()] == [State.GRAYLISTED]
    assert connects(after) == []


def test_what_a_node_did_is_not_forgotten_when_its_trust_ends_and_comes_back():
    trust = trusting(1)
    pool = make(trust, target=1)
    pool.offer(contact(1), 0.0)
    (connect,) = connects(pool)
    pool.failed(connect.connection, "refused", 0.0)

    trust.remove(contact(1).node_id)
    pool.trust_changed(contact(1).node_id, False, "delisted", 0.1)
    trust.add(contact(1).node_id)
    pool.offer(contact(1), 0.2)

    (node,) = pool.nodes()
    assert (node.state, node.failures) == (State.FAILED, 1)


def test_a_success_leaves_nothing_to_remember():
    pool, _ = with_ready(1, target=1)
    pool.report_success(contact(1).node_id)

    assert pool.health() == []


def test_times_that_a_wrong_clock_wrote_do_not_shut_a_node_out():
    pool = make(trusting(1), target=1)
    pool.remember([Health(contact(1).node_id, 3, True, "lied", 1e10, 1e10)], 100.0)
    pool.offer(contact(1), 100.0)

    (node,) = pool.nodes()
    assert node.retry_at <= 100.0 + 1.2 * 3_600


def test_remembers_a_bounded_number_of_nodes_that_are_gone(monkeypatch):
    monkeypatch.setattr(pool_machine, "MAX_KNOWN", 3)
    pool = make(trusting(), target=1)
    healths = [Health(contact(number).node_id, 3, False, "", float(number), 9e9) for number in range(1, 9)]

    pool.remember(healths, 10.0)

    assert {each.failed_at for each in pool.health()} == {6.0, 7.0, 8.0}


def test_a_newer_record_with_another_address_is_tried_at_once_and_an_older_one_ignored():
    pool = make(trusting(1), target=1)
    pool.offer(contact(1, seq=5), 0.0)
    (connect,) = connects(pool)
    pool.failed(connect.connection, "no answer", 1.0)

    pool.offer(contact(1, seq=4, ip="10.7.7.7"), 1.1)
    nothing = connects(pool)
    pool.offer(contact(1, seq=6, ip="10.8.8.8"), 1.2)
    (again,) = connects(pool)

    assert nothing == []
    assert again.contact.host == "10.8.8.8"


def test_own_nodes_need_no_trust_and_are_marked():
    pool = make(FakeTrust(), target=1)

    pool.set_own([contact(1)], 0.0)
    (connect,) = connects(pool)
    pool.connected(connect.connection, 0.1)

    assert pool.pick() == contact(1).node_id
    assert pool.nodes()[0].own
    assert pool.nodes()[0].contact.source is Source.OWN
    assert all(event.own for event in pool.take_events())


def test_an_own_node_takes_the_place_of_another():
    pool, _ = with_ready(1, 2, target=2)

    pool.set_own([contact(9)], 5.0)

    close, connect = pool.take_actions()
    assert isinstance(close, Close)
    assert connect.contact.node_id == contact(9).node_id
    assert What.RELEASED in kinds(pool)


def test_an_own_node_stays_when_the_registry_says_otherwise():
    pool = make(FakeTrust(), target=1)
    pool.set_own([contact(1)], 0.0)

    pool.trust_changed(contact(1).node_id, False, "removed", 1.0)
    pool.recheck(2.0)

    assert state_of(pool, 1) is State.CONNECTING


def test_a_node_that_is_no_longer_own_is_dropped_unless_trusted():
    trust = trusting(2)
    pool = make(trust, target=2)
    pool.set_own([contact(1), contact(2)], 0.0)
    pool.take_events()

    pool.set_own([], 1.0)

    assert [(event.what, event.node_id) for event in pool.take_events()] == [(What.DROPPED, contact(1).node_id)]
    assert state_of(pool, 2) is State.CONNECTING


def test_a_target_of_zero_closes_everything():
    pool, _ = with_ready(1, 2)
    pool.offer(contact(1), 1.0)

    pool.set_target(0, 2.0)

    assert [type(action) for action in pool.take_actions()] == [Close, Close]
    assert pool.pick() is None
    assert pool.next_deadline() is None


def test_keeps_a_bounded_number_of_nodes_and_forgets_those_that_failed_most(monkeypatch):
    monkeypatch.setattr(pool_machine, "MAX_KNOWN", 3)
    trust = trusting(1, 2, 3, 4, 5)
    pool = make(trust, target=1)
    pool.offer(contact(1), 0.0)
    (connect,) = connects(pool)
    for number in (2, 3):
        pool.offer(contact(number), 0.0)
    pool.failed(connect.connection, "refused", 0.1)

    pool.offer(contact(4), 0.2)

    assert state_of(pool, 1) is None
    assert len(pool.nodes()) == 3


NUMBERS = st.integers(1, 8)


class PoolAgainstModel(RuleBasedStateMachine):
    """The pool against what a listener knows: who is trusted, and which connections were ordered and not closed."""

    def __init__(self):
        super().__init__()
        self.trust = FakeTrust()
        self.target = 3
        self.pool = make(self.trust, target=self.target, seed=0)
        self.now = 0.0
        self.own = set()
        self.unheard = set()
        self.making = {}
        self.made = {}
        self.highest = 0

    def settle(self):
        for action in self.pool.take_actions():
            if isinstance(action, Connect):
                assert action.contact.node_id not in {**self.making, **self.made}.values(), "connected twice"
                assert self.allowed(action.contact.node_id)
                self.making[action.connection] = action.contact.node_id
            else:
                open_before = self.making.pop(action.connection, None) or self.made.pop(action.connection, None)
                assert open_before == action.node_id, "closed what was not open"
            assert len(self.making) + len(self.made) <= max(self.target, self.highest)
        assert len(self.making) + len(self.made) <= self.target
        self.highest = self.target

    def allowed(self, node_id):
        return node_id in self.own or (MAILSERVER, node_id) in self.trust.trusted

    @rule(number=NUMBERS, seq=st.integers(0, 3))
    def offer(self, number, seq):
        taken = self.pool.offer(contact(number, seq=seq), self.now)
        assert taken == self.allowed(contact(number).node_id)
        self.settle()

    @rule(number=NUMBERS)
    def list_node(self, number):
        self.trust.add(contact(number).node_id)
        self.pool.trust_changed(contact(number).node_id, True, "listed", self.now)
        self.unheard.discard(contact(number).node_id)
        self.settle()

    @rule(number=NUMBERS)
    def delist_node(self, number):
        node_id = contact(number).node_id
        self.trust.remove(node_id)
        self.pool.trust_changed(node_id, False, "delisted", self.now)
        self.settle()
        if node_id not in self.own:
            assert node_id not in {**self.making, **self.made}.values(), "still connected"

    @rule(number=NUMBERS)
    def delist_unheard(self, number):
        self.trust.remove(contact(number).node_id)
        self.unheard.add(contact(number).node_id)

    @rule()
    def recheck(self):
        self.pool.recheck(self.now)
        self.unheard.clear()
        self.settle()

    @rule(numbers=st.sets(NUMBERS, max_size=3))
    def name_own(self, numbers):
        self.own = {contact(number).node_id for number in numbers}
        self.pool.set_own([contact(number) for number in sorted(numbers)], self.now)
        self.settle()

    @precondition(lambda self: self.making)
    @rule(data=st.data())
    def a_connection_is_made(self, data):
        connection = data.draw(st.sampled_from(sorted(self.making)))
        node_id = self.making[connection]
        if self.pool.connected(connection, self.now):
            assert self.allowed(node_id)
            self.made[connection] = self.making.pop(connection)
        else:
            assert not self.allowed(node_id)
        self.settle()

    @precondition(lambda self: self.making or self.made)
    @rule(data=st.data())
    def a_connection_fails(self, data):
        connection = data.draw(st.sampled_from(sorted({**self.making, **self.made})))
        self.making.pop(connection, None)
        self.made.pop(connection, None)
        self.pool.failed(connection, "lost", self.now)
        self.settle()

    @rule(connection=st.integers(0, 200))
    def a_late_answer_changes_nothing(self, connection):
        if connection in self.making or connection in self.made:
            return
        before = self.pool.nodes()
        assert not self.pool.connected(connection, self.now)
        self.pool.failed(connection, "late", self.now)
        assert self.pool.nodes() == before
        self.settle()

    @rule(number=NUMBERS, misbehaved=st.booleans())
    def report(self, number, misbehaved):
        self.pool.report_failure(contact(number).node_id, "timed out", self.now, misbehaved=misbehaved)
        self.settle()

    @rule(wanted=st.integers(0, 5))
    def change_target(self, wanted):
        self.highest, self.target = max(self.target, wanted), wanted
        self.pool.set_target(wanted, self.now)
        self.settle()

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 40.0, 4_000.0]))
    def let_time_pass(self, seconds):
        self.now += seconds
        self.pool.tick(self.now)
        self.settle()
        deadline = self.pool.next_deadline()
        assert deadline is None or deadline > self.now, "a deadline in the past would spin"

    @invariant()
    def ready_nodes_are_the_made_connections(self):
        ready = {node.contact.node_id for node in self.pool.nodes() if node.state is State.READY}
        assert ready == set(self.made.values())
        assert all(self.allowed(node_id) or node_id in self.unheard for node_id in ready)

    @invariant()
    def only_accepted_nodes_are_picked(self):
        picked = self.pool.pick()
        choices = {node_id for node_id in self.made.values() if self.allowed(node_id)}
        assert picked in choices if choices else picked is None

    @invariant()
    def nobody_waits_while_there_is_a_place(self):
        if len(self.making) + len(self.made) < self.target:
            candidates = [node.contact.node_id for node in self.pool.nodes() if node.state is State.CANDIDATE]
            assert not candidates


TestPoolAgainstModel = PoolAgainstModel.TestCase
TestPoolAgainstModel.settings = settings(max_examples=150, stateful_step_count=40)


@pytest.mark.parametrize("seed", range(3))
def test_the_same_seed_makes_the_same_choices(seed):
    choices = [[make_choices(seed) for _ in range(2)]]

    assert all(first == second for first, second in choices)


def make_choices(seed):
    pool, _ = with_ready(1, 2, 3, 4, 5, target=3, seed=seed)
    return [pool.pick() for _ in range(10)]
