"""Answers of a JSON-RPC endpoint, read into typed structures.

Logs come by the hundred thousand, so the array of them is read in C where that is built; the envelope around it, and
everything the C reader does not know, is read by msgspec. What comes out is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec

from offchain.chain.events import PlainLog, RawLog, plain_logs
from offchain.chain.native import native

T = TypeVar("T")

Logs = Sequence[PlainLog]
"""The result of eth_getLogs, in the endpoint's order."""


class Failure(msgspec.Struct, frozen=True):
    """The error member of an answer."""

    code: int = 0
    message: str = ""


class Answer(msgspec.Struct, Generic[T], frozen=True):
    """One JSON-RPC answer."""

    id: int | str | None = None
    result: T | None = None
    error: Failure | None = None


_RESULT: Final = b'"result":'
_logs: Final = msgspec.json.Decoder(Answer[list[RawLog]])
_envelope: Final = msgspec.json.Decoder(Answer[list[int]])


def decoder(result: Any) -> Any:
    """What reads an answer with this type of result; its `decode` takes bytes and gives an Answer.

    Raises msgspec's errors and, for Logs, EventError.
    """
    return LogsDecoder() if result == Logs else msgspec.json.Decoder(Answer[result])


class LogsDecoder:
    """Reads answers to eth_getLogs."""

    def decode(self, body: bytes) -> Answer[Logs]:
        """The logs, as bytes."""
        return read_fast(body) or read(body)


def read(body: bytes) -> Answer[Logs]:
    """The general reader. Raises msgspec's errors, and EventError if what stands there are no logs."""
    found = _logs.decode(body)
    return Answer(found.id, None if found.result is None else plain_logs(found.result), found.error)


def read_fast(body: bytes) -> Answer[Logs] | None:
    """What `read` gives, or None if it has to decide."""
    start = body.find(_RESULT) + len(_RESULT)
    found = native.read_logs(body, start, PlainLog) if native is not None and start >= len(_RESULT) else None
    if found is None:
        return None
    logs, end = found
    try:
        one, other = (_envelope.decode(b"%b[%d]%b" % (body[:start], mark, body[end:])) for mark in (7, 8))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    # Nobody can have written both marks: what stands in their place is the result, and not a part of something else.
    return Answer(one.id, logs) if (one.result, other.result, one.error) == ([7], [8], None) else None
