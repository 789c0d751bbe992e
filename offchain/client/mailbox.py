"""The mailbox: reads history from, and sends messages to, random servers of the pool.

`history` decides about reading; this has the connections and the clock.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Any

from offchain.client.clock_watch import ClockWatch
from offchain.client.coverage import Coverage
from offchain.client.cross_check import CrossCheck, CrossChecked
from offchain.client.dialect import TRY_TIME, Dialects
from offchain.client.follow import CaughtUp, Follow
from offchain.client.history import (
    WAIT_FOR_SERVER,
    Ask,
    Asked,
    Finished,
    HistoryEvent,
    HistoryMachine,
    PageRead,
    Query,
    Received,
    Report,
)
from offchain.client.keyring import Keyring, MailKey, Opened
from offchain.client.link import Broken, Completed, Delivered, Inbox, Lost, MailLink
from offchain.client.pool import Pool
from offchain.errors import ConnectionLost, PeerError
from offchain.keys import PrivateKey, PublicKey
from offchain.types import NodeId, short
from offchain.whisper.cipher import key_from_password, seal_asym, seal_sym
from offchain.whisper.envelope import Envelope, mine
from offchain.whisper.mail import (
    DEFAULT_PASSWORD,
    Completion,
    Failure,
    HistoryRequest,
    Layout,
    seal_request,
)

log = logging.getLogger("offchain.client")

STORE_COPIES = 2
"""Servers that a message is sent to, unless the caller says otherwise."""

SPARE_SERVERS = 3
"""How many more are tried when some of them fail."""

BATCH_ENVELOPES = 64
"""Messages sent to a server in one packet."""

BATCH_BYTES = 200 * 1024
"""Bytes of them, unless a single one is larger."""

BATCHES_IN_FLIGHT = 8
"""Packets that wait for an acknowledgement at a time."""

LOOK_AGAIN = 1.0
"""Seconds after which the pool is looked at again while no server is free."""

HEDGE_AFTER = 1.5
"""Seconds without a word after which a second server is asked for the same page."""

CHECK_WAIT = 5.0
"""Seconds to wait for a second server to compare with."""

SETTLING = 120
"""Seconds in which an envelope gets around: a server that lacks a younger one has not withheld it."""

FRESH = 5
"""Seconds since an envelope was made, up to which a server that finds it old says something about our clock."""

DEFAULT_TTL = 50
"""Seconds a message travels between nodes; servers keep it longer."""

DEFAULT_POW = 0.002
"""Proof of work of a message while no server is connected that says what it requires."""


class Undeliverable(ConnectionLost):
    """No trusted server took some of the messages."""

    def __init__(self, lost: Sequence[Envelope], results: list[Stored]) -> None:
        self.lost = lost
        """What nobody took."""
        self.results = results
        """What servers said, of all messages."""
        first = [result for result in results if result.envelope == lost[0].hash]
        why = "; ".join(f"{short(result.node_id)}: {result.refusal}" for result in first) or "none is ready"
        what = "the message" if len(lost) == 1 else f"{len(lost)} messages; of the first"
        super().__init__(f"no trusted server took {what}: {why}")


@dataclass(frozen=True, slots=True)
class Mail:
    """An envelope of a query, opened if a key of the mailbox fits. Each comes once, in the order of (sent, hash)."""

    envelope: Envelope
    opened: Opened | None
    node_id: NodeId
    """The server that delivered it."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What one server did with one message."""

    node_id: NodeId
    envelope: bytes
    """Its hash."""
    refusal: str | None
    """None if the server acknowledged it; else why not."""


MailEvent = Mail | HistoryEvent
"""`Asked`, `PageRead`, `ServerFailed`, `Overtaken`, `Waiting` tell of progress, `Mail` is one, `Finished` the end."""


class Mailbox:
    """Reads and sends mail through a pool of trusted servers. Any number of calls may run at a time."""

    def __init__(
        self,
        pool: Pool[MailLink],
        key: PrivateKey,
        keys: Iterable[MailKey] = (),
        *,
        request_timeout: float = 10.0,
        hedge_after: float = HEDGE_AFTER,
        sealed_answers: bool = False,
        password_requests: bool = False,
        clock: Callable[[], float] = time.time,
        rng: random.Random | None = None,
    ) -> None:
        """`key` is the client's node key, which signs requests; `keys` open messages.

        A server that says nothing for `hedge_after` seconds is overtaken by a second one, if that answers first. With
        `sealed_answers` servers must encrypt what they answer to `key`; those that can't are left. With
        `password_requests` old servers may be asked by a password that everybody knows. `clock` tells the time of day.
        """
        self._clock = clock
        self._dialects = Dialects(sealed=sealed_answers, by_password=password_requests)
        self._password_key = key_from_password(DEFAULT_PASSWORD) if password_requests else b""
        self._hedge_after = hedge_after
        self.clock = ClockWatch(lambda notice: log.warning("%s", notice))
        """Whether servers say that this machine's clock is wrong: see its `notice`."""
        self._pool = pool
        self._key = key
        self.keys = tuple(keys)
        """What opens messages, unless a call brings its own."""
        self._keyring = Keyring(self.keys)
        self._timeout = request_timeout
        self._rng = rng or random.SystemRandom()
        self._freed = asyncio.Event()

    async def fetch(self, query: Query, keys: Iterable[MailKey] | None = None) -> AsyncGenerator[MailEvent, None]:
        """Read history: progress, mails in order, and at last `Finished`, which says whether all was read.

        `keys` are used instead of the mailbox's. One page is read ahead of the caller, no more. To leave early, use
        `contextlib.aclosing`.
        """
        keyring = self._keyring if keys is None else Keyring(keys)
        async with aclosing(self._read(self._machine(query))) as events:
            async for event in events:
                if isinstance(event, Received):
                    yield Mail(event.envelope, keyring.open(event.envelope), event.node_id)
                else:
                    yield event

    async def fill(
        self,
        coverage: Coverage,
        topics: Iterable[bytes],
        lower: int,
        upper: int,
        keys: Iterable[MailKey] | None = None,
    ) -> AsyncGenerator[MailEvent, None]:
        """Read what `coverage` says was never read, gap by gap, and note what was read. A `Finished` for each gap.

        Stops after the first gap that could not be read to its end; the next call goes on there.
        """
        for gap in coverage.gaps(topics, lower, upper):
            query = gap.query()
            async with aclosing(self.fetch(query, keys)) as events:
                async for event in events:
                    yield event  # noted only after the caller has taken everything
            if isinstance(event, Finished):
                coverage.finished(query, event, self._clock())
                if not event.complete:
                    return

    async def follow(
        self, topics: Iterable[bytes], since: int, keys: Iterable[MailKey] | None = None
    ) -> AsyncGenerator[MailEvent | CaughtUp, None]:
        """Read what was sent since then, and go on with what arrives. Never ends by itself: leave it by `aclosing`.

        Besides mails come `ServerFailed`, `Overtaken` and `Waiting`, `CaughtUp` when a stretch is complete, and
        `Finished` only for readings that failed: the next, a little later, goes on where they broke off.
        """
        following = Follow(tuple(topics), since, self._rng)
        while True:
            async with aclosing(self.fetch(following.query(self._clock()), keys)) as events:
                async for event in events:
                    if isinstance(event, Mail):
                        if following.take(event.envelope):
                            yield event
                    elif isinstance(event, Finished):
                        settled = following.finished(event)
                        if settled is not None:
                            yield settled
                        elif not event.complete:
                            yield event
                    elif not isinstance(event, Asked | PageRead):
                        yield event
            await asyncio.sleep(following.pause())

    async def fetch_checked(
        self, query: Query, keys: Iterable[MailKey] | None = None
    ) -> AsyncGenerator[MailEvent | CrossChecked, None]:
        """Read history, then ask servers that had no part in it for the same, and compare.

        After `Finished` of the first reading come the mails that only the others have, and at last `CrossChecked`,
        which says who withheld what. Reads everything twice.
        """
        keyring = self._keyring if keys is None else Keyring(keys)
        seen: set[bytes] = set()
        finished: Finished | None = None
        async with aclosing(self.fetch(query, keys)) as events:
            async for event in events:
                if isinstance(event, Mail):
                    seen.add(event.envelope.hash)
                elif isinstance(event, Finished):
                    finished = event
                yield event
        assert finished is not None
        check = CrossCheck(query, seen, finished, int(self._clock()) - SETTLING)
        if check.worth_it:
            machine = self._machine(check.query, wait=CHECK_WAIT, avoid=frozenset(finished.servers))
            async with aclosing(self._read(machine)) as answers:
                async for answer in answers:
                    if not check.take(answer):
                        break
                    if isinstance(answer, Received) and answer.envelope.hash not in seen:
                        yield Mail(answer.envelope, keyring.open(answer.envelope), answer.node_id)
        yield check.result()

    async def post(self, envelopes: Sequence[Envelope], copies: int = STORE_COPIES) -> list[Stored]:
        """Send envelopes to `copies` random servers each, and wait until those say that they have them.

        A server that fails or refuses is replaced by another. What each server said is returned, refusals too.
        Undeliverable, which carries the same, if no server at all took one of them.
        """
        places = asyncio.Semaphore(BATCHES_IN_FLIGHT)

        async def store(batch: Sequence[Envelope]) -> list[Stored]:
            async with places:
                return await self._store_copies(batch, copies)

        batches = await asyncio.gather(*(store(batch) for batch in _batches(envelopes)))
        results = [answer for answers in batches for answer in answers]
        taken = {answer.envelope for answer in results if answer.refusal is None}
        lost = [envelope for envelope in envelopes if envelope.hash not in taken]
        if lost:
            raise Undeliverable(lost, results)
        return results

    async def compose(
        self,
        payload: bytes,
        topic: bytes,
        to: bytes | PublicKey,
        *,
        sign_with: PrivateKey | None = None,
        ttl: int = DEFAULT_TTL,
        min_pow: float | None = None,
    ) -> Envelope:
        """An envelope sealed with a 32-byte shared key or to a public key, with the proof of work servers require."""
        data = seal_sym(to, payload, sign_with) if isinstance(to, bytes) else seal_asym(to, payload, sign_with)
        target = self.required_pow() if min_pow is None else min_pow
        now = int(self._clock())
        return await asyncio.to_thread(mine, now + ttl, ttl, topic, data, target)

    def required_pow(self) -> float:
        """The highest proof of work that any connected server requires."""
        return max((link.min_pow for _, link in self._pool.links()), default=DEFAULT_POW)

    # Reading

    def _machine(
        self, query: Query, *, wait: float = WAIT_FOR_SERVER, avoid: frozenset[NodeId] = frozenset()
    ) -> HistoryMachine:
        return HistoryMachine(query, self._rng, _now(), timeout=self._timeout, wait=wait, avoid=avoid)

    async def _read(self, machine: HistoryMachine) -> AsyncGenerator[HistoryEvent, None]:
        while not machine.over:
            choice = self._pick(machine)
            for event in machine.take_events():
                yield event
            if choice is None:
                await self._wait_to_pick(machine)
                continue
            using = await _Use.begin(*choice)
            try:
                machine.assign(using.node_id, _now(), old=using.link.old)
                ask = await self._carry_out(machine, using.link)
                while machine.serving == using.node_id:
                    if ask is not None and (other := await self._hedge(machine, ask, using)) is not None:
                        await using.end()
                        using = other
                        self._pulse()
                    else:
                        await self._take_next(machine, using.node_id, using.inbox)
                    ask = await self._carry_out(machine, using.link)
                    paused_at = _now()
                    for event in machine.take_events():
                        yield event
                    machine.postpone(_now() - paused_at)
            finally:
                await using.end()
                self._pulse()
        for event in machine.take_events():
            yield event

    async def _hedge(self, machine: HistoryMachine, ask: Ask, using: _Use) -> _Use | None:
        """Ask another server for a page just asked for, if the first says nothing; the other if it answers first."""
        if not machine.untouched or using.link.old:  # its cursors mean nothing to others
            return None
        asked_at = _now()
        await _first_of([using.inbox.wait()], min(asked_at + self._hedge_after, machine.next_deadline() or asked_at))
        if using.inbox.peek() is not None or _now() < asked_at + self._hedge_after:
            return None
        old = frozenset(node_id for node_id, link in self._pool.links() if link.old)
        choice = self._pool.pick(machine.exclude | self._busy() | old | {using.node_id})
        if choice is None:
            return None
        other = await _Use.begin(*choice)
        won = False
        try:
            request_id = await self._send(machine, other.link, ask)
            await _first_of([using.inbox.wait(), other.inbox.wait()], machine.next_deadline())
            first = other.inbox.peek()
            answered = isinstance(first, Delivered) or (
                isinstance(first, Completed) and isinstance(first.completion, Completion)
            )
            won = using.inbox.peek() is None and answered
            if won:
                machine.overtaken(other.node_id, request_id, _now())
        except (PeerError, TimeoutError) as error:
            log.debug("%s was no help: %s", short(other.node_id), error)
        finally:
            if not won:
                await other.end()
        return other if won else None

    def _pick(self, machine: HistoryMachine) -> tuple[NodeId, MailLink] | None:
        if not machine.wants_server(_now()):
            return None
        busy = self._busy()
        choice = self._pool.pick(machine.exclude | busy)
        if choice is None and not busy - machine.exclude:
            machine.nobody_ready(_now(), "no trusted server is ready; waiting for one")
        return choice

    async def _wait_to_pick(self, machine: HistoryMachine) -> None:
        now = _now()
        if not machine.wants_server(now):
            await asyncio.sleep(max(0.0, machine.pick_after - now))
        else:
            deadline = min(machine.next_deadline() or now, now + LOOK_AGAIN)
            await _first_of([self._pool.changed(), self._freed.wait()], deadline)
        machine.tick(_now())

    def _busy(self) -> frozenset[NodeId]:
        """Ready servers that have a request outstanding. One that never finishes is reported."""
        now = _now()
        links = self._pool.links()
        for node_id, link in links:
            if link.stuck(now):
                self._dialects.refused(node_id)
                self._pool.report(node_id, "it never finished a request")
        return frozenset(node_id for node_id, link in links if link.busy)

    def _pulse(self) -> None:
        """Wake those who wait for a server that is not busy."""
        self._freed.set()
        self._freed = asyncio.Event()

    async def _carry_out(self, machine: HistoryMachine, link: MailLink) -> Ask | None:
        """Do what the machine wants; the request that was sent, if any."""
        asked = None
        for action in machine.take_actions():
            if isinstance(action, Report):
                self.clock.heard(action.node_id, action.reason)
                self._pool.report(action.node_id, action.reason, misbehaved=action.misbehaved)
            else:
                await self._ask(machine, link, action)
                asked = action
        return asked

    async def _ask(self, machine: HistoryMachine, link: MailLink, ask: Ask) -> None:
        try:
            request_id = await self._send(machine, link, ask)
        except TimeoutError:
            machine.tick(_now())
        except PeerError as error:
            machine.lost(ask.node_id, str(error), _now())
        else:
            machine.sent(request_id, _now())

    async def _send(self, machine: HistoryMachine, link: MailLink, ask: Ask) -> bytes:
        """Send a request over a link; its id. TimeoutError at the machine's deadline."""
        dialect = self._dialects.of(link.node_id, link.client_id, link.status_fields)
        layout = dialect.layout
        if layout is Layout.BINARY_112 and not ask.cursor:
            layout = Layout.BINARY_76
        topics = ask.topics if dialect.has_topics else ()
        request = HistoryRequest(ask.lower, ask.upper, ask.bloom, topics, ask.limit, ask.cursor, layout=layout)
        to = self._password_key if dialect.by_password else link.public
        sealed = seal_request(request, to, self._key, self._clock(), pow_rules=dialect.pow_rules)
        async with asyncio.timeout_at(machine.next_deadline()):
            await link.ask(sealed, self._key if request.sealed else None)
        return sealed.id

    async def _take_next(self, machine: HistoryMachine, node_id: NodeId, inbox: Inbox) -> None:
        """Let one thing happen: something comes in, or time passes."""
        trying = machine.untouched and self._dialects.trying(node_id)
        item = inbox.take()
        if item is None:
            deadline = machine.next_deadline()
            if trying and deadline is not None:
                deadline = min(deadline, machine.silent_since + TRY_TIME)
            await _first_of([inbox.wait()], deadline)
            item = inbox.take()
        now = _now()
        match item:
            case None if trying and now >= machine.silent_since + TRY_TIME and self._dialects.refused(node_id):
                machine.repeat(now)
            case None:
                machine.tick(now)
            case Delivered(envelopes):
                machine.delivered(node_id, envelopes, now)
            case Completed(Failure(text=text)) if machine.untouched and self._dialects.refused(node_id, text):
                machine.repeat(now)
            case Completed(completion):
                if isinstance(completion, Completion):
                    self._dialects.understood(node_id)
                machine.completed(node_id, completion, now)
            case Broken(reason):
                machine.broke_protocol(node_id, reason, now)
            case Lost(reason):
                machine.lost(node_id, reason, now)

    # Sending

    async def _store_copies(self, envelopes: Sequence[Envelope], copies: int) -> list[Stored]:
        """Send a batch to one round of servers after another, until each envelope has its copies or servers run out."""
        results: list[Stored] = []
        missing = {envelope.hash: copies for envelope in envelopes}
        tried: set[NodeId] = set()
        if not self._pool.ready:
            await self._pool.wait_ready(1, self._timeout)
        while missing and len(tried) < copies + SPARE_SERVERS:
            wanted = [envelope for envelope in envelopes if envelope.hash in missing]
            chosen = self._pool.pick_many(max(missing.values()), exclude=tried)
            if not chosen:
                break
            tried |= {node_id for node_id, _ in chosen}
            for answers in await asyncio.gather(*(self._store(node_id, link, wanted) for node_id, link in chosen)):
                results += answers
                for answer in answers:
                    if answer.refusal is None and answer.envelope in missing:
                        missing[answer.envelope] -= 1
            missing = {envelope: count for envelope, count in missing.items() if count > 0}
        return results

    async def _store(self, node_id: NodeId, link: MailLink, envelopes: Sequence[Envelope]) -> list[Stored]:
        try:
            async with asyncio.timeout(self._timeout):
                answers = await link.store(envelopes)
        except TimeoutError:
            refusal = f"it did not acknowledge messages within {self._timeout:g} s"
            self._pool.report(node_id, refusal)
        except PeerError as error:
            refusal = str(error)
        else:
            self._pool.report(node_id, None)
            for envelope in envelopes:
                self.clock.heard(node_id, answers.get(envelope.hash), fresh=abs(envelope.sent - self._clock()) < FRESH)
            return [Stored(node_id, envelope, refused) for envelope, refused in answers.items()]
        return [Stored(node_id, envelope.hash, refusal) for envelope in envelopes]


class _Use:
    """A link that a query uses for its requests."""

    def __init__(self, node_id: NodeId, link: MailLink, inbox: Inbox, stack: AsyncExitStack) -> None:
        self.node_id = node_id
        self.link = link
        self.inbox = inbox
        self._stack = stack

    @classmethod
    async def begin(cls, node_id: NodeId, link: MailLink) -> _Use:
        """Open an inbox on the link."""
        stack = AsyncExitStack()
        return cls(node_id, link, await stack.enter_async_context(link.history()), stack)

    async def end(self) -> None:
        """Give the link back; a request left unfinished keeps it busy."""
        await self._stack.aclose()


def _batches(envelopes: Sequence[Envelope]) -> Iterator[list[Envelope]]:
    """Groups that go into one packet each."""
    batch: list[Envelope] = []
    size = 0
    for envelope in envelopes:
        if batch and (len(batch) >= BATCH_ENVELOPES or size + len(envelope.raw) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(envelope)
        size += len(envelope.raw)
    if batch:
        yield batch


async def _first_of(waits: Sequence[Coroutine[Any, Any, Any]], deadline: float | None) -> None:
    """Wait until one of these is over, or until the deadline."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(
            tasks,
            timeout=None if deadline is None else max(0.0, deadline - _now()),
            return_when=asyncio.FIRST_COMPLETED,
        )
    finally:
        for task in tasks:
            task.cancel()


def _now() -> float:
    return asyncio.get_running_loop().time()
