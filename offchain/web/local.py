"""Serving an application on this machine, and no other."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any, cast

from aiohttp import web

from offchain.errors import ConfigError


class _Weather(logging.LoggerAdapter[logging.Logger]):
    """Logs at debug whatever it is told: what aiohttp calls an error is noise that somebody sent to the port.

    Whoever did is told, and faults of ours are caught and logged before they get there, see `guard`.
    """

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        super().log(logging.DEBUG, msg, *args, **kwargs)


log = cast(logging.Logger, _Weather(logging.getLogger("offchain.web")))


@asynccontextmanager
async def serve_locally(application: web.Application, host: str, port: int) -> AsyncIterator[str]:
    """Serve for as long as the block lasts; the URL. ConfigError if the address cannot be used."""
    if host != "localhost" and not ip_address(host).is_loopback:
        raise ConfigError(f"the interface is for this machine only: {host} is not a loopback address")
    runner = web.AppRunner(application, access_log=None, logger=log, shutdown_timeout=1.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}") from None
        bound: int = runner.addresses[0][1]
        yield f"http://{f'[{host}]' if ':' in host else host}:{bound}"
    finally:
        await runner.cleanup()
