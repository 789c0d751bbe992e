"""Whisper v6 envelopes (EIP-627), as go-ethereum and status-go make them.

    envelope = RLP [expiry, ttl, topic (4), data, nonce], integers without leading zeros
    hash     = keccak256(envelope)
    sent     = expiry - ttl; times are seconds since 1970

Proof of work has two rules, and programs of one refuse envelopes of the other. With r = RLP [expiry, ttl, topic, data]
and nonce8 = nonce, 8 bytes big endian:

    LEADING, from go-ethereum 1.9.0 on: 2^(leading zero bits of K(r || nonce8)) / len(r) / ttl
    TRAILING, up to 1.8.27: 2^(trailing zero bits of K(K(r) || 24 zero bytes || nonce8)) / (20 + len(data)) / ttl

Both divide one after the other, in double precision, so our figures are theirs to the last bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum

from sha3 import keccak_256

from offchain import rlp
from offchain.errors import DecodeError, LocalError
from offchain.hashing import keccak256

TOPIC_SIZE = 4
HASH_SIZE = 32
MAX_ENVELOPE = 1024 * 1024
"""Largest envelope by default, as RLP."""

FUTURE_ALLOWANCE = 10.0
"""Seconds by which the sender's clock may be ahead."""

EXPIRY_ALLOWANCE = 20.0
"""Seconds past its expiry for which an envelope is still taken."""

MAX_NONCE = (1 << 64) - 1
_HEADER_SIZE = 20
"""Weight of the other fields in the older rule."""


class EnvelopeError(DecodeError):
    """The bytes are not an envelope."""


class MiningGaveUp(LocalError):
    """The proof of work asked for was not found in the attempts allowed."""


class PowRule(Enum):
    """How proof of work is counted."""

    LEADING = "leading"
    TRAILING = "trailing"


class Fault(Enum):
    """What can be wrong with an envelope that is one."""

    FUTURE = "sent in the future"
    EXPIRED = "very old envelope"
    TTL = "ttl is zero or more than its expiry"
    SIZE = "too large"
    POW = "not enough proof of work"
    BLOOM = "does not match the bloom filter"
    RATE = "rate limit exceeded"


@dataclass(frozen=True, slots=True)
class Envelope:
    """An encrypted message on its way. Equal if its bytes are."""

    expiry: int = field(compare=False)
    ttl: int = field(compare=False)
    topic: bytes = field(compare=False)
    data: bytes = field(compare=False, repr=False)
    nonce: int = field(compare=False)
    raw: bytes = field(repr=False)
    """RLP, as it came."""

    hash: bytes = field(compare=False)

    @property
    def sent(self) -> int:
        """When it was sent. Below zero if the ttl is nonsense."""
        return self.expiry - self.ttl

    @property
    def position(self) -> bytes:
        """Where it stands in the order of history, and the cursor after it: sent, 4 bytes big endian || hash."""
        return self.sent.to_bytes(4, "big") + self.hash

    @classmethod
    def create(cls, expiry: int, ttl: int, topic: bytes, data: bytes, nonce: int = 0) -> Envelope:
        """From its fields. ValueError if they do not fit: times and ttl take 32 bits, the nonce 64."""
        if len(topic) != TOPIC_SIZE:
            raise ValueError(f"a topic has {TOPIC_SIZE} bytes, found {len(topic)}")
        if not (0 <= expiry < 1 << 32 and 0 <= ttl < 1 << 32 and 0 <= nonce <= MAX_NONCE):
            raise ValueError(f"expiry {expiry}, ttl {ttl} or nonce {nonce} is out of range")
        raw = rlp.encode([expiry, ttl, topic, data, nonce])
        return cls(expiry, ttl, topic, data, nonce, raw, keccak256(raw))

    @classmethod
    def decode(cls, raw: bytes) -> Envelope:
        """From its RLP. EnvelopeError if it is anything else; whether it is acceptable is another question."""
        try:
            items = rlp.decode_list(raw)
            if len(items) != 5:
                raise EnvelopeError(f"an envelope has 5 items, found {len(items)}")
            expiry, ttl, topic, data, nonce = items
            return cls(
                rlp.as_int(expiry, 4),
                rlp.as_int(ttl, 4),
                rlp.as_bytes(topic, TOPIC_SIZE),
                rlp.as_bytes(data),
                rlp.as_int(nonce, 8),
                raw,
                keccak256(raw),
            )
        except rlp.RlpError as error:
            raise EnvelopeError(str(error)) from None

    @staticmethod
    def decode_many(payload: bytes) -> list[Envelope]:
        """From a list of envelopes, or a single bare one: programs send both."""
        try:
            items = rlp.split_list(payload)
        except rlp.RlpError as error:
            raise EnvelopeError(str(error)) from None
        if items and items[0][0] < 0xC0:
            return [Envelope.decode(payload)]
        return [Envelope.decode(each) for each in items]

    def pow(self, rule: PowRule = PowRule.LEADING) -> float:
        """Its proof of work; 0 if the ttl is 0."""
        if self.ttl == 0:
            return 0.0
        core = self._core()
        nonce = self.nonce.to_bytes(8, "big")
        if rule is PowRule.LEADING:
            bits = 256 - int.from_bytes(keccak256(core + nonce), "big").bit_length()
        else:
            bits = _trailing_zeros(keccak256(keccak256(core) + bytes(24) + nonce))
        return 2.0**bits / self._weight(rule, len(core)) / self.ttl

    def best_pow(self, at_least: float = math.inf) -> float:
        """Its proof of work by the rule that is kinder to it; stops at the first that suffices."""
        newer = self.pow(PowRule.LEADING)
        return newer if newer >= at_least else max(newer, self.pow(PowRule.TRAILING))

    def fault(self, now: float, max_size: int = MAX_ENVELOPE) -> Fault | None:
        """What is wrong with its times or size at time `now`; None if nothing."""
        if len(self.raw) > max_size:
            return Fault.SIZE
        if self.ttl == 0 or self.ttl > self.expiry:
            return Fault.TTL
        if self.expiry - self.ttl > now + FUTURE_ALLOWANCE:
            return Fault.FUTURE
        if self.expiry + EXPIRY_ALLOWANCE < now:
            return Fault.EXPIRED
        return None

    def _core(self) -> bytes:
        """What proof of work is over: the envelope without its nonce. Cut from the RLP, which has only one form."""
        start = 1 if self.raw[0] < 0xF8 else self.raw[0] - 0xF6
        nonce_size = 1 if self.nonce < 0x80 else 1 + (self.nonce.bit_length() + 7) // 8
        return rlp.encode_list((self.raw[start:-nonce_size],))

    def _weight(self, rule: PowRule, core_size: int) -> int:
        return core_size if rule is PowRule.LEADING else _HEADER_SIZE + len(self.data)


def encode_many(envelopes: list[Envelope]) -> bytes:
    """The list of envelopes that code 1 carries."""
    return rlp.encode_list([each.raw for each in envelopes])


def mine(
    expiry: int,
    ttl: int,
    topic: bytes,
    data: bytes,
    target_pow: float,
    rule: PowRule = PowRule.LEADING,
    *,
    max_attempts: int = 1 << 26,
) -> Envelope:
    """An envelope with at least the proof of work asked for. Busy until found: about a microsecond an attempt.

    MiningGaveUp after `max_attempts`. A target of 0 takes the nonce 0.
    """
    unmined = Envelope.create(expiry, ttl, topic, data)
    if target_pow <= 0:
        return unmined
    if ttl == 0:
        raise ValueError("an envelope that lives 0 s cannot have proof of work")
    core = unmined._core()
    weight = unmined._weight(rule, len(core))
    bits = _bits_for(target_pow, weight, ttl)
    if bits > 64:
        raise MiningGaveUp(f"a proof of work of {target_pow} takes 2^{bits} attempts")
    search = _search_leading if rule is PowRule.LEADING else _search_trailing
    nonce = search(core, bits, max_attempts)
    if nonce is None:
        raise MiningGaveUp(f"no proof of work of {target_pow} in {max_attempts} attempts")
    return Envelope.create(expiry, ttl, topic, data, nonce)


def mine_for_all(expiry: int, ttl: int, topic: bytes, data: bytes, target_pow: float) -> Envelope:
    """An envelope with the proof of work asked for by either rule: for a peer of unknown age.

    The attempts multiply, so this is for small targets: some thousand for what mail servers ask of a request.
    """
    unmined = Envelope.create(expiry, ttl, topic, data)
    core = unmined._core()
    leading, trailing = (
        _bits_for(target_pow, unmined._weight(rule, len(core)), ttl) for rule in (PowRule.LEADING, PowRule.TRAILING)
    )
    nonce = -1
    while True:
        found = _search_leading(core, leading, 1 << 26, nonce + 1)
        if found is None:
            raise MiningGaveUp(f"no proof of work of {target_pow} by both rules up to the nonce {nonce}")
        nonce = found
        digest = keccak256(keccak256(core) + bytes(24) + nonce.to_bytes(8, "big"))
        if _trailing_zeros(digest) >= trailing:
            return Envelope.create(expiry, ttl, topic, data, nonce)


def _bits_for(target_pow: float, weight: int, ttl: int) -> int:
    """The fewest zero bits that reach the target, in the arithmetic that will judge them."""
    bits = 0
    while 2.0**bits / weight / ttl < target_pow and bits <= 64:
        bits += 1
    return bits


def _search_leading(core: bytes, bits: int, max_attempts: int, first: int = 0) -> int | None:
    """The hash is below a bound; compared as bytes. The state after `core` is copied, not computed again."""
    bound = (1 << (256 - bits)).to_bytes(33, "big")[1:] if bits else b"\xff" * 33
    start = keccak_256(core)
    for nonce in range(first, max_attempts):
        state = start.copy()
        state.update(nonce.to_bytes(8, "big"))
        if state.digest() < bound:
            return nonce
    return None


def _search_trailing(core: bytes, bits: int, max_attempts: int) -> int | None:
    mask = (1 << bits) - 1
    start = keccak256(core) + bytes(24)
    for nonce in range(max_attempts):
        digest = keccak_256(start + nonce.to_bytes(8, "big")).digest()
        if not int.from_bytes(digest[24:], "big") & mask:
            return nonce
    return None


def _trailing_zeros(digest: bytes) -> int:
    value = int.from_bytes(digest, "big")
    return (value & -value).bit_length() - 1 if value else 256
