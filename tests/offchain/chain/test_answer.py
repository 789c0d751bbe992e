"""Answers with logs: the fast reader gives what the general one gives, or leaves it to decide."""

import json
import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offchain.chain import answer as answers
from offchain.chain.answer import Answer, Failure, decoder, read, read_fast
from offchain.chain.events import EventError, PlainLog
from tests.support.chain import FakeChain, node_ids, nodes_added, nodes_removed

native = pytest.mark.skipif(answers.native is None, reason="the C reader is not built")


def logs(count=3):
    chain = FakeChain.started()
    for number in range(count):
        chain.mine(nodes_added(1, node_ids(2 * number, 2 * number + 1)), nodes_removed(1, node_ids(2 * number)))
    found = [msgspec.to_builtins(log) for block in chain.blocks for log in block.logs]
    return [{key: value for key, value in log.items() if value is not None} for log in found]


def body(result, **members):
    return json.dumps({"jsonrpc": "2.0", "id": 7, "result": result, **members}, separators=(",", ":")).encode()


def plain(answer):
    """An answer with its logs one by one; None if there is no answer."""
    return None if answer is None else Answer(answer.id, answer.result and tuple(answer.result), answer.error)


def outcome(reader, answer):
    """What a reader makes of an answer: the answer, or that it refused."""
    try:
        return plain(reader(answer))
    except (msgspec.DecodeError, UnicodeDecodeError, EventError):
        return "refused"


def test_reads_logs_as_bytes():
    found = decoder(answers.Logs).decode(body(logs()))

    assert found.id == 7
    assert found.error is None
    assert len(found.result) == len(logs())
    assert all(isinstance(log, PlainLog) for log in found.result)
    assert found.result[-1].payload.hex() == "".join(t[2:] for t in logs()[-1]["topics"]) + logs()[-1]["data"][2:]


def test_reads_an_answer_without_logs_and_one_that_is_an_error():
    assert decoder(answers.Logs).decode(body([])) == Answer(7, ())
    assert decoder(answers.Logs).decode(b'{"id":7,"error":{"code":-1,"message":"no"}}') == Answer(
        7, None, Failure(-1, "no")
    )


def test_other_results_are_read_by_their_type():
    assert decoder(str).decode(body("0x1")) == Answer(7, "0x1")


@native
@pytest.mark.parametrize("order", range(6))
def test_the_fast_reader_knows_what_endpoints_write(order):
    """Members in any order, with members that nobody asked for."""
    draw = random.Random(order)
    shuffled = []
    for log in logs():
        log |= {"transactionIndex": "0x0", "blockTimestamp": "0x6b0125ca", "removed": False}
        keys = draw.sample(sorted(log), len(log))
        shuffled.append({key: log[key] for key in keys})
    text = body(shuffled) if order % 2 else b'{"result":' + body(shuffled)[33:-1] + b',"jsonrpc":"2.0","id":7}'

    found = plain(read_fast(text))

    assert found is not None
    assert found == read(text)


@native
@pytest.mark.parametrize(
    "change",
    [
        {"removed": True},
        {"address": "0x11"},
        {"address": "11" * 20},
        {"data": "0x1"},
        {"data": "0xzz"},
        {"topics": []},
        {"topics": ["0x" + "11" * 32] * 5},
        {"topics": ["0x" + "11" * 31]},
        {"blockNumber": "0x"},
        {"blockNumber": "0x" + "f" * 16},
        {"blockNumber": 1},
        {"logIndex": "-0x1"},
        {"blockHash": "0x" + "1g" * 32},
        {"transactionHash": None},
        {"extra": {"a": "b"}},
        {"extra": "caf\u00e9"},
        {"extra": 'a"b'},
        {"extra": 1},
    ],
    ids=str,
)
def test_the_fast_reader_leaves_what_it_does_not_know_to_the_general_one(change):
    assert read_fast(body([*logs(), {**logs()[0], **change}])) is None


@native
@pytest.mark.parametrize(
    "text",
    [
        b"",
        b'"result":',
        b'{"id":7,"result":null}',
        b'{"id":7,"result":[]}',
        body(logs())[:-1],
        body(logs())[:-2],
        body(logs()) + b"x",
        body(logs()).replace(b'"id":7', b'"id":07'),
        body(logs(), error={"code": 1}),
        body(logs()).replace(b"},{", b"}{", 1),
        body(logs()).replace(b"},{", b"},,{", 1),
        body(logs()).replace(b'"address"', b'"address":"0x","address"', 1),
        b'{"else":{"result":' + body(logs())[33:-1] + b'},"id":7,"result":[]}',
        b'{"else":{"result":' + body(logs())[33:-1] + b'},"id":7,"result":[7]}',
        body(logs())[:-1] + b',"result":[7]}',
        body(logs())[:-1] + b',"result":[8]}',
        body(logs())[:-1] + b',"r\\u0065sult":[7]}',
    ],
)
def test_the_fast_reader_leaves_an_odd_envelope_to_the_general_one(text):
    assert read_fast(text) is None


@native
def test_what_was_read_in_c_is_a_sequence_of_logs():
    packed, logs_one_by_one = read_fast(body(logs())).result, read(body(logs())).result

    assert len(packed) == len(logs_one_by_one)
    assert (packed[0], packed[-1]) == (logs_one_by_one[0], logs_one_by_one[-1])
    assert packed[1:3] == logs_one_by_one[1:3]
    for at in (len(packed), -len(packed) - 1, 2**70):
        with pytest.raises(IndexError):
            packed[at]
    with pytest.raises(TypeError):
        packed["0"]
    with pytest.raises(TypeError):
        type(packed)()


@native
@pytest.mark.parametrize(
    "member", ["address", "topics", "data", "blockHash", "transactionHash", "blockNumber", "logIndex"]
)
def test_a_member_that_is_nearly_that_of_the_log_before_is_read_as_it_stands(member):
    """Most members say the same in log after log, and then are not read again."""
    for digit in ("a", "F", "g"):
        for at in (2, -1):
            *first, last = logs()[0][member] if member == "topics" else [logs()[0][member]]
            altered = last[:at] + digit + last[at + 1 or len(last) :]
            changed = {**logs()[0], member: [*first, altered] if member == "topics" else altered}
            text = body([logs()[0], changed, logs()[0]])

            assert (plain(read_fast(text)) or "refused") == outcome(read, text)


@native
def test_many_large_logs_are_read_whole():
    """More logs than there is room for at first, with data of all lengths around the sixteen digits read at once."""
    many = [{**logs()[0], "data": "0x" + bytes(range(size)).hex()} for size in range(120)]

    assert plain(read_fast(body(many))) == read(body(many))


@native
@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, 4000), st.binary(max_size=3), st.integers(0, 3)), max_size=3))
def test_whatever_is_altered_both_readers_agree_or_the_fast_one_leaves_it(changes):
    text = bytearray(body(logs(2)))
    for at, new, gone in changes:
        text[at % len(text) : at % len(text) + gone] = new
    text = bytes(text)

    fast = plain(read_fast(text))

    assert fast is None or fast == outcome(read, text)


@native
@settings(max_examples=300)
@given(st.integers(0, 4000), st.sampled_from(b'0123456789abcdefABCDEFxX"\\{}[],: \x00\x80'))
def test_whatever_character_is_altered_both_readers_agree_or_the_fast_one_leaves_it(at, new):
    text = bytearray(body(logs(2)))
    text[at % len(text)] = new
    text = bytes(text)

    fast = plain(read_fast(text))

    assert fast is None or fast == outcome(read, text)
