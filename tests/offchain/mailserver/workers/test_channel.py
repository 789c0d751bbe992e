import asyncio
import socket
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.errors import ConnectionLost, DecodeError
from offchain.mailserver.workers.channel import MAX_SIZE, Channel, Kind, Message

fields = st.lists(st.one_of(st.binary(max_size=80), st.lists(st.binary(max_size=40), max_size=5)), max_size=5)


@asynccontextmanager
async def pair():
    ends = socket.socketpair()
    channels = [Channel(*await asyncio.open_connection(sock=each)) for each in ends]
    try:
        yield channels
    finally:
        for each in channels:
            each.close()


@given(st.sampled_from(Kind), st.integers(0, 2**32), fields)
def test_a_message_comes_as_it_was_sent(kind, number, fields):
    message = Message(kind, number, tuple(fields))

    encoded = message.encode()

    assert int.from_bytes(encoded[:4], "big") == len(encoded) - 4
    assert Message.decode(encoded[4:]) == message


@given(st.binary(max_size=60))
def test_noise_is_no_message(noise):
    try:
        message = Message.decode(noise)
    except DecodeError:
        return
    assert Message.decode(message.encode()[4:]) == message


async def test_answers_reach_those_who_asked_in_whatever_order_they_come():
    async with pair() as (worker, first):
        receiving = asyncio.create_task(worker.receive())
        questions = [asyncio.create_task(worker.ask(Kind.STORE, [bytes((n,))])) for n in range(3)]
        asked = [await first.receive() for _ in questions]
        for question in reversed(asked):
            ((raw,),) = question.fields
            first.send(Kind.STORED, raw, b"", number=question.number)

        answers = await asyncio.gather(*questions)
        first.send(Kind.STOP)

        assert [answer.fields[0] for answer in answers] == [b"\x00", b"\x01", b"\x02"]
        assert (await receiving).kind is Kind.STOP


async def test_who_waits_for_an_answer_is_told_when_the_other_process_is_gone():
    async with pair() as (worker, first):
        question = asyncio.create_task(worker.ask(Kind.TRUSTED, bytes(32)))
        receiving = asyncio.create_task(worker.receive())
        await first.receive()

        first.close()

        with pytest.raises(ConnectionLost):
            await receiving
        worker.close()
        with pytest.raises(ConnectionLost):
            await question
        with pytest.raises(ConnectionLost):
            await worker.ask(Kind.TRUSTED, bytes(32))


async def test_a_size_beyond_all_measure_ends_it():
    ours, theirs = socket.socketpair()
    channel = Channel(*await asyncio.open_connection(sock=ours))
    theirs.sendall((MAX_SIZE + 1).to_bytes(4, "big"))

    with pytest.raises(ConnectionLost):
        await channel.receive()

    channel.close()
    theirs.close()
