"""A contact: a node that can be called, and how we came to know it.

Mail servers relay with contacts, clients keep a pool of them. A contact says nothing of trust; that is looked up by its
node id wherever it is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from offchain.enode import Enode
from offchain.enode import parse as parse_enode
from offchain.enr import Enr
from offchain.errors import DecodeError
from offchain.keys import PublicKey
from offchain.types import IpAddress, NodeId, normalised


class Source(Enum):
    """How we came to know a node."""

    OWN = "own"
    """The user added it by hand."""
    DISCOVERED = "discovered"
    """It was met on the discovery network."""
    REGISTRY = "registry"
    """The registry names it, and discovery was asked for it by id."""


class ContactError(DecodeError):
    """A record or enode does not say where its node can be called."""


@dataclass(frozen=True, slots=True)
class Contact:
    """A node that can be called."""

    node_id: NodeId
    public: PublicKey
    """The key that the node must prove in the RLPx handshake."""
    ip: IpAddress
    tcp: int
    """RLPx port."""
    udp: int | None = None
    """Discovery port."""
    source: Source = Source.DISCOVERED
    seq: int = 0
    """Sequence number of the record it was made from; 0 for an enode."""

    @property
    def host(self) -> str:
        """The address as the operating system takes it."""
        return str(self.ip)

    @property
    def address(self) -> str:
        """The address and port as people read them."""
        return f"[{self.ip}]:{self.tcp}" if self.ip.version == 6 else f"{self.ip}:{self.tcp}"

    @property
    def enode(self) -> str:
        """The enode URL."""
        return Enode(self.public, self.ip, self.tcp, self.udp).text

    @classmethod
    def from_enr(cls, record: Enr, source: Source = Source.DISCOVERED) -> Contact:
        """From a verified record: its IPv4 address and TCP port, else its IPv6 ones. ContactError if it has neither."""
        for ip, tcp, udp in ((record.ip, record.tcp, record.udp), (record.ip6, record.tcp6, record.udp6)):
            if ip is not None and tcp:
                return cls._checked(record.node_id, record.public, ip, tcp, udp, source, record.seq)
        raise ContactError("the record has no address with a TCP port")

    @classmethod
    def from_enode(cls, node: Enode, source: Source = Source.DISCOVERED) -> Contact:
        """From an enode URL's content."""
        return cls._checked(node.node_id, node.public, node.ip, node.tcp, node.udp, source, 0)

    @classmethod
    def parse(cls, text: str, source: Source = Source.DISCOVERED) -> Contact:
        """From the text of an enode ("enode://..") or a record ("enr:.."); DecodeError if it is neither."""
        text = text.strip()
        if text.startswith("enr:"):
            return cls.from_enr(Enr.parse(text), source)
        return cls.from_enode(parse_enode(text), source)

    @classmethod
    def _checked(
        cls, node_id: NodeId, public: PublicKey, ip: IpAddress, tcp: int, udp: int | None, source: Source, seq: int
    ) -> Contact:
        ip = normalised(ip)
        if ip.is_unspecified or ip.is_multicast or (ip.version == 4 and str(ip) == "255.255.255.255"):
            raise ContactError(f"nobody can be called at {ip}")
        return cls(node_id, public, ip, tcp, udp, source, seq)
