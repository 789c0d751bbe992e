"""A JSON-RPC proxy between the product and a chain: HTTP and WebSocket, with faults on demand."""

import asyncio
import gzip
import json
from collections import Counter
from contextlib import asynccontextmanager, suppress

from aiohttp import ClientError, ClientSession, WSMsgType, web

HUGE = 80 * 1024 * 1024
"""Bytes of a huge answer: more than the product reads."""

FAULTS = (
    *("omit", "alter", "repeat", "reorder", "delay", "limit", "hang", "huge", "bomb", "break", "page", "nothing"),
    *("drip", "redirect", "deep", "twice", "number", "escape", "flood"),
)


ODD = {
    "deep": '{"jsonrpc":"2.0","id":1,"more":' + "[" * 100_000 + "]" * 100_000 + ',"result":null}',
    "twice": '{"jsonrpc":"2.0","id":1,"result":"0x1","result":{"number":"0x1"},"id":2,"error":null}',
    "number": '{"jsonrpc":"2.0","id":1' + "0" * 5_000 + ',"result":"0x' + "f" * 1_000_000 + '"}',
    "escape": '{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"\\u001b[2J' + "z" * 1_000_000 + '"}}',
}
"""Answers that are JSON, and odd."""


class EndpointProxy:
    """One endpoint. `fault` is one of FAULTS, or None to pass everything on as it is."""

    def __init__(self, upstream):
        self.upstream = upstream
        self.fault = None
        self.url = self.websocket = ""
        self.requests = 0
        self.methods = Counter()
        self._sockets = set()

    @asynccontextmanager
    async def running(self):
        """Answer on a free port while the block lasts."""
        app = web.Application(client_max_size=2**24)
        app.add_routes([web.post("/", self._post), web.get("/", self._subscribe)])
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        async with ClientSession() as self._client:
            try:
                await web.TCPSite(runner, "127.0.0.1", 0).start()
                port = runner.addresses[0][1]
                self.url, self.websocket = f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}"
                yield self
            finally:
                await self.drop_sockets()
                await runner.cleanup()

    async def drop_sockets(self):
        """End every subscription, without a word."""
        for socket in list(self._sockets):
            await socket.close()

    async def _post(self, request):
        self.requests += 1
        call = json.loads(await request.read())
        self.methods.update([each["method"] for each in (call if isinstance(call, list) else [call])])
        fault = self.fault
        if fault == "hang":
            await asyncio.sleep(60)
        if fault == "delay":
            await asyncio.sleep(0.1)
        if fault == "limit":
            return web.Response(status=429, text="too many requests")
        if fault == "page":
            return web.Response(text="<html>upstream error</html>", content_type="text/html")
        if fault == "nothing":
            return web.json_response([_nothing(each) for each in call] if isinstance(call, list) else _nothing(call))
        if fault == "bomb":
            packed = gzip.compress(bytes(HUGE))
            return web.Response(body=packed, headers={"Content-Encoding": "gzip", "Content-Type": "application/json"})
        if fault in ("huge", "break"):
            return await self._pour(request, fault)
        if fault == "drip":
            return await self._drip(request)
        if fault == "redirect":
            raise web.HTTPTemporaryRedirect(self.upstream)
        if fault in ODD:
            return web.Response(text=ODD[fault], content_type="application/json")
        try:
            async with self._client.post(self.upstream, json=call) as answer:
                document = await answer.json()
        except ClientError:
            return web.Response(status=502)
        if isinstance(call, dict) and call["method"] == "eth_getLogs" and document.get("result"):
            document["result"] = _lie(fault, document["result"])
        return web.json_response(document)

    @staticmethod
    async def _pour(request, fault):
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        await response.write(b'{"jsonrpc":"2.0","id":1,"result":[')
        if fault == "break":
            request.transport.close()
            return response
        with suppress(ConnectionError):  # the reader has had enough
            for _ in range(HUGE // 2**20):
                await response.write(b" " * 2**20)
        return response

    @staticmethod
    async def _drip(request):
        """An answer that would take a day."""
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        with suppress(ConnectionError):
            for _ in range(86_400):
                await response.write(b" ")
                await asyncio.sleep(0.1)
        return response

    @staticmethod
    async def _flood(socket):
        """Messages without an end, none of them a head."""
        with suppress(ConnectionError):
            for number in range(1_000_000):
                await socket.send_str(f'{{"jsonrpc": "2.0", "id": {number}}}')
        return socket

    async def _subscribe(self, request):
        down = web.WebSocketResponse()
        await down.prepare(request)
        if self.fault == "flood":
            return await self._flood(down)
        self._sockets.add(down)
        try:
            async with self._client.ws_connect(self.upstream.replace("http", "ws")) as up:
                await asyncio.wait(
                    [asyncio.ensure_future(_copy(up, down)), asyncio.ensure_future(_copy(down, up))],
                    return_when=asyncio.FIRST_COMPLETED,
                )
        except ClientError:
            pass
        finally:
            self._sockets.discard(down)
        return down


async def _copy(source, target):
    async for message in source:
        if message.type is not WSMsgType.TEXT or target.closed:
            return
        await target.send_str(message.data)


def _nothing(call):
    return {"jsonrpc": "2.0", "id": call["id"], "result": None}


def _lie(fault, logs):
    if fault == "omit":
        return logs[:-1]
    if fault == "alter":
        return [*logs[:-1], {**logs[-1], "data": logs[-1]["data"][:-2] + "00"}]
    if fault == "repeat":
        return [*logs, logs[-1]]
    if fault == "reorder":
        return logs[::-1] if len(logs) > 1 else logs * 2
    return logs
