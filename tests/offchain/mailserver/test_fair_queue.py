import random

import pytest

from offchain.mailserver.fair_queue import SWEEP, FairQueue


class Server:
    """Serves slices one after another; each client has another slice as soon as its last one was served."""

    def __init__(self):
        self.queue = FairQueue()
        self.served = []

    def serve(self, costs):
        """One slice of whoever is next, who then wants another."""
        client, _ = self.queue.next()
        self.served.append(client)
        self.queue.cost(client, costs[client])
        self.queue.enter(client, client)
        return client


def test_who_asks_for_a_little_waits_for_one_slice_of_those_who_ask_for_a_lot_at_most():
    server = Server()
    costs = {"greedy": 256, "modest": 1}
    server.queue.enter("greedy", "greedy")
    for _ in range(50):
        server.serve(costs)

    server.queue.enter("modest", "modest")

    assert "modest" in (server.serve(costs), server.serve(costs))


def test_everybody_gets_as_many_envelopes_as_the_others_whatever_the_size_of_their_slices():
    server = Server()
    costs = {"greedy": 252, "middling": 60, "modest": 12}
    for client in costs:
        server.queue.enter(client, client)
    for _ in range(10_000):
        server.serve(costs)

    shares = [server.served.count(client) * (cost + 4) for client, cost in costs.items()]

    assert max(shares) - min(shares) <= 2 * 256


@pytest.mark.parametrize("seed", range(5))
def test_nobody_waits_for_more_than_a_slice_of_each_of_the_others(seed):
    rng = random.Random(seed)
    server = Server()
    costs = {number: rng.choice((0, 1, 20, 256)) for number in range(20)}
    asked = {}
    for client in costs:
        server.queue.enter(client, client)
        asked[client] = 0
    for turn in range(2_000):
        client = server.serve({each: rng.choice((0, 20, 256)) for each in costs})
        # In the worst case all others were served as long as one whole slice of ours took.
        assert turn - asked[client] <= len(costs) * (256 + 4) / 4
        asked[client] = turn


def test_who_asked_for_nothing_has_saved_nothing_up():
    server = Server()
    server.queue.enter("patient", "patient")
    server.queue.next()
    server.queue.cost("patient", 1)
    for _ in range(100):
        server.queue.enter("busy", "busy")
        server.queue.next()
        server.queue.cost("busy", 100)
    costs = {"patient": 100, "busy": 100}
    server.queue.enter("patient", "patient")
    server.queue.enter("busy", "busy")
    for _ in range(20):
        server.serve(costs)

    assert 9 <= server.served[-20:].count("patient") <= 11


def test_no_stream_of_newcomers_keeps_who_has_had_a_lot_waiting_for_ever():
    queue = FairQueue()
    queue.enter("greedy", None)
    queue.next()
    queue.cost("greedy", 256)
    queue.enter("greedy", None)
    queue.enter(0, None)
    for newcomer in range(1, 1_000):
        queue.enter(newcomer, None)
        client, _ = queue.next()
        if client == "greedy":
            return
        queue.cost(client, 20)

    raise AssertionError("it was never served")


def test_those_who_begin_together_are_served_in_the_order_they_came():
    queue = FairQueue()
    for client in "cab":
        queue.enter(client, client)

    assert [queue.next() for _ in range(4)] == [("c", "c"), ("a", "a"), ("b", "b"), None]


def test_clients_that_are_gone_are_forgotten_while_the_queue_is_never_empty():
    queue = FairQueue()
    queue.enter(0, 0)
    for client in range(1, 10 * SWEEP):
        queue.enter(client, client)
        served, _ = queue.next()
        queue.cost(served, 1)

    assert len(queue._ends) <= 2 * SWEEP
