"""Grants to push servers, for `waypost push`."""

from __future__ import annotations

import asyncio
import json
import time
from base64 import urlsafe_b64decode
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from offchain.cli.knowledge import own_checkpoint
from offchain.cli.output import Output
from offchain.cli.running import run
from offchain.cli.services import node_key
from offchain.cli.settings import Settings
from offchain.client.keyring import topic_of_name
from offchain.errors import ConfigError, ConnectionLost
from offchain.node import open_kind
from offchain.pushserver import PUSHSERVER
from offchain.pushserver.client import PushLink, Subscription
from offchain.types import NodeId

LOOK = 0.05
"""Seconds between looks whether the wanted server is connected."""


def grant(
    settings: Settings,
    output: Output,
    subscription: Path,
    topics: Sequence[str],
    days: float,
    wait: float,
    server: str | None = None,
) -> dict[str, object]:
    """Grant pushes for topics by name, or revoke them if there are none; who took it, and until when it holds.

    A random trusted push server, or the one named. ConnectionLost if there is none in time, Refused if it says no.
    """
    device = read_subscription(subscription)
    wanted = None if server is None else _node_id(server)
    config = replace(settings.client(), kind=PUSHSERVER)
    key = node_key(settings)

    async def main() -> dict[str, object]:
        with own_checkpoint(settings, settings.chain()) as chain:
            connect = partial(PushLink.connect, key)
            async with open_kind(key, chain, settings.discovery(), config, settings.policy_path, connect) as node:
                output.note("looking for a trusted push server")
                deadline = time.monotonic() + wait
                while (found := _pick(dict(node.pool.links()), node.pool.pick(), wanted)) is None:
                    if time.monotonic() > deadline:
                        state = node.trust.state.name
                        raise ConnectionLost(
                            f"no trusted push server is connected after {wait:g} s (registry: {state})"
                        )
                    await asyncio.sleep(LOOK)
                node_id, link = found
                names = [topic_of_name(topic) for topic in topics]
                made = await link.register(device, names, now=time.time(), days=days)
                return {
                    "server": "0x" + node_id.hex(),
                    "reason": node.trust.why(PUSHSERVER, node_id),
                    "topics": ["0x" + topic.hex() for topic in made.topics],
                    "expiresAt": made.expires,
                }

    return run(main)


def read_subscription(path: Path) -> Subscription:
    """What a browser or system gave as PushSubscription; ConfigError says what is wrong with it."""
    try:
        document = json.loads(path.read_text())
        keys = document["keys"]
        found = Subscription(str(document["endpoint"]), _bytes(keys["p256dh"]), _bytes(keys["auth"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is not a PushSubscription: {error!r}") from None
    if len(found.p256dh) != 65 or len(found.auth) != 16:
        raise ConfigError(
            f"{path}: p256dh has {len(found.p256dh)} bytes and auth {len(found.auth)}, expected 65 and 16"
        )
    return found


def _pick(
    links: dict[NodeId, PushLink], random: tuple[NodeId, PushLink] | None, wanted: NodeId | None
) -> tuple[NodeId, PushLink] | None:
    if wanted is None:
        return random
    return (wanted, links[wanted]) if wanted in links else None


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _node_id(text: str) -> NodeId:
    try:
        found = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        found = b""
    if len(found) != 32:
        raise ConfigError(f"{text[:70]!r} is not a node id: expected 64 hex digits")
    return NodeId(found)
