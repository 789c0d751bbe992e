"""The fold of many logs: the same as decoding each and applying it."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.chain.events import decode, plain_log
from offchain.chain.facts import TABLES, Facts, Listing, Origin
from offchain.chain.folding import fold, merge
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


def plainly(stage, logs):
    """What `fold` does, without any haste."""
    changed = Facts(stage)
    try:
        for log in logs:
            event, trial = decode(log), Facts(changed)
            trial.apply(event)
            merge(changed, trial)
    finally:
        merge(stage, changed)
    return changed


def fold_packed(stage, logs):
    return fold(stage, packed(logs))


def tables(layer):
    return {table: getattr(layer, table) for table in TABLES}


def outcome(folding, base, earlier, logs):
    """What the stage holds after the logs, what they are said to have changed, and what stopped it."""
    below = Facts()
    for log in base:
        below.apply(decode(log))
    stage = Facts(below)
    plainly(stage, earlier)
    try:
        changed = folding(stage, logs)
    except DecodeError as error:
        return tables(stage), None, str(error)
    return tables(stage), tables(changed), ""


def additions(nodes, first):
    return [log_of(nodes_added(1, [node]), first + number) for number, node in enumerate(sorted(nodes))]


def log_of(each, number):
    return plain_log(raw_log(each, number + 1, number, number))


some = st.lists(st.sampled_from(NODES), unique=True, max_size=4)


@given(some, st.integers(0, 4), st.lists(said, max_size=6))
def test_is_what_decoding_and_applying_each_gives(there, in_base, story):
    base, earlier = additions(there[:in_base], 0), additions(there[in_base:], 5)
    logs = [log_of(each, 10 + number) for number, each in enumerate(story)]

    assert outcome(fold, base, earlier, logs) == outcome(plainly, base, earlier, logs)


@pytest.mark.parametrize("at", range(256))
def test_an_altered_addition_is_refused_or_read_alike(at):
    log = log_of(nodes_added(1, NODES[:1]), 5)
    for value in (0, 1, 2, 0x60, 0xFF):
        payload = log.payload[:at] + bytes([value]) + log.payload[at + 1 :]
        altered = msgspec.structs.replace(log, payload=payload)

        assert outcome(fold, [], [], [altered]) == outcome(plainly, [], [], [altered])


@in_c
@given(some, st.integers(0, 4), st.lists(said, min_size=1, max_size=8))
def test_in_c_it_is_what_decoding_and_applying_each_gives(there, in_base, story):
    base, earlier = additions(there[:in_base], 0), additions(there[in_base:], 5)
    logs = [log_of(each, 10 + number) for number, each in enumerate(story)]

    assert outcome(fold_packed, base, earlier, logs) == outcome(plainly, base, earlier, logs)


@in_c
@pytest.mark.parametrize("at", range(256))
def test_in_c_an_altered_addition_is_refused_or_read_alike(at):
    """After one that is as it should be, so that the list it names is known."""
    first, log = log_of(nodes_added(1, NODES[:1]), 4), log_of(nodes_added(1, NODES[1:2]), 5)
    for value in (0, 1, 2, 0x60, 0xFF):
        payload = log.payload[:at] + bytes([value]) + log.payload[at + 1 :]
        altered = msgspec.structs.replace(log, payload=payload)

        assert outcome(fold_packed, [], [], [first, altered]) == outcome(plainly, [], [], [first, altered])


@in_c
def test_in_c_numbers_and_places_are_those_of_each_log():
    story = [nodes_added(1, [node], expires_at=2**32 - 1 - at) for at, node in enumerate(NODES)]
    logs = [plain_log(raw_log(each, 1, 2**40 + at // 2, 2**33 + at)) for at, each in enumerate(story)]

    assert outcome(fold_packed, [], [], logs) == outcome(plainly, [], [], logs)


@in_c
def test_in_c_a_place_beyond_those_that_are_kept_is_its_own():
    story = [nodes_added(1, [node]) for node in NODES[:3]]
    logs = [plain_log(raw_log(each, 1, 1, place)) for each, place in zip(story, (1023, 1024, 2**60 - 1), strict=True)]

    assert outcome(fold_packed, [], [], logs) == outcome(plainly, [], [], logs)


@in_c
def test_in_c_arguments_that_are_none_are_refused():
    logs = packed([log_of(nodes_added(1, NODES[:1]), 1)])
    key = logs[0].payload[:96]

    with pytest.raises(IndexError):
        logs.fold(-1, {}, {}, [], {}, Origin, Listing)
    for arguments in (
        (0, [], {}, [], {}, Origin, Listing),
        (0, {}, [], [], {}, Origin, Listing),
        (0, {}, {}, [()], {}, Origin, Listing),
        (0, {}, {}, [], {key: 1}, Origin, Listing),
        (0, {}, {}, [], {key: (1,)}, Origin, Listing),
        (0, {}, {}, [], {key: (1, 1)}, None, Listing),
        (0, {}, {}, [], {key: (1, 1)}, Origin, None),
    ):
        with pytest.raises(TypeError):
            logs.fold(*arguments)
    assert logs.fold(0, {}, {}, [], {}, Origin, Listing) == 0
    assert logs.fold(7, {}, {}, [], {}, Origin, Listing) == 7
