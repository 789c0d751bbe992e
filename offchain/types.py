"""Identities, told apart by type. Everything else in the package speaks in these."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NewType, Protocol

from offchain.hashing import keccak256

NodeId = NewType("NodeId", bytes)
"""32 bytes: keccak256 of a node's 64-byte public key (EIP-778, discv5)."""

NodeAddress = NewType("NodeAddress", bytes)
"""20 bytes: the low 20 of a NodeId, which are the Ethereum address of the same key. Names a node in the registry."""

ProviderId = NewType("ProviderId", int)
"""The registry's number of a provider, from 1."""

KindId = NewType("KindId", int)
"""The registry's number of a kind, from 1; 0 stands for all kinds where a curator speaks."""

Kind = NewType("Kind", str)
"""What a node serves, by name: "mailserver". 1 to 32 characters a-z, 0-9 and '-'."""

Topic = NewType("Topic", bytes)
"""32 bytes: a discovery topic, keccak256 of a kind's name."""

Address = NewType("Address", bytes)
"""20 bytes: an Ethereum account or contract."""

IpAddress = IPv4Address | IPv6Address

MAILSERVER = Kind("mailserver")

_KIND_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")


def node_address(node_id: NodeId) -> NodeAddress:
    """The name under which the registry keeps a node."""
    return NodeAddress(node_id[12:])


def topic_of(kind: Kind) -> Topic:
    """The discovery topic of a kind."""
    return Topic(keccak256(kind.encode()))


def parse_kind(name: str) -> Kind:
    """A kind from a name, or ValueError if it is not one."""
    if not _KIND_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a kind: expected 1 to 32 characters a-z, 0-9 and '-', not '-' at an end")
    return Kind(name)


def short(identity: bytes) -> str:
    """An identity as logs and screens show it: its first eight hex digits."""
    return identity[:4].hex()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a node listens."""

    ip: IpAddress
    udp: int | None = None
    """Discovery port."""
    tcp: int | None = None
    """RLPx port."""


def parse_ip(text: str) -> IpAddress:
    """An IP address, 4-in-6 normalised to IPv4, or ValueError."""
    return normalised(ip_address(text))


def normalised(ip: IpAddress) -> IpAddress:
    """The IPv4 address inside a 4-in-6 one; any other as it is."""
    return (ip.ipv4_mapped or ip) if isinstance(ip, IPv6Address) else ip


class TrustView(Protocol):
    """All that discovery, mail servers and clients know of trust; handed to them by whoever composes them."""

    def is_trusted(self, kind: Kind, node_id: NodeId) -> bool:
        """Whether the user's policy trusts the node for the kind now."""
        ...

    def why(self, kind: Kind, node_id: NodeId) -> str:
        """One sentence for people: why the node is trusted for the kind, or why not."""
        ...


def network_of(host: str) -> str:
    """The address, or of IPv6 the /64 in which a subscriber may choose any address."""
    try:
        ip = ip_address(host)
    except ValueError:
        return host
    if ip.version == 6 and ip.ipv4_mapped is None:
        return ip.exploded[:19]
    return str(getattr(ip, "ipv4_mapped", None) or ip)
