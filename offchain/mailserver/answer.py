"""The answer to a history request, slice by slice: mail packets, then a completion.

A slice is small, so that looking it up holds nobody up for long, and so that a peer that reads slowly costs the memory
of one slice. An answer that takes too long ends with a cursor, like one that reached its limit: the client goes on.
"""

from __future__ import annotations

from offchain.mailserver.archive.base import Archive, Query
from offchain.whisper.mail import Completion, HistoryRequest, SyncRequest, SyncResponse, encode_mail
from offchain.whisper.protocol import Code, Packet
from offchain.whisper.sealed import AnswerSealer

SLICE = 256
"""Envelopes in a slice at most."""

SLICE_BYTES = 128 * 1024
"""A slice ends with the envelope that reaches this size."""


class Answer:
    """The packets that answer a request that was `resolved`."""

    def __init__(
        self, archive: Archive, request: HistoryRequest, request_id: bytes, sealer: AnswerSealer | None = None
    ) -> None:
        """With a `sealer`, what is sent is sealed."""
        self._archive = archive
        self._sealer = sealer
        self._request = request
        self._id = request_id
        self._left = request.limit
        self._cursor = request.cursor
        self._last_hash = bytes(32)
        self.finished = False
        self.envelopes = 0
        """Sent so far."""

    def step(self) -> list[Packet]:
        """The next slice, with the completion if it is the last. StorageError if the archive cannot be read."""
        page = self._archive.query(self._query())
        self._left -= len(page.envelopes)
        self.envelopes += len(page.envelopes)
        packets: list[Packet] = []
        if page.last is not None:
            self._last_hash = page.last[4:]
        if page.envelopes and self._request.batch:
            packets.append(self._packet(Code.DIRECT, encode_mail(page.envelopes)))
        else:
            packets += [self._packet(Code.DIRECT, raw) for raw in page.envelopes]
        self._cursor = page.cursor or b""
        if page.cursor is None or self._left <= 0:
            packets += self.complete()
        return packets

    def complete(self) -> list[Packet]:
        """End here, with a cursor if there may be more. Not before the first step: nothing is known then."""
        self.finished = True
        return [self._packet(Code.REQUEST_COMPLETE, Completion(self._id, self._last_hash, self._cursor).encode())]

    def _packet(self, code: Code, content: bytes) -> Packet:
        return code, content if self._sealer is None else self._sealer.seal(content)

    def _query(self) -> Query:
        request = self._request
        return Query(
            request.lower,
            request.upper,
            request.topics,
            None if request.topics else request.bloom,
            min(self._left, SLICE),
            self._cursor,
            SLICE_BYTES,
        )


class SyncAnswer:
    """The packets that answer another mail server's sync request."""

    def __init__(self, archive: Archive, request: SyncRequest) -> None:
        self._archive = archive
        self._request = request
        self._left = request.limit
        self._cursor = request.cursor
        self.finished = False
        self.envelopes = 0
        """Sent so far."""

    def step(self) -> list[Packet]:
        """The next slice, with the final packet if it is the last."""
        request = self._request
        bloom, limit = request.bloom, min(self._left, SLICE)
        page = self._archive.query(Query(request.lower, request.upper, (), bloom, limit, self._cursor, SLICE_BYTES))
        self._left -= len(page.envelopes)
        self.envelopes += len(page.envelopes)
        self._cursor = page.cursor or b""
        packets: list[Packet] = []
        if page.envelopes:
            packets.append((Code.SYNC_RESPONSE, SyncResponse(tuple(page.envelopes)).encode()))
        if page.cursor is None or self._left <= 0:
            self.finished = True
            packets.append((Code.SYNC_RESPONSE, SyncResponse(cursor=self._cursor, final=True).encode()))
        return packets
