"""Services that the commands run until they are asked to stop, and what they print meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from offchain.cli.output import Output
from offchain.cli.running import Stop, serve
from offchain.cli.settings import Settings
from offchain.config import ServiceConfig
from offchain.enode import Enode
from offchain.enr import Enr
from offchain.errors import ConfigError
from offchain.keys import PrivateKey
from offchain.types import Kind, parse_kind

ARCHIVE_INTERVAL = 0.5
"""Seconds between looks at how much is stored."""


def node_key(settings: Settings, path: Path | None = None) -> PrivateKey:
    """The node's key: of the named file, or the home folder's, which is made at first use."""
    if path is not None:
        return PrivateKey.load(path)
    default = settings.key_path()
    if not default.exists():
        PrivateKey.generate().save(default)
    return PrivateKey.load(default)


def connecting_key(own: PrivateKey, *, alone: bool) -> PrivateKey:
    """The key to connect with.

    Servers end a node's older connection when it connects again. Beside a service that connects with the home's key we
    therefore come as somebody new; what is signed and opened goes by the home's key all the same.
    """
    return own if alone else PrivateKey.generate()


def ready_line(output: Output, record: Enr, text: str, **more: object) -> None:
    """Say that a service is ready, with what others need to reach it."""
    endpoint = record.endpoint or record.endpoint6
    enode = None
    if endpoint is not None and endpoint.tcp:
        enode = Enode(record.public, endpoint.ip, endpoint.tcp, endpoint.udp).text
    document: dict[str, object] = {
        "event": "ready",
        "nodeId": "0x" + record.node_id.hex(),
        "enr": record.text,
        "enode": enode,
        "kinds": list(record.kinds),
        "udp": endpoint.udp if endpoint else None,
        "tcp": endpoint.tcp if endpoint else None,
        **more,
    }
    output.event(document, text)


def run_plain_node(
    output: Output, settings: Settings, key_path: Path | None, kinds: tuple[Kind, ...], tcp: int | None, http: bool
) -> None:
    """`waypost node run`; with its local interface if that is wanted."""
    from offchain.node import open_discovery

    config = replace(settings.discovery(), kinds=kinds, tcp=tcp)
    key, interface = node_key(settings, key_path), settings.http()

    async def service(stop: Stop) -> None:
        async with AsyncExitStack() as stack:
            node = await stack.enter_async_context(open_discovery(key, config))
            url = None
            if http:
                from offchain.web.node_api import serve_node

                serving = serve_node(
                    node.status, interface.host, interface.port, expects_company=bool(config.bootnodes)
                )
                url = await stack.enter_async_context(serving)
            record = node.discovery.record
            text = f"discovery node {record.node_id.hex()}\n{record.text}" + (f"\nanswering at {url}" if url else "")
            ready_line(output, record, text, url=url)
            await stop.wait()

    serve(service)


def run_mailserver(output: Output, settings: Settings, key_path: Path | None) -> None:
    """`waypost mailserver`."""
    from offchain.cli.daemon import lock_home
    from offchain.cli.narrator import tell_states
    from offchain.node import open_server
    from offchain.node.background import background

    chain, discovery, server = settings.chain(), settings.discovery(), settings.mailserver()
    key = node_key(settings, key_path)

    async def service(stop: Stop) -> None:
        async with open_server(key, chain, discovery, server, settings.policy_path) as node:
            record = node.discovery.record
            ready_line(output, record, f"mail server {record.node_id.hex()}\n{record.text}")
            async with background(tell_archive(output, node.server.stats), tell_states(output, node.trust)):
                await stop.wait()

    with lock_home(settings.home):
        serve(service)


def run_service(
    output: Output, settings: Settings, key_path: Path | None, kind: str, tcp: int, data: Path | None, contact: str
) -> None:
    """`waypost service`."""
    from offchain.cli.daemon import lock_home
    from offchain.cli.narrator import tell_states
    from offchain.node.background import background
    from offchain.node.service import open_service

    try:
        named = parse_kind(kind)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    chain, discovery = settings.chain(), settings.discovery()
    key = node_key(settings, key_path)
    config = ServiceConfig(data or settings.path(named), discovery.host, tcp, contact, discovery.lan)

    async def service(stop: Stop) -> None:
        async with open_service(named, key, chain, discovery, config, settings.policy_path) as node:
            record = node.discovery.record
            ready_line(output, record, f"{named} {record.node_id.hex()}\n{record.text}")
            async with background(tell_states(output, node.trust)):
                await stop.wait()

    with lock_home(settings.home):
        serve(service)


async def tell_archive(output: Output, stats: Callable[[], Mapping[str, int]]) -> None:
    """Print how much is stored, whenever that has changed, until cancelled."""
    before = -1
    while True:
        now = stats()
        if (envelopes := now["archive envelopes"]) != before:
            output.event(
                {"event": "archive", "envelopes": envelopes, "peers": now["peers"], "links": now["links"]},
                f"{envelopes:,} envelopes stored; {now['peers']} peers, {now['links']} of them trusted servers",
            )
            before = envelopes
        await asyncio.sleep(ARCHIVE_INTERVAL)
