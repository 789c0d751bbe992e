"""`waypost discover`: looks for nodes of a kind; says of each how it was found, whether it is trusted, and why."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from typing import Any, Protocol

from offchain.cli.knowledge import caught_up, open_trust
from offchain.cli.narrator import clock
from offchain.cli.output import Exit, Failed, Output
from offchain.cli.running import run
from offchain.cli.settings import Settings
from offchain.config import DiscoveryConfig
from offchain.enr import Enr
from offchain.errors import PeerError
from offchain.keys import PrivateKey
from offchain.node import open_discovery
from offchain.node.background import background
from offchain.trust.nodes import TrustedNodes
from offchain.types import Kind, NodeId

PROGRESS_INTERVAL = 2.0
SEARCH_INTERVAL = 1.0
SEARCHES = 4
"""Ids of the registry that are searched for at a time."""

UNCHECKED = "no registry is configured, so nobody was asked whether to trust it"


class Network(Protocol):
    """What is asked of discovery."""

    def candidates(self, kind: Kind) -> AsyncIterator[Enr]: ...

    def is_advertised(self, kind: Kind, node_id: NodeId) -> bool: ...

    async def find(self, node_id: NodeId) -> Enr | None: ...

    def stats(self) -> dict[str, int]: ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """What trust says of a node; `trusted` is None if there is nobody to ask."""

    trusted: bool | None
    reason: str


Judge = Callable[[NodeId], Verdict]


class Search:
    """One search, and what it printed."""

    def __init__(self, output: Output, network: Network, kind: Kind, judge: Judge, *, count: int | None = None) -> None:
        """Ends after `count` nodes that count, if that is given: trusted ones, or any if there is no trust to ask."""
        self.found: dict[NodeId, Verdict] = {}
        self._output = output
        self._network = network
        self._kind = kind
        self._judge = judge
        self._count = count
        self._began = time.monotonic()
        self._enough = asyncio.Event()

    @property
    def useful(self) -> int:
        """Nodes found that are not known to be untrusted."""
        return sum(verdict.trusted is not False for verdict in self.found.values())

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return round(time.monotonic() - self._began, 3)

    async def run(self, seconds: float | None, wanted: Callable[[], list[NodeId]]) -> None:
        """Search for so long (None is without end), or until enough was found. `wanted` are ids to search for too."""
        async with background(self._walk(), self._search_ids(wanted), self._tell_progress()):
            try:
                async with asyncio.timeout(seconds):
                    await self._enough.wait()
            except TimeoutError:
                pass

    def tell(self, enr: Enr, how: str) -> None:
        """Print a node that was found."""
        verdict = self._judge(enr.node_id)
        news = self.found.get(enr.node_id) is None
        self.found[enr.node_id] = verdict
        word = {True: "trusted", False: "untrusted", None: "unchecked"}[verdict.trusted]
        endpoint = enr.endpoint or enr.endpoint6
        where = f"{endpoint.ip} udp {endpoint.udp} tcp {endpoint.tcp or '-'}" if endpoint else "no address"
        self._output.event(
            {
                "event": "found" if news else "updated",
                "kind": self._kind,
                "nodeId": "0x" + enr.node_id.hex(),
                "enr": enr.text,
                "ip": str(endpoint.ip) if endpoint else None,
                "udp": endpoint.udp if endpoint else None,
                "tcp": endpoint.tcp if endpoint else None,
                "by": how,
                "trusted": verdict.trusted,
                "reason": verdict.reason,
                "seconds": self.seconds,
            },
            f"{clock(time.time())}  {word:<10}  {enr.node_id.hex()[:8]}  {where}  by {how}: {verdict.reason}",
        )
        if self._count is not None and self.useful >= self._count:
            self._enough.set()

    async def _walk(self) -> None:
        candidates: Any = self._network.candidates(self._kind)
        async with aclosing(candidates):
            async for enr in candidates:
                self.tell(enr, "topic" if self._network.is_advertised(self._kind, enr.node_id) else "record")

    async def _search_ids(self, wanted: Callable[[], list[NodeId]]) -> None:
        """Trusted nodes are searched for by their ids, which the registry gives."""
        while True:
            missing = [node_id for node_id in wanted() if node_id not in self.found][:SEARCHES]
            for node_id in missing:
                try:
                    enr = await self._network.find(node_id)
                except PeerError:
                    continue
                if enr is not None and node_id not in self.found:
                    self.tell(enr, "id")
            await asyncio.sleep(SEARCH_INTERVAL)

    async def _tell_progress(self) -> None:
        while True:
            await asyncio.sleep(PROGRESS_INTERVAL)
            stats = self._network.stats()
            if self._output.as_json:
                progress = {name: stats.get(name, 0) for name in ("live", "lookups", "found_by_topic")}
                self._output.event({"event": "progress", "seconds": self.seconds, **progress}, "")
            else:
                self._output.note(
                    f"{self.seconds:6.1f} s  {len(self.found)} found, {self.useful} of use; "
                    f"{stats.get('live', 0)} nodes in the table, {stats.get('lookups', 0)} lookups"
                )


def discover(
    settings: Settings, output: Output, kind: Kind, *, seconds: float | None, count: int | None, wait: float
) -> None:
    """Look for nodes of a kind. Ends with 3 if nobody of use was found, with 1 if nobody at all."""
    # A key of its own: the home folder's may be in use by a service at another address.
    config = replace(settings.discovery(), port=0, kinds=(), tcp=None)
    has_registry = bool(settings.values.get("chain"))
    if not config.bootnodes:
        output.note("no bootnode is given (--bootnode, or [discovery] bootnodes): only nodes met before can be asked")

    async def main() -> Search:
        async with AsyncExitStack() as stack:
            trust: TrustedNodes | None = None
            if has_registry:
                trust = await stack.enter_async_context(open_trust(settings))
                await caught_up(trust, output, wait)
            else:
                output.note(f"{UNCHECKED}; see: waypost discover --help")
            return await _search(output, config, kind, trust, seconds, count)

    search = run(main)
    total, useful = len(search.found), search.useful
    trusted = sum(verdict.trusted is True for verdict in search.found.values())
    output.event(
        {"event": "done", "found": total, "trusted": trusted if has_registry else None, "seconds": search.seconds},
        f"{total} found" + (f", {trusted} of them trusted" if has_registry else "") + f", in {search.seconds:.1f} s",
    )
    if not total:
        raise Failed(Exit.ERROR)
    if not useful:
        raise Failed(Exit.UNTRUSTED)


async def _search(
    output: Output,
    config: DiscoveryConfig,
    kind: Kind,
    trust: TrustedNodes | None,
    seconds: float | None,
    count: int | None,
) -> Search:
    def judge(node_id: NodeId) -> Verdict:
        if trust is None:
            return Verdict(None, UNCHECKED)
        return Verdict(trust.is_trusted(kind, node_id), trust.why(kind, node_id))

    async with open_discovery(PrivateKey.generate(), config) as node:
        search = Search(output, node.discovery, kind, judge, count=count)
        await search.run(seconds, lambda: [] if trust is None else [each.node_id for each in trust.nodes(kind)])
        return search
