"""A TCP connection's way from one process to another, with faults on demand."""

import asyncio
from contextlib import suppress

CHUNK = 65_536


class TcpLink:
    """Listens on a port of its own and passes bytes on to `target`, a port that may change; None refuses.

    `cut` ends what is open and refuses what is new; `freeze` holds every byte back; `slow` delays each piece by so many
    seconds; `heal` ends all three.
    """

    def __init__(self):
        self.target = None
        self.port = 0
        self._cut = False
        self._delay = 0.0
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers = set()
        self._tasks = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error):
        self._server.close()
        self._end()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def cut(self):
        self._cut = True
        self._end()

    def freeze(self):
        self._flowing.clear()

    def slow(self, seconds):
        self._delay = seconds

    def heal(self):
        self._cut, self._delay = False, 0.0
        self._flowing.set()

    def _end(self):
        for writer in self._writers:
            writer.transport.abort()

    async def _pass_on(self, reader, writer):
        self._tasks.add(task := asyncio.current_task())
        task.add_done_callback(self._tasks.discard)
        self._writers.add(writer)
        onward = None
        try:
            await self._flowing.wait()
            if self._cut or self.target is None:
                return
            back, onward = await asyncio.open_connection("127.0.0.1", self.target)
            self._writers.add(onward)
            ways = [asyncio.create_task(self._flow(*way)) for way in ((reader, onward), (back, writer))]
            self._tasks.update(ways)
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
                way.add_done_callback(self._tasks.discard)
        except (OSError, asyncio.CancelledError):
            pass  # either way it ends here; asyncio would log the cancellation as an error
        finally:
            for each in (writer, onward):
                if each is not None:
                    self._writers.discard(each)
                    each.transport.abort()

    async def _flow(self, reader, writer):
        """One direction, until it ends."""
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                await self._flowing.wait()
                if self._delay:
                    await asyncio.sleep(self._delay)
                writer.write(data)
                await writer.drain()
