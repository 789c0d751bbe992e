"""Running asynchronous work from a command, and ending it on a signal."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """Set when the user or the system asks a service to end."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Ask the service to end."""
        self._event.set()

    async def wait(self) -> None:
        """Wait until the service is asked to end."""
        await self._event.wait()


def serve(service: Callable[[Stop], Awaitable[None]]) -> None:
    """Run a service until it ends, or until a signal asks it to; then let it close what it holds.

    A second signal does not wait for that: it interrupts at once.
    """

    async def main() -> None:
        stop = Stop()
        loop = asyncio.get_running_loop()
        running = asyncio.current_task()
        assert running is not None

        def on_signal() -> None:
            stop.set()
            for number in SIGNALS:
                loop.remove_signal_handler(number)
                loop.add_signal_handler(number, running.cancel)

        for number in SIGNALS:
            loop.add_signal_handler(number, on_signal)
        await service(stop)

    try:
        asyncio.run(main())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def run(work: Callable[[], Awaitable[T]]) -> T:
    """Run work to its end; SIGTERM and SIGHUP interrupt it as Ctrl-C does."""

    async def main() -> T:
        running = asyncio.current_task()
        assert running is not None
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, running.cancel)
        return await work()

    try:
        return asyncio.run(main())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
