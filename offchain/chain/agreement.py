"""What the other endpoints say of the chain's height, so that no single one decides what is final or what is the head.

A height counts as final when as many endpoints as the quorum asks for call it final: one that calls every block final,
and one that stays at an old block, both change nothing as long as enough others answer.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from offchain.chain.header import HeaderError, RawHeader, parse_header
from offchain.chain.rpc import Endpoint, Rpc
from offchain.errors import ChainError


class FallenBehind(ChainError):
    """The endpoint stays where it was, while others go on or it itself says that there is more."""


def needed(rpc: Rpc, quorum: int) -> int:
    """How many endpoints must agree: the quorum, or two, or one if there is only one."""
    return quorum or min(2, len(rpc.endpoints))


async def agreed_final(rpc: Rpc, endpoint: Endpoint, own: int, quorum: int) -> int | None:
    """The highest block that enough endpoints call final, at most our endpoint's own; None if too few answered."""
    need = needed(rpc, quorum)
    if need <= 1:
        return own
    others = await heights(rpc, endpoint, "finalized")
    if len(others) + 1 < need:
        return None
    return min(own, sorted([own, *others.values()], reverse=True)[need - 1])


async def heights(rpc: Rpc, endpoint: Endpoint, tag: str) -> dict[str, int]:
    """What the other endpoints have under a block tag, by name; those that fail are left out."""
    others = [each for each in rpc.endpoints if each is not endpoint]
    found = await asyncio.gather(*(height(rpc, each, tag) for each in others))
    return {each.name: number for each, number in zip(others, found, strict=True) if number is not None}


async def height(rpc: Rpc, endpoint: Endpoint, tag: str) -> int | None:
    """The height of an endpoint's block with that tag, if it shows a true header."""
    try:
        raw = await rpc.find("eth_getBlockByNumber", [tag, False], RawHeader, endpoint=endpoint)
        return None if raw is None else parse_header(raw).number
    except (ChainError, HeaderError):
        return None


@dataclass(slots=True)
class Progress:
    """When a height last grew. No I/O."""

    patience: float
    """Seconds without growth after which it is time to look around."""
    height: int = -1
    since: float = 0.0

    def is_late(self, height: int, now: float) -> bool:
        """Whether the height has not grown for too long; then the time starts anew."""
        if height > self.height:
            self.height, self.since = height, now
            return False
        if now - self.since < self.patience:
            return False
        self.since = now
        return True


@dataclass(slots=True)
class Watchdog:
    """Leaves an endpoint whose head or final block stays where it was while others have newer ones."""

    patience: float
    _progress: dict[str, Progress] = field(default_factory=dict)

    async def check(self, rpc: Rpc, endpoint: Endpoint, taken: int, final: int, now: float) -> None:
        """`taken` is the head as far as we took it in, with its logs. FallenBehind if there is more elsewhere."""
        for tag, reached in (("latest", taken), ("finalized", final)):
            progress = self._progress.setdefault(tag, Progress(self.patience))
            if not progress.is_late(reached, now):
                continue
            known = await heights(rpc, endpoint, tag)
            if tag == "latest" and (own := await height(rpc, endpoint, tag)) is not None:
                known[endpoint.name] = own
            ahead = {name: number for name, number in known.items() if number > reached}
            if ahead:
                name, number = max(ahead.items(), key=lambda item: item[1])
                raise FallenBehind(
                    f"{endpoint.name} has stayed at block {reached} ({tag}) for {self.patience:g} s; "
                    f"{name} is at {number}"
                )
