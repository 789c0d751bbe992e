"""Sending mail, for `waypost mail send`; `reading` is the other direction."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from offchain.cli.output import Output
from offchain.cli.services import connecting_key, node_key
from offchain.cli.settings import Settings
from offchain.client.keyring import topic_of_name
from offchain.errors import ConnectionLost
from offchain.keys import PrivateKey, PublicKey
from offchain.whisper.cipher import key_from_password, seal_asym, seal_sym
from offchain.whisper.envelope import Envelope, mine

if TYPE_CHECKING:
    from offchain.node import ClientNode

IN_FLIGHT = 64
"""Messages that wait for an acknowledgement at a time."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What to send, and how."""

    lines: Sequence[str]
    topic: str
    to: bytes | str
    """64 bytes of a public key, or a shared password."""
    ttl: int
    spread: int
    """Seconds of the past over which the messages are dated."""
    copies: int
    servers: int
    """Trusted servers to wait for."""
    wait: float
    signed: bool


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of it."""

    posted: int
    servers: list[str]
    """Who took at least one message."""
    seconds: float
    refusals: int


async def send_all(settings: Settings, output: Output, outgoing: Outgoing) -> Sent:
    """Seal the lines and hand them to trusted servers. ConnectionLost if there are too few of those."""
    from offchain.cli.knowledge import own_checkpoint
    from offchain.node import open_client

    config = settings.chain()
    key = node_key(settings)
    with own_checkpoint(settings, config) as chain:
        us = connecting_key(key, alone=chain is config)
        async with open_client(us, chain, settings.discovery(), settings.client(), settings.policy_path) as client:
            output.note("looking for trusted mail servers")
            if not await client.pool.wait_ready(outgoing.servers, outgoing.wait):
                raise ConnectionLost(_too_few(client, outgoing.servers, outgoing.wait))
            started = time.monotonic()
            output.note(f"sealing {len(outgoing.lines):,} messages")
            envelopes = await asyncio.to_thread(
                seal_lines, outgoing, key, client.mailbox.required_pow(), int(time.time())
            )
            return await _post(client, output, envelopes, outgoing.copies, started)


def seal_lines(outgoing: Outgoing, key: PrivateKey, min_pow: float, now: int) -> list[Envelope]:
    """An envelope for each line, in order, dated from `spread` seconds ago until now."""
    topic = topic_of_name(outgoing.topic)
    to = PublicKey.from_bytes(outgoing.to) if isinstance(outgoing.to, bytes) else key_from_password(outgoing.to)
    sign_with = key if outgoing.signed else None
    count, envelopes = len(outgoing.lines), []
    for number, line in enumerate(outgoing.lines):
        payload = line.encode()
        data = seal_asym(to, payload, sign_with) if isinstance(to, PublicKey) else seal_sym(to, payload, sign_with)
        sent = now - outgoing.spread + outgoing.spread * (number + 1) // count
        ttl = now - sent + outgoing.ttl
        envelopes.append(mine(sent + ttl, ttl, topic, data, min_pow))
    return envelopes


async def _post(client: ClientNode, output: Output, envelopes: Sequence[Envelope], copies: int, started: float) -> Sent:
    servers: dict[str, None] = {}
    refusals = 0
    places = asyncio.Semaphore(IN_FLIGHT)

    async def post(envelope: Envelope) -> None:
        nonlocal refusals
        async with places:
            for stored in await client.mailbox.post([envelope], copies):
                if stored.refusal is None:
                    servers["0x" + stored.node_id.hex()] = None
                else:
                    refusals += 1

    async with asyncio.TaskGroup() as group:
        for envelope in envelopes:
            group.create_task(post(envelope))
    return Sent(len(envelopes), list(servers), round(time.monotonic() - started, 3), refusals)


def _too_few(client: ClientNode, wanted: int, waited: float) -> str:
    state = client.trust.status().get("state", "?")
    return (
        f"{client.pool.ready} of {wanted} trusted servers are connected after {waited:g} s (registry: {state}); "
        "see: waypost status, waypost nodes"
    )
