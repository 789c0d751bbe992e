"""The follower over random chains: whatever happens, its view is a chain, and in the end the true one."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from offchain.chain.follower import REGRESSIONS, BrokenBranch, Follower, ReorgBelowFinal, WantBody, WantHeader
from offchain.chain.header import Header
from offchain.hashing import keccak256


def block(number, parent, salt=0):
    """A header; different salts make siblings."""
    return Header(number, keccak256(parent + b"%d %d" % (number, salt)), parent, 1_000 + number, bytes(32))


def chain(length, salt=0, start=None):
    """A chain of headers from block 0, or on top of `start`."""
    blocks = [start or block(0, bytes(32))]
    for _ in range(length):
        blocks.append(block(blocks[-1].number + 1, blocks[-1].hash, salt))
    return blocks


def body(header):
    """What stands for a block's logs."""
    return b"logs of " + header.hash


def serve(follower, known):
    """Give the follower all it wants from these blocks; the switches it made."""
    by_hash = {header.hash: header for header in known}
    switches = []
    while (want := follower.wants()) is not None:
        if isinstance(want, WantHeader):
            follower.take_header(by_hash[want.hash])
        elif switch := follower.take_body(want.header, body(want.header)):
            switches.append(switch)
    return switches


def _offer_and_serve(follower, head, known):
    follower.offer(head)
    serve(follower, known)


def test_takes_a_block_that_continues_the_chain():
    blocks = chain(1)
    follower = Follower(blocks[0])
    assert follower.offer(blocks[1]) is None
    assert follower.wants() == WantBody(blocks[1])

    switch = follower.take_body(blocks[1], body(blocks[1]))

    assert switch.dropped == ()
    assert switch.added == ((blocks[1], body(blocks[1])),)
    assert follower.head == blocks[1]
    assert follower.wants() is None


def test_fills_a_gap_parent_by_parent():
    blocks = chain(5)
    follower = Follower(blocks[0])
    follower.offer(blocks[5])

    (switch,) = serve(follower, blocks)

    assert [header for header, _ in switch.added] == blocks[1:]


def test_replaces_a_branch_in_one_step_once_it_is_complete():
    old = chain(4)
    new = chain(4, salt=1, start=old[1])
    follower = Follower(old[0], old[1:])

    follower.offer(new[-1])
    assert follower.head == old[-1]
    (switch,) = serve(follower, new)

    assert switch.dropped == (old[4], old[3], old[2])
    assert [header for header, _ in switch.added] == new[1:]
    assert follower.head == new[-1]


def test_keeps_the_old_chain_if_the_new_branch_never_comes():
    old = chain(4)
    follower = Follower(old[0], old[1:])
    follower.offer(chain(4, salt=1, start=old[1])[-1])

    follower.give_up()

    assert follower.wants() is None
    assert follower.head == old[-1]


def test_does_not_go_back_for_an_endpoint_that_lags():
    blocks = chain(4)
    follower = Follower(blocks[0], blocks[1:])

    assert follower.offer(blocks[2]) is None
    assert follower.offer(blocks[4]) is None
    for _ in range(REGRESSIONS - 1):
        assert follower.offer(blocks[2]) is None

    assert follower.head == blocks[4]


def test_goes_back_when_an_ancestor_is_named_as_head_again_and_again():
    blocks = chain(4)
    follower = Follower(blocks[0], blocks[1:])
    for _ in range(REGRESSIONS - 1):
        follower.offer(blocks[2])

    switch = follower.offer(blocks[2])

    assert switch.dropped == (blocks[4], blocks[3])
    assert switch.added == ()
    assert follower.head == blocks[2]


@pytest.mark.parametrize("length", [0, 1, 5])
def test_raises_the_alarm_when_the_chain_changes_below_the_final_block(length):
    blocks = chain(4)
    other = chain(3 + length, salt=1, start=blocks[0])
    follower = Follower(blocks[2], blocks[3:])

    with pytest.raises(ReorgBelowFinal):
        _offer_and_serve(follower, other[2 + length], other)

    assert follower.head == blocks[-1]


def test_ignores_a_head_far_below_the_final_block():
    blocks = chain(4)
    follower = Follower(blocks[3], blocks[4:])

    assert follower.offer(blocks[1]) is None
    assert follower.wants() is None


def test_refuses_a_parent_whose_number_is_not_one_less():
    blocks = chain(2)
    follower = Follower(blocks[0])
    liar = Header(7, b"\x07" * 32, blocks[2].hash, 0, bytes(32))
    follower.offer(liar)

    with pytest.raises(BrokenBranch):
        follower.take_header(blocks[2])

    assert follower.wants() is None


def test_ignores_headers_and_bodies_that_it_did_not_ask_for():
    blocks = chain(4)
    follower = Follower(blocks[0])
    follower.offer(blocks[2])

    follower.take_header(blocks[4])
    assert follower.take_body(blocks[4], body(blocks[4])) is None

    assert follower.wants() == WantHeader(blocks[1].hash)


def test_a_branch_that_turns_out_shorter_is_completed_also_if_all_its_logs_have_come():
    blocks = chain(2)
    follower = Follower(blocks[0])
    follower.offer(blocks[2])
    follower.take_header(blocks[1])
    assert follower.take_body(blocks[1], body(blocks[1])) is None

    follower.offer(blocks[1])
    switches = serve(follower, blocks)

    assert [switch.added for switch in switches] == [((blocks[1], body(blocks[1])),)]
    assert follower.head == blocks[1]


def test_final_blocks_leave_the_view_in_order():
    blocks = chain(4)
    follower = Follower(blocks[0], blocks[1:])

    assert follower.finalize(2) == blocks[1:3]
    assert follower.finalize(1) == []
    assert follower.finalize(99) == blocks[3:]
    assert follower.head == follower.final == blocks[4]


class FollowerMachine(RuleBasedStateMachine):
    """A true chain that grows and reorganises, and an endpoint that may answer only in part before it changes."""

    def __init__(self):
        super().__init__()
        self.truth = chain(0)
        self.known = list(self.truth)
        self.salt = 0
        self.follower = Follower(self.truth[0])
        self.told = {}
        """What a consumer of the switches alone knows: bodies by number."""

    @rule(blocks=st.integers(1, 4))
    def grow(self, blocks):
        for _ in range(blocks):
            self._append()

    @rule(depth=st.integers(1, 6), blocks=st.integers(0, 7))
    def reorganise(self, depth, blocks):
        depth = min(depth, len(self.truth) - 1 - self.follower.final.number)
        if depth > 0:
            self.salt += 1
            del self.truth[-depth:]
            for _ in range(blocks):
                self._append()

    @rule()
    def offer_the_head(self):
        if self.truth[-1].number >= self.follower.final.number:
            self._told(self.follower.offer(self.truth[-1]))

    @rule(steps=st.integers(1, 9))
    def serve_in_part(self, steps):
        by_hash = {header.hash: header for header in self.known}
        for _ in range(steps):
            want = self.follower.wants()
            if isinstance(want, WantHeader):
                self.follower.take_header(by_hash[want.hash])
            elif want is not None:
                self._told(self.follower.take_body(want.header, body(want.header)))

    @rule()
    def serve_fully(self):
        for _ in range(REGRESSIONS):
            self._told(self.follower.offer(self.truth[-1]))
        for switch in serve(self.follower, self.known):
            self._told(switch)

        assert self.follower.head == self.truth[-1]

    @precondition(lambda self: self.follower.head == self.truth[-1])
    @rule(keep=st.integers(0, 4))
    def finalize(self, keep):
        for header in self.follower.finalize(self.truth[-1].number - keep):
            assert header == self.truth[header.number]

    @invariant()
    def the_view_is_a_chain_and_the_consumer_has_the_same(self):
        parent = self.follower.final
        for header in self.follower.blocks:
            assert header.parent == parent.hash
            assert self.told[header.number] == body(header)
            parent = header
        assert max(self.told, default=0) == self.follower.head.number

    def _append(self):
        header = block(len(self.truth), self.truth[-1].hash, self.salt)
        self.truth.append(header)
        self.known.append(header)

    def _told(self, switch):
        if switch is not None:
            for header in switch.dropped:
                assert self.told.pop(header.number) == body(header)
            for header, logs in switch.added:
                assert header.number not in self.told
                self.told[header.number] = logs


TestFollower = FollowerMachine.TestCase
TestFollower.settings = settings(max_examples=150, stateful_step_count=30)
