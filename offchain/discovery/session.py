"""Sessions: the keys two nodes share, and the bounded store of them.

A session belongs to (node id, IP, port). Its entry has up to two sets of keys: `current`, with which we encrypt, and
`previous`, with which the other side may still encrypt while it hasn't seen that there are newer ones. Where both sides
began a handshake at once, each ends up writing with one of the two and reading both.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from offchain.discovery.address import UdpAddress
from offchain.types import NodeId

SessionKey = tuple[NodeId, UdpAddress]

LAST_COUNTER = 0xFFFF_FFF0
"""Keys that have encrypted so many messages are used up: the nonces' counter has 32 bits."""

_WINDOW = 256
_LARGEST_STEP = 1 << 20


class ReplayWindow:
    """Tells packets that come twice, by their nonces.

    Most implementations count in the first four bytes, as the specification recommends: from them, what is more than
    256 behind is refused. Some draw nonces at random, which shows at once in counters that leap: from them, only the
    last 512 nonces are known. Call it for authenticated packets only.
    """

    __slots__ = ("_counting", "_highest", "_seen")

    def __init__(self) -> None:
        self._seen: dict[bytes, None] = {}
        self._highest = 0
        self._counting = True

    def accept(self, nonce: bytes) -> bool:
        """Remember the nonce; False if it came before, or is too old to tell."""
        seen = self._seen
        if nonce in seen:
            return False
        if self._counting:
            counter = int.from_bytes(nonce[:4], "big")
            if counter > self._highest:
                self._counting = counter - self._highest <= _LARGEST_STEP
                self._highest = counter
            elif counter + _WINDOW <= self._highest:
                return False
        seen[nonce] = None
        if len(seen) > 2 * _WINDOW:
            del seen[next(iter(seen))]
        return True


class Keys:
    """One agreement's two keys, the counter of what was encrypted, and the window of what was decrypted."""

    __slots__ = ("_counter", "_open", "_seal", "_window")

    def __init__(self, write: bytes, read: bytes, counter: int = 0) -> None:
        self._seal = AESGCM(write).encrypt
        self._open = AESGCM(read).decrypt
        self._counter = counter
        self._window: ReplayWindow | None = None

    @property
    def used_up(self) -> bool:
        """Whether a new handshake is due."""
        return self._counter >= LAST_COUNTER

    def next_nonce(self, chance: bytes) -> bytes:
        """counter || 8 random bytes: unique even if a counter were repeated."""
        self._counter += 1
        return self._counter.to_bytes(4, "big") + chance

    def seal(self, nonce: bytes, message: bytes, header: bytes) -> bytes:
        """Encrypt."""
        return self._seal(nonce, message, header)

    def open(self, nonce: bytes, ciphertext: bytes, header: bytes) -> bytes | None:
        """Decrypt; None if it was not encrypted with these keys."""
        try:
            return self._open(nonce, ciphertext, header)
        except InvalidTag:
            return None

    def accept(self, nonce: bytes) -> bool:
        """Whether a packet that was decrypted is new."""
        if self._window is None:
            self._window = ReplayWindow()
        return self._window.accept(nonce)


@dataclass(slots=True)
class Session:
    """What we share with a node at an address."""

    current: Keys
    previous: Keys | None
    expires: float


class SessionStore:
    """At most `capacity` sessions, for at most `lifetime` seconds each; the one not used for longest goes first.

    Only completed handshakes put sessions in.
    """

    def __init__(self, capacity: int = 2_000, lifetime: float = 86_400.0) -> None:
        self._capacity = capacity
        self._lifetime = lifetime
        self._sessions: OrderedDict[SessionKey, Session] = OrderedDict()

    def get(self, key: SessionKey, now: float) -> Session | None:
        """The session, if there is one that has not expired."""
        session = self._sessions.get(key)
        if session is None:
            return None
        if session.expires <= now:
            del self._sessions[key]
            return None
        self._sessions.move_to_end(key)
        return session

    def install(self, key: SessionKey, keys: Keys, previous: Keys | None, now: float) -> None:
        """Take new keys into use; what was current stays readable, unless `previous` is given to stay instead."""
        old = self._sessions.pop(key, None)
        if previous is None and old is not None:
            previous = old.current
        self._sessions[key] = Session(keys, previous, now + self._lifetime)
        if len(self._sessions) > self._capacity:
            self._sessions.popitem(last=False)

    def remove(self, key: SessionKey) -> None:
        """Forget a session."""
        self._sessions.pop(key, None)

    def __contains__(self, key: SessionKey) -> bool:
        return key in self._sessions

    def __len__(self) -> int:
        return len(self._sessions)
