"""Configuration: frozen records with a default and a line for each setting.

They are read from files and the environment in one place, `offchain.cli`, and handed down whole to whoever needs
them. Sizes are bytes and times are seconds unless a name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from offchain.types import Address, Kind


@dataclass(frozen=True, slots=True)
class ContractRef:
    """A contract and where its history begins."""

    address: Address
    block: int
    """The block it was deployed in."""


@dataclass(frozen=True, slots=True)
class ChainConfig:
    """Which registry to follow, through whom, and when its word counts."""

    rpc: tuple[str, ...]
    """HTTP JSON-RPC endpoints, best first."""

    chain_id: int
    registry: ContractRef
    curators: tuple[ContractRef, ...]
    """Every curator that the user's policy may name."""

    database: Path
    """SQLite file of the checkpoint."""

    websocket: tuple[str, ...] = ()
    """WebSocket endpoints for new heads; without one, heads are polled."""

    finality: str = "finalized"
    """When an addition counts: "finalized", "safe", "latest", or a number of confirmations as "12"."""

    poll_interval: float = 4.0
    """How often to ask for a new head when no subscription delivers."""

    request_timeout: float = 10.0
    """How long to wait for one answer."""

    range_blocks: int = 2_000
    """Blocks in the first eth_getLogs; the size adapts from there."""

    in_flight: int = 4
    """eth_getLogs requests at a time while catching up."""

    quorum: int = 0
    """Endpoints that must agree on a final block's hash; 0 means two, or one if there is only one."""

    proof_interval: float = 60.0
    """How often to have the log commitment proven anew when no event asks for it."""

    head_silence: float = 36.0
    """Seconds without a new head after which a subscription is taken for dead."""

    fresh_for: float = 1_800.0
    """Age of the proof up to which the state is FRESH."""

    keep_for: float = 86_400.0
    """Age of the proof beyond which only the user's own nodes are trusted (EXPIRED)."""

    snapshot: Path | None = None
    """A snapshot that came with the software: believed until the first proof (NEVER), if it is in date."""

    snapshot_for: float = 2_592_000.0
    """Age of that snapshot beyond which it is not used."""


@dataclass(frozen=True, slots=True)
class DiscoveryConfig:
    """One discovery node."""

    host: str = "127.0.0.1"
    """Address to listen on."""

    port: int = 0
    """UDP port; 0 takes a free one."""

    bootnodes: tuple[str, ...] = ()
    """Records ("enr:...") of nodes to start from."""

    kinds: tuple[Kind, ...] = ()
    """What this node serves; goes into its record."""

    tcp: int | None = None
    """RLPx port to name in the record."""

    advertised_ip: str | None = None
    """Address to name in the record; None takes `host` if it is a usable address, else what peers see."""

    advertised_ip6: str | None = None
    """IPv6 address to name beside it, where `host` is "::" and both families are used; None takes what peers see."""

    protocol_id: bytes = b"discv5"
    """Six bytes; another value makes an isolated network."""

    allow: tuple[str, ...] = ()
    """Networks ("192.0.2.0/24") and node ids to deal with; none means everybody."""

    deny: tuple[str, ...] = ()
    """Networks and node ids never to deal with."""

    database: Path | None = None
    """SQLite file of the nodes that answered, to start from next time; None keeps none."""

    lan: bool = False
    """Accept records with private and loopback addresses, and do not limit nodes per subnet: for one machine or LAN."""


@dataclass(frozen=True, slots=True)
class MailserverConfig:
    """One mail server."""

    data: Path
    """Folder of the archive."""

    database: str = ""
    """PostgreSQL to keep the archive in instead, as postgresql://user@host/database; several servers may share it."""

    host: str = "127.0.0.1"
    """Address to listen on, or several with commas between them: "0.0.0.0,::" is all of IPv4 and IPv6."""

    port: int = 0
    """TCP port; 0 takes a free one."""

    workers: int = 1
    """Processes that serve clients on the port; the first one also writes the archive and relays."""

    min_pow: float = 0.002
    """Proof of work below which envelopes are refused."""

    retention_days: int = 30
    """Whole days kept."""

    max_archive_bytes: int = 10 * 1024**3
    """Oldest days go when the archive grows beyond this."""

    max_archive_envelopes: int | None = None
    """Or beyond this number; None for no such bound."""

    max_message_bytes: int = 1024 * 1024
    """Largest message taken from a peer."""

    max_peers: int = 1_000
    requests_per_minute: int = 600
    """History requests a peer may make."""

    max_waiting_requests: int = 1_000
    """Requests of all peers that wait for their turn; who comes then is told to try again."""

    requests_per_minute_per_address: int = 60_000
    """History requests that may come from one address (of IPv6: one /64), shared by whoever is behind it."""

    envelopes_per_second: float = 5_000.0
    """Envelopes taken from a peer that is not a trusted server."""

    max_page: int = 2_000
    """Envelopes in one answer; the client goes on with the cursor."""

    answer_time: float = 10.0
    """Time after which an answer ends with a cursor, however much is left."""

    relay_peers: int = 8
    """Trusted servers to relay with."""

    catch_up: float = 86_400.0
    """How far back another server is asked, at the first meeting, for what we may have missed."""

    password_requests: bool = False
    """Also answer requests encrypted with the public default password, for old clients."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """The addresses to listen on."""
        return tuple(each.strip() for each in self.host.split(","))


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """One node of a kind that is registered in `offchain.node.kinds`."""

    data: Path
    """Folder for whatever it keeps."""

    host: str = "127.0.0.1"
    port: int = 0
    """TCP port; 0 takes a free one."""

    contact: str = "mailto:operator@example.invalid"
    """Where others may complain of what it does."""

    lan: bool = False
    """Also deal with addresses that are not on the internet. For one machine or one LAN."""


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """What an app's client keeps ready."""

    kind: Kind
    pool_target: int = 5
    """Verified nodes to keep connected or ready."""

    connect_timeout: float = 5.0
    request_timeout: float = 10.0
    untrusted_memory: float = 600.0
    """How long a node that was not trusted is not looked at again."""

    graylist: float = 30.0
    """How long a node that failed is avoided at first; doubles up to an hour."""

    health: Path | None = None
    """File in which failures are remembered over restarts; None forgets them."""

    sealed_answers: bool = False
    """Mail servers must encrypt history to our key: those that can't, all but Waypost's, are not used."""

    password_requests: bool = False
    """Ask old mail servers that take no requests to their key by the password of old clients, which everybody knows."""
