"""Mail servers as they were deployed, by what tests/vectors/mail_requests.json shows of them: packets in, packets out.

    status-go 0.13   takes binary requests only, older proof of work; newest first; says nothing of what it refuses
    status-go 0.35   takes [lower, upper, bloom, limit, cursor, batch]; oldest first, or newest first from PostgreSQL
    status-go 0.50   takes [lower, upper, bloom, topics, limit, cursor, batch]

What is no list of theirs they read as a binary request, and say so in words that make no sense.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from offchain import rlp
from offchain.keys import PrivateKey, PublicKey
from offchain.whisper import cipher
from offchain.whisper.bloom import envelope_matches
from offchain.whisper.envelope import Envelope, PowRule
from offchain.whisper.mail import (
    DEFAULT_PASSWORD,
    Completion,
    Failure,
    HistoryRequest,
    Layout,
    encode_mail,
)
from offchain.whisper.packets import float_to_bits
from offchain.whisper.protocol import Code

BINARY = (Layout.BINARY_8, Layout.BINARY_72, Layout.BINARY_76, Layout.BINARY_112)
UNDERSTOOD = {
    "0.13": BINARY,
    "0.35": (Layout.RLP, *BINARY),
    "0.50": (Layout.TOPICS, *BINARY),
}
STATUS = {
    "0.13": [6, float_to_bits(0.001), b""],
    "0.35": [6, float_to_bits(0.001), b"", 0, 1],
    "0.50": [6, float_to_bits(0.001), b"", 0, 1, [0, 0, 0]],
}
MIN_POW = 0.002
PASSWORD_KEY = cipher.key_from_password(DEFAULT_PASSWORD)


class Refused(Exception):
    """What such a server says, if it says anything."""


@dataclass
class OldServer:
    """One of them, with what it holds."""

    program: str
    key: PrivateKey
    mails: Sequence[Envelope]
    newest_first: bool = False
    takes_own_key: bool = False
    """Requests encrypted to its key, besides those by the password; off by default there."""

    asked: list[tuple[Layout, bool]] = field(default_factory=list)
    """The requests it understood: how they were written, and whether by the password."""

    refused: list[str] = field(default_factory=list)

    @property
    def status(self) -> bytes:
        """Packet 0."""
        return rlp.encode(STATUS[self.program])

    def answer(self, packet: bytes, client: PublicKey) -> list[tuple[int, bytes]]:
        """What it sends when a packet 126 comes."""
        envelope = Envelope.decode(packet)
        try:
            page, limit = self._page(envelope, client)
        except Refused as refusal:
            self.refused.append(str(refusal))
            if self.program == "0.13":
                return []
            return [(Code.REQUEST_COMPLETE, Failure(envelope.hash, str(refusal)).encode())]
        full = limit > 0 and len(page) >= limit
        last = page[-1].hash if page else bytes(32)
        end = Completion(envelope.hash, last, page[-1].position if full else b"")
        return [*((Code.DIRECT, each) for each in self._bundles(page, full)), (Code.REQUEST_COMPLETE, end.encode())]

    def _page(self, envelope: Envelope, client: PublicKey) -> tuple[list[Envelope], int]:
        rule = PowRule.TRAILING if self.program == "0.13" else PowRule.LEADING
        if envelope.pow(rule) < MIN_POW:
            raise Refused("PoW() is too low")
        message, by_password = self._open(envelope.data)
        assert message.signer == client
        request = HistoryRequest.decode(message.payload)
        if request.layout not in UNDERSTOOD[self.program]:
            raise Refused("query range is invalid: from > to (4165960811 > 15572868)")
        self.asked.append((request.layout, by_password))
        cursor, limit = request.cursor, request.limit
        found = sorted(self.mails, key=lambda each: each.position, reverse=self.newest_first)
        found = [each for each in found if request.lower <= each.sent <= request.upper]
        if cursor:
            found = [
                each for each in found if (each.position < cursor if self.newest_first else each.position > cursor)
            ]
        if request.topics:
            found = [each for each in found if each.topic in request.topics]
        else:
            assert request.bloom is not None
            found = [each for each in found if envelope_matches(request.bloom, each.topic)]
        return found[: limit or None], limit

    def _open(self, data: bytes) -> tuple[cipher.Message, bool]:
        try:
            return cipher.open_sym(PASSWORD_KEY, data), True
        except cipher.CipherError:
            pass
        try:
            if self.takes_own_key:
                return cipher.open_asym(self.key, data), False
        except cipher.CipherError:
            pass
        raise Refused("failed to decrypt p2p request")

    def _bundles(self, page: list[Envelope], full: bool) -> list[bytes]:
        """One by one in 0.13; later a list, from which the envelope that reaches the limit travels apart."""
        if self.program == "0.13":
            return [each.raw for each in page]
        parts = [page[:-1], page[-1:]] if full else [page]
        return [part[0].raw if len(part) == 1 else encode_mail([each.raw for each in part]) for part in parts if part]
