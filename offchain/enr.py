"""Ethereum node records: what a node says of itself, signed (EIP-778, https://eips.ethereum.org/EIPS/eip-778).

    record    = [signature, seq, k, v, ...]            RLP, at most 300 bytes, keys sorted and unique
    signature = r || s over keccak256(rlp([seq, k, v, ...]))      identity scheme "v4"
    node id   = keccak256(x || y) of the key in the entry "secp256k1"
    text      = "enr:" || base64url(record), without padding

Of the predefined entries, `ip` has 4 bytes, `ip6` 16, and ports are integers below 65536; a port of 0 reads as absent.
`udp6` and `tcp6` default to `udp` and `tcp`. Waypost adds `kinds`, an RLP list of the names of what the node serves.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from types import MappingProxyType

from offchain import rlp
from offchain.errors import DecodeError
from offchain.hashing import keccak256
from offchain.keys import COMPRESSED_SIZE, InvalidKey, PrivateKey, PublicKey
from offchain.rlp import Item, RlpError
from offchain.types import Endpoint, IpAddress, Kind, NodeId, parse_ip, parse_kind

MAX_SIZE = 300
"""Bytes of the longest record."""

SIGNATURE_SIZE = 64
MAX_TEXT = len("enr:") + (MAX_SIZE * 4 + 2) // 3
SCHEME = b"v4"
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")
_ADDRESS_SIZES = {"ip": 4, "ip6": 16}
_PORTS = ("udp", "tcp", "udp6", "tcp6")
_REMEMBERED = 4096
"""Checked records kept, so that a record that keeps coming costs one signature check: about 8 MB at most."""


class EnrError(DecodeError):
    """The bytes or text are not a valid node record. Its sender is to blame, or passed on what it didn't check."""


@dataclass(frozen=True, slots=True)
class Enr:
    """A record whose signature was checked. Equal when their bytes are."""

    raw: bytes = field(repr=False)
    """The RLP, as it came."""

    seq: int = field(compare=False)
    """Grows when the node changes its record."""

    pairs: Mapping[str, Item] = field(compare=False, repr=False)
    """Every entry, `id` and `secp256k1` too; values as RLP items. Keys are read as Latin-1, so any bytes are a key."""

    signature: bytes = field(compare=False, repr=False)
    public: PublicKey = field(compare=False, repr=False)
    node_id: NodeId = field(compare=False)
    kinds: tuple[Kind, ...] = field(compare=False)
    """What the node says it serves. Empty without the entry; what is no name of a kind is passed over."""

    @classmethod
    def decode(cls, raw: bytes) -> Enr:
        """The record that `raw` is the RLP of, signature checked; EnrError for anything else."""
        if len(raw) > MAX_SIZE:
            raise EnrError(f"a record has at most {MAX_SIZE} bytes, found {len(raw)}")
        return _decode(bytes(raw))

    @classmethod
    def parse(cls, text: str) -> Enr:
        """From "enr:..."; EnrError for anything else."""
        if not text.startswith("enr:"):
            raise EnrError("the text of a record begins with enr:")
        if len(text) > MAX_TEXT:
            raise EnrError(f"the text of a record has at most {MAX_TEXT} characters, found {len(text)}")
        body = text[4:]
        if not _BASE64URL.fullmatch(body) or len(body) % 4 == 1:
            raise EnrError("after enr: comes base64url without padding")
        raw = urlsafe_b64decode(body + "=" * (-len(body) % 4))
        if _base64url(raw) != body:
            raise EnrError("the unused bits of the last base64url character are not zero")
        return cls.decode(raw)

    @classmethod
    def create(
        cls,
        key: PrivateKey,
        seq: int = 1,
        *,
        ip: IpAddress | str | None = None,
        udp: int | None = None,
        tcp: int | None = None,
        ip6: IpAddress | str | None = None,
        udp6: int | None = None,
        tcp6: int | None = None,
        kinds: Iterable[Kind] = (),
        extra: Mapping[str, Item] | None = None,
    ) -> Enr:
        """A new record, signed. `ip` and `ip6` take an address of either family. ValueError if it would be too big."""
        pairs: dict[str, Item] = {}
        for address in (ip, ip6):
            if address is not None:
                parsed = parse_ip(str(address))
                pairs["ip" if parsed.version == 4 else "ip6"] = parsed.packed
        for name, port in (("udp", udp), ("tcp", tcp), ("udp6", udp6), ("tcp6", tcp6)):
            if port is not None:
                pairs[name] = rlp.int_to_bytes(port)
        if names := [kind.encode() for kind in kinds]:
            pairs["kinds"] = list(names)
        return sign(key, seq, {**pairs, **(extra or {})})

    def amended(self, key: PrivateKey, changes: Mapping[str, Item | None]) -> Enr:
        """The node's next record: its entries with these set, or removed where None, and the next sequence number."""
        pairs = {name: value for name, value in {**self.pairs, **changes}.items() if value is not None}
        return sign(key, self.seq + 1, pairs)

    @property
    def text(self) -> str:
        """ "enr:..." """
        return "enr:" + _base64url(self.raw)

    @property
    def ip(self) -> IPv4Address | None:
        """The IPv4 address."""
        value = self.pairs.get("ip")
        return IPv4Address(value) if isinstance(value, bytes) else None

    @property
    def ip6(self) -> IPv6Address | None:
        """The IPv6 address."""
        value = self.pairs.get("ip6")
        return IPv6Address(value) if isinstance(value, bytes) else None

    @property
    def udp(self) -> int | None:
        """The discovery port."""
        return self._port("udp")

    @property
    def tcp(self) -> int | None:
        """The RLPx port."""
        return self._port("tcp")

    @property
    def udp6(self) -> int | None:
        """The discovery port over IPv6."""
        return self._port("udp6") or self.udp

    @property
    def tcp6(self) -> int | None:
        """The RLPx port over IPv6."""
        return self._port("tcp6") or self.tcp

    @property
    def endpoint(self) -> Endpoint | None:
        """Where the node listens over IPv4."""
        return None if self.ip is None else Endpoint(self.ip, self.udp, self.tcp)

    @property
    def endpoint6(self) -> Endpoint | None:
        """Where the node listens over IPv6."""
        return None if self.ip6 is None else Endpoint(self.ip6, self.udp6, self.tcp6)

    def _port(self, name: str) -> int | None:
        value = self.pairs.get(name, b"")
        return int.from_bytes(value, "big") or None if isinstance(value, bytes) else None


def sign(key: PrivateKey, seq: int, pairs: Mapping[str, Item]) -> Enr:
    """The record of these entries, signed; `id` and `secp256k1` are added. ValueError if it would not be valid."""
    if not 0 <= seq < 1 << 64:
        raise ValueError(f"a sequence number has at most 64 bits, found {seq}")
    entries: dict[str, Item] = {**pairs, "id": SCHEME, "secp256k1": key.public.compressed}
    body = [rlp.encode(seq)]
    for name in sorted(entries):
        body += [rlp.encode(name.encode("latin-1")), rlp.encode(entries[name])]
    signature = key.sign(keccak256(rlp.encode_list(body)))
    return Enr.decode(rlp.encode_list([rlp.encode(signature), *body]))


def remember(count: int) -> None:
    """Keep so many checked records: for a process that is many nodes, as a simulation is."""
    global _decode  # noqa: PLW0603
    _decode = lru_cache(maxsize=count)(_checked)


def _checked(raw: bytes) -> Enr:
    try:
        items = rlp.split_list(raw)
        if len(items) < 2 or len(items) % 2:
            raise EnrError(f"a record has a signature, a number and pairs, found {len(items)} items")
        signature = rlp.as_bytes(rlp.decode(items[0]), SIGNATURE_SIZE)
        seq = rlp.as_int(rlp.decode(items[1]), 8)
        pairs = _pairs(items[2:])
        if pairs.get("id") != SCHEME:
            raise EnrError("the identity scheme is not v4")
        public = PublicKey.from_bytes(rlp.as_bytes(pairs.get("secp256k1", b""), COMPRESSED_SIZE))
        _check_predefined(pairs)
    except (RlpError, InvalidKey) as error:
        raise EnrError(f"not a record: {error}") from None
    if not public.verify(signature, keccak256(rlp.encode_list(items[1:]))):
        raise EnrError("the signature is not by the record's key")
    return Enr(raw, seq, MappingProxyType(pairs), signature, public, public.node_id, _kinds(pairs.get("kinds")))


_decode = lru_cache(maxsize=_REMEMBERED)(_checked)


def _pairs(items: list[bytes]) -> dict[str, Item]:
    pairs: dict[str, Item] = {}
    last: bytes | None = None
    for key_item, value in zip(items[::2], items[1::2], strict=True):
        key = rlp.as_bytes(rlp.decode(key_item))
        if last is not None and key <= last:
            raise EnrError(f"the key {key!r} comes after {last!r}; keys are sorted and unique")
        pairs[key.decode("latin-1")] = rlp.decode(value)
        last = key
    return pairs


def _check_predefined(pairs: Mapping[str, Item]) -> None:
    for name, size in _ADDRESS_SIZES.items():
        if name in pairs:
            rlp.as_bytes(pairs[name], size)
    for name in _PORTS:
        if name in pairs:
            rlp.as_int(pairs[name], 2)


def _kinds(entry: Item | None) -> tuple[Kind, ...]:
    """Read by nobody but us: a strange entry is no reason to refuse the record."""
    kinds: list[Kind] = []
    for item in entry if isinstance(entry, list) else ():
        try:
            kind = parse_kind(rlp.as_bytes(item).decode("ascii"))
        except ValueError:
            continue
        if kind not in kinds:
            kinds.append(kind)
    return tuple(kinds)


def _base64url(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
