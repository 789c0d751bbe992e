"""Follows the policy file: when another program changes it, the change is applied here at once."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from offchain.config import ChainConfig
from offchain.errors import ConfigError
from offchain.trust.policy import Policy
from offchain.trust.policy_file import load_policy

log = logging.getLogger("offchain.node")

POLL_INTERVAL = 0.25
"""Seconds between looks at the file."""

Stamp = tuple[int, int, int] | None


def default_policy(chain: ChainConfig) -> Policy:
    """What a user has who never chose: the project's curator, which is the first one configured, decides alone."""
    return Policy(curators=tuple(curator.address for curator in chain.curators[:1]))


class PolicyWatch:
    """The policy as the file has it. A file that cannot be read leaves the policy as it was, and says so in `error`."""

    def __init__(self, path: Path, default: Policy) -> None:
        """Reads the file; a ConfigError says what is wrong with it. A missing file is the default policy."""
        self.path = path
        self.error: str | None = None
        self._default = default
        self._stamp = _stamp(path)
        self.policy = load_policy(path, default)

    def look(self) -> Policy | None:
        """The new policy if the file changed since the last look; None if it didn't, or is of no use."""
        stamp = _stamp(self.path)
        if stamp == self._stamp:
            return None
        self._stamp = stamp
        try:
            policy = load_policy(self.path, self._default)
        except ConfigError as error:
            self.error = str(error)
            log.warning("the policy stays as it was: %s", error)
            return None
        self.error = None
        if policy == self.policy:
            return None
        self.policy = policy
        return policy

    async def run(self, apply: Callable[[Policy], Awaitable[None]]) -> None:
        """Look again and again until cancelled, and hand each new policy to `apply`."""
        while True:
            await asyncio.sleep(POLL_INTERVAL)
            policy = self.look()
            if policy is not None:
                await apply(policy)


def _stamp(path: Path) -> Stamp:
    """What changes when the file does: replacing it changes the inode, writing it the time or size."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
