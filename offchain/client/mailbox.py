"""The mailbox: reads history from, and sends messages to, random servers of the pool.

`history` decides about reading; this has the connections and the clock.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Coroutine, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from offchain.client.history import Ask, HistoryEvent, HistoryMachine, Query, Received, Report
from offchain.client.keyring import Keyring, MailKey, Opened
from offchain.client.link import Broken, Completed, Delivered, Inbox, Lost, MailLink
from offchain.client.pool import Pool
from offchain.errors import ConnectionLost, PeerError
from offchain.keys import PrivateKey, PublicKey
from offchain.types import NodeId, short
from offchain.whisper.cipher import seal_asym, seal_sym
from offchain.whisper.envelope import Envelope, mine
from offchain.whisper.mail import HistoryRequest, seal_request

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
"""`Asked`, `PageRead`, `ServerFailed` and `Waiting` tell of progress, `Mail` is a message, `Finished` the end."""


class Mailbox:
    """Reads and sends mail through a pool of trusted servers. Any number of calls may run at a time."""

    def __init__(
        self,
        pool: Pool[MailLink],
        key: PrivateKey,
        keys: Iterable[MailKey] = (),
        *,
        request_timeout: float = 10.0,
        rng: random.Random | None = None,
    ) -> None:
        """`key` is the client's node key, which signs requests; `keys` open messages."""
        self._pool = pool
        self._key = key
        self._keyring = Keyring(keys)
        self._timeout = request_timeout
        self._rng = rng or random.SystemRandom()
        self._freed = asyncio.Event()

    async def fetch(self, query: Query, keys: Iterable[MailKey] | None = None) -> AsyncGenerator[MailEvent, None]:
        """Read history: progress, mails in order, and at last `Finished`, which says whether all was read.

        `keys` are used instead of the mailbox's. One page is read ahead of the caller, no more. To leave early, use
        `contextlib.aclosing`.
        """
        keyring = self._keyring if keys is None else Keyring(keys)
        async with aclosing(self._read(query)) as events:
            async for event in events:
                if isinstance(event, Received):
                    yield Mail(event.envelope, keyring.open(event.envelope), event.node_id)
                else:
                    yield event

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
        now = int(time.time())
        return await asyncio.to_thread(mine, now + ttl, ttl, topic, data, target)

    def required_pow(self) -> float:
        """The highest proof of work that any connected server requires."""
        return max((link.min_pow for _, link in self._pool.links()), default=DEFAULT_POW)

    # Reading

    async def _read(self, query: Query) -> AsyncGenerator[HistoryEvent, None]:
        machine = HistoryMachine(query, self._rng, _now(), timeout=self._timeout)
        while not machine.over:
            choice = self._pick(machine)
            for event in machine.take_events():
                yield event
            if choice is None:
                await self._wait_to_pick(machine)
                continue
            node_id, link = choice
            try:
                async with link.history() as inbox:
                    machine.assign(node_id, _now())
                    await self._carry_out(machine, link)
                    while machine.serving == node_id:
                        await _take_next(machine, node_id, inbox)
                        await self._carry_out(machine, link)
                        paused_at = _now()
                        for event in machine.take_events():
                            yield event
                        machine.postpone(_now() - paused_at)
            finally:
                self._pulse()
        for event in machine.take_events():
            yield event

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
                self._pool.report(node_id, "it never finished a request")
        return frozenset(node_id for node_id, link in links if link.busy)

    def _pulse(self) -> None:
        """Wake those who wait for a server that is not busy."""
        self._freed.set()
        self._freed = asyncio.Event()

    async def _carry_out(self, machine: HistoryMachine, link: MailLink) -> None:
        for action in machine.take_actions():
            if isinstance(action, Report):
                self._pool.report(action.node_id, action.reason, misbehaved=action.misbehaved)
            else:
                await self._ask(machine, link, action)

    async def _ask(self, machine: HistoryMachine, link: MailLink, ask: Ask) -> None:
        request = HistoryRequest(
            ask.lower, ask.upper, bloom=ask.bloom, topics=ask.topics, limit=ask.limit, cursor=ask.cursor
        )
        sealed = seal_request(request, link.public, self._key, time.time())
        try:
            async with asyncio.timeout_at(machine.next_deadline()):
                await link.ask(sealed)
        except TimeoutError:
            machine.tick(_now())
        except PeerError as error:
            machine.lost(ask.node_id, str(error), _now())
        else:
            machine.sent(sealed.id, _now())

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
            return [Stored(node_id, envelope, refused) for envelope, refused in answers.items()]
        return [Stored(node_id, envelope.hash, refusal) for envelope in envelopes]


async def _take_next(machine: HistoryMachine, node_id: NodeId, inbox: Inbox) -> None:
    """Let one thing happen: something comes in, or time passes."""
    item = inbox.take()
    if item is None:
        await _first_of([inbox.wait()], machine.next_deadline())
        item = inbox.take()
    now = _now()
    match item:
        case None:
            machine.tick(now)
        case Delivered(envelopes):
            machine.delivered(node_id, envelopes, now)
        case Completed(completion):
            machine.completed(node_id, completion, now)
        case Broken(reason):
            machine.broke_protocol(node_id, reason, now)
        case Lost(reason):
            machine.lost(node_id, reason, now)


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
