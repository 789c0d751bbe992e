"""Tickets: what a registrar gives an advertiser to wait with, so that it need not remember it.

    ticket = key-id (1) || nonce (12) || AES-128-GCM(first-asked (8) || issued (8) || wait (8)) || tag (16)

Times are 64-bit floats on the registrar's own clock. The associated data are the key id, the ad (topic and record), the
advertiser's id and its address: a ticket is good for whom and for what it was given, and for nothing else. Keys are
made at the start and changed every six hours; tickets of the previous key are still good.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from random import Random

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from offchain.discovery.topics.ip_tree import bits_of
from offchain.hashing import keccak256
from offchain.types import NodeId, Topic

KEY_LIFETIME = 6 * 3_600.0
WINDOW = 5.0
"""Seconds after the wait in which a ticket is good."""

NONCE_SIZE = 12
_TIMES = struct.Struct(">ddd")
SIZE = 1 + NONCE_SIZE + _TIMES.size + 16


@dataclass(frozen=True, slots=True)
class Ad:
    """What is asked for, by whom, from where."""

    topic: Topic
    record: bytes
    """RLP."""

    node_id: NodeId
    ip: str


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a ticket says."""

    asked: float
    """When the advertiser asked first."""

    issued: float
    wait: float

    @property
    def due(self) -> float:
        """When it begins to be good."""
        return self.issued + self.wait

    def is_good(self, now: float) -> bool:
        """Neither early nor late."""
        return self.due <= now <= self.due + WINDOW


class Sealer:
    """Seals and opens tickets."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._key_id = rng.randrange(256)
        self._keys = {self._key_id: AESGCM(rng.randbytes(16))}
        self._key_since: float | None = None

    def seal(self, ticket: Ticket, ad: Ad, now: float) -> bytes:
        """The ticket's bytes, for this ad only."""
        self._rotate(now)
        nonce = self._rng.randbytes(NONCE_SIZE)
        times = _TIMES.pack(ticket.asked, ticket.issued, ticket.wait)
        sealed = self._keys[self._key_id].encrypt(nonce, times, _bound_to(self._key_id, ad))
        return bytes((self._key_id,)) + nonce + sealed

    def open(self, data: bytes, ad: Ad) -> Ticket | None:
        """What the ticket says; None if we did not make it, or not for this ad, or too long ago."""
        if len(data) != SIZE:
            return None
        key = self._keys.get(data[0])
        if key is None:
            return None
        try:
            times = key.decrypt(data[1 : 1 + NONCE_SIZE], data[1 + NONCE_SIZE :], _bound_to(data[0], ad))
        except InvalidTag:
            return None
        return Ticket(*_TIMES.unpack(times))

    def _rotate(self, now: float) -> None:
        if self._key_since is None:
            self._key_since = now
        if now - self._key_since < KEY_LIFETIME:
            return
        previous = self._key_id
        self._key_id = (previous + 1) % 256
        self._keys = {previous: self._keys[previous], self._key_id: AESGCM(self._rng.randbytes(16))}
        self._key_since = now


def _bound_to(key_id: int, ad: Ad) -> bytes:
    bits, address = bits_of(ad.ip)
    packed = address.to_bytes(bits // 8, "big").rjust(16, b"\0")
    return bytes((key_id,)) + keccak256(ad.topic + ad.record) + ad.node_id + packed
