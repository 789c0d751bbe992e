"""An event loop whose clock is a number: waiting takes no time, and what happens is the same in every run."""

import asyncio
import selectors
from contextlib import contextmanager

TICK = 0.01
"""Seconds that pass whenever the loop goes around, so that nobody who asks again at once stops the time."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """When nothing is left to do but to wait, the clock goes to the end of the wait. Without sockets and threads."""

    def __init__(self, tick=TICK):
        super().__init__(_NoWait(self))
        self.now = 0.0
        self.tick = tick

    def time(self):
        return self.now


class _NoWait(selectors.SelectSelector):
    def __init__(self, loop):
        super().__init__()
        self._loop = loop

    def select(self, timeout=None):
        if timeout is None:
            raise RuntimeError("everybody waits, and nothing will ever happen")
        self._loop.now += max(timeout, self._loop.tick)
        return super().select(0)


@contextmanager
def virtual_loop(tick=TICK):
    """The loop for as long as the block lasts; what is left running is cancelled at its end."""
    loop = VirtualLoop(tick)
    try:
        yield loop
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(_ended(left))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def _ended(tasks):
    await asyncio.gather(*tasks, return_exceptions=True)


def run(work, seconds):
    """Run a coroutine for at most so many seconds of virtual time, which passes in waiting only; whether it ended."""
    with virtual_loop(tick=0.0) as loop:
        task = loop.create_task(work)
        loop.run_until_complete(asyncio.wait([task], timeout=seconds))
        ended = task.done()
        if not ended:
            task.cancel()
            loop.run_until_complete(asyncio.wait([task]))
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
        return ended
