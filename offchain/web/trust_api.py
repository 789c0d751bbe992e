"""The local interface of `waypost watch`: trust alone, without a pool.

GET /healthz      503 when what is known is EXPIRED or TAMPERED
GET /metrics      for Prometheus
GET /v1/status    how everything stands
GET /v1/nodes     ?kind=      the trusted nodes
GET /v1/verify    ?kind=&node=    the chain of reasons
GET /v1/events    changes of trust, as server-sent events
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from aiohttp import web

from offchain.trust.nodes import Resync, TrustedNodes
from offchain.types import MAILSERVER
from offchain.web import requests, views
from offchain.web.guard import HEADERS, ApiError, guard, load_token
from offchain.web.local import serve_locally
from offchain.web.metrics import CONTENT_TYPE, exposition

MAX_STREAMS = 32
"""Streams of events at a time."""


class TrustApi:
    """The handlers."""

    def __init__(self, trust: TrustedNodes) -> None:
        self._trust = trust
        self._streams: set[asyncio.Task[None]] = set()

    def application(self, token: str) -> web.Application:
        """The application, with its guard."""
        app = web.Application(middlewares=[guard(token)], client_max_size=requests.MAX_BODY)
        app.add_routes(
            [
                web.get("/healthz", self.health),
                web.get("/metrics", self.metrics),
                web.get("/v1/status", self.status),
                web.get("/v1/nodes", self.nodes),
                web.get("/v1/verify", self.verify),
                web.get("/v1/events", self.events),
            ]
        )
        app.on_shutdown.append(self._stop)
        return app

    async def health(self, _: web.Request) -> web.Response:
        """Whether trust can be relied on."""
        return health_response(self._trust.state.name)

    async def metrics(self, _: web.Request) -> web.Response:
        """For Prometheus."""
        return web.Response(text=exposition(self._trust.status()), headers={"Content-Type": CONTENT_TYPE})

    async def status(self, _: web.Request) -> web.Response:
        """How everything stands."""
        return web.json_response({"schemaVersion": 1, "trust": self._trust.status()})

    async def nodes(self, request: web.Request) -> web.Response:
        """Trusted nodes of a kind."""
        kind = requests.kind_of(request.query.get("kind", MAILSERVER))
        rows = [views.trusted_node(node) for node in self._trust.nodes(kind)]
        return web.json_response({"schemaVersion": 1, "kind": kind, "nodes": rows})

    async def verify(self, request: web.Request) -> web.Response:
        """Whether a node is trusted, and why."""
        if "node" not in request.query:
            raise ApiError(400, "node", "say which node: ?node=<id of 64 hex digits, enode or record>")
        node_id = requests.node_id_of(request.query["node"])
        kind = requests.kind_of(request.query.get("kind", MAILSERVER))
        answer = views.explanation(self._trust.explain(kind, node_id))
        return web.json_response({"schemaVersion": 1, "kind": kind, "nodeId": views.hexed(node_id), **answer})

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Changes of trust, as they come."""
        if len(self._streams) >= MAX_STREAMS:
            raise ApiError(503, "busy", f"{MAX_STREAMS} streams of events are open already")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **HEADERS})
        task = asyncio.create_task(self._pump(request, response))
        self._streams.add(task)
        try:
            await task
        except asyncio.CancelledError:
            if not task.cancelled():
                task.cancel()
                raise
        except ConnectionResetError:
            pass  # The reader left.
        finally:
            self._streams.discard(task)
        return response

    async def _pump(self, request: web.Request, response: web.StreamResponse) -> None:
        changes = self._trust.changes()
        await response.prepare(request)
        await response.write(b": waypost\n\n")
        async for change in changes:
            name, document = "trust", views.Json()
            if isinstance(change, Resync):
                name, document = "resync", {"version": change.version}
            else:
                document = views.trust_change(change)
            await response.write(f"event: {name}\ndata: {json.dumps(document)}\n\n".encode())

    async def _stop(self, _: web.Application) -> None:
        for task in list(self._streams):
            task.cancel()
            with suppress(asyncio.CancelledError, ConnectionResetError):
                await task


@asynccontextmanager
async def serve_trust(trust: TrustedNodes, home: Path, host: str, port: int) -> AsyncIterator[str]:
    """Serve the interface for as long as the block lasts; its URL. ConfigError if the address cannot be used."""
    async with serve_locally(TrustApi(trust).application(load_token(home)), host, port) as url:
        yield url


def health_response(state: str) -> web.Response:
    """200 or 503, and why."""
    healthy = state not in ("EXPIRED", "TAMPERED")
    return web.json_response({"healthy": healthy, "state": state}, status=200 if healthy else 503)
