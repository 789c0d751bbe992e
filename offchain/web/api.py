"""The local HTTP interface: what the client knows and does, for other programs on this machine.

    GET  /healthz          200, or 503 when trust is EXPIRED or TAMPERED
    GET  /v1/status        trust, pool, finder, discovery
    GET  /v1/nodes         trusted nodes and where they stand; ?kind=
    GET  /v1/pool          nodes known to the pool
    GET  /v1/verify        whether a node is trusted and why; ?node=<id, enode or record>&kind=
    GET  /v1/events        server-sent events: "pool" and "trust"; ?recent=1 begins with the last ones
    POST /v1/mail/fetch    NDJSON: {"progress": ..}, {"message": ..} and at last {"done": ..} or {"error": ..};
                           with "check" then {"message": ..} of what was withheld, and {"checked": ..};
                           {"notice": ..} if this machine's clock seems to be wrong
    POST /v1/mail/follow   NDJSON without end: {"message": ..}, {"progress": ..}, {"caughtUp": ..}, {} when quiet
    POST /v1/mail/send     NDJSON: {"stored": ..} for each server, and at last {"done": ..} or {"error": ..}

Errors are {"error": {"code": .., "message": ..}}. Who may call is decided in `guard`.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web

from offchain.client.broadcast import Listener
from offchain.client.history import Finished
from offchain.errors import WaypostError
from offchain.keys import PrivateKey
from offchain.node.client import ClientNode
from offchain.web import requests, views
from offchain.web.guard import HEADERS, ApiError, guard, load_token
from offchain.web.local import serve_locally
from offchain.web.metrics import CONTENT_TYPE, exposition
from offchain.web.trust_api import health_response

log = logging.getLogger("offchain.web")

KEEPALIVE = 15.0
"""Seconds between comments on a quiet stream of events, so that both sides notice when the other is gone."""

MAX_STREAMS = 32
"""Streams without an end at a time: of events, and of followed mail."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RunningApi:
    """The interface while it is served."""

    url: str
    """http://<host>:<port>"""
    token_file: Path
    """Holds what POST needs."""


@asynccontextmanager
async def serve_api(
    node: ClientNode, key: PrivateKey, home: Path, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[RunningApi]:
    """Serve the interface for as long as the block lasts. Port 0 takes a free one.

    `key` signs what is sent with "sign". ConfigError if the address is not loopback, is taken, or the token file is of
    no use.
    """
    async with serve_locally(make_app(node, key, load_token(home)), host, port) as url:
        yield RunningApi(url, home / "api.token")


def make_app(node: ClientNode, key: PrivateKey, token: str) -> web.Application:
    """The application, with its guard."""
    api = Api(node, key)
    app = web.Application(middlewares=[guard(token)], client_max_size=requests.MAX_BODY)
    app.add_routes(
        [
            web.get("/healthz", api.health),
            web.get("/metrics", api.metrics),
            web.get("/v1/status", api.status),
            web.get("/v1/nodes", api.nodes),
            web.get("/v1/pool", api.pool),
            web.get("/v1/verify", api.verify),
            web.get("/v1/events", api.events),
            web.post("/v1/mail/fetch", api.mail_fetch),
            web.post("/v1/mail/follow", api.mail_follow),
            web.post("/v1/mail/send", api.mail_send),
        ]
    )
    app.on_shutdown.append(api.stop)
    return app


class Api:
    """The handlers."""

    def __init__(self, node: ClientNode, key: PrivateKey) -> None:
        self._node = node
        self._key = key
        self._streams = 0
        self._stopping = asyncio.Event()

    async def stop(self, _: web.Application) -> None:
        """End the streams, so that the server can stop."""
        self._stopping.set()

    async def health(self, _: web.Request) -> web.Response:
        """Whether trust can be relied on."""
        return health_response(self._node.trust.state.name)

    async def metrics(self, _: web.Request) -> web.Response:
        """For Prometheus."""
        status: dict[str, Any] = self._node.status()
        parts = {part: status[part] for part in ("pool", "finder", "discovery")}
        return web.Response(text=exposition(status["trust"], parts), headers={"Content-Type": CONTENT_TYPE})

    async def status(self, _: web.Request) -> web.Response:
        """How everything stands."""
        return web.json_response(self._node.status())

    async def nodes(self, request: web.Request) -> web.Response:
        """Trusted nodes of a kind, with what the pool knows of them."""
        kind = requests.kind_of(request.query.get("kind", self._node.kind))
        in_pool = {node.contact.node_id: node for node in self._node.pool.nodes()} if kind == self._node.kind else {}
        rows = []
        for trusted in self._node.trust.nodes(kind):
            row = views.trusted_node(trusted)
            pooled = in_pool.get(trusted.node_id)
            contact = self._node.finder.contact(trusted.node_id) if kind == self._node.kind else None
            row["address"] = None if contact is None else contact.address
            row["state"] = None if pooled is None else pooled.state.value
            row["reason"] = None if pooled is None else pooled.reason or None
            rows.append(row)
        return web.json_response({"schemaVersion": 1, "kind": kind, "nodes": rows})

    async def pool(self, _: web.Request) -> web.Response:
        """Every node known to the pool."""
        rows = [views.pool_node(node) for node in self._node.pool.nodes()]
        return web.json_response({"schemaVersion": 1, "kind": self._node.kind, "nodes": rows})

    async def verify(self, request: web.Request) -> web.Response:
        """Whether a node is trusted, and why."""
        if "node" not in request.query:
            raise ApiError(400, "node", "say which node: ?node=<id of 64 hex digits, enode or record>")
        node_id = requests.node_id_of(request.query["node"])
        kind = requests.kind_of(request.query.get("kind", self._node.kind))
        answer = views.explanation(self._node.trust.explain(kind, node_id))
        return web.json_response({"schemaVersion": 1, "kind": kind, "nodeId": views.hexed(node_id), **answer})

    async def events(self, request: web.Request) -> web.StreamResponse:
        """What happens to nodes and trust, as it happens."""
        if self._streams >= MAX_STREAMS:
            raise ApiError(503, "busy", f"{MAX_STREAMS} streams of events are open already")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **HEADERS})
        self._streams += 1
        try:
            with self._node.pool.events.listen() as pool, self._node.changes.listen() as trust:
                await response.prepare(request)
                await response.write(b": waypost\n\n")
                if request.query.get("recent"):
                    for event in self._node.pool.events.recent:
                        await response.write(_sse("pool", views.pool_event(event)))
                await self._until_stopped(
                    _pump(response, pool, "pool", views.pool_event),
                    _pump(response, trust, "trust", views.trust_change),
                    _keep_alive(response, b": still here\n\n"),
                )
        except ConnectionResetError:
            log.debug("a reader of events left")
        finally:
            self._streams -= 1
        return response

    async def mail_fetch(self, request: web.Request) -> web.StreamResponse:
        """Read history."""
        wanted = requests.fetch_request(await requests.read_body(request))
        response = await _start_lines(request)
        mailbox = self._node.mailbox
        read = mailbox.fetch_checked if wanted.check else mailbox.fetch
        try:
            async with aclosing(read(wanted.query, wanted.keys.join(mailbox.keys))) as events:
                async for event in events:
                    await response.write(_line(views.mail_event(event)))
            if mailbox.clock.notice is not None:
                await response.write(_line({"notice": mailbox.clock.notice}))
        except WaypostError as error:
            await response.write(_line({"error": {"code": "fetch", "message": str(error)}}))
        except ConnectionResetError:
            log.debug("a reader of history left")
        return response

    async def mail_follow(self, request: web.Request) -> web.StreamResponse:
        """Read what was sent since then, and go on with what arrives."""
        wanted = requests.follow_request(await requests.read_body(request))
        if self._streams >= MAX_STREAMS:
            raise ApiError(503, "busy", f"{MAX_STREAMS} streams are open already")
        response = await _start_lines(request)
        self._streams += 1
        try:

            async def follow() -> None:
                mailbox = self._node.mailbox
                keys = wanted.keys.join(mailbox.keys)
                async with aclosing(mailbox.follow(wanted.topics, wanted.since, keys)) as events:
                    async for event in events:
                        await response.write(_line(views.mail_event(event)))
                        if isinstance(event, Finished) and mailbox.clock.notice is not None:
                            await response.write(_line({"notice": mailbox.clock.notice}))

            await self._until_stopped(follow(), _keep_alive(response, _line({})))
        except WaypostError as error:
            await response.write(_line({"error": {"code": "follow", "message": str(error)}}))
        except ConnectionResetError:
            log.debug("a follower left")
        finally:
            self._streams -= 1
        return response

    async def mail_send(self, request: web.Request) -> web.StreamResponse:
        """Send a message."""
        wanted = requests.send_request(await requests.read_body(request))
        response = await _start_lines(request)
        mailbox = self._node.mailbox
        try:
            envelope = await mailbox.compose(
                wanted.payload,
                wanted.topic,
                wanted.to,
                sign_with=self._key if wanted.sign else None,
                ttl=wanted.ttl,
            )
            await response.write(_line({"progress": {"what": "composed", "hash": views.hexed(envelope.hash)}}))
            results = await mailbox.post([envelope], wanted.copies)
            for result in results:
                await response.write(_line({"stored": views.stored(result)}))
            count = sum(result.refusal is None for result in results)
            await response.write(_line({"done": {"hash": views.hexed(envelope.hash), "copies": count}}))
        except WaypostError as error:
            await response.write(_line({"error": {"code": "send", "message": str(error)}}))
        except ConnectionResetError:
            log.debug("a sender left")
        return response

    async def _until_stopped(self, *coroutines: Coroutine[Any, Any, None]) -> None:
        """Run these until one ends or the service stops; the first error comes out."""
        tasks = [asyncio.ensure_future(coroutine) for coroutine in (*coroutines, self._wait_for_stop())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _wait_for_stop(self) -> None:
        await self._stopping.wait()


async def _pump(response: web.StreamResponse, events: Listener[T], name: str, view: Callable[[T], views.Json]) -> None:
    missed = 0
    async for event in events:
        if events.missed > missed:
            missed = events.missed
            await response.write(_sse("missed", {"stream": name, "events": missed}))
        await response.write(_sse(name, view(event)))


async def _keep_alive(response: web.StreamResponse, nothing: bytes) -> None:
    while True:
        await asyncio.sleep(KEEPALIVE)
        await response.write(nothing)


async def _start_lines(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", **HEADERS})
    await response.prepare(request)
    return response


def _line(document: views.Json) -> bytes:
    return json.dumps(document).encode() + b"\n"


def _sse(name: str, document: views.Json) -> bytes:
    return f"event: {name}\ndata: {json.dumps(document)}\n\n".encode()
