"""TrustedNodes: the trusted set of a user, kept up to date. The entry for programs that use Waypost as a library.

async with TrustedNodes(config, policy) as trusted:
    if trusted.is_trusted(MAILSERVER, node_id):
        ...
    async for change in trusted.changes():
        ...
    async for change in trusted.states():
        ...
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Generic, NamedTuple, TypeVar

from offchain.chain.agreement import needed
from offchain.chain.news import Progress, Update
from offchain.chain.rpc import Rpc
from offchain.chain.snapshot import Snapshot, SnapshotError, collect, decode, fold
from offchain.chain.watcher import Watcher
from offchain.config import ChainConfig
from offchain.errors import ChainError, ConfigError, LocalError
from offchain.trust.explain import Explanation
from offchain.trust.freshness import Freshness, Limits
from offchain.trust.policy import Policy
from offchain.trust.trusted_set import Shipped, TrustChange, TrustedNode, TrustedSet
from offchain.trust.voices import rule
from offchain.types import Kind, NodeId

log = logging.getLogger("offchain.trust")

T = TypeVar("T")

MAX_WAITING: Final = 10_000
"""Changes that wait for one consumer. When there are more, all are replaced by one Resync."""

MAX_STATES: Final = 100
"""Changes of state that wait for one consumer; when there are more the oldest goes, since a newer one says more."""

SHORTEST_SLEEP: Final = 0.05

LONGEST_SLEEP: Final = 30.0
"""Seconds between looks at the clock: it may be set, and a machine may sleep."""


@dataclass(frozen=True, slots=True)
class Resync:
    """Changes were lost because the consumer was slow: read everything again."""

    version: int


class StateChange(NamedTuple):
    """What the answers are worth changed."""

    before: Freshness
    after: Freshness
    reason: str
    """One sentence for people."""
    seen_at: float
    """Unix time."""


@dataclass(slots=True)
class _Consumer(Generic[T]):
    waiting: deque[T] = field(default_factory=deque)
    event: asyncio.Event = field(default_factory=asyncio.Event)


class TrustedNodes:
    """Follows the chain in the background; answers from memory. Implements `offchain.types.TrustView`."""

    def __init__(
        self,
        config: ChainConfig,
        policy: Policy,
        *,
        progress: Callable[[Progress], None] | None = None,
        clock: Callable[[], float] = time.time,
        rpc: Rpc | None = None,
    ) -> None:
        self.config = config
        self._rpc = rpc
        self.trusted_set = TrustedSet(policy, Limits(config.fresh_for, config.keep_for), clock=clock)
        self._clock = clock
        self._progress_to = progress
        self._watcher: Watcher | None = None
        self._task: asyncio.Task[None] | None = None
        self._consumers: list[_Consumer[TrustChange | Resync]] = []
        self._state_consumers: list[_Consumer[StateChange]] = []
        self._told = self.trusted_set.state()
        """The state that was told last."""
        self._news = asyncio.Event()
        self._wakes_at = math.inf
        self._earlier = asyncio.Event()
        """Something ends before the time at which we would look."""
        self._failure: Exception | None = None
        self.progress: Progress | None = None
        """How far the backfill is; None if there was none."""

    async def __aenter__(self) -> TrustedNodes:
        """Take up what the database holds, and begin to follow. StorageError, ConfigError if that is impossible."""
        self._watcher = Watcher(
            self.config,
            self._deliver,
            withheld=self.trusted_set.withheld,
            policy=self._policy_digest,
            progress=self._note_progress,
            clock=self._clock,
            rpc=self._rpc,
        )
        try:
            if self.config.snapshot is not None and self._watcher.base_header() is None:
                self.trusted_set.ship(_read_shipped(self.config, self.config.snapshot))
            self._watcher.restore()
        except BaseException:
            self._watcher.close()
            raise
        self._task = asyncio.create_task(self._run(self._watcher), name="trusted nodes")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._watcher is not None:
            self._watcher.close()

    # Asking

    def is_trusted(self, kind: Kind, node_id: NodeId) -> bool:
        """Whether the user's policy trusts the node for the kind now."""
        return self.trusted_set.is_trusted(kind, node_id)

    def why(self, kind: Kind, node_id: NodeId) -> str:
        """One sentence: why the node is trusted for the kind, or why not."""
        return self.trusted_set.why(kind, node_id)

    def explain(self, kind: Kind, node_id: NodeId) -> Explanation:
        """The whole chain of reasons."""
        return self.trusted_set.explain(kind, node_id)

    def nodes(self, kind: Kind) -> list[TrustedNode]:
        """All nodes trusted for the kind now."""
        return self.trusted_set.nodes(kind)

    @property
    def state(self) -> Freshness:
        """How much the answers are worth."""
        return self.trusted_set.state()

    @property
    def caught_up(self) -> bool:
        """Whether this process has seen the head of the chain, and not only what an earlier one stored."""
        return self._watcher is not None and self._watcher.caught_up

    @property
    def policy(self) -> Policy:
        """The user's choice."""
        return self.trusted_set.policy

    def set_policy(self, policy: Policy) -> list[TrustChange]:
        """Let the user see the same facts differently, at once; also what that changed.

        While blocks that were taken back are in doubt, nobody becomes trusted by it but the user's own nodes.
        """
        changes = self.trusted_set.set_policy(policy)
        self._publish(changes)
        if self._watcher is not None:
            self._watcher.keep_withheld()
        return changes

    def preview(self, policy: Policy) -> list[TrustChange]:
        """What `set_policy` would change. Changes nothing."""
        trial = TrustedSet(self.policy, Limits(self.config.fresh_for, self.config.keep_for), clock=self._clock)
        now = self.trusted_set
        trial.adopted, trial.head, trial.block = now.adopted, now.head, now.block
        trial.proven_at, trial.proven_block, trial.alarm = now.proven_at, now.proven_block, now.alarm
        trial.shipped = now.shipped
        trial.set_policy(self.policy)
        return trial.set_policy(policy)

    def status(self) -> dict[str, Any]:
        """What a person or a program wants to know of the whole; JSON types only."""
        trust, watcher = self.trusted_set, self._watcher
        adopted = trust.adopted
        status: dict[str, Any] = {
            "state": trust.state().value,
            "alarm": trust.alarm,
            "chainId": self.config.chain_id,
            "registry": "0x" + self.config.registry.address.hex(),
            "finality": self.config.finality,
            "provenBlock": trust.proven_block,
            "provenAt": trust.proven_at,
            "shippedBlock": trust.shipped.block if trust.shipped else None,
            "provenAge": None if trust.proven_at is None else max(self._clock() - trust.proven_at, 0.0),
            "version": trust.version,
            "trusted": {str(kind): trust.count(kind) for kind in sorted(set(adopted.all_kinds().values()))},
            "listed": adopted.listing_count(),
            "providers": len(adopted.all_providers()),
            "policy": {
                "curators": ["0x" + curator.hex() for curator in self.policy.curators],
                "threshold": self.policy.threshold,
                "rule": rule(self.policy),
                "chosen": sorted(self.policy.chosen),
                "blocked": sorted(self.policy.blocked),
                "own": len(self.policy.own),
            },
        }
        if watcher is not None:
            counters = watcher.counters
            status |= {
                "head": watcher.head,
                "final": watcher.final.number if watcher.final else None,
                "registryVersion": watcher.ledger.commitment.version,
                "caughtUp": watcher.caught_up,
                "problem": watcher.problem,
                "subscribed": watcher.subscription is not None and watcher.subscription.connected,
                "agreeing": counters.agreeing,
                "reorgs": counters.reorgs,
                "deepestReorg": counters.deepest_reorg,
                "lies": counters.lies,
                "sessions": counters.sessions,
                "quorum": needed(watcher.rpc, self.config.quorum),
                "proofs": counters.proofs,
                "logs": counters.logs,
                "endpoints": [
                    {
                        "name": endpoint.name,
                        "demoted": endpoint.demoted_until > time.monotonic(),
                        "latency": endpoint.latency,
                        "answers": endpoint.answers,
                        "lastError": endpoint.last_error,
                        "lies": endpoint.lies,
                        "lastLie": endpoint.last_lie,
                    }
                    for endpoint in watcher.rpc.endpoints
                ],
            }
        return status

    async def snapshot(self) -> Snapshot:
        """The history up to the last proven final block. ChainError if there is none yet, or no endpoint gives it."""
        watcher = self._watcher
        header = watcher.base_header() if watcher is not None else None
        if watcher is None or header is None:
            raise ChainError("nothing was proven yet")
        ledger = watcher.ledger
        return await collect(watcher.rpc, self.config, header, ledger.base_commitment, ledger.base.all_verdicts())

    # Waiting

    async def changes(self) -> AsyncIterator[TrustChange | Resync]:
        """Every change from now on, in order. A consumer that lags by MAX_WAITING gets one Resync instead.

        Ends with the error that stopped the following, if a person must see to one (StorageError).
        """
        async for change in self._consume(self._consumers):
            yield change

    async def states(self) -> AsyncIterator[StateChange]:
        """Every change of `state` from now on, in order, and when time is what changes it. Ends as `changes` does."""
        async for change in self._consume(self._state_consumers):
            yield change

    async def _consume(self, among: list[_Consumer[T]]) -> AsyncIterator[T]:
        consumer = _Consumer[T]()
        among.append(consumer)
        try:
            while True:
                while consumer.waiting:
                    yield consumer.waiting.popleft()
                self._raise_failure()
                consumer.event.clear()
                await consumer.event.wait()
        finally:
            among.remove(consumer)

    async def wait_for(self, condition: Callable[[TrustedNodes], bool], seconds: float) -> None:
        """Return once the condition holds; it is looked at after every change. TimeoutError if it does not in time."""
        async with asyncio.timeout(seconds):
            while not condition(self):
                self._raise_failure()
                self._news.clear()
                await self._news.wait()

    async def ready(self, seconds: float = 60.0) -> None:
        """Return once the head was reached and the state is FRESH. TimeoutError if they are not in time.

        What an earlier process had proven is served before that.
        """
        await self.wait_for(lambda trusted: trusted.caught_up and trusted.state is Freshness.FRESH, seconds)

    # Inside

    def _policy_digest(self) -> bytes:
        return self.policy.digest()

    async def _run(self, watcher: Watcher) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(watcher.run())
                tasks.create_task(self._keep_time())
        except ExceptionGroup as group:
            self._failure = _first(group)
            if isinstance(self._failure, LocalError):
                log.error("the chain is no longer followed: %s", self._failure)
            else:
                log.exception("the chain is no longer followed")
        finally:
            self._wake()

    async def _keep_time(self) -> None:
        """Let listings, verdicts and proofs end when their time has come."""
        while True:
            self._wakes_at = self.trusted_set.next_deadline()
            self._earlier.clear()
            pause = min(max(self._wakes_at - self._clock(), SHORTEST_SLEEP), LONGEST_SLEEP)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._earlier.wait()
            self._publish(self.trusted_set.advance())

    def _deliver(self, update: Update) -> None:
        self._publish(self.trusted_set.apply(update, wanted=bool(self._consumers)))

    def _note_progress(self, progress: Progress) -> None:
        self.progress = progress
        if self._progress_to is not None:
            self._progress_to(progress)
        self._news.set()

    def _publish(self, changes: Sequence[TrustChange]) -> None:
        self._news.set()
        self._tell_state()
        if self.trusted_set.next_deadline() < self._wakes_at:
            self._earlier.set()
        if not changes:
            return
        for consumer in self._consumers:
            if len(consumer.waiting) + len(changes) > MAX_WAITING:
                consumer.waiting.clear()
                consumer.waiting.append(Resync(self.trusted_set.version))
            else:
                consumer.waiting.extend(changes)
            consumer.event.set()

    def _tell_state(self) -> None:
        before, after = self._told, self.trusted_set.state()
        if before is after:
            return
        self._told = after
        log.info("trust was %s and is %s", before.value, after.value)
        for consumer in self._state_consumers:
            if len(consumer.waiting) == MAX_STATES:
                consumer.waiting.popleft()
            consumer.waiting.append(StateChange(before, after, self.trusted_set.worth(), self._clock()))
            consumer.event.set()

    def _wake(self) -> None:
        self._news.set()
        for event in [each.event for each in self._consumers] + [each.event for each in self._state_consumers]:
            event.set()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure


def _read_shipped(config: ChainConfig, path: Path) -> Shipped:
    """The facts in a snapshot file; ConfigError if it is of no use."""
    try:
        snapshot = decode(path.read_bytes())
        ledger = fold(snapshot, config)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except SnapshotError as error:
        raise ConfigError(f"{path}: {error}") from None
    ledger.proven(snapshot.block, snapshot.block)
    return Shipped(ledger.base, snapshot.block, float(snapshot.time), snapshot.time + config.snapshot_for)


def _first(error: Exception) -> Exception:
    """The error itself, out of the groups that tasks wrap around it."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
