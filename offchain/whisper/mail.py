"""History requests and their answers, as mail servers and their clients really wrote them (status-go, wnode; EIP-627).

    126  request      an envelope whose payload is one of
             RLP     [lower, upper, bloom, limit, cursor, batch]              status-go 0.13 to 0.35
             TOPICS  [lower, upper, bloom, topics, limit, cursor, batch]      status-go 0.50
             SPEC    [lower, upper, bloom, limit, cursor, topics]             the Status specification
             SEALED  [lower, upper, bloom, topics, limit, cursor, batch, 1]   ours: see offchain.whisper.sealed
             BINARY  lower32 || upper32 [|| bloom64 [|| limit32 [|| cursor36]]], big endian      wnode, status-go 0.13
         or, without an envelope,
             PLAIN   [id32, from, to, limit, cursor, bloom]                   status-go 0.35
    127  mail         a list of envelopes, or one bare envelope
    125  completion   RLP string of id32 || hash of the last envelope (zeros if none was sent) || cursor (0 or 36 bytes)
         or failure   RLP string of "ERROR=" || id32 || text
    123  sync         [lower, upper, bloom, limit, cursor], between mail servers
    124  answer       [envelopes, cursor, final, error]

id = keccak256 of the request's envelope. cursor = sent u32 || hash of the last envelope: go on after it. upper 0 is a
minute from now, limit 0 is 2,000. The topic of the request's envelope is 0, its ttl 50.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from offchain import rlp
from offchain.errors import DecodeError
from offchain.hashing import keccak256
from offchain.keys import PrivateKey, PublicKey
from offchain.whisper import cipher
from offchain.whisper.bloom import BLOOM_SIZE, FULL_BLOOM, TOPIC_SIZE
from offchain.whisper.envelope import Envelope, EnvelopeError, PowRule, mine, mine_for_all

DEFAULT_PASSWORD = "status-offline-inbox"
"""Encrypts requests of old clients. Everybody knows it."""

REQUEST_TOPIC = bytes(TOPIC_SIZE)
REQUEST_TTL = 50
REQUEST_AGE = 30
"""Seconds by which a request is dated back, so that the clocks may differ by 40 s in either direction."""

REQUEST_POW = 0.002
"""What old servers ask of a request."""

MAX_REQUEST_TTL = 300
"""Longest time for which a request may be made valid: so long its id is remembered, so that nobody can repeat it."""

MAX_REQUEST_SIZE = 64 * 1024
MAX_TOPICS = 512
CURSOR_SIZE = 36
ID_SIZE = 32
DEFAULT_LIMIT = 2_000
DEFAULT_UPPER = 60
"""Seconds after now."""

MAX_SYNC_LIMIT = 1_000
ERROR_PREFIX = b"ERROR="
_MAX_TIME = 2**32 - 1
_TIMES = struct.Struct(">II")
_LIMIT = struct.Struct(">I")


class MailError(DecodeError):
    """The bytes are not a request, an answer to one, or not for us from this peer. The text may be sent to the peer."""


class Layout(Enum):
    """How a request is written."""

    RLP = "rlp"
    TOPICS = "rlp with topics"
    SPEC = "rlp with topics at the end"
    SEALED = "rlp with topics, for a sealed answer"
    PLAIN = "plain"
    BINARY_8 = "binary of 8 bytes"
    BINARY_72 = "binary of 72 bytes"
    BINARY_76 = "binary of 76 bytes"
    BINARY_112 = "binary of 112 bytes"


_BINARY = {8: Layout.BINARY_8, 72: Layout.BINARY_72, 76: Layout.BINARY_76, 112: Layout.BINARY_112}


@dataclass(frozen=True, slots=True)
class HistoryRequest:
    """Which envelopes somebody wants. Times are seconds since 1970, both included."""

    lower: int
    upper: int
    """0 for a minute from now; see `resolved`."""

    bloom: bytes | None = None
    """64 bytes. None if it was not given: then there are topics."""

    topics: tuple[bytes, ...] = ()
    """4 bytes each. If there are any, the bloom filter does not count."""

    limit: int = 0
    """0 for 2,000; see `resolved`."""

    cursor: bytes = b""
    """Go on after it: 36 bytes, or nothing."""

    batch: bool = True
    """The client takes lists of envelopes. Old ones take them one by one only."""

    layout: Layout = field(default=Layout.TOPICS, compare=False)
    """How it was written, or is to be."""

    @property
    def sealed(self) -> bool:
        """Whether the answer is to be encrypted to the client's key."""
        return self.layout is Layout.SEALED

    def encode(self) -> bytes:
        """What goes into the envelope. ValueError for PLAIN (see `encode_plain`), or if a field does not fit."""
        self._check()
        bloom, topics = self.bloom or b"", list(self.topics)
        if self.layout is Layout.RLP:
            return rlp.encode([self.lower, self.upper, bloom, self.limit, self.cursor, int(self.batch)])
        if self.layout in (Layout.TOPICS, Layout.SEALED):
            last = [1] if self.sealed else []
            return rlp.encode([self.lower, self.upper, bloom, topics, self.limit, self.cursor, int(self.batch), *last])
        if self.layout is Layout.SPEC:
            return rlp.encode([self.lower, self.upper, bloom, self.limit, self.cursor, topics])
        if self.layout is Layout.PLAIN:
            raise ValueError("a plain request does not go into an envelope")
        whole = _TIMES.pack(self.lower, self.upper) + (self.bloom or FULL_BLOOM)
        whole += _LIMIT.pack(self.limit) + self.cursor.ljust(CURSOR_SIZE, b"\0")
        return whole[: next(size for size, layout in _BINARY.items() if layout is self.layout)]

    def encode_plain(self, request_id: bytes) -> bytes:
        """The packet of a plain request."""
        self._check()
        return rlp.encode([request_id, self.lower, self.upper, self.limit, self.cursor, self.bloom or b""])

    @classmethod
    def decode(cls, payload: bytes) -> HistoryRequest:
        """From what was in the envelope, in whichever layout it is; MailError if in none."""
        # A binary request begins with a time, and no time before 2072 begins like a list.
        if payload and payload[0] >= 0xC0:
            return cls._decode_list(payload)
        return cls._decode_binary(payload)

    @classmethod
    def decode_plain(cls, packet: bytes) -> tuple[bytes, HistoryRequest]:
        """The id and the request of a plain packet."""
        try:
            request_id, lower, upper, limit, cursor, bloom = rlp.as_list(rlp.decode(packet), 6)
            request = cls(
                _time(lower),
                _time(upper),
                _bloom(bloom),
                limit=rlp.as_int(limit, 4),
                cursor=_cursor(cursor),
                layout=Layout.PLAIN,
            )
            return rlp.as_bytes(request_id, ID_SIZE), request
        except rlp.RlpError as error:
            raise MailError(f"the plain request: {error}") from None

    def resolved(self, now: float, max_limit: int = DEFAULT_LIMIT) -> HistoryRequest:
        """With the defaults in place of zeros and the limit at most `max_limit`. MailError if it cannot be answered."""
        upper = self.upper or min(int(now) + DEFAULT_UPPER, _MAX_TIME)
        if self.lower > upper:
            raise MailError(f"the range is empty: from {self.lower} is after to {upper}")
        if not self.topics and self.bloom is None:
            raise MailError("the request has neither topics nor a bloom filter")
        return replace(self, upper=upper, limit=min(self.limit or DEFAULT_LIMIT, max_limit))

    @classmethod
    def _decode_list(cls, payload: bytes) -> HistoryRequest:
        try:
            items = rlp.decode_list(payload)
            layout = _layout_of(items)
            lower, upper, bloom, *rest = items
            topics: rlp.Item = []
            batch: rlp.Item = b"\x01"
            if layout in (Layout.TOPICS, Layout.SEALED):
                topics, limit, cursor, batch = rest[:4]
            elif layout is Layout.SPEC:
                limit, cursor, topics = rest
            else:
                limit, cursor, batch = rest
            return cls(
                _time(lower),
                _time(upper),
                _bloom(bloom),
                _topics(topics),
                rlp.as_int(limit, 4),
                _cursor(cursor),
                _flag(batch),
                layout,
            )
        except rlp.RlpError as error:
            raise MailError(f"the request: {error}") from None

    @classmethod
    def _decode_binary(cls, payload: bytes) -> HistoryRequest:
        layout = _BINARY.get(len(payload))
        if layout is None:
            raise MailError(f"the request has {len(payload)} bytes, expected a list, or 8, 72, 76 or 112 bytes")
        lower, upper = _TIMES.unpack_from(payload)
        limit = _LIMIT.unpack_from(payload, 72)[0] if len(payload) > 72 else 0
        return cls(lower, upper, payload[8:72] or FULL_BLOOM, (), limit, payload[76:], False, layout)

    def _check(self) -> None:
        if not (0 <= self.lower <= _MAX_TIME and 0 <= self.upper <= _MAX_TIME and 0 <= self.limit <= _MAX_TIME):
            raise ValueError(f"{self.lower}, {self.upper} or {self.limit} does not fit into 32 bits")
        if len(self.cursor) not in (0, CURSOR_SIZE) or len(self.bloom or FULL_BLOOM) != BLOOM_SIZE:
            raise ValueError(f"the cursor has {len(self.cursor)} bytes, the filter {len(self.bloom or b'')}")
        if len(self.topics) > MAX_TOPICS or any(len(topic) != TOPIC_SIZE for topic in self.topics):
            raise ValueError(f"at most {MAX_TOPICS} topics of {TOPIC_SIZE} bytes fit into a request")
        if self.topics and self.layout not in (Layout.TOPICS, Layout.SPEC, Layout.SEALED):
            raise ValueError(f"the layout {self.layout.value!r} has no place for topics")


@dataclass(frozen=True, slots=True)
class Completion:
    """The end of an answer."""

    request_id: bytes
    last_hash: bytes = bytes(ID_SIZE)
    """Of the last envelope sent; zeros if none was."""

    cursor: bytes = b""
    """Where to go on; nothing if that was all."""

    def encode(self) -> bytes:
        """Packet 125."""
        return rlp.encode(self.request_id + self.last_hash + self.cursor)


@dataclass(frozen=True, slots=True)
class Failure:
    """The server could not or would not answer."""

    request_id: bytes
    text: str

    def encode(self) -> bytes:
        """Packet 125."""
        return rlp.encode(ERROR_PREFIX + self.request_id + self.text.encode())


def decode_completion(payload: bytes) -> Completion | Failure:
    """From packet 125. The text of a failure need not be UTF-8; what is not becomes U+FFFD."""
    try:
        content = rlp.as_bytes(rlp.decode(payload))
    except rlp.RlpError as error:
        raise MailError(f"the completion: {error}") from None
    if content.startswith(ERROR_PREFIX):
        start, end = len(ERROR_PREFIX), len(ERROR_PREFIX) + ID_SIZE
        if len(content) < end:
            raise MailError(f"a failure has at least {end} bytes, found {len(content)}")
        return Failure(content[start:end], content[end:].decode("utf-8", "replace"))
    if len(content) not in (2 * ID_SIZE, 2 * ID_SIZE + CURSOR_SIZE):
        raise MailError(f"a completion has 64 or 100 bytes, found {len(content)}")
    return Completion(content[:ID_SIZE], content[ID_SIZE : 2 * ID_SIZE], content[2 * ID_SIZE :])


def is_failure(payload: bytes) -> bool:
    """Whether a packet 125 tells of a failure."""
    try:
        return rlp.as_bytes(rlp.decode(payload)).startswith(ERROR_PREFIX)
    except rlp.RlpError:
        return False


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """One mail server asks another for what it may lack."""

    lower: int
    upper: int
    bloom: bytes = FULL_BLOOM
    limit: int = MAX_SYNC_LIMIT
    """Envelopes in the answer, 1 to 1,000."""

    cursor: bytes = b""

    def encode(self) -> bytes:
        """Packet 123."""
        return rlp.encode([self.lower, self.upper, self.bloom, self.limit, self.cursor])

    @classmethod
    def decode(cls, payload: bytes) -> SyncRequest:
        """From packet 123."""
        try:
            lower, upper, bloom, limit, cursor = rlp.as_list(rlp.decode(payload), 5)
            request = cls(_time(lower), _time(upper), _bloom(bloom) or b"", rlp.as_int(limit), _cursor(cursor))
        except rlp.RlpError as error:
            raise MailError(f"the sync request: {error}") from None
        if not request.bloom:
            raise MailError("the sync request has no bloom filter")
        if not 1 <= request.limit <= MAX_SYNC_LIMIT:
            raise MailError(f"the sync request's limit is {request.limit}, expected 1 to {MAX_SYNC_LIMIT}")
        if request.lower > request.upper:
            raise MailError(f"the range is empty: from {request.lower} is after to {request.upper}")
        return request


@dataclass(frozen=True, slots=True)
class SyncResponse:
    """Part of the answer to a sync request."""

    envelopes: tuple[bytes, ...] = ()
    """RLP of each."""

    cursor: bytes = b""
    """In the final part: where to go on, or nothing if that was all."""

    final: bool = False
    error: str = ""

    def encode(self) -> bytes:
        """Packet 124."""
        parts = [rlp.encode_list(self.envelopes), rlp.encode(self.cursor), rlp.encode(int(self.final))]
        return rlp.encode_list([*parts, rlp.encode(self.error)])

    @classmethod
    def decode(cls, payload: bytes) -> SyncResponse:
        """From packet 124. The envelopes are not looked into."""
        try:
            items = rlp.split_list(payload)
            if len(items) != 4:
                raise MailError(f"a sync response has 4 items, found {len(items)}")
            cursor, final, error = (rlp.decode(item) for item in items[1:])
            text = rlp.as_bytes(error).decode("utf-8", "replace")
            return cls(tuple(rlp.split_list(items[0])), _cursor(cursor), _flag(final), text)
        except rlp.RlpError as error:
            raise MailError(f"the sync response: {error}") from None


@dataclass(frozen=True, slots=True)
class SealedRequest:
    """A request on its way."""

    packet: bytes
    """For code 126."""

    id: bytes
    """What the completion will name."""


@dataclass(frozen=True, slots=True)
class OpenedRequest:
    """A request that came."""

    request: HistoryRequest
    id: bytes
    valid_until: float
    """After it the request cannot be repeated; until then its id must be remembered."""


def seal_request(
    request: HistoryRequest,
    to: PublicKey | bytes,
    client_key: PrivateKey,
    now: float,
    *,
    pow_target: float = REQUEST_POW,
    pow_rules: Sequence[PowRule] = (PowRule.LEADING,),
) -> SealedRequest:
    """A request that only the server can read: to its public key, or to the 32-byte key of a shared password.

    With both `pow_rules` it has proof of work by each.
    """
    payload = request.encode()
    if isinstance(to, PublicKey):
        data = cipher.seal_asym(to, payload, sign_with=client_key)
    else:
        data = cipher.seal_sym(to, payload, sign_with=client_key)
    expiry = int(now) - REQUEST_AGE + REQUEST_TTL
    if len(pow_rules) > 1:
        envelope = mine_for_all(expiry, REQUEST_TTL, REQUEST_TOPIC, data, pow_target)
    else:
        envelope = mine(expiry, REQUEST_TTL, REQUEST_TOPIC, data, pow_target, *pow_rules)
    return SealedRequest(envelope.raw, envelope.hash)


def open_request(
    packet: bytes,
    server_key: PrivateKey,
    connected_peer: PublicKey,
    now: float,
    *,
    password_key: bytes | None = None,
    allow_plain: bool = False,
) -> OpenedRequest:
    """The request in a packet 126, if it is for us, in time, and from the peer that sent the packet; else MailError.

    Old servers only looked whether anybody had signed, so whoever saw a request could repeat it. `password_key` and
    `allow_plain` are for old clients: the world can read such requests.
    """
    if len(packet) > MAX_REQUEST_SIZE:
        raise MailError(f"the request has {len(packet)} bytes, expected at most {MAX_REQUEST_SIZE}")
    if _is_plain(packet):
        if not allow_plain:
            raise MailError("requests must be encrypted to this server's key")
        request_id, request = HistoryRequest.decode_plain(packet)
        return OpenedRequest(request, request_id, now)
    try:
        envelope = Envelope.decode(packet)
    except EnvelopeError as error:
        raise MailError(f"the request: {error}") from None
    if fault := envelope.fault(now):
        raise MailError(f"the request's envelope: {fault.value}")
    if envelope.ttl > MAX_REQUEST_TTL:
        raise MailError(f"the request's ttl is {envelope.ttl}, expected at most {MAX_REQUEST_TTL}")
    message = _open_data(envelope.data, server_key, password_key)
    if message.signer is None:
        raise MailError("the request is not signed")
    if message.signer != connected_peer:
        raise MailError("the request is signed by another key than the connection's")
    request = HistoryRequest.decode(message.payload)
    return OpenedRequest(request, envelope.hash, envelope.expiry + 20.0)


def request_id(packet: bytes) -> bytes:
    """What an answer to the packet names, whatever the packet is."""
    if _is_plain(packet):
        try:
            return rlp.as_bytes(rlp.decode(rlp.split_list(packet)[0]), ID_SIZE)
        except rlp.RlpError:
            pass
    return keccak256(packet)


def encode_mail(envelopes: Sequence[bytes]) -> bytes:
    """Packet 127, of RLP-encoded envelopes; `Envelope.decode_many` reads it."""
    return rlp.encode_list(envelopes)


def _open_data(data: bytes, server_key: PrivateKey, password_key: bytes | None) -> cipher.Message:
    try:
        return cipher.open_asym(server_key, data)
    except cipher.CipherError:
        if password_key is None:
            raise MailError("the request is not encrypted to this server's key") from None
    try:
        return cipher.open_sym(password_key, data)
    except cipher.CipherError:
        raise MailError("the request is encrypted neither to this server's key nor with the password") from None


def _is_plain(packet: bytes) -> bool:
    try:
        return len(rlp.split_list(packet)) == 6
    except rlp.RlpError:
        return False


def _layout_of(items: Sequence[rlp.Item]) -> Layout:
    if len(items) == 6:
        return Layout.SPEC if isinstance(items[5], list) else Layout.RLP
    if len(items) == 7:
        return Layout.TOPICS
    if len(items) == 8 and items[7] == b"\x01":
        return Layout.SEALED
    raise MailError(f"the request has {len(items)} items, expected 6, 7, or 8 of which the last is 1")


def _time(item: rlp.Item) -> int:
    return rlp.as_int(item, 4)


def _bloom(item: rlp.Item) -> bytes | None:
    bloom = rlp.as_bytes(item)
    if len(bloom) not in (0, BLOOM_SIZE):
        raise MailError(f"a bloom filter has {BLOOM_SIZE} bytes, found {len(bloom)}")
    return bloom or None


def _topics(item: rlp.Item) -> tuple[bytes, ...]:
    topics = rlp.as_list(item)
    if len(topics) > MAX_TOPICS:
        raise MailError(f"the request has {len(topics)} topics, expected at most {MAX_TOPICS}")
    return tuple(rlp.as_bytes(topic, TOPIC_SIZE) for topic in topics)


def _cursor(item: rlp.Item) -> bytes:
    cursor = rlp.as_bytes(item)
    if len(cursor) not in (0, CURSOR_SIZE):
        raise MailError(f"a cursor has {CURSOR_SIZE} bytes, found {len(cursor)}")
    return cursor


def _flag(item: rlp.Item) -> bool:
    flag = rlp.as_int(item, 1)
    if flag > 1:
        raise MailError(f"a flag is 0 or 1, found {flag}")
    return flag == 1
