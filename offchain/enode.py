"""enode URLs: a node's key and address as people pass them around.

    enode://<128 hex digits of the public key, x || y>@<ip>:<tcp>[?discport=<udp>]

The address is an IP (IPv6 in brackets); names are refused, because a name can mean another node tomorrow. Without
`discport` the UDP port is the TCP port; `discport=0` says that the node does not take part in discovery.
See https://ethereum.org/developers/docs/networking-layer/network-addresses/#enode.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address

from offchain.errors import DecodeError
from offchain.keys import InvalidKey, PublicKey
from offchain.types import IpAddress, NodeId, parse_ip

MAX_LENGTH = 256
"""Longer texts are refused unread; the longest enode has 211 characters."""

_ENODE = re.compile(
    r"enode://([0-9a-fA-F]{128})@(\[[0-9a-fA-F:.]+\]|[0-9.]+):(0|[1-9][0-9]{0,4})(?:\?discport=(0|[1-9][0-9]{0,4}))?"
)


class EnodeError(DecodeError):
    """The text is not an enode URL."""


@dataclass(frozen=True, slots=True)
class Enode:
    """A node's key and where it listens."""

    public: PublicKey
    ip: IpAddress
    tcp: int
    """RLPx port, 1 to 65535."""
    udp: int | None = None
    """Discovery port; None if the node has none."""

    @property
    def node_id(self) -> NodeId:
        """keccak256 of the key."""
        return self.public.node_id

    @property
    def text(self) -> str:
        """The URL that `parse` reads back to an equal record."""
        host = f"[{self.ip}]" if isinstance(self.ip, IPv6Address) else str(self.ip)
        port = "" if self.udp == self.tcp else f"?discport={self.udp or 0}"
        return f"enode://{self.public.to_bytes().hex()}@{host}:{self.tcp}{port}"


def parse(text: str) -> Enode:
    """The node that an enode URL names; EnodeError says what is wrong with anything else."""
    if len(text) > MAX_LENGTH:
        raise EnodeError(f"an enode has at most {MAX_LENGTH} characters, found {len(text)}")
    match = _ENODE.fullmatch(text)
    if match is None:
        raise EnodeError(f"{text!r} is not enode://<128 hex digits>@<ip>:<tcp port>[?discport=<udp port>]")
    key, host, tcp, udp = match.groups()
    try:
        public = PublicKey.from_bytes(bytes.fromhex(key))
    except InvalidKey:
        raise EnodeError(f"the key {key[:8]}.. is not a point on secp256k1") from None
    try:
        ip = parse_ip(host.strip("[]"))
    except ValueError:
        raise EnodeError(f"{host!r} is not an IP address") from None
    if host.startswith("[") != (":" in host):
        raise EnodeError(f"{host!r}: an IPv6 address stands in brackets, an IPv4 address does not")
    tcp_port = _port(tcp, least=1)
    udp_port = tcp_port if udp is None else _port(udp, least=0)
    return Enode(public, ip, tcp_port, udp_port or None)


def _port(text: str, *, least: int) -> int:
    port = int(text)
    if not least <= port <= 0xFFFF:
        raise EnodeError(f"port {port} is not between {least} and 65535")
    return port
