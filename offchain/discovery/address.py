"""Addresses: which may be believed, from whom, and which count as neighbours of each other.

A UDP address is (text of the IP, port), 4-in-6 normalised to IPv4, as it is a dictionary key in hot places.
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from ipaddress import ip_network
from typing import TypeAlias

from offchain.enr import Enr
from offchain.types import IpAddress, normalised, parse_ip

UdpAddress: TypeAlias = tuple[str, int]

LOWEST_PORT = 1025
"""Records with ports below are refused: nobody runs discovery there, and others' services are not to be poked."""

_REMEMBERED = 16_384
"""Texts of addresses whose meaning is kept."""

_LAN = tuple(
    map(
        ip_network,
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10", "fc00::/7", "fe80::/10"),
    )
)


def families(host: str) -> frozenset[int]:
    """Through a socket bound to the address, which families are reached: "::" takes both."""
    ip = parse_ip(host)
    return frozenset((4, 6)) if ip.version == 6 and ip.is_unspecified else frozenset((ip.version,))


class Scope(Enum):
    """How far an address reaches."""

    PUBLIC = "public"
    LAN = "lan"
    LOOPBACK = "loopback"
    NOWHERE = "nowhere"
    """Multicast, unspecified, reserved, documentation: nobody is there."""


def scope_of(ip: IpAddress) -> Scope:
    """How far an address reaches."""
    ip = normalised(ip)
    if ip.is_loopback:
        return Scope.LOOPBACK
    if any(ip in network for network in _LAN if network.version == ip.version):
        return Scope.LAN
    if ip.is_multicast or ip.is_unspecified or ip.is_reserved or not ip.is_global:
        return Scope.NOWHERE
    return Scope.PUBLIC


@lru_cache(maxsize=_REMEMBERED)
def ip_of(text: str) -> IpAddress:
    """The address that a text is, 4-in-6 normalised."""
    return parse_ip(text)


@lru_cache(maxsize=_REMEMBERED)
def scope_of_text(ip: str) -> Scope:
    """The same, for the text of an address."""
    return scope_of(parse_ip(ip))


_MAY_NAME = {
    Scope.PUBLIC: {Scope.PUBLIC},
    Scope.LAN: {Scope.PUBLIC, Scope.LAN},
    Scope.LOOPBACK: {Scope.PUBLIC, Scope.LAN, Scope.LOOPBACK},
    Scope.NOWHERE: set(),
}


def may_name(source: str, ip: str) -> bool:
    """Whether a node at `source` may tell of a node at `ip`, and be told: nobody far away names our near ones."""
    named, by = scope_of_text(ip), scope_of_text(source)
    if named is Scope.PUBLIC:
        return by is not Scope.NOWHERE
    return named in _MAY_NAME[by]


@lru_cache(maxsize=2048)
def udp_address(enr: Enr, *, ipv4: bool = True, ipv6: bool = False, lan: bool = False) -> UdpAddress | None:
    """Where to reach the node of a record, IPv4 first; None if nowhere that we use.

    Private and loopback addresses are used with `lan` only.
    """
    for ip, port in ((enr.ip if ipv4 else None, enr.udp), (enr.ip6 if ipv6 else None, enr.udp6)):
        if ip is None or port is None or port < LOWEST_PORT:
            continue
        text = str(normalised(ip))
        scope = scope_of_text(text)
        if scope is Scope.PUBLIC or (lan and scope is not Scope.NOWHERE):
            return text, port
    return None


@lru_cache(maxsize=_REMEMBERED)
def bucket_subnet(ip: str) -> bytes:
    """/24 or /64: of which a bucket takes few."""
    packed = parse_ip(ip).packed
    return packed[:3] if len(packed) == 4 else packed[:8]


@lru_cache(maxsize=_REMEMBERED)
def table_subnet(ip: str) -> bytes:
    """/24 or /48: of which the table takes few."""
    packed = parse_ip(ip).packed
    return packed[:3] if len(packed) == 4 else packed[:6]
