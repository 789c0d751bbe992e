"""The keys a mailbox opens envelopes with, and the topics that go with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from offchain.hashing import keccak256
from offchain.keys import PrivateKey
from offchain.whisper.cipher import CipherError, Message, key_from_password, open_asym, open_sym
from offchain.whisper.envelope import Envelope

TOPIC_SIZE = 4


@dataclass(frozen=True, slots=True)
class SharedKey:
    """A key that everybody in a conversation has."""

    label: str
    """How the user calls it."""
    key: bytes = field(repr=False)
    """32 bytes."""
    topic: bytes | None = None
    """Tried on envelopes of this topic only; None tries it on all."""

    @classmethod
    def from_password(cls, password: str, topic: bytes | None = None, label: str = "password") -> SharedKey:
        """The key of a password. Slow on purpose (PBKDF2): make it once."""
        return cls(label, key_from_password(password), topic)


@dataclass(frozen=True, slots=True)
class PersonalKey:
    """A key that only the user has; messages are sealed to its public key."""

    label: str
    key: PrivateKey


MailKey = SharedKey | PersonalKey


@dataclass(frozen=True, slots=True)
class Opened:
    """What was in an envelope, and the key that opened it."""

    message: Message
    label: str


class Keyring:
    """Several keys, tried in turn: those of the envelope's topic first."""

    def __init__(self, keys: Iterable[MailKey] = ()) -> None:
        self._keys = tuple(keys)

    def open(self, envelope: Envelope) -> Opened | None:
        """What is in an envelope, or None if no key opens it."""
        for key in self._candidates(envelope.topic):
            try:
                if isinstance(key, SharedKey):
                    return Opened(open_sym(key.key, envelope.data), key.label)
                return Opened(open_asym(key.key, envelope.data), key.label)
            except CipherError:
                continue
        return None

    def _candidates(self, topic: bytes) -> Iterator[MailKey]:
        shared = [key for key in self._keys if isinstance(key, SharedKey)]
        yield from (key for key in shared if key.topic == topic)
        yield from (key for key in shared if key.topic is None)
        yield from (key for key in self._keys if isinstance(key, PersonalKey))


def topic_of_name(name: str) -> bytes:
    """The topic of a named conversation: the first 4 bytes of keccak256 of its name, as Status makes them."""
    return keccak256(name.encode())[:TOPIC_SIZE]
