"""Follows the registry and the curators, from their first block to the head, and on.

One session is with one endpoint: catch up by ranges to the final block, have the result proven, follow the head. What
goes wrong ends the session; the endpoint is demoted and the next one takes over where the last one was. What an
endpoint said and cannot prove is forgotten: the facts go back to the last proven ones.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from offchain.chain.agreement import Watchdog, agreed_final, needed
from offchain.chain.attest import Attestor
from offchain.chain.branch import WORTH_IT, BranchSource
from offchain.chain.checkpoint import Checkpoint, Doubt, Identity, Proven
from offchain.chain.commitment import Commitment, MissingEventError
from offchain.chain.events import PlainLog
from offchain.chain.follower import Follower, ReorgBelowFinal, Switch, WantHeader
from offchain.chain.header import Header
from offchain.chain.heads import Hints, Subscription, poll
from offchain.chain.intake import Intake
from offchain.chain.ledger import EVERYTHING, NOTHING, Block, Ledger, Touched
from offchain.chain.news import Counters, Progress, Update
from offchain.chain.prover import Contradiction, NoContract, NoQuorum, check_quorum
from offchain.chain.ranges import Backfill
from offchain.chain.rpc import BadAnswer, Endpoint, Rpc, RpcError, WrongChain, shown
from offchain.chain.tags import Tags
from offchain.config import ChainConfig
from offchain.errors import ChainError, ConfigError, DecodeError
from offchain.types import Kind, NodeId

log = logging.getLogger("offchain.chain")

Logs = tuple[PlainLog, ...]
"""Of one block."""

WALK_LIMIT = 64
"""Blocks behind up to which the chain is walked parent by parent; beyond, by ranges."""

LONGEST_WAIT = 5.0
"""Seconds without a session when every endpoint is demoted: a node that was restarted is found again soon."""

LIARS_WAIT = 30.0
"""The same when all that is left are endpoints that were caught lying."""

LATE_LOGS = (0.05, 0.5)
"""Pauses before asking again for logs that a node may not have indexed yet."""

LARGE_LAYER = 2_000
"""Listings above which a layer is written in a thread, so that the event loop goes on."""


class LateLogs(ChainError):
    """The endpoint had a block before it had all its logs: no lie, but what was taken in is wrong."""


class Watcher:
    """Follows one registry. Everything it learns it hands to `deliver`, in the order in which it is true.

    Whom the receiver withholds after a retreat is asked for with `withheld`, and told to the next process with the
    `policy` that it followed: under another one everybody is withheld until the head is proven.
    """

    def __init__(
        self,
        config: ChainConfig,
        deliver: Callable[[Update], None],
        *,
        withheld: Callable[[], Iterable[tuple[Kind, NodeId]]] = tuple,
        policy: Callable[[], bytes] = bytes,
        progress: Callable[[Progress], None] | None = None,
        clock: Callable[[], float] = time.time,
        rpc: Rpc | None = None,
    ) -> None:
        self.config = config
        self.counters = Counters()
        self.alarm: str | None = None
        self.problem: str | None = None
        """Why the last session ended; None while one runs."""
        self.caught_up = False
        """Whether the head was reached since the start."""
        self.proven: Proven | None = None
        self.final: Header | None = None
        """The last block of the ledger's stage."""
        self._deliver = deliver
        self._withheld = withheld
        self._policy = policy
        self._progress = progress
        self._clock = clock
        self._hints = Hints()
        self._contracts = [config.registry.address, *(curator.address for curator in config.curators)]
        self.ledger = Ledger(
            config.registry.address,
            [curator.address for curator in config.curators],
            min([config.registry.block, *(curator.block for curator in config.curators)]),
        )
        self._follower: Follower[Logs] | None = None
        self._lies: dict[str, str] = {}
        self._frozen_at = self._lied_at = -1
        """When something was contradicted last: the proven block, and the head."""
        self._doubt: Doubt | None = None
        """After a retreat, until the head has been proven at a height again."""
        self._attested = -1
        """The highest block up to which the logs were proven, final or not."""
        self._endpoints_final = 0
        """The last block that the endpoint calls final, whatever the others say."""
        self._proved_at = 0.0
        self._code_hash: bytes | None = None
        self.rpc = rpc or Rpc(config.rpc, timeout=config.request_timeout)
        if config.quorum > len(self.rpc.endpoints):
            raise ConfigError(
                f"{config.quorum} endpoints are to agree, but there are {len(self.rpc.endpoints)} different ones"
            )
        self._tags = Tags(self.rpc, config.finality)
        self._attestor = Attestor(
            self.rpc, config.registry.address, [(curator.address, curator.block) for curator in config.curators]
        )
        self._following = ""
        self.subscription: Subscription | None = None
        identity = Identity(
            config.chain_id,
            config.registry.address,
            self.ledger.start,
            frozenset(curator.address for curator in config.curators),
        )
        self._checkpoint = Checkpoint(config.database, identity)

    @property
    def head(self) -> int | None:
        """The highest block taken in."""
        if self.ledger.blocks:
            return self.ledger.blocks[-1].header.number
        return self.final.number if self.final else None

    def base_header(self) -> Header | None:
        """The block up to which the base of the facts is; None if nothing was proven yet."""
        return self._checkpoint.base_header()

    def restore(self) -> None:
        """Take up what the database holds, and deliver it. StorageError if it is unusable."""
        saved = self._checkpoint.load()
        self._code_hash = saved.code_hash
        if saved.base_header is not None:
            self.ledger.restore(saved.base, saved.base_header.number, saved.commitment)
            self.final = saved.base_header
        self.proven = saved.proven
        if saved.staged is not None:
            self.ledger.restore_stage(saved.stage, saved.staged.block, Commitment.from_word(saved.staged.commitment))
            self.final = saved.staged.header
        try:
            for header, logs in saved.blocks:
                block = self.ledger.make_block(header, logs, self.ledger.commitment)
                self.ledger.switch(0, [block])
        except (DecodeError, ValueError) as error:
            # What is pending can be fetched again; what is proven stays.
            log.warning("%s: what was pending is not usable and is fetched again: %s", self.config.database, error)
            # Whom it took away is not known any more.
            until = max([self.ledger.stage_block, *(header.number for header, _ in saved.blocks)])
            saved.doubt = Doubt(max(until, saved.doubt.until if saved.doubt else 0))
            self._forget_pending()
            self._checkpoint.take_back(self.ledger.base_block, saved.doubt)
        if self.proven is not None and self.proven.block > self.ledger.stage_block:
            known = [block.header for block in self.ledger.blocks if block.header.number == self.proven.block]
            if known and known[0].hash == self.proven.hash:
                self.ledger.proven(self.proven.block, self.ledger.stage_block)
        self._attested = self.head or -1
        self._doubt = saved.doubt
        nobody_looked = saved.doubt is not None and saved.doubt.policy != self._policy()
        self._tell(EVERYTHING, retreat=nobody_looked, withheld=saved.withheld)
        self.keep_withheld()

    def keep_withheld(self) -> None:
        """Whom the receiver withholds, or the policy that it follows, is not what it was."""
        if self._doubt is not None:
            self._doubt = Doubt(self._doubt.until, self._doubt.since, self._policy())
            self._checkpoint.keep_doubt(self._doubt, self._withheld())

    def close(self) -> None:
        """Give the database back. What is withheld is not noted any more."""
        self._doubt = None
        self._checkpoint.close()

    async def run(self) -> None:
        """Follow for ever. Raises only what a person must see to: StorageError."""
        async with self.rpc, asyncio.TaskGroup() as tasks:
            tasks.create_task(poll(self._hints, self.config.poll_interval))
            if self.config.websocket:
                self.subscription = Subscription(
                    self.rpc.session,
                    self.config.websocket,
                    self._hints,
                    silence=self.config.head_silence,
                    followed=lambda: self._following,
                )
                tasks.create_task(self.subscription.run())
            await self._sessions()

    # Sessions

    async def _sessions(self) -> None:
        while True:
            endpoint = self.rpc.leader()
            longest = LIARS_WAIT if endpoint.lies else LONGEST_WAIT
            await asyncio.sleep(min(max(endpoint.demoted_until - time.monotonic(), 0), longest))
            self.counters.sessions += 1
            try:
                await self._session(endpoint)
            except LateLogs as error:
                self._fail(endpoint, str(error))
                self._retreat()
            except (Contradiction, ReorgBelowFinal) as error:
                if isinstance(error, NoContract) and self.proven is None:
                    self._fail(endpoint, str(error))  # Contradicts nothing but the configuration.
                    self._tell(NOTHING)
                    continue
                endpoint.lies += 1
                endpoint.last_lie = str(error)
                self._fail(endpoint, str(error))
                self._caught_lying(endpoint, str(error))
            except (ChainError, DecodeError) as error:
                self._fail(endpoint, str(error))
                self._tell(NOTHING)

    def _fail(self, endpoint: Endpoint, reason: str) -> None:
        """Not told here: when a retreat follows, what the ledger holds by now is to be told as a retreat only."""
        self.problem = reason
        self.rpc.demote(endpoint, reason)

    def _caught_lying(self, endpoint: Endpoint, reason: str) -> None:
        self._lies[endpoint.url] = reason
        self.counters.lies += 1
        self._frozen_at = max(self._frozen_at, self.proven.block if self.proven else -1)
        self._lied_at = self.head or 0
        if all(each.url in self._lies for each in self.rpc.endpoints):
            self.alarm = reason
        self._retreat()

    def _retreat(self) -> None:
        """Go back to what is proven and final; nobody becomes trusted by that, nor by an older head shown later."""
        self._forget_pending()
        self._take_back(EVERYTHING, self.ledger.base_block, self._attested)

    def _take_back(self, touched: Touched, above: int, until: int) -> None:
        """Blocks above a height, which the ledger has forgotten, are taken back, with nothing in their place yet.

        An earlier doubt that reaches further goes on: no lie shortens it. It is told first, and then written with whom
        it withholds: the next process has either the blocks or the names.
        """
        self._doubt = Doubt(max(until, self._doubt.until if self._doubt else 0), self._clock(), self._policy())
        self._tell(touched, retreat=True)
        self._checkpoint.take_back(above, self._doubt, self._withheld())

    def _end_doubt(self) -> None:
        """Other blocks are where some had been taken back."""
        self._doubt = None
        self._checkpoint.end_doubt()

    def _forget_pending(self) -> None:
        self.ledger.discard_stage()
        base = self.ledger.base_block
        if self.final is None or self.final.number != base:
            self.final = self._checkpoint.base_header()
        if self.proven is not None and self.proven.block > base:
            self.proven = Proven(base, self.final.hash if self.final else b"", self.proven.at)

    async def _session(self, endpoint: Endpoint) -> None:
        chain_id = await self.rpc.call("eth_chainId", [], str, endpoint=endpoint)
        if chain_id.lower() != hex(self.config.chain_id):
            raise WrongChain(
                f"{endpoint.name} serves chain {shown(chain_id[:20])}, expected {hex(self.config.chain_id)}"
            )
        await self._catch_up(endpoint)
        assert self.final is not None
        self._follower = Follower(self.final, [block.header for block in self.ledger.blocks])
        self._following = endpoint.name
        self._hints.clear()
        self.problem = None
        watchdog = Watchdog(self.config.head_silence)
        if self.config.finality in ("finalized", "safe"):
            await self._settle(endpoint)  # There is no need to know the head first.
        await self._advance(endpoint, await self._tags.header(endpoint, "latest"))
        self.caught_up = True
        self._tell(NOTHING)
        while True:
            header = await self._hints.get()
            if header is None:
                header = await self._tags.header(endpoint, "latest")
            await self._advance(endpoint, header)
            await watchdog.check(self.rpc, endpoint, self._follower.head.number, self._endpoints_final, self._clock())

    # Catching up

    async def _catch_up(self, endpoint: Endpoint) -> None:
        """Take in final blocks by ranges until the head is near."""
        if self.final is not None:
            await self._check_continues(endpoint, self.final)
        while True:
            final = await self._tags.final(endpoint)
            agreed = await agreed_final(self.rpc, endpoint, final.number, self.config.quorum)
            if agreed is not None and agreed < final.number:
                final = await self._tags.header(endpoint, hex(agreed))
            behind = final.number - self.ledger.stage_block - len(self.ledger.blocks)
            if self.final is not None and behind <= WALK_LIMIT:
                return
            if final.number <= self.ledger.stage_block:
                if self.final is not None:
                    return
                # The registry is younger than the last final block: begin right below it.
                self.final = await self._tags.header(endpoint, hex(self.ledger.stage_block))
                return
            if self.ledger.blocks:
                head = self.ledger.blocks[-1].header.number
                touched = self.ledger.switch(len(self.ledger.blocks), [])
                self._take_back(touched, self.ledger.stage_block, head)
            await self._backfill(endpoint, final)
            self.final = final

    async def _backfill(self, endpoint: Endpoint, final: Header) -> None:
        first = self.ledger.stage_block + 1
        backfill = Backfill(
            self.rpc,
            endpoint,
            self._contracts,
            range_blocks=self.config.range_blocks,
            in_flight=self.config.in_flight,
        )
        intake = Intake(self.ledger, self._checkpoint)
        try:
            async for chunks in backfill.batches(first, final.number):
                last = chunks[-1]
                if last.logs and last.logs[-1].block == final.number and last.logs[-1].block_hash != final.hash:
                    raise BadAnswer(f"{endpoint.name}: a log of block {final} has the block hash of another")
                try:
                    self.counters.logs += await intake.take(chunks, final if last.last == final.number else None)
                except DecodeError as error:
                    raise Contradiction(f"{endpoint.name}: {error}") from error
                if self._progress is not None:
                    self._progress(Progress(self.ledger.start, last.last, final.number, self.counters.logs))
            await intake.finish()
        finally:
            intake.flush()

    async def _check_continues(self, endpoint: Endpoint, known: Header) -> None:
        found = await self._tags.find(endpoint, hex(known.number))
        if found is None:
            raise ChainError(f"{endpoint.name} does not have block {known.number} yet")
        if found.hash != known.hash:
            raise ReorgBelowFinal(
                f"{endpoint.name} has block {found} where {known} was final. If this is a local chain that was "
                f"started anew, delete {self.config.database}"
            )

    # Following

    async def _advance(self, endpoint: Endpoint, header: Header) -> None:
        """Take in a new head, deliver what it changes, then see what became final."""
        follower = self._follower
        assert follower is not None
        if header.number - follower.head.number > WALK_LIMIT:
            await self._catch_up(endpoint)
            assert self.final is not None
            self._follower = follower = Follower(self.final, [block.header for block in self.ledger.blocks])
        source = BranchSource(self.rpc, endpoint, self._contracts)
        switch = follower.offer(header) or await self._fetch_branch(source, follower)
        if switch is not None:
            await self._take_switch(endpoint, source, switch)
            await self._attest_head(endpoint, source, len(switch.added))
            await self._settle(endpoint)
        elif self._proof_is_due():
            if self._doubt is not None:
                await self._attest_head(endpoint, source, 0)
            await self._settle(endpoint)

    async def _fetch_branch(self, source: BranchSource, follower: Follower[Logs]) -> Switch[Logs] | None:
        """Give the follower what it wants until it switches; None if it does not, or the endpoint cannot deliver."""
        switch: Switch[Logs] | None = None
        asked = False
        while switch is None and (want := follower.wants()) is not None:
            if isinstance(want, WantHeader):
                missing = follower.gap()
                if missing is not None and missing[1] - missing[0] + 1 >= WORTH_IT and not asked:
                    await source.fetch_headers(*missing)
                    asked = True
                header = await source.header(want.hash)
                if header is None:
                    follower.give_up()  # Reorganised away meanwhile, or not there yet: the next head will tell.
                    return None
                follower.take_header(header)
                continue
            if len(lacking := follower.lacking()) >= WORTH_IT:
                await source.fetch_logs(lacking[0].number, lacking[-1].number)
            try:
                for each in lacking:
                    switch = follower.take_body(each, await source.logs(each))
            except RpcError as error:
                log.debug("no logs of block %s: %s", want.header, error)
                follower.give_up()
                return None
        return switch

    async def _take_switch(self, endpoint: Endpoint, source: BranchSource, switch: Switch[Logs]) -> None:
        ledger = self.ledger
        kept = ledger.blocks[: len(ledger.blocks) - len(switch.dropped)]
        before = kept[-1].commitment if kept else ledger.stage_commitment
        blocks: list[Block] = []
        try:
            for header, logs in switch.added:
                block = await self._make_block(source, header, logs, blocks[-1].commitment if blocks else before)
                blocks.append(block)
            touched = ledger.switch(len(switch.dropped), blocks)
        except DecodeError as error:
            raise Contradiction(f"{endpoint.name}: {error}") from error
        self.counters.heads += len(blocks)
        self.counters.logs += sum(len(block.logs) for block in blocks)
        if switch.dropped:
            self.counters.reorgs += 1
            self.counters.deepest_reorg = max(self.counters.deepest_reorg, len(switch.dropped))
            log.info("reorganisation: %d blocks dropped, %d added", len(switch.dropped), len(blocks))
        head = kept[-1].header.number if kept else ledger.stage_block
        if switch.dropped and not blocks:
            # An endpoint that shows an old head must not bring back what was removed since.
            self._take_back(touched, head, min(switch.dropped[0].number, head + WALK_LIMIT))
        else:
            self._checkpoint.switch(head, blocks)
            self._tell(touched)

    async def _attest_head(self, endpoint: Endpoint, source: BranchSource, added: int) -> None:
        """Have new blocks proven at once if there may be logs in them."""
        follower, ledger = self._follower, self.ledger
        assert follower is not None
        head = follower.head
        due = self._doubt is not None and head.number >= self._doubt.until
        if not due and not self._attestor.concerns(ledger.blocks[len(ledger.blocks) - added :]):
            return
        try:
            proven = await self._attestor.check_head(endpoint, head, ledger.commitment, ledger.head)
        except Contradiction:
            for block in ledger.blocks[len(ledger.blocks) - added :]:
                await asyncio.sleep(LATE_LOGS[0])
                if await source.logs(block.header, anew=True) != block.logs:
                    raise LateLogs(f"{endpoint.name} had not all logs of block {block.header} at first") from None
            raise
        if proven:
            self._attested = max(self._attested, head.number)
        if proven and due:
            self._end_doubt()
            if needed(self.rpc, self.config.quorum) <= 1 and head.number >= self._lied_at:
                self._calm_down()
            self._tell(EVERYTHING)

    def _calm_down(self) -> None:
        """What is proven has gone beyond where endpoints contradicted each other, or themselves."""
        self._lies.clear()
        self.alarm = None

    async def _make_block(self, source: BranchSource, header: Header, logs: Logs, before: Commitment) -> Block:
        """The block; logs that a node has not indexed yet are asked for again."""
        for pause in LATE_LOGS:
            try:
                return self.ledger.make_block(header, logs, before)
            except MissingEventError:
                await asyncio.sleep(pause)
                logs = await source.logs(header, anew=True)
        return self.ledger.make_block(header, logs, before)

    # Proving

    def _proof_is_due(self) -> bool:
        if self.proven is None or self._doubt is not None:
            return True
        return self._clock() - self._proved_at >= self.config.proof_interval

    async def _settle(self, endpoint: Endpoint) -> None:
        """Have proven what may be adopted by now, and let what is final and proven become the base."""
        follower = self._follower
        assert follower is not None
        targets = await self._targets(endpoint, follower)
        if targets is None:
            return
        final, target = targets
        before = self.ledger.commitment_at(self.proven.block) if self.proven else None
        ours = self.ledger.commitment_at(target.number)
        assert ours is not None
        if self.ledger.adopted_block >= target.number and not self._proof_is_due():
            return
        changes = ours != before or self._has_verdicts(self.ledger.adopted_block, target.number)
        if not changes and not self._proof_is_due():
            return
        try:
            await self._prove(endpoint, target, ours)
        except NoQuorum as error:
            self._lack(str(error))
            return
        self.problem = None
        await self._adopt(target, final)

    def _lack(self, reason: str) -> None:
        """Nothing can be adopted now; the head is followed all the same, since removals count there."""
        if self.problem != reason:
            log.warning("nothing new is adopted: %s", reason)
        self.problem = reason

    async def _targets(self, endpoint: Endpoint, follower: Follower[Logs]) -> tuple[int, Header] | None:
        """The height that is final, and the block up to which additions may count; None if that cannot be said."""
        own = self._endpoints_final = (await self._tags.final(endpoint)).number
        agreed = await agreed_final(self.rpc, endpoint, own, self.config.quorum)
        if agreed is None:
            if self.config.finality != "latest":
                self._lack("too few endpoints answer to agree on what is final")
                return None
            agreed = follower.final.number
        elif agreed < follower.final.number and self.config.finality != "latest":
            self._lack(f"block {follower.final} is not final for enough endpoints")
            return None
        final = min(max(agreed, follower.final.number), follower.head.number)
        if self.config.finality == "finalized":
            number = final
        elif self.config.finality == "safe":
            number = max((await self._tags.header(endpoint, "safe")).number, final)
        else:
            number = max(follower.head.number - self._tags.confirmations, final)
        target = follower.at(min(number, follower.head.number))
        assert target is not None
        return final, target

    async def _prove(self, endpoint: Endpoint, target: Header, ours: Commitment) -> None:
        if self.config.finality != "latest":
            # Nobody agrees on the newest block; a quorum on it would be an accident.
            self.counters.agreeing = await check_quorum(self.rpc, endpoint, target, self.config.quorum)
        facts = self.ledger.view(target.number)
        code_hash = await self._attestor.check(endpoint, target, ours, facts)
        if self._code_hash is None:
            self._checkpoint.set_code_hash(code_hash)
            self._code_hash = code_hash
        elif self._code_hash != code_hash:
            raise Contradiction(f"{endpoint.name}: the registry's code is not what it was")
        self.counters.proofs += 1

    async def _adopt(self, target: Header, final: int) -> None:
        follower = self._follower
        assert follower is not None
        assert self.final is not None
        touched, absorbed = self.ledger.proven(target.number, final)
        base_was = self.final
        follower.finalize(self.ledger.stage_block)
        self.final = follower.final
        # On a local chain time is when we looked; elsewhere an endpoint that shows an old chain must not look fresh.
        now = self._clock()
        at = now if self.config.finality == "latest" else min(now, float(target.timestamp))
        self.proven = Proven(target.number, target.hash, at)
        self._proved_at = now
        if absorbed is not None and len(absorbed.listings) > LARGE_LAYER:
            await asyncio.to_thread(
                self._checkpoint.prove, absorbed, self.final, self.ledger.base_commitment, self.proven
            )
        else:
            self._checkpoint.prove(absorbed, self.final, self.ledger.base_commitment, self.proven)
        log.debug("proven at block %s, final from %s to %s", target, base_was, self.final)
        if target.number > self._frozen_at:
            self._calm_down()
        self._attested = max(self._attested, target.number)
        if self._doubt is not None and (
            target.number >= max(self._doubt.until, follower.head.number) or self.final.timestamp > self._doubt.since
        ):
            self._end_doubt()
            touched = EVERYTHING
        self._tell(touched)

    def _has_verdicts(self, after: int, upto: int) -> bool:
        if after < self.ledger.stage_block:
            return True
        return any(
            entry.address != self.config.registry.address
            for block in self.ledger.blocks
            if after < block.header.number <= upto
            for entry in block.logs
        )

    # Telling

    def _tell(self, touched: Touched, *, retreat: bool = False, withheld: Iterable[tuple[Kind, NodeId]] = ()) -> None:
        self._deliver(
            Update(
                self.ledger.adopted,
                self.ledger.head,
                touched,
                self.proven,
                self.alarm,
                self.head or 0,
                retreat=retreat,
                settled=self._doubt is None,
                withheld=frozenset(withheld),
            )
        )
