"""Serving an application on this machine, and no other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address

from aiohttp import web

from offchain.errors import ConfigError


@asynccontextmanager
async def serve_locally(application: web.Application, host: str, port: int) -> AsyncIterator[str]:
    """Serve for as long as the block lasts; the URL. ConfigError if the address cannot be used."""
    if host != "localhost" and not ip_address(host).is_loopback:
        raise ConfigError(f"the interface is for this machine only: {host} is not a loopback address")
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
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
