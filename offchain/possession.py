"""Possession proofs: a node's key agrees to be listed by a provider.

    struct  = NodePossession(bytes32 nodeId, uint256 providerId, uint256 kind, uint256 generation, uint256 deadline)
    domain  = EIP712Domain(name "Waypost NodeRegistry", version "1", chainId, verifyingContract the registry)
    digest  = keccak256(19 01 || domain separator || struct hash)                    https://eips.ethereum.org/EIPS/eip-712
    r, vs   = the signature; vs is s with the recovery bit on top                   https://eips.ethereum.org/EIPS/eip-2098

The digest equals `NodeRegistry.possessionDigest`. The generation is one more than the node's present one, so that a
proof serves for one listing only. Proofs travel as JSON (see `Possession.to_json`): the operator, who has the key,
makes one and hands it to the provider, who sends it to the registry. The kind's name is in the document for people; the
key signs its number.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from offchain.errors import DecodeError
from offchain.hashing import keccak256
from offchain.keys import InvalidKey, PrivateKey, PublicKey
from offchain.types import Address, Kind, KindId, NodeAddress, NodeId, ProviderId, node_address, parse_kind

SCHEMA_VERSION = 1
DOMAIN_NAME = b"Waypost NodeRegistry"
DOMAIN_VERSION = b"1"
DOMAIN_TYPEHASH = keccak256(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
POSSESSION_TYPEHASH = keccak256(
    b"NodePossession(bytes32 nodeId,uint256 providerId,uint256 kind,uint256 generation,uint256 deadline)"
)
_HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
_RECOVERY_BIT = 1 << 255
_WORD = 1 << 256
_FIELDS = {
    "schemaVersion", "nodeId", "address", "provider", "kind", "kindId", "generation", "deadline", "chainId", "registry",
    "r", "vs",
}  # fmt: skip


class PossessionError(DecodeError):
    """The document is not a possession proof, or its signature is not by the node's key over its terms."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a node's key agrees to."""

    node_id: NodeId
    provider: ProviderId
    kind: Kind
    kind_id: KindId
    generation: int
    """The listing's number: one more than the registry's present generation of the node."""
    deadline: int
    """Unix time after which the registry refuses the proof."""
    chain_id: int
    registry: Address

    def digest(self) -> bytes:
        """The 32 bytes that the key signs."""
        domain = keccak256(
            DOMAIN_TYPEHASH
            + keccak256(DOMAIN_NAME)
            + keccak256(DOMAIN_VERSION)
            + _word(self.chain_id)
            + self.registry.rjust(32, b"\0")
        )
        struct = keccak256(
            POSSESSION_TYPEHASH
            + self.node_id
            + _word(self.provider)
            + _word(self.kind_id)
            + _word(self.generation)
            + _word(self.deadline)
        )
        return keccak256(b"\x19\x01" + domain + struct)


@dataclass(frozen=True, slots=True)
class Possession:
    """A proof: the terms and the key's signature of them."""

    terms: Terms
    r: bytes
    """32 bytes."""
    vs: bytes
    """32 bytes: s, and the recovery bit as the highest bit."""

    @property
    def address(self) -> NodeAddress:
        """The node's name in the registry."""
        return node_address(self.terms.node_id)

    def verify(self) -> None:
        """PossessionError unless the signature is by the node's key over these terms."""
        number = int.from_bytes(self.vs, "big")
        s = number & (_RECOVERY_BIT - 1)
        if s > _HALF_ORDER:
            raise PossessionError("s of the signature is in the upper half: the registry would refuse it")
        try:
            signer = PublicKey.recover(self.r + s.to_bytes(32, "big") + bytes((number >> 255,)), self.terms.digest())
        except InvalidKey as error:
            raise PossessionError(f"the signature is of no key: {error}") from None
        if signer.node_id != self.terms.node_id:
            raise PossessionError(
                f"the signature is by node {signer.node_id.hex()}, expected {self.terms.node_id.hex()}: "
                "made for other terms, or altered"
            )

    def to_json(self) -> dict[str, object]:
        """The proof as a document; numbers as numbers, bytes as 0x and hex digits."""
        terms = self.terms
        return {
            "schemaVersion": SCHEMA_VERSION,
            "nodeId": _hex(terms.node_id),
            "address": _hex(self.address),
            "provider": terms.provider,
            "kind": terms.kind,
            "kindId": terms.kind_id,
            "generation": terms.generation,
            "deadline": terms.deadline,
            "chainId": terms.chain_id,
            "registry": _hex(terms.registry),
            "r": _hex(self.r),
            "vs": _hex(self.vs),
        }

    @classmethod
    def parse(cls, text: bytes | str) -> Possession:
        """The proof in the text of a document; PossessionError for anything else."""
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise PossessionError(f"the document is no JSON: {error}") from None
        return cls.from_json(document)

    @classmethod
    def from_json(cls, document: object) -> Possession:
        """The proof in a document, signature checked; PossessionError for anything else."""
        if not isinstance(document, dict):
            raise PossessionError(f"a possession proof is a JSON object, found {type(document).__name__}")
        if missing := _FIELDS - document.keys():
            raise PossessionError(f"the proof lacks {', '.join(sorted(missing))}")
        if strange := document.keys() - _FIELDS:
            raise PossessionError(f"the proof has unknown entries: {', '.join(sorted(map(str, strange)))}")
        if _number(document, "schemaVersion") != SCHEMA_VERSION:
            raise PossessionError(f"schemaVersion is {document['schemaVersion']!r}, expected {SCHEMA_VERSION}")
        terms = Terms(
            NodeId(_bytes(document, "nodeId", 32)),
            ProviderId(_number(document, "provider")),
            _kind(document),
            KindId(_number(document, "kindId")),
            _number(document, "generation"),
            _number(document, "deadline"),
            _number(document, "chainId"),
            Address(_bytes(document, "registry", 20)),
        )
        proof = cls(terms, _bytes(document, "r", 32), _bytes(document, "vs", 32))
        if (address := _bytes(document, "address", 20)) != proof.address:
            raise PossessionError(f"address is {_hex(address)}, expected the low 20 bytes of nodeId")
        proof.verify()
        return proof


def authorize(key: PrivateKey, terms: Terms) -> Possession:
    """The key's agreement. ValueError if the terms are of another node."""
    if key.public.node_id != terms.node_id:
        raise ValueError(f"the terms are of node {terms.node_id.hex()}, the key is of {key.public.node_id.hex()}")
    signature = key.sign_recoverable(terms.digest())
    vs = int.from_bytes(signature[32:64], "big") | (signature[64] << 255)
    return Possession(terms, signature[:32], vs.to_bytes(32, "big"))


def _word(number: int) -> bytes:
    return number.to_bytes(32, "big")


def _hex(data: bytes) -> str:
    return "0x" + data.hex()


def _number(document: dict[str, object], name: str) -> int:
    value = document[name]
    if type(value) is not int or not 0 <= value < _WORD:
        raise PossessionError(f"{name} is {value!r}, expected a number of at most 256 bits")
    return value


def _bytes(document: dict[str, object], name: str, size: int) -> bytes:
    value = document[name]
    if not isinstance(value, str) or not value.startswith("0x") or len(value) != 2 + 2 * size:
        raise PossessionError(f"{name} is {value!r}, expected 0x and {2 * size} hex digits")
    try:
        return bytes.fromhex(value[2:])
    except ValueError:
        raise PossessionError(f"{name} is {value!r}, expected 0x and {2 * size} hex digits") from None


def _kind(document: dict[str, object]) -> Kind:
    value = document["kind"]
    try:
        return parse_kind(value if isinstance(value, str) else repr(value))
    except ValueError as error:
        raise PossessionError(f"kind: {error}") from None
