"""An event loop whose clock jumps to the next deadline instead of waiting for it: an hour passes in a second."""

import asyncio
import selectors


class _Impatient(selectors.SelectSelector):
    """Never waits: tells the loop that the time has passed."""

    def __init__(self):
        super().__init__()
        self.now = 0.0

    def select(self, timeout=None):
        ready = super().select(0)
        if not ready and timeout is not None and timeout > 0:
            self.now += timeout
        elif not ready and timeout is None:
            raise AssertionError("everything waits, and nothing will ever happen")
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Without sockets, threads and processes; `time` begins at 1,000."""

    def __init__(self):
        self._impatient = _Impatient()
        super().__init__(self._impatient)

    def time(self):
        return 1_000.0 + self._impatient.now


def run(work, seconds):
    """Run a coroutine for at most so many seconds of the loop's time; whether it ended by itself."""
    loop = VirtualLoop()
    try:
        task = loop.create_task(work)
        loop.run_until_complete(asyncio.wait([task], timeout=seconds))
        ended = task.done()
        if not ended:
            task.cancel()
            loop.run_until_complete(asyncio.wait([task]))
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
        return ended
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
