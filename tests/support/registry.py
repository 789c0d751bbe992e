"""What the contract tests share: nodes with keys, possession proofs, and the logs as a follower would read them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from eth_abi import decode
from eth_utils import to_checksum_address

from offchain.hashing import keccak256
from offchain.keys import PrivateKey
from offchain.possession import Terms, authorize
from offchain.types import MAILSERVER, Address, KindId, NodeId, ProviderId

ABI = Path(__file__).resolve().parents[2] / "offchain" / "chain" / "abi"
ZERO_ADDRESS = "0x" + "00" * 20
DAY = 86_400
MAILSERVERS = 1
"""The kind that the registry creates when it is deployed."""

WITHDRAWN, EXPIRED = 0, 1


@dataclass(frozen=True)
class Node:
    """A node with its key; the same for the same number."""

    key: PrivateKey

    @classmethod
    def number(cls, index: int) -> Node:
        return cls(PrivateKey(keccak256(b"node %d" % index)))

    @property
    def id(self) -> bytes:
        return self.key.public.node_id

    @property
    def address(self) -> str:
        return to_checksum_address(self.key.public.address)


def nodes(count: int, start: int = 0) -> list[Node]:
    """So many nodes, from a number on."""
    return [Node.number(index) for index in range(start, start + count)]


def addresses(of: list[Node]) -> list[str]:
    """The names of nodes in the registry."""
    return [node.address for node in of]


def possession(
    registry,
    node: Node,
    provider: int,
    deadline: int,
    *,
    kind: int = MAILSERVERS,
    generation: int | None = None,
    chain_id: int = 31337,
    registry_address: str | None = None,
    node_id: bytes | None = None,
    signer: Node | None = None,
) -> tuple[bytes, int, bytes, bytes]:
    """The registry's struct Possession: the node's agreement to its next listing, or what the options make of it."""
    if generation is None:
        generation = registry.nodeOf(node.address)[4] + 1
    claimed = node.id if node_id is None else node_id
    terms = Terms(
        NodeId(claimed),
        ProviderId(provider),
        MAILSERVER,
        KindId(kind),
        generation,
        deadline,
        chain_id,
        Address(bytes.fromhex((registry_address or registry.address)[2:])),
    )
    key = (signer or node).key
    if key.public.node_id == claimed:
        proof = authorize(key, terms)
        return claimed, deadline, proof.r, proof.vs
    signature = key.sign_recoverable(terms.digest())
    vs = int.from_bytes(signature[32:64], "big") | signature[64] << 255
    return claimed, deadline, signature[:32], vs.to_bytes(32, "big")


def interface(contract: str) -> list[dict]:
    """The committed ABI."""
    document: dict = json.loads((ABI / f"{contract}.json").read_text())
    return document["abi"]


class LogReader:
    """Decodes logs by the committed ABI, with nothing from Brownie."""

    def __init__(self, contract: str) -> None:
        self._events = {}
        for entry in interface(contract):
            if entry["type"] == "event":
                signature = f"{entry['name']}({','.join(part['type'] for part in entry['inputs'])})"
                self._events[keccak256(signature.encode())] = entry

    def read(self, log) -> tuple[str, dict]:
        """A log's event and arguments; numbers as int, addresses with checksum, the rest as decoded."""
        topics, data = [bytes(topic) for topic in log["topics"]], bytes(log["data"])
        entry = self._events[topics[0]]
        indexed = [part for part in entry["inputs"] if part["indexed"]]
        others = [part for part in entry["inputs"] if not part["indexed"]]
        values = {
            part["name"]: decode([part["type"]], topic)[0] for part, topic in zip(indexed, topics[1:], strict=True)
        }
        values |= dict(zip((part["name"] for part in others), decode([p["type"] for p in others], data), strict=True))
        return entry["name"], {name: _checksummed(value) for name, value in values.items()}


def advanced(commitment: tuple[int, bytes], log) -> tuple[int, bytes]:
    """The log commitment after one more log: NatSpec of INodeRegistry, in Python."""
    version, digest = commitment
    said = b"".join(bytes(topic) for topic in log["topics"]) + bytes(log["data"])
    return version + 1, keccak256(digest + said)[:28]


UNFOLDED = frozenset({"OwnershipTransferred", "OwnershipTransferStarted"})
"""Events of OpenZeppelin's Ownable2Step, which the commitment leaves out."""


@dataclass
class Replayed:
    """The registry's state, rebuilt from logs alone."""

    commitment: tuple[int, bytes] = (0, bytes(28))
    admins: dict[int, str] = field(default_factory=dict)
    pending: dict[int, str] = field(default_factory=dict)
    metadata: dict[int, str] = field(default_factory=dict)
    operators: set[tuple[int, str]] = field(default_factory=set)
    kinds: dict[int, str] = field(default_factory=dict)
    lists: dict[tuple[int, int], list[str]] = field(default_factory=dict)
    """Per (provider, kind), head first."""
    expiry: dict[str, int] = field(default_factory=dict)
    generations: dict[str, int] = field(default_factory=dict)
    ids: dict[str, bytes] = field(default_factory=dict)
    records: dict[str, int] = field(default_factory=dict)
    paused_until: int = 0
    successor: str = ZERO_ADDRESS

    @classmethod
    def of(cls, logs) -> Replayed:
        """Fold the logs of a registry."""
        reader, state = LogReader("NodeRegistry"), cls()
        for log in logs:
            event, values = reader.read(log)
            if event in UNFOLDED:
                continue
            state.commitment = advanced(state.commitment, log)
            assert values["version"] == state.commitment[0]
            getattr(state, f"_{event}")(**values)
        return state

    def _ProviderCreated(self, providerId, admin, version, metadataURI):
        assert providerId == len(self.admins) + 1
        self.admins[providerId], self.metadata[providerId] = admin, metadataURI

    def _ProviderMetadata(self, providerId, version, metadataURI):
        assert self.metadata[providerId] != metadataURI
        self.metadata[providerId] = metadataURI

    def _AdminTransferStarted(self, providerId, admin, pendingAdmin, version):
        assert self.admins[providerId] == admin
        assert self.pending.get(providerId, ZERO_ADDRESS) != pendingAdmin
        self.pending[providerId] = pendingAdmin

    def _AdminTransferred(self, providerId, previousAdmin, newAdmin, version):
        assert self.admins[providerId] == previousAdmin != newAdmin == self.pending.pop(providerId)
        self.admins[providerId] = newAdmin

    def _OperatorSet(self, providerId, operator, version, allowed):
        entry = (providerId, operator)
        assert (entry in self.operators) != allowed
        self.operators ^= {entry}

    def _KindCreated(self, kind, version, name):
        assert kind == len(self.kinds) + 1
        self.kinds[kind] = name

    def _NodesAdded(self, providerId, kind, version, expiresAt, nodeIds):
        for node_id in nodeIds:
            node = to_checksum_address(node_id[12:])
            assert node not in self.expiry
            self.lists.setdefault((providerId, kind), []).insert(0, node)
            self.expiry[node], self.ids[node] = expiresAt, node_id
            self.generations[node] = self.generations.get(node, 0) + 1

    def _NodesRemoved(self, providerId, kind, version, reason, nodes):
        for node in nodes:
            self.lists[providerId, kind].remove(node)
            del self.expiry[node]

    def _NodesRenewed(self, providerId, kind, version, expiresAt, nodes):
        for node in nodes:
            assert node in self.lists[providerId, kind]
            assert self.expiry[node] < expiresAt
            self.expiry[node] = expiresAt

    def _NodeEnr(self, node, version, seq, enr):
        assert seq > self.records.get(node, 0)
        self.records[node] = seq

    def _AdditionsPaused(self, version, until):
        self.paused_until = until

    def _SuccessorAnnounced(self, successor, version):
        self.successor = successor


def _checksummed(value):
    if isinstance(value, str) and value.startswith("0x") and len(value) == 42:
        return to_checksum_address(value)
    return tuple(map(_checksummed, value)) if isinstance(value, (list, tuple)) else value
