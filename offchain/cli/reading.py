"""Reading mail, for `waypost mail fetch|fill|follow|gaps`: through the running daemon, or by a client of our own.

What was read to its end is noted in <home>/coverage.sqlite, by topic, so that `fill` reads only what never was.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from offchain.cli.daemon import Daemon, DaemonRefused, find_daemon
from offchain.cli.mail_printer import Line, Printer
from offchain.cli.output import Output
from offchain.cli.running import Stop, run, serve
from offchain.cli.services import connecting_key, node_key
from offchain.cli.settings import Settings
from offchain.client.coverage import Coverage, Gap
from offchain.client.history import Finished, Query
from offchain.client.keyring import MailKey, PersonalKey, SharedKey, topic_of_name
from offchain.errors import ConnectionLost
from offchain.keys import PrivateKey

if TYPE_CHECKING:
    from offchain.node import ClientNode

COVERAGE_FILE = "coverage.sqlite"

FIRST_PAUSE = 1.0
"""Seconds before a daemon that went away is looked for again; doubles."""

LONGEST_PAUSE = 30.0

LONGEST_LINE = 16 * 1024 * 1024
"""Bytes: the largest message, in hex digits and as escaped text."""

QUIET = 60.0
"""Seconds without a word after which a daemon is given up; it says something every 15."""


@dataclass(frozen=True, slots=True)
class Keys:
    """What opens messages, besides the user's own key."""

    passwords: tuple[str, ...] = ()
    private: tuple[PrivateKey, ...] = ()

    def body(self) -> dict[str, object]:
        """For the daemon."""
        passwords: list[dict[str, str]] = [{"password": each} for each in self.passwords]
        return {"keys": [*passwords, *({"private": each.to_bytes().hex()} for each in self.private)], "ownKeys": True}

    def keys(self, own: PrivateKey) -> list[MailKey]:
        """For a client of our own."""
        shared: list[MailKey] = [SharedKey.from_password(each) for each in self.passwords]
        return [*shared, PersonalKey("own key", own), *(PersonalKey("private", each) for each in self.private)]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to fetch."""

    topics: tuple[str, ...]
    lower: int
    upper: int
    page_size: int = 150
    limit: int | None = None
    cursor: bytes | None = None
    keys: Keys = Keys()
    check: bool = False
    """Compare with a second server."""

    @property
    def query(self) -> Query:
        """The one reading that this is."""
        topics = tuple(map(topic_of_name, self.topics))
        return Query(topics, self.lower, self.upper, self.page_size, self.limit, self.cursor)


def fetch_all(settings: Settings, output: Output, wanted: Wanted, *, stream: bool) -> Printer:
    """Fetch and print; `finish` of what is returned prints the rest."""
    return _read_all(settings, output, wanted, [wanted.query], stream=stream)


def fill_all(settings: Settings, output: Output, wanted: Wanted, *, stream: bool) -> Printer:
    """Fetch and print what was never read."""
    queries = [gap.query(wanted.page_size) for gap in gaps_of(settings, wanted)]
    if not queries:
        output.note("nothing is missing")
    return _read_all(settings, output, wanted, queries, stream=stream)


def gaps_of(settings: Settings, wanted: Wanted) -> list[Gap]:
    """What was never read, oldest first."""
    with _coverage(settings) as coverage:
        return coverage.gaps(map(topic_of_name, wanted.topics), wanted.lower, wanted.upper)


def follow_all(settings: Settings, output: Output, wanted: Wanted) -> None:
    """Print what was sent since `lower` and what arrives, until asked to stop."""
    printer = Printer(output, stream=True)

    async def service(stop: Stop) -> None:
        with _coverage(settings) as coverage:
            following = asyncio.ensure_future(Following(settings, output, wanted, printer, coverage).run())
            stopping = asyncio.ensure_future(stop.wait())
            try:
                await asyncio.wait([following, stopping], return_when=asyncio.FIRST_COMPLETED)
            finally:
                stopping.cancel()
                following.cancel()
                ended = await asyncio.gather(following, return_exceptions=True)
            if isinstance(ended[0], Exception):
                raise ended[0]

    serve(service)
    printer.leave()


class Following:
    """Follows through the daemon, or by a client of our own; goes on when either breaks off."""

    def __init__(
        self, settings: Settings, output: Output, wanted: Wanted, printer: Printer, coverage: Coverage
    ) -> None:
        self._settings = settings
        self._output = output
        self._wanted = wanted
        self._printer = printer
        self._coverage = coverage
        self._topics = wanted.query.topics
        self._since = wanted.lower
        self._ready = False
        self._pause = FIRST_PAUSE

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                async with self._lines() as lines:
                    self._say_ready()
                    async for line in lines:
                        self._take(line)
            except ConnectionLost as error:
                self._output.note(f"{error}; going on in {self._pause:g} s")
            await asyncio.sleep(self._pause * random.uniform(0.8, 1.2))
            self._pause = min(2 * self._pause, LONGEST_PAUSE)

    @asynccontextmanager
    async def _lines(self) -> AsyncIterator[AsyncIterator[Line]]:
        daemon = await asyncio.to_thread(find_daemon, self._settings)
        if daemon is not None:
            body = {"topics": _named(self._topics), "since": self._since, **self._wanted.keys.body()}
            async with post_stream(daemon, "/v1/mail/follow", body) as stream:
                yield stream
        else:
            if not self._ready:
                self._output.note("`waypost serve` is not running: looking for trusted mail servers myself")
            async with _client(self._settings, self._wanted.keys) as client:
                yield _events(client.mailbox.follow(self._topics, self._since))

    def _say_ready(self) -> None:
        if not self._ready:
            self._ready = True
            if self._output.as_json:
                self._output.event({"event": "ready", "topics": list(self._wanted.topics), "since": self._since}, "")
            else:
                self._output.note(f"following {', '.join(self._wanted.topics)}; end with Ctrl-C")

    def _take(self, line: Line) -> None:
        self._pause = FIRST_PAUSE
        self._printer.take(line)
        if "caughtUp" in line:
            until = int(line["caughtUp"]["until"])
            self._coverage.cover(self._topics, int(line["caughtUp"]["since"]), until)
            self._since = max(self._since, until + 1)
        elif "done" in line:
            self._output.note(f"could not read now: {line['done']['reason']}; trying again")


@asynccontextmanager
async def post_stream(daemon: Daemon, path: str, body: dict[str, object]) -> AsyncIterator[AsyncIterator[Line]]:
    """The lines of an answer without end. ConnectionLost when it ends all the same; DaemonRefused says why not."""
    import aiohttp

    headers = {"Authorization": f"Bearer {daemon.token}"}
    host = f"[{daemon.host}]" if ":" in daemon.host else daemon.host
    timeout = aiohttp.ClientTimeout(total=None, sock_read=QUIET)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, read_bufsize=LONGEST_LINE // 2) as http,
            http.post(f"http://{host}:{daemon.port}{path}", json=body, headers=headers) as response,
        ):

            async def lines() -> AsyncIterator[Line]:
                async for line in response.content:
                    document = json.loads(line)
                    if "error" in document:
                        raise DaemonRefused(str(document["error"]["message"]))
                    yield document
                raise ConnectionLost("`waypost serve` has ended")

            if response.status != 200:
                document = await response.json()
                raise DaemonRefused(str(document["error"]["message"]))
            yield lines()
    except (aiohttp.ClientError, OSError, ValueError, KeyError) as error:
        raise ConnectionLost(f"`waypost serve` stopped answering: {error or type(error).__name__}") from None


def _read_all(settings: Settings, output: Output, wanted: Wanted, queries: Sequence[Query], *, stream: bool) -> Printer:
    """One reading after the other; the first that could not be read to its end is the last."""
    printer = Printer(output, stream=stream)
    if not queries:
        printer.take({"done": {"complete": True, "reason": "nothing was missing", "servers": [], "cursor": None}})
        return printer
    with _coverage(settings) as coverage:
        if (daemon := find_daemon(settings)) is not None:
            path, keys = "/v1/mail/fetch", wanted.keys.body()
            for query in queries:
                body = {**_body(query), **keys, "check": wanted.check}
                if not _note(printer, coverage, query, daemon.post_lines(path, body)):
                    break
        else:
            output.note("`waypost serve` is not running: looking for trusted mail servers myself")
            run(lambda: _read_myself(settings, wanted, queries, printer, coverage))
    return printer


async def _read_myself(
    settings: Settings, wanted: Wanted, queries: Sequence[Query], printer: Printer, coverage: Coverage
) -> None:
    async with _client(settings, wanted.keys) as client:
        read = client.mailbox.fetch_checked if wanted.check else client.mailbox.fetch
        for query in queries:
            complete = False
            async for line in _events(read(query)):
                complete = _note(printer, coverage, query, [line]) or complete
            if client.mailbox.clock.notice is not None:
                printer.take({"notice": client.mailbox.clock.notice})
            if not complete:
                return


def _note(printer: Printer, coverage: Coverage, query: Query, lines: Iterable[Line]) -> bool:
    """Print lines, and note in the coverage what was read; whether it was read to its end."""
    complete = False
    for line in lines:
        printer.take(line)
        if "done" in line:
            done = line["done"]
            complete = bool(done["complete"])
            cursor = bytes.fromhex(done["cursor"].removeprefix("0x")) if done["cursor"] else None
            coverage.finished(query, Finished(complete, done["reason"], 0, 0, (), cursor), time.time())
    return complete


def _body(query: Query) -> dict[str, object]:
    return {
        "topics": _named(query.topics),
        "since": query.lower,
        "until": query.upper,
        "pageSize": query.page_size,
        "limit": query.limit,
        "cursor": None if query.cursor is None else query.cursor.hex(),
    }


def _named(topics: Iterable[bytes]) -> list[str]:
    return ["0x" + topic.hex() for topic in topics]


async def _events(events: Any) -> AsyncIterator[Line]:
    """What a mailbox yields, as lines."""
    from offchain.web.views import mail_event

    async with aclosing(events):
        async for event in events:
            yield mail_event(event)


@asynccontextmanager
async def _client(settings: Settings, keys: Keys) -> AsyncIterator[ClientNode]:
    from offchain.cli.knowledge import own_checkpoint
    from offchain.node import open_client

    chain, discovery, config = settings.chain(), settings.discovery(), settings.client()
    own = node_key(settings)
    with own_checkpoint(settings, chain) as mine:
        us = connecting_key(own, alone=mine is chain)
        async with open_client(us, mine, discovery, config, settings.policy_path, keys=keys.keys(own)) as client:
            yield client


def _coverage(settings: Settings) -> Coverage:
    settings.home.mkdir(parents=True, exist_ok=True)
    return Coverage(settings.home / COVERAGE_FILE)
