"""Kinds of nodes beside mail servers: the one place where a new kind is registered."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import TracebackType
from typing import Any, Protocol

from offchain.client.finder import Directory
from offchain.config import ServiceConfig
from offchain.errors import ConfigError
from offchain.keys import PrivateKey
from offchain.types import Kind, NodeId, TrustView

SERVICES: dict[Kind, str] = {
    Kind("pushserver"): "offchain.pushserver.service:open_service",
}
"""For each kind, what makes its service: a function of a key, a ServiceConfig and a TrustView."""


class Service(Protocol):
    """What a node of a kind does, apart from being found and trusted."""

    async def __aenter__(self) -> Any:
        """Listen."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    @property
    def port(self) -> int:
        """The TCP port it listens on, for its record."""
        ...

    async def run(self, directory: Directory) -> None:
        """Do whatever it does beside answering, with the network to find other nodes in; until cancelled."""
        ...

    def trust_changed(self, kind: Kind, node_id: NodeId, trusted: bool, reason: str) -> None:
        """Take in a change of trust."""
        ...

    def recheck(self) -> None:
        """Changes of trust may have been missed."""
        ...

    def stats(self) -> dict[str, int]:
        """How often what happened."""
        ...


def make_service(kind: Kind, key: PrivateKey, config: ServiceConfig, trust: TrustView) -> Service:
    """The service of a kind. ConfigError if none is registered, or it needs a package that is not installed."""
    place = SERVICES.get(kind)
    if place is None:
        raise ConfigError(f"no service is known for the kind {kind!r}; known: {', '.join(sorted(SERVICES))}")
    module, _, name = place.partition(":")
    try:
        make: Callable[[PrivateKey, ServiceConfig, TrustView], Service] = getattr(import_module(module), name)
    except ImportError as error:
        raise ConfigError(f"the kind {kind!r} needs a package that is not installed: {error}") from error
    return make(key, config, trust)
