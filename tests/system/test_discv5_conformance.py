"""A discovery node as operators run it, asked from outside what the Go client's discv5 test tool asks.

That something is *not* answered is seen by asking something else after it: the answer to that is the first to come.
"""

import select
import time
from contextlib import ExitStack

import pytest

from offchain import rlp
from offchain.discovery.message import FindNode, Nodes, Ping, Pong, TalkRequest, TalkResponse
from offchain.discovery.packet import WhoAreYou
from offchain.discovery.table import log_distance
from offchain.enr import Enr
from offchain.keys import PrivateKey
from offchain.types import parse_ip
from tests.support.node_process import running_node
from tests.support.prober import PATIENCE, REPLY_PATIENCE, Silence, prober

ALL_DISTANCES = tuple(range(256, 239, -1))
BYSTANDERS = 5
ATTEMPTS = 20
"""A challenge is repeated for a second; a machine that sleeps so long between two packets shows another."""


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """One node for all: that it goes on answering is part of what is tested."""
    with running_node(tmp_path_factory.mktemp("node")) as running:
        yield running.record


@pytest.fixture
def one(node):
    """A stranger at 127.0.0.1."""
    with prober(node) as stranger:
        yield stranger


@pytest.fixture
def two(node, one):
    """The same stranger at 127.0.0.2."""
    with prober(node, "127.0.0.2") as elsewhere:
        elsewhere.key, elsewhere.record = one.key, one.record
        yield elsewhere


def pong_to(stranger, ping, node):
    ip, port = stranger.address
    return Pong(ping.request_id, node.seq, parse_ip(ip), port)


def first_request_with(request_id):
    return b"\x01" + rlp.encode([request_id, rlp.int_to_bytes(1)])


def test_a_ping_is_answered_with_its_id_the_address_it_came_from_and_the_records_number(node, one):
    first, second = one.ping(), one.ping()

    assert one.meet(first) == pong_to(one, first, node)
    assert one.ask(second) == pong_to(one, second, node)


@pytest.mark.parametrize("request_id", [b"", b"\x00", b"\x00" * 8, b"\xff" * 8])
def test_a_request_id_of_up_to_eight_bytes_comes_back_as_it_is(node, one, request_id):
    one.meet()
    ping = Ping(request_id, 1)

    assert one.ask(ping) == pong_to(one, ping, node)


@pytest.mark.parametrize("size", [9, 16, 200])
def test_a_larger_request_id_is_not_answered(node, one, size):
    one.meet()
    after = one.ping()

    one.send(first_request_with(b"\x01" * size))

    assert one.ask(after) == pong_to(one, after, node)


def test_a_session_is_not_good_at_another_address(node, one, two):
    one.meet()

    datagram = one.sealed(one.ping())
    two.send_raw(datagram)
    challenge = two.read()

    assert isinstance(challenge, WhoAreYou)
    assert challenge.enr_seq == one.record.seq


def test_after_a_handshake_from_the_other_address_both_sessions_are_good(node, one, two):
    one.meet()
    there, here = two.ping(), one.ping()

    assert two.meet(there) == pong_to(two, there, node)
    assert one.ask(here) == pong_to(one, here, node)
    again = two.ping()
    assert two.ask(again) == pong_to(two, again, node)


def test_a_first_packet_that_comes_again_gets_the_same_whoareyou(node, one):
    def both():
        one.send_raw(one.random_packet())
        one.send_raw(one.random_packet())
        return one.receive_raw(), one.receive_raw()

    assert any(first == second for first, second in (both() for _ in range(ATTEMPTS)))


def test_a_repeated_handshake_counts_once(node, one):
    first = one.ping()
    datagram, one.keys = one.handshake(one.challenged(), first)
    one.send_raw(datagram)
    one.send_raw(datagram)
    try:
        answer = one.read(REPLY_PATIENCE)
    except Silence:  # later than a second: begin anew
        answer = one.meet(first)

    last = one.ping()
    assert answer == pong_to(one, first, node)
    assert one.ask(last) == pong_to(one, last, node)


@pytest.mark.parametrize("protocol", [b"", b"test-protocol", b"\xff\x00"])
def test_a_talk_request_of_an_unknown_protocol_is_answered_with_nothing_in_it(node, one, protocol):
    one.meet()
    request = TalkRequest(one.request_id(), protocol, b"hello")

    assert one.ask(request) == TalkResponse(request.request_id, b"")


def test_distance_zero_is_the_nodes_own_record(node, one):
    one.meet()
    request = FindNode(one.request_id(), (0,))

    assert one.ask(request) == Nodes(request.request_id, 1, (node.raw,))


def test_a_distance_where_nobody_is_is_answered_with_an_empty_packet(node, one):
    one.meet()
    request = FindNode(one.request_id(), (1, 2, 3))

    assert one.ask(request) == Nodes(request.request_id, 1, ())


def test_distances_above_256_are_not_answered(node, one):
    one.meet()
    after = one.ping()

    one.send(b"\x03" + rlp.encode([one.request_id(), [rlp.int_to_bytes(257)]]))

    assert one.ask(after) == pong_to(one, after, node)


def test_bystanders_are_handed_on_once_the_node_has_seen_that_they_answer(node, one):
    with ExitStack() as stack:
        bystanders = [stack.enter_context(prober(node, listed=True)) for _ in range(BYSTANDERS)]
        silent = stack.enter_context(prober(node, listed=True))
        silent.mute = True
        for each in (*bystanders, silent):
            each.meet()
        end = time.monotonic() + PATIENCE
        while any(not each.pings for each in bystanders) and time.monotonic() < end:
            for each in bystanders:
                if select.select([each.socket], [], [], 0.05)[0]:
                    after = each.ping()
                    assert each.ask(after) == pong_to(each, after, node)  # reading it, answers the node's PINGs
        one.meet()
        distances = tuple({log_distance(node.node_id, each.record.node_id) for each in bystanders} | {256})
        found = []
        while not {each.record.raw for each in bystanders} <= set(found) and time.monotonic() < end:
            found = one.ask_nodes(FindNode(one.request_id(), distances))

    assert {each.record.raw for each in bystanders} <= set(found)
    assert silent.record.raw not in found
    assert all(log_distance(node.node_id, Enr.decode(raw).node_id) in distances for raw in found)
    assert len(found) == len(set(found)) <= 16


def test_nodes_that_nobody_asked_for_are_not_taken_in(node, one):
    stranger = Enr.create(PrivateKey.generate(), ip="127.0.0.1", udp=30_303)
    one.meet()
    after = one.ping()

    one.send(Nodes(one.request_id(), 1, (stranger.raw,)))

    assert one.ask(after) == pong_to(one, after, node)
    distance = log_distance(node.node_id, stranger.node_id)
    assert stranger.raw not in one.ask_nodes(FindNode(one.request_id(), (distance,)))


def test_findnode_from_another_address_than_the_sessions_is_challenged_and_not_answered(node, one, two):
    one.meet()

    two.send_raw(one.sealed(FindNode(one.request_id(), ALL_DISTANCES)))

    assert isinstance(two.read(), WhoAreYou)
    after = one.ping()
    assert one.ask(after) == pong_to(one, after, node)  # and the answer did not go to the session's address


def test_findnode_in_a_handshake_is_answered(node, one):
    request = FindNode(one.request_id(), (0,))

    assert one.meet(request) == Nodes(request.request_id, 1, (node.raw,))
