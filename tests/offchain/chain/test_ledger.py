"""The ledger: what may be taken in, what an update touches, and how facts move from the head to the base."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.chain.commitment import Commitment, MissingEventError
from offchain.chain.events import TOPICS, VerdictChanged, plain_log
from offchain.chain.facts import FactsError
from offchain.chain.header import RawHeader, parse_header
from offchain.chain.ledger import EVERYTHING, NOTHING, Chunk, Ledger, LogsError, Touched
from offchain.chain.native import native
from offchain.errors import DecodeError
from tests.support.chain import (
    CURATOR,
    OTHER_CURATOR,
    REGISTRY,
    FakeChain,
    altered,
    node_id,
    node_ids,
    nodes_added,
    nodes_removed,
    nodes_renewed,
    packed,
    provider_created,
    raw_log,
    verdict_changed,
)

VERDICT = TOPICS[VerdictChanged]

in_c = pytest.mark.skipif(native is None, reason="the C code is not built")


class Following:
    """A ledger and the chain that it follows."""

    def __init__(self, *settled):
        self.chain = FakeChain.started()
        for said in settled:
            self.chain.mine(*said)
        self.ledger = Ledger(REGISTRY, [CURATOR], 1)
        self.take(1, self.chain.head.number)
        self.ledger.proven(self.chain.head.number, self.chain.head.number)

    def logs(self, first, last):
        return tuple(plain_log(log) for block in self.chain.blocks[first : last + 1] for log in block.logs)

    def take(self, first, last):
        self.ledger.add_chunk(Chunk(first, last, self.logs(first, last)))

    def block(self, *said):
        """A block at the head; what it touched."""
        block = self.chain.mine(*said)
        return self.ledger.switch(0, [self.read(block, self.ledger.commitment)])

    def read(self, block, before):
        header = parse_header(msgspec.convert(block.header, RawHeader))
        return self.ledger.make_block(header, self.logs(block.number, block.number), before)

    def listed(self, facts):
        return {listing.node_id for listing in facts.all_listings()}


@pytest.fixture
def following():
    """Nodes 1 and 2 are proven."""
    return Following([nodes_added(1, node_ids(1, 2))])


def test_an_addition_is_at_the_head_then_adopted_then_in_the_base(following):
    ledger = following.ledger
    touched = following.block(nodes_added(1, node_ids(3)))

    assert touched == Touched(frozenset(node_ids(3)), frozenset())
    assert following.listed(ledger.head) == set(node_ids(1, 2, 3))
    assert following.listed(ledger.adopted) == set(node_ids(1, 2))

    number = ledger.blocks[-1].header.number
    touched, absorbed = ledger.proven(number, final=number - 1)
    assert (touched.nodes, absorbed) == (frozenset(node_ids(3)), None)
    assert following.listed(ledger.adopted) == set(node_ids(1, 2, 3))
    assert following.listed(ledger.base) == set(node_ids(1, 2))

    _, absorbed = ledger.proven(number, final=number)
    assert absorbed is not None
    assert following.listed(ledger.base) == set(node_ids(1, 2, 3))
    assert (ledger.base_block, ledger.base_commitment, ledger.blocks) == (number, following.chain.head.commitment, [])


def test_what_is_dropped_is_undone_and_touched_as_what_replaces_it(following):
    ledger = following.ledger
    before = ledger.commitment
    following.block(nodes_removed(1, node_ids(1)), verdict_changed(1, 2))
    following.chain.drop(1)

    touched = ledger.switch(1, [following.read(following.chain.mine(nodes_added(2, node_ids(7))), before)])

    assert {name[-20:] for name in touched.nodes} == {node[-20:] for node in node_ids(1, 7)}
    assert touched.providers == {1}
    assert following.listed(ledger.head) == set(node_ids(1, 2, 7))
    assert ledger.commitment == following.chain.head.commitment


def test_dropping_adopted_blocks_takes_back_what_they_added(following):
    ledger = following.ledger
    following.block(nodes_added(1, node_ids(3)))
    following.block(nodes_added(1, node_ids(4)))
    ledger.proven(ledger.blocks[-1].header.number, final=ledger.stage_block)

    ledger.switch(1, [])

    assert following.listed(ledger.adopted) == set(node_ids(1, 2, 3))
    assert ledger.adopted_block == ledger.blocks[-1].header.number


def test_facts_that_are_adopted_do_not_grow_with_what_is_not_proven(following):
    ledger = following.ledger
    following.block(nodes_added(1, node_ids(3)))
    ledger.proven(ledger.blocks[-1].header.number, final=ledger.stage_block)
    assert ledger.adopted is ledger.head

    following.block(nodes_added(1, node_ids(4)))

    assert following.listed(ledger.adopted) == set(node_ids(1, 2, 3))


def test_events_that_contradict_each_other_change_nothing(following):
    ledger = following.ledger
    following.block(nodes_added(1, node_ids(3)))
    before, commitment = following.listed(ledger.head), ledger.commitment
    twice = following.read(following.chain.mine(nodes_added(2, node_ids(1))), commitment)

    with pytest.raises(FactsError, match="which is listed already"):
        ledger.switch(0, [twice])
    with pytest.raises(FactsError):
        ledger.switch(1, [twice])

    assert (following.listed(ledger.head), ledger.commitment) == (before, commitment)


def test_what_was_final_and_is_not_true_is_forgotten(following):
    ledger, base = following.ledger, following.ledger.base_block
    following.chain.mine(nodes_added(1, node_ids(3)))
    following.take(base + 1, base + 1)
    following.block(nodes_added(1, node_ids(4)))

    ledger.discard_stage()

    assert following.listed(ledger.head) == following.listed(ledger.adopted) == set(node_ids(1, 2))
    assert (ledger.stage_block, ledger.blocks, ledger.commitment) == (base, [], ledger.base_commitment)


def test_a_chunk_must_begin_where_the_last_one_ended(following):
    with pytest.raises(ValueError, match="expected one from"):
        following.ledger.add_chunk(Chunk(9, 9, ()))


def test_a_chunk_that_contradicts_what_came_before_takes_with_it_all_that_is_not_proven(following):
    ledger, first = following.ledger, following.ledger.stage_block + 1
    following.chain.mine(nodes_added(1, node_ids(3)))
    following.chain.mine(nodes_added(1, node_ids(4)))
    following.chain.mine(nodes_added(1, node_ids(3)))
    following.take(first, first)

    with pytest.raises(FactsError):
        following.take(first + 1, first + 2)

    assert (ledger.stage_block, ledger.commitment) == (first - 1, ledger.base_commitment)
    assert following.listed(ledger.stage) == following.listed(ledger.head) == set(node_ids(1, 2))


def test_a_chunk_that_is_incomplete_leaves_everything_as_it_was(following):
    ledger, first = following.ledger, following.ledger.stage_block + 1
    following.chain.mine(nodes_added(1, node_ids(3)))
    following.take(first, first)
    following.chain.mine(nodes_added(1, node_ids(4)), nodes_added(1, node_ids(5)))

    with pytest.raises(MissingEventError):
        ledger.add_chunk(Chunk(first + 1, first + 1, following.logs(first + 1, first + 1)[1:]))

    assert ledger.stage_block == first
    assert following.listed(ledger.stage) == set(node_ids(1, 2, 3))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda logs: logs[::-1], "a log is at"),
        (lambda logs: [logs[0], *logs], "a log is at"),
        (lambda logs: [msgspec.structs.replace(logs[0], block=99), *logs[1:]], "in blocks"),
        (lambda logs: [msgspec.structs.replace(logs[0], block=0), *logs[1:]], "in blocks"),
        (lambda logs: [msgspec.structs.replace(logs[0], address=OTHER_CURATOR), *logs[1:]], "not asked for"),
    ],
)
def test_logs_out_of_order_out_of_range_or_of_somebody_else_are_refused(following, change, says):
    number = following.ledger.stage_block + 1
    following.chain.mine(nodes_added(1, node_ids(3)), nodes_added(1, node_ids(4)))
    logs = list(following.logs(number, number))

    with pytest.raises(LogsError, match=says):
        following.ledger.check(change(logs), number, number, following.ledger.commitment)


@pytest.mark.parametrize("read_in_c", [False, pytest.param(True, marks=in_c)])
@pytest.mark.parametrize(
    "said", [nodes_added(1, node_ids(9)), nodes_removed(1, node_ids(1)), provider_created(9)], ids=str
)
def test_what_only_the_registry_may_say_is_refused_of_a_curator(following, said, read_in_c):
    """No log commitment is over a curator's logs, so nothing else would notice."""
    number = following.ledger.stage_block + 1
    following.chain.mine(nodes_added(1, node_ids(3)))
    forged = msgspec.structs.replace(plain_log(raw_log(said, 1, number, 7)), address=CURATOR)
    logs = [*following.logs(number, number), forged]

    with pytest.raises(LogsError, match=f"a log of curator {CURATOR.hex()} has the topic"):
        following.ledger.add_chunk(Chunk(number, number, packed(logs) if read_in_c else logs))

    assert following.listed(following.ledger.stage) == set(node_ids(1, 2))


def test_a_missing_event_and_a_log_of_another_block_are_refused(following):
    ledger, number = following.ledger, following.ledger.stage_block + 1
    block = following.chain.mine(nodes_added(1, node_ids(3)), nodes_added(1, node_ids(4)))
    header = parse_header(msgspec.convert(block.header, RawHeader))

    with pytest.raises(MissingEventError, match="expected"):
        ledger.make_block(header, following.logs(number, number)[1:], ledger.commitment)
    elsewhere = [plain_log(altered(log, blockHash="0x" + "ab" * 32)) for log in block.logs]
    with pytest.raises(LogsError, match="says it is in block"):
        ledger.make_block(header, elsewhere, ledger.commitment)


def test_the_commitment_is_known_at_the_end_of_the_stage_and_above(following):
    ledger, first = following.ledger, following.ledger.stage_block
    following.block(nodes_added(1, node_ids(3)))
    following.block()

    commitments = [block.commitment for block in following.chain.blocks[first:]]
    assert [ledger.commitment_at(first + each) for each in range(3)] == commitments
    assert ledger.commitment_at(first - 1) is None
    assert ledger.commitment_at(first + 3) is None
    assert following.listed(ledger.view(first)) == set(node_ids(1, 2))
    assert (
        following.listed(ledger.view(first + 1)) == following.listed(ledger.view(first + 9)) == set(node_ids(1, 2, 3))
    )


def test_a_renewal_touches_its_nodes_and_two_removals_of_one_key_touch_everything(following):
    assert {name[-20:] for name in following.block(nodes_renewed(1, node_ids(1))).nodes} == {node_id(1)[-20:]}
    assert following.block() == NOTHING
    again = following.block(nodes_removed(1, node_ids(1)), nodes_added(1, node_ids(1)), nodes_removed(1, node_ids(1)))
    assert again == EVERYTHING
    assert NOTHING | EVERYTHING == EVERYTHING
    assert Touched(frozenset({b"a"})) | Touched(frozenset(), frozenset({1})) == Touched(
        frozenset({b"a"}), frozenset({1})
    )


def test_begins_where_a_database_ended(following):
    ledger = Ledger(REGISTRY, [CURATOR], 1)
    ledger.restore(following.ledger.base, following.ledger.base_block, following.ledger.base_commitment)

    assert following.listed(ledger.adopted) == following.listed(ledger.head) == set(node_ids(1, 2))
    assert ledger.commitment == following.chain.head.commitment != Commitment()


def checked(ledger, logs, first, last, commitment):
    """What a check says of logs."""
    try:
        return ledger.check(logs, first, last, commitment)
    except DecodeError as error:
        return str(error)


STORY = [
    *([nodes_added(1, node_ids(number)), nodes_added(2, node_ids(50 + number))] for number in range(1, 4)),
    [nodes_removed(1, node_ids(1)), verdict_changed(1, 2)],
    [nodes_added(1, node_ids(1, 7, 8))],
]
altering = st.tuples(
    st.integers(0, 9),
    st.one_of(
        st.builds(dict, block=st.integers(0, 12)),
        st.builds(dict, index=st.integers(0, 3)),
        st.builds(dict, address=st.sampled_from([REGISTRY, CURATOR, OTHER_CURATOR])),
        st.builds(dict, topic_count=st.integers(1, 4)),
    ),
)


@in_c
@given(
    st.lists(altering, max_size=2),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 400), st.integers(0, 255)), max_size=1),
    st.permutations(range(9)) | st.just(list(range(9))),
    st.integers(1, 9),
    st.sampled_from([(4, 8), (4, 7), (3, 9), (5, 8)]),
    st.integers(0, 1),
)
def test_logs_read_in_c_are_checked_as_any_others(changes, bytes_changed, order, count, blocks, version):
    following = Following(*STORY)
    ledger, logs = following.ledger, list(following.logs(4, 8))
    before = following.chain.blocks[3].commitment
    for at, change in changes:
        logs[at % len(logs)] = msgspec.structs.replace(logs[at % len(logs)], **change)
    for at, where, value in bytes_changed:
        payload = bytearray(logs[at % len(logs)].payload)
        payload[where % len(payload)] = value
        logs[at % len(logs)] = msgspec.structs.replace(logs[at % len(logs)], payload=bytes(payload))
    logs = [logs[at % len(logs)] for at in order[:count]]
    before = before._replace(version=before.version + version)

    assert following.chain.head.number == 8
    assert checked(ledger, packed(logs), *blocks, before) == checked(ledger, logs, *blocks, before)


@in_c
def test_a_history_read_in_c_is_taken_in_as_any_other():
    following = Following(*STORY)
    logs = following.logs(1, 8)
    one, other = Ledger(REGISTRY, [CURATOR], 1), Ledger(REGISTRY, [CURATOR], 1)
    one.add_chunk(Chunk(1, 8, packed(logs)))
    other.add_chunk(Chunk(1, 8, logs))

    assert one.commitment == other.commitment == following.chain.head.commitment
    assert list(one.stage.all_listings()) == list(other.stage.all_listings())
    assert one.stage.all_verdicts() == other.stage.all_verdicts()
    assert type(packed(logs)).check(packed(logs), b"short", VERDICT, 1, 8, 0, bytes(28)) is None
    assert type(packed(logs)).check(packed(logs), REGISTRY + CURATOR, VERDICT, 1, 8, 0, bytes(27)) is None
    assert type(packed(logs)).check(packed(logs), REGISTRY + CURATOR, VERDICT[1:], 1, 8, 0, bytes(28)) is None
