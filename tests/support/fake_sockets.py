"""WebSocket subscriptions to fake nodes: heads are told when the test says so, and connections end when it says so."""

import asyncio
import json

import aiohttp


class FakeSockets:
    """Stands in for the HTTP session of `FakeRpc`: all that a subscription needs of it."""

    def __init__(self):
        self._open = []

    def ws_connect(self, url, **_):
        return _Socket(self._open)

    def tell(self, header):
        """Announce a head to all subscribers."""
        note = json.dumps({"method": "eth_subscription", "params": {"subscription": "0x1", "result": header}})
        for socket in self._open:
            socket.waiting.put_nowait(aiohttp.WSMessage(aiohttp.WSMsgType.TEXT, note, None))

    def cut(self):
        """End all connections; what is under way is lost."""
        for socket in self._open:
            socket.waiting = asyncio.Queue()
            socket.end.set()


class _Socket:
    def __init__(self, among):
        self._among = among
        self.waiting = asyncio.Queue()
        self.end = asyncio.Event()

    async def __aenter__(self):
        self._among.append(self)
        return self

    async def __aexit__(self, *_):
        self._among.remove(self)

    async def send_str(self, text):
        pass

    async def receive(self):
        message, end = asyncio.ensure_future(self.waiting.get()), asyncio.ensure_future(self.end.wait())
        try:
            await asyncio.wait([message, end], return_when=asyncio.FIRST_COMPLETED)
            return message.result() if message.done() else aiohttp.WSMessage(aiohttp.WSMsgType.CLOSED, None, None)
        finally:
            message.cancel()
            end.cancel()
