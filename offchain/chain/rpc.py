"""JSON-RPC over HTTP, to several endpoints of which none is trusted.

An endpoint that fails is demoted for a while, longer each time, and the next one is asked. Answers are read into typed
structures and nothing else; their size and their time are bounded.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

import aiohttp
import msgspec

from offchain.chain.answer import Answer, decoder
from offchain.errors import ChainError, DecodeError

log = logging.getLogger("offchain.chain")

T = TypeVar("T")

MAX_ANSWER = 64 * 1024 * 1024
"""Bytes of one answer; a larger one is not read."""

LARGE_ANSWER = 128 * 1024
"""Bytes of an answer above which it is read in a thread, so that others are received meanwhile."""

FIRST_DEMOTION = 2.0
"""Seconds for which an endpoint that failed once is asked last; doubles up to LAST_DEMOTION."""

LAST_DEMOTION = 300.0

FIRST_BAN = 60.0
"""Seconds for which an endpoint that was caught lying is asked last; doubles up to LAST_BAN, and is not forgotten."""

LAST_BAN = 3_600.0

MAX_SHOWN = 300
"""Characters of an endpoint's words that are shown."""


class Unreachable(ChainError):
    """The endpoint cannot be reached, does not answer in time, or refuses to serve us."""


class BadAnswer(ChainError):
    """The endpoint's answer is not JSON-RPC, not of the expected shape, too large, or contradicts what is known."""


class BadContent(BadAnswer):
    """The endpoint's answer has the expected shape, and says what cannot be."""


class WrongChain(ChainError):
    """The endpoint serves another chain."""


def shown(text: object) -> str:
    """What an endpoint says, fit for a line of a log or a terminal: short, and no characters that steer one."""
    line = str(text)[:MAX_SHOWN]
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line)


class RpcError(ChainError):
    """The endpoint understood, and said no."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        self.message = shown(message)
        super().__init__(f"{self.message} (code {code})")


@dataclass(slots=True)
class Endpoint:
    """One endpoint, and how it has behaved."""

    url: str
    failures: int = 0
    """In a row."""
    demoted_until: float = 0.0
    """Monotonic time before which it is asked last."""
    latency: float = 0.0
    """Seconds an answer takes, smoothed."""
    answers: int = 0
    last_error: str = ""
    lies: int = 0
    """How often what it said contradicted a proof or the others."""
    last_lie: str = ""

    @property
    def name(self) -> str:
        """Host and port: what may be shown and logged. The rest of the URL may hold an API key."""
        return urlsplit(self.url).netloc.rpartition("@")[2] or "endpoint"


@dataclass(slots=True)
class Reply(Generic[T]):
    """An answer, with what the range planner wants to know of it."""

    value: T
    size: int
    """Bytes."""
    seconds: float
    endpoint: Endpoint


@dataclass(slots=True)
class _Decoders:
    """A decoder for each type of result; making one costs more than using it."""

    single: dict[Any, Any] = field(default_factory=dict)
    many: dict[Any, msgspec.json.Decoder[Any]] = field(default_factory=dict)

    def answer(self, result: Any) -> Any:
        if result not in self.single:
            self.single[result] = decoder(result)
        return self.single[result]

    def batch(self, result: Any) -> msgspec.json.Decoder[Any]:
        if result not in self.many:
            self.many[result] = msgspec.json.Decoder(list[Answer[result]])
        return self.many[result]


class Rpc:
    """Asks endpoints, best first. An async context manager: it owns the connections."""

    def __init__(self, urls: Sequence[str], *, timeout: float = 10.0, max_answer: int = MAX_ANSWER) -> None:
        if not urls:
            raise ValueError("no JSON-RPC endpoint")
        self.endpoints = [Endpoint(url) for url in dict.fromkeys(urls)]
        self._timeout = timeout
        self._max_answer = max_answer
        self._decoders = _Decoders()
        self._session: aiohttp.ClientSession | None = None
        self._last_id = 0

    async def __aenter__(self) -> Rpc:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._timeout),
            connector=aiohttp.TCPConnector(limit=32),
            headers={"Content-Type": "application/json"},
            read_bufsize=1024 * 1024,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        """The connections, for others that talk to the same endpoints."""
        if self._session is None:
            raise RuntimeError("use Rpc as a context manager")
        return self._session

    def ranked(self) -> list[Endpoint]:
        """Those in good standing in the order given, then those demoted, by when that ends."""
        now = time.monotonic()
        return sorted(self.endpoints, key=lambda endpoint: max(endpoint.demoted_until - now, 0.0))

    def leader(self) -> Endpoint:
        """The endpoint to ask now."""
        return self.ranked()[0]

    def demote(self, endpoint: Endpoint, reason: str) -> None:
        """Ask the others first for a while."""
        endpoint.failures += 1
        endpoint.last_error = reason
        pause = min(FIRST_DEMOTION * 2 ** min(endpoint.failures - 1, 16), LAST_DEMOTION)
        if endpoint.lies:
            pause = max(pause, min(FIRST_BAN * 2 ** min(endpoint.lies - 1, 16), LAST_BAN))
        endpoint.demoted_until = time.monotonic() + pause
        log.warning("%s: %s", endpoint.name, reason)

    async def call(self, method: str, params: Sequence[Any], result: type[T], *, endpoint: Endpoint | None = None) -> T:
        """The result of a call; a missing one is a BadAnswer.

        With an endpoint, only that one is asked and its failure raised. Without, all are tried, best first; what an
        endpoint answers with an error (RpcError) is final.
        """
        return (await self.ask(method, params, result, endpoint=endpoint)).value

    async def find(
        self, method: str, params: Sequence[Any], result: type[T], *, endpoint: Endpoint | None = None
    ) -> T | None:
        """Like `call`, but None is an answer: there is no such thing."""
        return (await self._try_all(method, params, result, endpoint)).value

    async def ask(
        self, method: str, params: Sequence[Any], result: type[T], *, endpoint: Endpoint | None = None
    ) -> Reply[T]:
        """Like `call`, with the answer's size and time."""
        reply = await self._try_all(method, params, result, endpoint)
        if reply.value is None:
            raise BadAnswer(f"{reply.endpoint.name} has no answer to {method}")
        return reply  # type: ignore[return-value]

    async def batch(
        self, method: str, params: Sequence[Sequence[Any]], result: type[T], *, endpoint: Endpoint
    ) -> list[T | None]:
        """The results of several calls in one request, in order."""
        first = self._last_id + 1
        self._last_id += len(params)
        request = [
            {"jsonrpc": "2.0", "id": first + at, "method": method, "params": each} for at, each in enumerate(params)
        ]
        body, _ = await self._post(endpoint, msgspec.json.encode(request))
        answers = self._decode(endpoint, self._decoders.batch(result), body)
        by_id = {answer.id: answer for answer in answers}
        if len(answers) != len(params) or by_id.keys() != {each["id"] for each in request}:
            raise BadAnswer(f"{endpoint.name} answered {len(answers)} of {len(params)} calls of a batch")
        results = []
        for each in request:
            answer = by_id[each["id"]]
            if answer.error is not None:
                raise RpcError(answer.error.code, f"{endpoint.name}: {answer.error.message}")
            results.append(answer.result)
        return results

    async def _try_all(
        self, method: str, params: Sequence[Any], result: type[T], endpoint: Endpoint | None
    ) -> Reply[T | None]:
        if endpoint is not None:
            return await self._ask_one(endpoint, method, params, result)
        last: ChainError | None = None
        for each in self.ranked():
            try:
                return await self._ask_one(each, method, params, result)
            except (Unreachable, BadAnswer) as error:
                self.demote(each, str(error))
                last = error
        assert last is not None
        raise last

    async def _ask_one(
        self, endpoint: Endpoint, method: str, params: Sequence[Any], result: type[T]
    ) -> Reply[T | None]:
        self._last_id += 1
        call_id = self._last_id
        request = msgspec.json.encode({"jsonrpc": "2.0", "id": call_id, "method": method, "params": params})
        body, seconds = await self._post(endpoint, request)
        reader = self._decoders.answer(result)
        if len(body) > LARGE_ANSWER:
            answer = await asyncio.to_thread(self._decode, endpoint, reader, body)
        else:
            answer = self._decode(endpoint, reader, body)
        if answer.error is not None:
            raise RpcError(answer.error.code, f"{endpoint.name}: {answer.error.message}")
        if answer.id != call_id:
            raise BadAnswer(f"{endpoint.name} answered call {shown(answer.id)!r}, expected {call_id}")
        endpoint.failures = 0
        endpoint.answers += 1
        endpoint.latency = seconds if not endpoint.latency else 0.8 * endpoint.latency + 0.2 * seconds
        return Reply(answer.result, len(body), seconds, endpoint)

    async def _post(self, endpoint: Endpoint, request: bytes) -> tuple[bytes, float]:
        started = time.monotonic()
        try:
            # A redirect would let an endpoint choose whom we ask, on this machine and its network too.
            async with self.session.post(endpoint.url, data=request, allow_redirects=False) as response:
                if response.status != 200 and response.content_type != "application/json":
                    raise Unreachable(f"{endpoint.name} answered with status {response.status}")
                if response.status in (401, 403, 429) or response.status >= 500:
                    raise Unreachable(f"{endpoint.name} answered with status {response.status}")
                body = await self._read(endpoint, response)
        except TimeoutError:
            raise Unreachable(f"{endpoint.name} did not answer within {self._timeout:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if isinstance(error, ChainError):
                raise
            raise Unreachable(f"{endpoint.name} cannot be reached: {type(error).__name__}") from error
        return body, time.monotonic() - started

    async def _read(self, endpoint: Endpoint, response: aiohttp.ClientResponse) -> bytes:
        if (response.content_length or 0) > self._max_answer:
            raise BadAnswer(f"{endpoint.name} answers {response.content_length} bytes, at most {self._max_answer}")
        parts, size = [], 0
        async for part in response.content.iter_any():
            size += len(part)
            if size > self._max_answer:
                raise BadAnswer(f"{endpoint.name} answers more than {self._max_answer} bytes")
            parts.append(part)
        return b"".join(parts)

    def _decode(self, endpoint: Endpoint, reader: Any, body: bytes) -> Any:
        try:
            return reader.decode(body)
        except DecodeError as error:
            raise BadContent(f"{endpoint.name}: {error}") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self._explain(endpoint, body, error) from None

    @staticmethod
    def _explain(endpoint: Endpoint, body: bytes, error: Exception) -> ChainError:
        """Some endpoints refuse a batch with a single error, or send errors with odd members."""
        try:
            failure = msgspec.json.decode(body, type=Answer[msgspec.Raw]).error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            failure = None
        if failure is not None:
            return RpcError(failure.code, f"{endpoint.name}: {failure.message}")
        return BadAnswer(f"{endpoint.name}: {shown(error)}")
