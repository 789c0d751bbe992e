"""A client of any kind of node: trust, discovery, a finder and a pool of verified nodes, put together."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Generic

from offchain.client.broadcast import Broadcast, Listener
from offchain.client.finder import Finder
from offchain.client.finder_machine import Admitted, Finding
from offchain.client.pool import L, Pool
from offchain.client.pool_machine import PoolEvent, What
from offchain.config import ChainConfig, ClientConfig, DiscoveryConfig
from offchain.contact import Contact, Source
from offchain.discovery.service import Discovery
from offchain.errors import DecodeError
from offchain.keys import PrivateKey
from offchain.node.background import background
from offchain.node.policy_watch import PolicyWatch, default_policy
from offchain.trust.freshness import Freshness
from offchain.trust.nodes import TrustedNodes
from offchain.trust.policy import Policy
from offchain.trust.trusted_set import TrustChange
from offchain.types import Kind, short

log = logging.getLogger("offchain.node")


class KindClient(Generic[L]):
    """A running client of one kind of node; `open_kind` makes it.

    `trust`, `discovery`, `finder` and `pool` are there to be used. `pool.events` tells of nodes, `changes` of trust;
    both have `listen()`.
    """

    def __init__(
        self,
        config: ClientConfig,
        trust: TrustedNodes,
        discovery: Discovery,
        policy: PolicyWatch,
        connect: Callable[[Contact], Awaitable[L]],
        rng: random.Random | None = None,
    ) -> None:
        """`connect` makes a connection to a node of the kind; see Pool."""
        self.kind: Kind = config.kind
        self.trust = trust
        self.discovery = discovery
        self.pool: Pool[L] = Pool(config, trust, connect, rng=rng)
        self.finder = Finder(
            config.kind,
            trust,
            discovery,
            memory=config.untrusted_memory,
            trusted_ids=lambda: (node.node_id for node in trust.nodes(config.kind)),
            hungry=lambda: self.pool.hungry,
            rng=rng,
        )
        self.changes: Broadcast[TrustChange] = Broadcast()
        """Changes of trust, of every kind of node, after the pool has acted on them."""
        self._policy = policy

    @property
    def policy(self) -> Policy:
        """The user's choice, as it is in force."""
        return self._policy.policy

    @property
    def policy_error(self) -> str | None:
        """What is wrong with the policy file; then the policy before it stays in force."""
        return self._policy.error

    async def set_policy(self, policy: Policy) -> None:
        """Put a policy in force: nodes that it refuses are dropped before this returns. Does not write the file."""
        self.trust.set_policy(policy)
        self._apply_own(policy)
        self.pool.recheck()
        self.finder.recheck()

    def status(self) -> dict[str, object]:
        """How everything stands, as JSON: trust, pool, finder, discovery."""
        record = self.discovery.record
        return {
            "schemaVersion": 1,
            "kind": self.kind,
            "nodeId": "0x" + record.node_id.hex(),
            "record": record.text,
            "trust": self.trust.status(),
            "policyError": self.policy_error,
            "pool": {"target": self.pool.target, "ready": self.pool.ready, "known": len(self.pool.nodes())},
            "finder": self.finder.stats(),
            "discovery": self.discovery.stats(),
        }

    # Inside

    def _apply_own(self, policy: Policy) -> None:
        contacts = list(own_contacts(policy, self.kind))
        self.finder.set_own(contacts)
        self.pool.set_own(contacts)

    async def _follow_trust(self) -> None:
        async for change in self.trust.changes():
            if not isinstance(change, TrustChange):
                log.info("some changes of trust were missed; every node is looked up again")
                self.pool.recheck()
                self.finder.recheck()
                continue
            if change.kind == self.kind:
                self.pool.trust_changed(
                    change.node_id, change.trusted, change.reason, block=change.block, seen_at=change.seen_at
                )
                self.finder.trust_changed(change.node_id, change.trusted)
            self.changes.publish(change)

    async def _await_first_proof(self) -> None:
        """Until something is proven nobody can be trusted, and that is all that is said; then say of each why not."""
        await self.trust.wait_for(lambda trust: trust.state is not Freshness.NEVER, math.inf)
        self.finder.reconsider()

    async def _admit(self, findings: Listener[Finding]) -> None:
        async for finding in findings:
            if isinstance(finding, Admitted):
                self.pool.offer(finding.contact)
            else:
                self.pool.events.publish(
                    PoolEvent(time.time(), finding.node_id, What.DISCARDED, finding.reason, finding.address)
                )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Find nodes and keep connections for as long as the block lasts."""
        with self.finder.findings.listen() as findings:
            async with background(
                self._follow_trust(),
                self._admit(findings),
                self._await_first_proof(),
                self.pool.run(),
                self.finder.run(),
                self._policy.run(self.set_policy),
            ):
                self._apply_own(self._policy.policy)
                yield


@asynccontextmanager
async def follow(
    key: PrivateKey, chain: ChainConfig, discovery: DiscoveryConfig, policy_path: Path
) -> AsyncIterator[tuple[TrustedNodes, Discovery, PolicyWatch]]:
    """The registry and the network, followed for as long as the block lasts. Raises what `open_kind` raises."""
    watch = PolicyWatch(policy_path, default_policy(chain))
    async with TrustedNodes(chain, watch.policy) as trust, Discovery(key, discovery) as network:
        yield trust, network, watch


@asynccontextmanager
async def open_kind(
    key: PrivateKey,
    chain: ChainConfig,
    discovery: DiscoveryConfig,
    client: ClientConfig,
    policy_path: Path,
    connect: Callable[[Contact], Awaitable[L]],
    *,
    rng: random.Random | None = None,
) -> AsyncIterator[KindClient[L]]:
    """Run a client of the kind that `client` names, for as long as the block lasts.

    `key` is the client's node key. The policy file is followed: a change counts at once. Raises ConfigError if the
    policy file is of no use, StorageError if the checkpoint is; what fails later comes out of the block.
    """
    async with follow(key, chain, discovery, policy_path) as (trust, network, watch):
        node = KindClient(client, trust, network, watch, connect, rng)
        async with node.running():
            yield node


def own_contacts(policy: Policy, kind: Kind) -> Iterable[Contact]:
    """The user's own nodes of a kind; one whose address is of no use is left out, with a warning."""
    for own in policy.own:
        if own.kind != kind:
            continue
        try:
            contact = Contact.parse(own.url, Source.OWN)
        except DecodeError as error:
            log.warning("your own node %s cannot be used: %s", own.label or short(own.node_id), error)
            continue
        if contact.node_id == own.node_id:
            yield contact
        else:
            log.warning(
                "your own node %s cannot be used: its address is another node's", own.label or short(own.node_id)
            )
