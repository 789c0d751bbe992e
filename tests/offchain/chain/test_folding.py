"""The fold of many logs: the same as decoding each and applying it."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.chain.events import decode, plain_log
from offchain.chain.facts import TABLES, Facts, Listing, Origin
from offchain.chain.folding import fold
from offchain.chain.native import native
from offchain.errors import DecodeError
from tests.support.chain import node_ids, nodes_added, nodes_removed, packed, raw_log

in_c = pytest.mark.skipif(native is None, reason="the C code is not built")

NODES = node_ids(*range(4))

said = st.one_of(
    st.builds(nodes_added, st.integers(1, 2), st.sampled_from(NODES).map(lambda node: [node])),
    st.builds(nodes_added, st.integers(1, 2), st.just(NODES[:2])),
    st.builds(nodes_removed, st.integers(1, 2), st.sampled_from(NODES).map(lambda node: [node])),
)


def one_by_one(layer, logs):
    for log in logs:
        layer.apply(decode(log))


def outcome(folding, below, logs):
    """Everything a new layer holds after the logs, and what stopped it."""
    base = Facts()
    one_by_one(base, below)
    layer, stopped = Facts(base), ""
    try:
        folding(layer, logs)
    except DecodeError as error:
        stopped = str(error)
    return {table: getattr(layer, table) for table in TABLES}, stopped


def fold_packed(layer, logs):
    fold(layer, packed(logs))


def log_of(each, number):
    return plain_log(raw_log(each, number + 1, number, number))


@given(st.sets(st.sampled_from(NODES), max_size=2), st.lists(said, max_size=6))
def test_is_what_decoding_and_applying_each_gives(below, story):
    below = [log_of(nodes_added(1, [node]), number) for number, node in enumerate(sorted(below))]
    logs = [log_of(each, 10 + number) for number, each in enumerate(story)]

    assert outcome(fold, below, logs) == outcome(one_by_one, below, logs)


@pytest.mark.parametrize("at", range(256))
def test_an_altered_addition_is_refused_or_read_alike(at):
    log = log_of(nodes_added(1, NODES[:1]), 5)
    for value in (0, 1, 2, 0x60, 0xFF):
        payload = log.payload[:at] + bytes([value]) + log.payload[at + 1 :]
        altered = msgspec.structs.replace(log, payload=payload)

        assert outcome(fold, [], [altered]) == outcome(one_by_one, [], [altered])


@in_c
@given(st.sets(st.sampled_from(NODES), max_size=2), st.lists(said, min_size=1, max_size=8))
def test_in_c_it_is_what_decoding_and_applying_each_gives(below, story):
    below = [log_of(nodes_added(1, [node]), number) for number, node in enumerate(sorted(below))]
    logs = [log_of(each, 10 + number) for number, each in enumerate(story)]

    assert outcome(fold_packed, below, logs) == outcome(one_by_one, below, logs)


@in_c
@pytest.mark.parametrize("at", range(256))
def test_in_c_an_altered_addition_is_refused_or_read_alike(at):
    """After one that is as it should be, so that the list it names is known."""
    first, log = log_of(nodes_added(1, NODES[:1]), 4), log_of(nodes_added(1, NODES[1:2]), 5)
    for value in (0, 1, 2, 0x60, 0xFF):
        payload = log.payload[:at] + bytes([value]) + log.payload[at + 1 :]
        altered = msgspec.structs.replace(log, payload=payload)

        assert outcome(fold_packed, [], [first, altered]) == outcome(one_by_one, [], [first, altered])


@in_c
def test_in_c_numbers_and_places_are_those_of_each_log():
    story = [nodes_added(1, [node], expires_at=2**32 - 1 - at) for at, node in enumerate(NODES)]
    logs = [plain_log(raw_log(each, 1, 2**40 + at // 2, 2**33 + at)) for at, each in enumerate(story)]

    assert outcome(fold_packed, [], logs) == outcome(one_by_one, [], logs)


@in_c
def test_in_c_arguments_that_are_none_are_refused():
    logs = packed([log_of(nodes_added(1, NODES[:1]), 1)])
    key = logs[0].payload[:96]

    with pytest.raises(IndexError):
        logs.fold(-1, {}, [], {}, Origin, Listing)
    for arguments in (
        (0, {}, [()], {}, Origin, Listing),
        (0, {}, [], {key: 1}, Origin, Listing),
        (0, {}, [], {key: (1,)}, Origin, Listing),
        (0, {}, [], {key: (1, 1)}, None, Listing),
        (0, {}, [], {key: (1, 1)}, Origin, None),
    ):
        with pytest.raises(TypeError):
            logs.fold(*arguments)
    assert logs.fold(0, {}, [], {}, Origin, Listing) == 0
    assert logs.fold(7, {}, [], {}, Origin, Listing) == 7
