"""A JSON-RPC proxy between the product and a chain: HTTP and WebSocket, with faults on demand."""

import asyncio
import gzip
import json
from contextlib import asynccontextmanager, suppress

from aiohttp import ClientError, ClientSession, WSMsgType, web

HUGE = 80 * 1024 * 1024
"""Bytes of a huge answer: more than the product reads."""

FAULTS = ("omit", "alter", "repeat", "reorder", "delay", "limit", "hang", "huge", "bomb", "break", "page", "nothing")


class EndpointProxy:
    """One endpoint. `fault` is one of FAULTS, or None to pass everything on as it is."""

    def __init__(self, upstream):
        self.upstream = upstream
        self.fault = None
        self.url = self.websocket = ""
        self.requests = 0
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

    async def _subscribe(self, request):
        down = web.WebSocketResponse()
        await down.prepare(request)
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
