"""Reading history from one server after another: decided without sockets, clocks or tasks.

A query is read page by page, oldest first. A page ends with a cursor, the key (sent || hash) of its last envelope,
which is valid on any server. When a server fails or loses the user's trust in the middle of a page, what it delivered
is kept, and another server is asked from the last cursor; every envelope comes out once, in the order of its key.

    picking --assign--> asking --completed (cursor)--> asking the same server for the next page
       ^                  |   \\-completed (no cursor), or limit reached--> finished
       +---failed, lost---+
       +---too many failures in a row, or no server for too long--> failed

Servers of old programs differ: many deliver newest first, their cursors going backwards, valid nowhere else. They are
asked with cursors of their own; what comes newest first is kept until the range is read, and given out then.

What a server delivers is checked against what was asked: time range, topics, number, order. Whatever a dishonest server
sends, the worst outcomes are that it is reported as misbehaving, or that it leaves something out.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from offchain.errors import ConfigError
from offchain.types import NodeId, short
from offchain.whisper.bloom import FULL_BLOOM, envelope_matches, merge, topic_bloom
from offchain.whisper.envelope import Envelope
from offchain.whisper.mail import MAX_TOPICS, Completion, Failure

MAX_PAGE = 1_000
"""Envelopes in a page; servers refuse more."""

MAX_FAILURES = 5
"""Failures in a row, without a page between them, after which a query is given up."""

WAIT_FOR_SERVER = 30.0
"""Seconds to wait for a trusted server to become ready."""

FIRST_PAUSE = 0.25
"""Seconds before the second server in a row is asked; doubled for each after it. The first failover is immediate."""

LONGEST_PAUSE = 5.0

SLOWEST_PAGE = 10.0
"""A page may take this many times the timeout, however steadily it trickles."""

MAX_EMPTY_PAGES = 20
"""Pages in a row that a server may end early, with a cursor and without an envelope."""

MAX_BACKWARDS = 50_000
"""Envelopes kept of a server that delivers newest first; a query for more must be for a shorter time."""

ZERO_HASH = bytes(32)

MAX_REASON = 200
"""Characters of a server's own words that are passed on."""


@dataclass(frozen=True, slots=True)
class Query:
    """What to read from history."""

    topics: tuple[bytes, ...]
    """4 bytes each; none means every topic."""
    lower: int
    """Unix seconds: the first moment of interest."""
    upper: int
    """Unix seconds: the last moment of interest."""
    page_size: int = 150
    """Envelopes asked for at a time, 1 to 1,000."""
    limit: int | None = None
    """Envelopes in all; None reads to the end."""
    cursor: bytes | None = None
    """Where to continue: the last cursor of an earlier query; 36 bytes."""

    def __post_init__(self) -> None:
        if self.lower > self.upper:
            raise ConfigError(f"the range ends ({self.upper}) before it begins ({self.lower})")
        if not 0 <= self.lower <= self.upper < 1 << 32:
            raise ConfigError(f"{self.lower} to {self.upper} is not a range of Unix times in 32 bits")
        if not 1 <= self.page_size <= MAX_PAGE:
            raise ConfigError(f"a page has 1 to {MAX_PAGE} envelopes, found {self.page_size}")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"a limit is at least 1, found {self.limit}")
        if any(len(topic) != 4 for topic in self.topics):
            raise ConfigError("a topic has 4 bytes")
        if len(self.topics) > MAX_TOPICS:
            raise ConfigError(f"a query has at most {MAX_TOPICS} topics, found {len(self.topics)}")
        if self.cursor is not None and len(self.cursor) != 36:
            raise ConfigError(f"a cursor has 36 bytes, found {len(self.cursor)}")

    @property
    def bloom(self) -> bytes:
        """The bloom filter of its topics, 64 bytes."""
        return merge(*map(topic_bloom, self.topics)) if self.topics else FULL_BLOOM


# What it says


@dataclass(frozen=True, slots=True)
class Asked:
    """A server was asked for a page."""

    node_id: NodeId
    page: int
    """From 1."""


@dataclass(frozen=True, slots=True)
class PageRead:
    """A page is complete."""

    node_id: NodeId
    page: int
    envelopes: int
    """How many of it were new."""
    cursor: bytes | None
    """Where the next page continues; None if this was the last."""
    seconds: float


@dataclass(frozen=True, slots=True)
class ServerFailed:
    """A server did not deliver what was asked; another is asked next."""

    node_id: NodeId
    reason: str


@dataclass(frozen=True, slots=True)
class Overtaken:
    """A server was slow; another that was asked for the same page answered first, and goes on."""

    node_id: NodeId
    """The slow one."""
    by: NodeId
    seconds: float
    """Since the page was asked for."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """No trusted server is ready; one is waited for."""

    reason: str


@dataclass(frozen=True, slots=True)
class Received:
    """An envelope of the query. Each comes once, in the order of (sent, hash)."""

    envelope: Envelope
    node_id: NodeId
    """The server that delivered it first."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The query ended."""

    complete: bool
    """Whether it was read to its end or limit."""
    reason: str
    envelopes: int
    pages: int
    servers: tuple[NodeId, ...]
    """Who delivered pages, in order."""
    cursor: bytes | None
    """Where to continue: after a failure, or when the limit was reached; None at the end of the range."""


HistoryEvent = Asked | PageRead | ServerFailed | Overtaken | Waiting | Received | Finished


# What it wants done


@dataclass(frozen=True, slots=True)
class Ask:
    """Send this request to this server; then call `sent`."""

    node_id: NodeId
    lower: int
    upper: int
    topics: tuple[bytes, ...]
    bloom: bytes
    limit: int
    cursor: bytes


@dataclass(frozen=True, slots=True)
class Report:
    """Tell the pool how a server did."""

    node_id: NodeId
    reason: str | None
    """None for a success."""
    misbehaved: bool = False


Action = Ask | Report


class Phase(Enum):
    """Where a query is."""

    PICKING = "picking"
    ASKING = "asking"
    OVER = "over"


class HistoryMachine:
    """Reads one query. After every call, carry out `take_actions`, show `take_events`, call `tick` at `next_deadline`.

    While `wants_server(now)`, pick one that is not in `exclude` and `assign` it, or say `nobody_ready`.
    """

    def __init__(
        self,
        query: Query,
        rng: random.Random,
        now: float,
        *,
        timeout: float,
        wait: float = WAIT_FOR_SERVER,
        avoid: frozenset[NodeId] = frozenset(),
    ) -> None:
        """`avoid`: servers never to be asked."""
        self._query = query
        self._avoid = avoid
        self._rng = rng
        self._timeout = timeout
        self._wait = wait
        self._topics = frozenset(query.topics)
        self._bloom = query.bloom
        self._cursor = query.cursor
        self._phase = Phase.PICKING
        self._node_id: NodeId | None = None
        self._request_id: bytes | None = None
        self._old = False
        self._own_cursor = b""
        """Of an old server, for itself."""
        self._backwards: bool | None = None
        """Whether the old server delivers newest first; None while that cannot be told."""
        self._page = 0
        self._page_limit = 0
        self._empty_pages = 0
        self._page_started = self._last_activity = now
        self._page_keys: set[bytes] = set()
        self._buffer: dict[bytes, Received] = {}
        self._emitted = 0
        self._failures = 0
        self._failed_servers: list[NodeId] = []
        self._servers: list[NodeId] = []
        self._pick_after = now
        self._pick_until = now + wait
        self._told_waiting = False
        self._actions: list[Action] = []
        self._events: list[HistoryEvent] = []

    # What is asked of it

    def take_actions(self) -> list[Action]:
        """What to do now, in this order."""
        actions, self._actions = self._actions, []
        return actions

    def take_events(self) -> list[HistoryEvent]:
        """What happened since the last time; ends with Finished."""
        events, self._events = self._events, []
        return events

    @property
    def over(self) -> bool:
        """Whether the query ended."""
        return self._phase is Phase.OVER

    @property
    def serving(self) -> NodeId | None:
        """The server that is asked now."""
        return self._node_id if self._phase is Phase.ASKING else None

    @property
    def exclude(self) -> frozenset[NodeId]:
        """Servers that failed since the last page, or are to be avoided."""
        return self._avoid.union(self._failed_servers)

    @property
    def untouched(self) -> bool:
        """Whether a page is asked for and nothing of it has come."""
        return self._phase is Phase.ASKING and self._request_id is not None and not self._page_keys

    def wants_server(self, now: float) -> bool:
        """Whether a server should be picked now."""
        return self._phase is Phase.PICKING and now >= self._pick_after

    def next_deadline(self) -> float | None:
        """When to call `tick`; None if it ended."""
        if self._phase is Phase.ASKING:
            return min(self._last_activity + self._timeout, self._page_started + SLOWEST_PAGE * self._timeout)
        if self._phase is Phase.PICKING:
            return self._pick_until
        return None

    @property
    def silent_since(self) -> float:
        """When the server that is asked was last heard of, or sent the request."""
        return self._last_activity

    @property
    def pick_after(self) -> float:
        """While picking: not before this time, so that failing servers are not stormed."""
        return self._pick_after

    # What happens

    def assign(self, node_id: NodeId, now: float, *, old: bool = False) -> None:
        """A server was picked; `old` if it is not one of Waypost's."""
        self._node_id = node_id
        self._old, self._own_cursor, self._backwards = old, b"", None
        self._told_waiting = False
        self._ask(now)

    def nobody_ready(self, now: float, reason: str) -> None:
        """There is no other trusted server. Those that failed may be picked again, after a pause."""
        if self._failed_servers:
            self._failed_servers.clear()
            self._pick_after = now + self._pause()
        elif not self._told_waiting:
            self._told_waiting = True
            self._events.append(Waiting(reason))

    def sent(self, request_id: bytes, now: float) -> None:
        """The request is on its way; its completion will name this id."""
        self._request_id = request_id
        self._last_activity = now

    def overtaken(self, by: NodeId, request_id: bytes, now: float) -> None:
        """Another server was sent the same request, and began to answer while the page was untouched: it goes on."""
        assert self.untouched
        assert self._node_id is not None
        self._events.append(Overtaken(self._node_id, by, now - self._page_started))
        self._node_id, self._request_id = by, request_id
        self._last_activity = now

    def repeat(self, now: float) -> None:
        """The server did not understand: it is asked for the same page in other words."""
        assert self.untouched
        self._page -= 1
        self._ask(now)

    def delivered(self, node_id: NodeId, envelopes: Iterable[Envelope], now: float) -> None:
        """Envelopes came. From a server that was not asked they are ignored."""
        if self._phase is not Phase.ASKING or node_id != self._node_id or self._request_id is None:
            return
        self._last_activity = now
        for envelope in envelopes:
            complaint = self._complaint(envelope)
            if complaint is not None:
                self._fail(complaint, now, misbehaved=True)
                return
            key = envelope.position
            self._page_keys.add(key)
            if key > (self._cursor or b"") and (not self._topics or envelope.topic in self._topics):
                self._buffer.setdefault(key, Received(envelope, node_id))

    def completed(self, node_id: NodeId, completion: Completion | Failure, now: float) -> None:
        """A server says that it sent all, or that it will not. Ignored unless it answers the request at hand."""
        if self._phase is not Phase.ASKING or node_id != self._node_id:
            return
        if self._request_id is None or completion.request_id != self._request_id:
            return
        if isinstance(completion, Failure):
            self._fail(f"it refused the request: {completion.text[:MAX_REASON]}", now)
            return
        complaint = self._completion_complaint(completion)
        if complaint is not None:
            self._fail(complaint, now, misbehaved=True)
            return
        if self._backwards and len(self._buffer) > MAX_BACKWARDS:
            self._fail(f"it delivers newest first, and more than {MAX_BACKWARDS:,}: ask for less", now, report=False)
            return
        self._end_page(node_id, completion.cursor or None, now)

    def lost(self, node_id: NodeId, reason: str, now: float) -> None:
        """The connection to a server ended, or the pool closed it."""
        if self._phase is Phase.ASKING and node_id == self._node_id:
            self._fail(reason, now, report=False)

    def broke_protocol(self, node_id: NodeId, reason: str, now: float) -> None:
        """A server sent what cannot be read."""
        if self._phase is Phase.ASKING and node_id == self._node_id:
            self._fail(reason, now, misbehaved=True)

    def tick(self, now: float) -> None:
        """Let time pass."""
        if self._phase is Phase.ASKING:
            if now >= self._last_activity + self._timeout:
                self._fail(f"it was silent for {self._timeout:g} s", now)
            elif now >= self._page_started + SLOWEST_PAGE * self._timeout:
                self._fail(f"it did not finish a page within {SLOWEST_PAGE * self._timeout:g} s", now)
        elif self._phase is Phase.PICKING and now >= self._pick_until:
            self._finish(False, f"no trusted server was ready within {self._wait:g} s")

    def postpone(self, seconds: float) -> None:
        """So much time passed in which nobody looked at what came in: it is not counted against the server."""
        self._last_activity += seconds
        self._page_started += seconds

    # Inside

    def _ask(self, now: float) -> None:
        assert self._node_id is not None
        query = self._query
        left = MAX_PAGE if query.limit is None else query.limit - self._emitted
        lower, cursor = query.lower, self._cursor or b""
        if self._old:  # the cursor of another server may be of no use to it, or turn it round
            lower, cursor = max(lower, int.from_bytes(cursor[:4], "big")), self._own_cursor
        self._phase = Phase.ASKING
        self._page += 1
        self._page_limit = min(query.page_size, left)
        self._page_keys.clear()
        self._request_id = None
        self._page_started = self._last_activity = now
        self._actions.append(
            Ask(
                self._node_id,
                lower,
                query.upper,
                query.topics,
                self._bloom,
                self._page_limit,
                cursor,
            )
        )
        self._events.append(Asked(self._node_id, self._page))

    def _complaint(self, envelope: Envelope) -> str | None:
        """What is wrong with an envelope as an answer to the request."""
        if not self._query.lower <= envelope.sent <= self._query.upper:
            return f"it delivered an envelope sent at {envelope.sent}, outside the range that was asked for"
        if not envelope_matches(self._bloom, envelope.topic):
            return "it delivered an envelope with a topic that was not asked for"
        key = envelope.position
        if self._cursor is not None and key <= self._cursor and not self._old:
            return "it delivered an envelope from before the cursor"
        if key not in self._page_keys and len(self._page_keys) >= self._page_limit:
            return f"it delivered more than the {self._page_limit} envelopes that were asked for"
        return None

    def _completion_complaint(self, completion: Completion) -> str | None:
        """What is wrong with a completion after what was delivered."""
        cursor = completion.cursor
        if self._old:
            complaint = self._old_complaint(cursor)
            if complaint is not None:
                return complaint
        # It may lie beyond the last envelope: a server that searched long without a find says how far it came.
        elif cursor and cursor < max(self._page_keys, default=b""):
            return "its cursor is before its last envelope: it does not deliver oldest first"
        elif cursor and cursor <= (self._cursor or b""):
            return "its cursor does not move on"
        if cursor and not self._page_keys and self._empty_pages >= MAX_EMPTY_PAGES:
            return f"it delivered nothing {MAX_EMPTY_PAGES + 1} times in a row, and yet does not end"
        if completion.last_hash != ZERO_HASH and all(key[4:] != completion.last_hash for key in self._page_keys):
            return "its last envelope did not arrive"
        return None

    def _old_complaint(self, cursor: bytes) -> str | None:
        """What is wrong with an old server's cursor. Learns the order from where it lies."""
        if not cursor:
            return None
        first, last = min(self._page_keys, default=cursor), max(self._page_keys, default=cursor)
        if self._backwards is None and first != last:
            self._backwards = cursor <= first
        elif self._backwards is None and self._own_cursor:
            self._backwards = cursor < self._own_cursor
        if self._backwards is not None:
            moves_on = not self._own_cursor or (cursor < self._own_cursor) == self._backwards
            if not moves_on or cursor == self._own_cursor or first < cursor < last:
                return "its cursor does not move on"
        return None

    def _end_page(self, node_id: NodeId, cursor: bytes | None, now: float) -> None:
        if node_id not in self._servers:
            self._servers.append(node_id)
        self._failures = 0
        self._failed_servers.clear()
        self._empty_pages = 0 if self._page_keys else self._empty_pages + 1
        self._actions.append(Report(node_id, None))
        before = self._emitted
        self._own_cursor = cursor or b""
        if self._old and cursor is not None and self._backwards is not False:
            self._events.append(PageRead(node_id, self._page, 0, cursor, now - self._page_started))
            self._ask(now)
            return
        limit_reached = self._emit(cursor)
        self._events.append(PageRead(node_id, self._page, self._emitted - before, cursor, now - self._page_started))
        if limit_reached:
            self._finish(True, "the limit was reached")
        elif cursor is None:
            self._cursor = None
            self._finish(True, "the end of the range was reached")
        else:
            self._cursor = cursor
            self._ask(now)

    def _emit(self, cursor: bytes | None) -> bool:
        """Give out what is certain to be in order: up to the cursor, or all at the end. True at the limit."""
        for key in sorted(key for key in self._buffer if cursor is None or key <= cursor):
            self._events.append(self._buffer.pop(key))
            self._emitted += 1
            if self._query.limit is not None and self._emitted >= self._query.limit:
                self._cursor = key
                return True
        return False

    def _fail(self, reason: str, now: float, *, misbehaved: bool = False, report: bool = True) -> None:
        node_id = self._node_id
        assert node_id is not None
        if report:
            self._actions.append(Report(node_id, reason, misbehaved))
        self._events.append(ServerFailed(node_id, reason))
        self._failures += 1
        self._failed_servers.append(node_id)
        self._node_id = self._request_id = None
        self._page -= 1
        self._phase = Phase.PICKING
        self._pick_after = now + (self._pause() if self._failures > 1 else 0.0)
        self._pick_until = self._pick_after + self._wait
        if misbehaved:
            self._forget(node_id)
        if self._failures >= MAX_FAILURES:
            self._finish(False, f"{self._failures} servers in a row failed; the last, {short(node_id)}: {reason}")

    def _forget(self, node_id: NodeId) -> None:
        """Keep nothing of the unfinished page of a server that broke the rules."""
        for key in [key for key, received in self._buffer.items() if received.node_id == node_id]:
            del self._buffer[key]

    def _pause(self) -> float:
        pause = FIRST_PAUSE * 2.0 ** min(max(0, self._failures - 2), 10)
        return min(pause, LONGEST_PAUSE) * self._rng.uniform(0.8, 1.2)

    def _finish(self, complete: bool, reason: str) -> None:
        self._phase = Phase.OVER
        self._node_id = None
        self._buffer.clear()
        self._events.append(Finished(complete, reason, self._emitted, self._page, tuple(self._servers), self._cursor))
