import asyncio
from itertools import count

import pytest

from offchain.mailserver.turns import Turns
from tests.support.mailserver import until


async def test_only_so_many_have_a_turn_at_a_time_and_all_get_one():
    turns = Turns(2)
    inside, most, done = 0, 0, count()

    async def client(number):
        nonlocal inside, most
        async with turns.turn(number) as turn:
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            turn.envelopes = number
            inside -= 1
        next(done)

    await asyncio.gather(*(client(number) for number in range(20)))

    assert most == 2
    assert next(done) == 20
    assert turns.waiting == 0


async def test_the_others_overtake_who_has_had_a_lot():
    turns = Turns(1)
    order = []

    async def client(name, cost, slices):
        for _ in range(slices):
            async with turns.turn(name) as turn:
                order.append(name)
                turn.envelopes = cost

    greedy = asyncio.create_task(client("greedy", 256, 10))
    await until(lambda: len(order) >= 2)
    await asyncio.gather(*(client(f"modest {number}", 1, 1) for number in range(5)))
    await greedy
    modest = [at for at, name in enumerate(order) if name != "greedy"]

    assert modest == list(range(modest[0], modest[0] + 5))
    assert modest[0] <= 3


async def test_who_gives_up_waiting_takes_no_turn():
    turns = Turns(1)
    entered = asyncio.Event()
    leave = asyncio.Event()

    async def first():
        async with turns.turn("first"):
            entered.set()
            await leave.wait()

    async def other():
        async with turns.turn("other"):
            pass

    holding = asyncio.create_task(first())
    await entered.wait()
    waiting = asyncio.create_task(other())
    await until(lambda: turns.waiting)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    leave.set()
    await holding

    await asyncio.wait_for(other(), 10)


async def test_a_turn_that_comes_to_somebody_who_is_just_leaving_goes_to_the_next():
    turns = Turns(1)
    got = []

    async def client(name):
        async with turns.turn(name):
            got.append(name)

    leaving = asyncio.create_task(client("leaving"))
    staying = asyncio.create_task(client("staying"))
    await asyncio.sleep(0)  # both wait now, and the first is about to be called
    asyncio.get_running_loop().call_soon(leaving.cancel)
    await asyncio.wait_for(staying, 10)

    assert got == ["staying"]


async def test_an_error_inside_a_turn_ends_it():
    turns = Turns(1)
    with pytest.raises(RuntimeError):
        async with turns.turn("one"):
            raise RuntimeError

    async with asyncio.timeout(10), turns.turn("two"):
        pass
