"""Tasks beside a block: they run as long as it does, and their failure is its failure."""

import asyncio

import pytest

from offchain.errors import ConfigError
from offchain.node.background import background


async def forever(log):
    try:
        await asyncio.Event().wait()
    finally:
        log.append("ended")


async def fail():
    raise ConfigError("no")


async def test_tasks_end_with_the_block():
    log = []
    async with background(forever(log), forever(log)):
        await asyncio.sleep(0)

    assert log == ["ended", "ended"]


async def test_a_failing_task_ends_the_block_and_its_error_comes_out_as_it_is():
    log = []
    with pytest.raises(ConfigError, match="no"):
        async with background(forever(log), fail()):
            await asyncio.Event().wait()

    assert log == ["ended"]


async def test_an_error_in_the_block_comes_out_as_it_is():
    log = []

    async def block():
        async with background(forever(log)):
            await asyncio.sleep(0)
            raise KeyError("x")

    with pytest.raises(KeyError):
        await block()

    assert log == ["ended"]


async def test_cancelling_the_block_cancels_the_tasks():
    log = []

    async def block():
        async with background(forever(log)):
            await asyncio.Event().wait()

    task = asyncio.ensure_future(block())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["ended"]
