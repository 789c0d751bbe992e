"""The loopback interface of a plain discovery node.

GET /healthz      200, or 503 when it should have company and has none
GET /metrics      for Prometheus
GET /v1/status    its record, its counters
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from offchain.web.guard import guard
from offchain.web.local import serve_locally
from offchain.web.metrics import CONTENT_TYPE, counters

GRACE = 60.0
"""Seconds for which a node may be seen alone: it was just started, or lost everybody a moment ago."""

Status = Callable[[], Mapping[str, Any]]


class NodeApi:
    """The handlers."""

    def __init__(self, status: Status, *, expects_company: bool, clock: Callable[[], float] = time.monotonic) -> None:
        """`status` gives the node's document; a node `expects_company` that was told whom to start from."""
        self._status = status
        self._expects_company = expects_company
        self._clock = clock
        self._alone_since: float | None = None

    def application(self) -> web.Application:
        """The application, with its guard; nothing in it is written to."""
        app = web.Application(middlewares=[guard("")])
        app.add_routes(
            [web.get("/healthz", self.health), web.get("/metrics", self.metrics), web.get("/v1/status", self.status)]
        )
        return app

    async def health(self, _: web.Request) -> web.Response:
        """Whether it has the company that it should have."""
        live = self._status()["discovery"]["live"]
        now = self._clock()
        if live or self._alone_since is None:
            self._alone_since = None if live else now
        healthy = not self._expects_company or self._alone_since is None or now - self._alone_since <= GRACE
        return web.json_response({"healthy": healthy, "live": live}, status=200 if healthy else 503)

    async def metrics(self, _: web.Request) -> web.Response:
        """For Prometheus."""
        text = counters({"discovery": self._status()["discovery"]})
        return web.Response(text=text, headers={"Content-Type": CONTENT_TYPE})

    async def status(self, _: web.Request) -> web.Response:
        """How everything stands."""
        return web.json_response(self._status())


@asynccontextmanager
async def serve_node(status: Status, host: str, port: int, *, expects_company: bool) -> AsyncIterator[str]:
    """Answer for as long as the block lasts; the URL. ConfigError if the port is taken."""
    application = NodeApi(status, expects_company=expects_company).application()
    async with serve_locally(application, host, port) as url:
        yield url
