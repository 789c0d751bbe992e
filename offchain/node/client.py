"""The mail client: everything between the chain and a random trusted mail server, put together."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from offchain.client.keyring import MailKey
from offchain.client.link import MailLink
from offchain.client.mailbox import Mailbox
from offchain.config import ChainConfig, ClientConfig, DiscoveryConfig
from offchain.discovery.service import Discovery
from offchain.keys import PrivateKey
from offchain.node.kind_client import KindClient, follow
from offchain.node.policy_watch import PolicyWatch
from offchain.trust.nodes import TrustedNodes


class ClientNode(KindClient[MailLink]):
    """A running client of mail servers, with a `mailbox`; `open_client` makes it."""

    def __init__(
        self,
        key: PrivateKey,
        config: ClientConfig,
        trust: TrustedNodes,
        discovery: Discovery,
        policy: PolicyWatch,
        keys: Iterable[MailKey],
        rng: random.Random | None,
    ) -> None:
        super().__init__(config, trust, discovery, policy, partial(MailLink.connect, key), rng)
        self.mailbox = Mailbox(
            self.pool,
            key,
            keys,
            request_timeout=config.request_timeout,
            sealed_answers=config.sealed_answers,
            password_requests=config.password_requests,
            rng=rng,
        )

    def status(self) -> dict[str, object]:
        """How everything stands, as JSON: trust, pool, finder, discovery, the clock as servers see it."""
        return {**super().status(), "clock": self.mailbox.clock.notice}


@asynccontextmanager
async def open_client(
    key: PrivateKey,
    chain: ChainConfig,
    discovery: DiscoveryConfig,
    client: ClientConfig,
    policy_path: Path,
    *,
    keys: Iterable[MailKey] = (),
    rng: random.Random | None = None,
) -> AsyncIterator[ClientNode]:
    """Run a client for as long as the block lasts.

    `key` is the client's node key, `keys` open its messages. The policy file is followed: a change counts at once.
    Raises ConfigError if the policy file is of no use, StorageError if the checkpoint is; what fails later comes out of
    the block.
    """
    async with follow(key, chain, discovery, policy_path) as (trust, network, watch):
        node = ClientNode(key, client, trust, network, watch, keys, rng)
        async with node.running():
            yield node
