"""Whom a node deals with at all: lists of networks and node ids that its operator allows or denies.

What is denied is refused, whatever else is allowed. If anything is allowed by name, everything else is refused: then a
node needs an address in an allowed network, or an allowed id. Whoever is refused gets no answer and no packet, and
is not remembered.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TypeAlias

from offchain.discovery.address import ip_of
from offchain.errors import ConfigError
from offchain.types import NodeId

_Network: TypeAlias = IPv4Network | IPv6Network

_REMEMBERED = 8_192
"""Addresses whose verdict is remembered."""


class Access:
    """The lists of one node. Entries are networks ("10.0.0.0/8", "2001:db8::1") or node ids (64 hex digits)."""

    def __init__(self, allow: Iterable[str] = (), deny: Iterable[str] = ()) -> None:
        """ConfigError if an entry is neither."""
        self._allowed_networks, self._allowed_ids = _sorted(allow)
        self._denied_networks, self._denied_ids = _sorted(deny)
        self._restricted = bool(self._allowed_networks or self._allowed_ids)
        self.is_open = not (self._restricted or self._denied_networks or self._denied_ids)
        """Whether everybody is permitted."""

        self._in_allowed = lru_cache(_REMEMBERED)(lambda ip: _contains(self._allowed_networks, ip))
        self._in_denied = lru_cache(_REMEMBERED)(lambda ip: _contains(self._denied_networks, ip))

    def permits_address(self, ip: str) -> bool:
        """Whether somebody at the address may be permitted: it depends on the id if ids are allowed by name."""
        if self.is_open:
            return True
        if self._in_denied(ip):
            return False
        return not self._restricted or bool(self._allowed_ids) or self._in_allowed(ip)

    def permits(self, node_id: NodeId, ip: str) -> bool:
        """Whether this node at this address is dealt with."""
        if self.is_open:
            return True
        if node_id in self._denied_ids or self._in_denied(ip):
            return False
        return not self._restricted or node_id in self._allowed_ids or self._in_allowed(ip)


def _sorted(entries: Iterable[str]) -> tuple[tuple[_Network, ...], frozenset[NodeId]]:
    networks: list[_Network] = []
    ids: list[NodeId] = []
    for entry in entries:
        digits = entry.removeprefix("0x")
        if len(digits) == 64:
            try:
                ids.append(NodeId(bytes.fromhex(digits)))
                continue
            except ValueError:
                pass
        try:
            networks.append(ip_network(entry))
        except ValueError as error:
            raise ConfigError(f"{entry!r} is neither a network nor a node id of 64 hex digits: {error}") from None
    return tuple(networks), frozenset(ids)


def _contains(networks: tuple[_Network, ...], ip: str) -> bool:
    address = ip_of(ip)
    return any(address in network for network in networks)


OPEN = Access()
"""Everybody."""
