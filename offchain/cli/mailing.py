"""Sending and fetching mail, for `waypost mail`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from offchain.cli.daemon import find_daemon
from offchain.cli.output import Output
from offchain.cli.running import run
from offchain.cli.services import node_key
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


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to fetch."""

    topics: tuple[str, ...]
    lower: int
    upper: int
    page_size: int
    limit: int | None
    cursor: bytes | None
    password: str | None
    """Opens what was sent with it; without one, the user's own key opens what was sent to it."""

    def body(self) -> dict[str, object]:
        """The request to the daemon."""
        return {
            "topics": list(self.topics),
            "since": self.lower,
            "until": self.upper,
            "pageSize": self.page_size,
            "limit": self.limit,
            "cursor": None if self.cursor is None else self.cursor.hex(),
            "keys": None if self.password is None else [{"password": self.password}],
        }


async def send_all(settings: Settings, output: Output, outgoing: Outgoing) -> Sent:
    """Seal the lines and hand them to trusted servers. ConnectionLost if there are too few of those."""
    from offchain.cli.knowledge import own_checkpoint
    from offchain.node import open_client

    config = settings.chain()
    key = node_key(settings)
    with own_checkpoint(settings, config) as chain:
        async with open_client(key, chain, settings.discovery(), settings.client(), settings.policy_path) as client:
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


def fetch_all(settings: Settings, output: Output, wanted: Wanted, *, stream: bool) -> bool:
    """Fetch and print; whether the history was read to its end."""
    printer = Printer(output, stream=stream)
    if (daemon := find_daemon(settings)) is not None:
        for line in daemon.post_lines("/v1/mail/fetch", wanted.body()):
            printer.take(line)
    else:
        output.note("`waypost serve` is not running: looking for trusted mail servers myself")
        run(lambda: _fetch_myself(settings, wanted, printer))
    return printer.finish()


async def _fetch_myself(settings: Settings, wanted: Wanted, printer: Printer) -> None:
    from offchain.cli.knowledge import own_checkpoint
    from offchain.client.history import Query
    from offchain.client.keyring import PersonalKey, SharedKey
    from offchain.node import open_client
    from offchain.web.views import mail_event

    chain, discovery, config = settings.chain(), settings.discovery(), settings.client()
    key = node_key(settings)
    query = Query(
        topics=tuple(map(topic_of_name, wanted.topics)),
        lower=wanted.lower,
        upper=wanted.upper,
        page_size=wanted.page_size,
        limit=wanted.limit,
        cursor=wanted.cursor,
    )
    keys = [PersonalKey("own key", key)] if wanted.password is None else [SharedKey.from_password(wanted.password)]
    with own_checkpoint(settings, chain) as own:
        async with (
            open_client(key, own, discovery, config, settings.policy_path) as client,
            aclosing(client.mailbox.fetch(query, keys)) as events,
        ):
            async for event in events:
                printer.take(mail_event(event))


class Printer:
    """Prints what a fetch yields: messages as they come, or one document at the end."""

    def __init__(self, output: Output, *, stream: bool) -> None:
        self._output = output
        self._stream = stream
        self._messages: list[Mapping[str, Any]] = []
        self._shown = self._unopened = 0
        self._done: Mapping[str, Any] | None = None

    def take(self, line: Mapping[str, Any]) -> None:
        """One line of a fetch, as `offchain.web.views.mail_event` makes it."""
        if self._stream and self._output.as_json:
            self._output.event(dict(line), "")
        if "message" in line:
            self._message(line["message"])
        elif "done" in line:
            self._done = line["done"]
        elif "progress" in line:
            self._progress(line["progress"])

    def finish(self) -> bool:
        """Print what remains; whether the history was read to its end."""
        done = self._done or {"complete": False, "reason": "the fetch ended early", "servers": [], "cursor": None}
        complete = bool(done["complete"])
        if self._output.as_json:
            if not self._stream:
                self._output.answer({**done, "messages": self._messages}, "")
            return complete
        note = f"{self._shown:,} messages"
        if self._unopened:
            note += f", {self._unopened:,} more that none of your keys opens"
        self._output.note(note)
        if not complete:
            self._output.note(f"not everything could be read: {done['reason']}")
            if done["cursor"]:
                self._output.note(f"continue with: --cursor {done['cursor']}")
        return complete

    def _progress(self, event: Mapping[str, Any]) -> None:
        if event["what"] == "failed":
            self._output.note(f"server {event['nodeId'][:10]}.. failed: {event['reason']}; going on with another")
        elif event["what"] == "waiting":
            self._output.note(event["reason"])

    def _message(self, message: Mapping[str, Any]) -> None:
        if self._output.as_json:
            if not self._stream:
                self._messages.append(message)
            return
        if not message["opened"]:
            self._unopened += 1
            return
        self._shown += 1
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(message["sent"]))
        signer = message["signer"][:10] + ".." if message["signer"] else "unsigned"
        text = message["text"] if message["text"] is not None else message["payload"]
        self._output.event({}, f"{when}  {signer}  {_printable(text)}")


def _printable(text: str) -> str:
    """A message as a terminal may show it: a stranger wrote it, so no control characters."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _too_few(client: ClientNode, wanted: int, waited: float) -> str:
    state = client.trust.status().get("state", "?")
    return (
        f"{client.pool.ready} of {wanted} trusted servers are connected after {waited:g} s (registry: {state}); "
        "see: waypost status, waypost nodes"
    )
