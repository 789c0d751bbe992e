"""News of the head: a WebSocket subscription where there is one, and polling always.

What arrives is a hint. A header from a subscription saves asking for it if it comes from the very server that is being
followed, which then has to stand by it; from anybody else it says no more than that there might be a new head.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from offchain.chain.header import Header, HeaderError, RawHeader, parse_header

log = logging.getLogger("offchain.chain")

MAX_HINTS: Final = 64
"""Hints waiting; when there are more the oldest goes, since a newer head says more."""

MAX_MESSAGE: Final = 1024 * 1024
"""Bytes of a WebSocket message; a header has two thousand."""

MAX_OTHERS: Final = 100
"""Messages in a row that are no heads; one who sends more is left."""

FIRST_RETRY: Final = 1.0
LAST_RETRY: Final = 60.0


class _Params(msgspec.Struct, frozen=True):
    result: RawHeader


class _Note(msgspec.Struct, frozen=True):
    """What a subscription delivers; an answer to the subscription itself has no params."""

    params: _Params | None = None
    error: msgspec.Raw | None = None


class Hints:
    """A bounded queue of "there may be a new head"."""

    def __init__(self) -> None:
        self._waiting: list[Header | None] = []
        self._event = asyncio.Event()

    def put(self, header: Header | None) -> None:
        """Give a hint; None means: ask."""
        if header is None and None in self._waiting:
            return
        self._waiting.append(header)
        del self._waiting[:-MAX_HINTS]
        self._event.set()

    def clear(self) -> None:
        """Forget the hints: they came while another endpoint was followed."""
        self._waiting.clear()

    async def get(self) -> Header | None:
        """The next hint."""
        while not self._waiting:
            self._event.clear()
            await self._event.wait()
        return self._waiting.pop(0)


async def poll(hints: Hints, interval: float) -> None:
    """Ask for the head every so many seconds, for ever."""
    while True:
        await asyncio.sleep(interval)
        hints.put(None)


class Subscription:
    """new heads over one WebSocket after another, reconnecting for ever."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        urls: tuple[str, ...],
        hints: Hints,
        *,
        silence: float,
        followed: Callable[[], str],
    ) -> None:
        self._session = session
        self._urls = urls
        self._hints = hints
        self._silence = silence
        """Seconds without a head after which the connection is taken for dead."""
        self._followed = followed
        """The name of the endpoint whose word the headers are taken for."""
        self.connected = False

    async def run(self) -> None:
        """Keep a subscription open. When one fails the next endpoint is tried, with pauses that grow."""
        decoder = msgspec.json.Decoder(_Note)
        failures = 0
        while True:
            url = self._urls[failures % len(self._urls)]
            name = urlsplit(url).netloc.rpartition("@")[2]
            try:
                async with self._session.ws_connect(
                    url, max_msg_size=MAX_MESSAGE, heartbeat=self._silence, timeout=aiohttp.ClientWSTimeout(ws_close=1)
                ) as socket:
                    await socket.send_str('{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}')
                    self.connected = True
                    # Subscribed first, then the gap is filled: no head falls between the two.
                    self._hints.put(None)
                    heads = await self._listen(socket, decoder, name)
                log.info("%s: the subscription ended", name)
                failures = 0 if heads else failures + 1
            except (aiohttp.ClientError, OSError, TimeoutError, msgspec.DecodeError, ValueError) as error:
                failures += 1
                log.info("%s: no subscription: %s", name, type(error).__name__)
            finally:
                self.connected = False
            await asyncio.sleep(min(FIRST_RETRY * 2 ** min(failures, 8), LAST_RETRY))

    async def _listen(
        self, socket: aiohttp.ClientWebSocketResponse, decoder: msgspec.json.Decoder[_Note], name: str
    ) -> int:
        """Hand on heads until the socket closes, or there is none for too long; how many there were.

        What is no head keeps nothing alive, however much of it comes.
        """
        heads = others = 0
        clock = asyncio.get_running_loop().time
        until = clock() + self._silence
        while others < MAX_OTHERS:
            try:
                # Not wait_for: Python 3.11's may lose a cancellation that comes together with a message.
                async with asyncio.timeout_at(until):
                    message = await socket.receive()
            except TimeoutError:
                return heads
            others += 1
            if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                return heads
            note = decoder.decode(message.data)
            if note.error is not None:
                return 0
            if note.params is not None:
                heads, others, until = heads + 1, 0, clock() + self._silence
                self._hints.put(_header(note.params.result) if name == self._followed() else None)
        return heads


def _header(raw: RawHeader) -> Header | None:
    """The header if it is complete and true; otherwise the endpoint is to be asked."""
    try:
        return parse_header(raw)
    except HeaderError:
        return None
