"""How services and work end on signals: cleanly at the first, at once at the second, as an interruption for work."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from offchain.cli.running import SIGNALS, run, serve


def tell(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_asks_a_service_to_close_what_it_holds(number):
    closed = []

    async def service(stop):
        tell(number)
        await stop.wait()
        closed.append(True)

    serve(service)

    assert closed == [True]


def test_a_second_signal_does_not_wait():
    closed = []

    async def service(stop):
        tell(signal.SIGTERM)
        await stop.wait()
        try:
            tell(signal.SIGTERM)
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    with pytest.raises(KeyboardInterrupt):
        serve(service)

    assert closed == [True]


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_interrupts_work_which_still_closes_what_it_holds(number):
    closed = []

    async def work():
        try:
            tell(number)
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    with pytest.raises(KeyboardInterrupt):
        run(work)

    assert closed == [True]


def test_work_that_ends_gives_its_result():
    async def work():
        return 5

    assert run(work) == 5


def test_an_error_of_a_service_comes_out():
    async def service(stop):
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        serve(service)
