"""Requests that await their answers: matching, retrying, giving up.

An answer counts if its request id is that of a request under way to the very node and address it comes from. How long
to wait is learnt for each node from its answers (as TCP does, RFC 6298); a node never met gets 700 ms, and more while
there is a handshake to do.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from random import Random
from typing import TypeAlias

from offchain.discovery import message as messages
from offchain.discovery.message import (
    Codec,
    FindNode,
    Message,
    Nodes,
    Ping,
    Pong,
    RegConfirmation,
    RegTopic,
    TalkRequest,
    TalkResponse,
    TopicNodes,
    TopicQuery,
)
from offchain.discovery.wire import PacketLayer, Remote
from offchain.errors import ConnectionLost
from offchain.types import NodeId

FIRST_TIMEOUT = 0.7
MIN_TIMEOUT = 0.5
MAX_TIMEOUT = 2.0
HANDSHAKE_EXTRA = 0.5
MAX_NODES_PACKETS = 16
MAX_NODES_RECORDS = 16
MAX_TIMINGS = 2_000
"""Nodes whose timing is remembered."""


class NoAnswer(ConnectionLost):
    """The node did not answer in time."""


class Overloaded(ConnectionLost):
    """No request can be sent: more are under way than this node keeps, or it stops."""


MAX_CALLS = 16_384

Request: TypeAlias = Ping | FindNode | TalkRequest | RegTopic | TopicQuery
_TopicRequest: TypeAlias = RegTopic | TopicQuery


@dataclass(frozen=True, slots=True)
class TopicAnswer:
    """All packets of the answer to REGTOPIC or TOPICQUERY."""

    confirmation: RegConfirmation | None
    advertisers: tuple[bytes, ...]
    hints: tuple[bytes, ...]
    """Records of NODES."""


Answer: TypeAlias = Pong | Nodes | TalkResponse | TopicAnswer


@dataclass(slots=True)
class Call:
    """A request under way."""

    remote: Remote
    request: Request
    message: bytes
    done: Callable[[Answer | None, float], None]
    """Called once, with the answer (all packets of NODES as one), or None if there was none."""

    retries: int
    deadline: float = 0.0
    sent_at: float = 0.0
    fresh: bool = True
    """Sent once only, under a session: its answer tells the round trip."""

    nonce: bytes | None = None
    total: int = 0
    packets: int = 0
    records: list[bytes] = field(default_factory=list)
    advertisers: list[bytes] = field(default_factory=list)
    confirmation: RegConfirmation | None = None


class Timing:
    """How long nodes take to answer."""

    def __init__(self) -> None:
        self._known: OrderedDict[NodeId, tuple[float, float]] = OrderedDict()

    def heard(self, node_id: NodeId, seconds: float) -> None:
        """The node took that long."""
        known = self._known.get(node_id)
        if known is None:
            self._known[node_id] = (seconds, seconds / 2)
            if len(self._known) > MAX_TIMINGS:
                self._known.popitem(last=False)
            return
        mean, deviation = known
        self._known[node_id] = (
            mean + (seconds - mean) / 8,
            deviation + (abs(seconds - mean) - deviation) / 4,
        )

    def timeout(self, node_id: NodeId) -> float:
        """How long to wait for it."""
        known = self._known.get(node_id)
        if known is None:
            return FIRST_TIMEOUT
        return min(max(known[0] + 4 * known[1], MIN_TIMEOUT), MAX_TIMEOUT)

    def __len__(self) -> int:
        return len(self._known)


class Calls:
    """The requests of one node that are under way."""

    def __init__(self, wire: PacketLayer, rng: Random, codec: Codec = messages) -> None:
        self._wire = wire
        self._codec = codec
        self._rng = rng
        self._timing = Timing()
        self._calls: dict[bytes, Call] = {}
        self._deadlines: list[tuple[float, bytes]] = []
        self._stopped = False

    def __len__(self) -> int:
        return len(self._calls)

    def new_id(self) -> bytes:
        """A request id nobody can guess: an answer must have seen the request."""
        return self._rng.randbytes(8)

    def start(
        self,
        remote: Remote,
        request: Request,
        now: float,
        done: Callable[[Answer | None, float], None],
        *,
        retries: int = 1,
    ) -> None:
        """Send a request. Overloaded if too many are under way, or the node stops."""
        if self._stopped:
            raise Overloaded("the node stops")
        if len(self._calls) >= MAX_CALLS:
            raise Overloaded(f"{MAX_CALLS} requests are under way")
        call = Call(remote, request, self._codec.encode(request), done, retries)
        self._calls[request.request_id] = call
        self._send(call, now, again=False)

    def receive(self, node_id: NodeId, address: tuple[str, int], answer: Message, now: float) -> Call | None:
        """Take in an answer; the call it belongs to, None if nobody asked."""
        call = self._calls.get(answer.request_id)
        if call is None or call.remote.address != address or call.remote.node_id != node_id:
            return None
        if isinstance(call.request, _TopicRequest):
            if not _fits(call, answer):
                return None
            whole: Answer | None = _collect_topic(call, answer)
        elif isinstance(answer, Pong):
            if not isinstance(call.request, Ping):
                return None
            whole = answer
        elif isinstance(answer, Nodes):
            if not isinstance(call.request, FindNode):
                return None
            whole = _collect(call, answer)
        elif isinstance(answer, TalkResponse):
            if not isinstance(call.request, TalkRequest):
                return None
            whole = answer
        else:
            return None
        if call.fresh:
            self._timing.heard(node_id, now - call.sent_at)
            call.fresh = False
        if whole is not None:
            self._close(call)
            call.done(whole, now)
        return call

    def handle_timeouts(self, now: float) -> None:
        """Retry or give up what is overdue."""
        while self._deadlines and self._deadlines[0][0] <= now:
            _, request_id = heappop(self._deadlines)
            call = self._calls.get(request_id)
            if call is None or call.deadline > now:
                continue
            if call.packets:
                self._close(call)
                call.done(_so_far(call), now)
            elif call.retries:
                call.retries -= 1
                self._send(call, now, again=True)
            else:
                self._close(call)
                call.done(None, now)

    def next_deadline(self) -> float:
        """When `handle_timeouts` is due. It may find nothing to do."""
        deadlines, calls = self._deadlines, self._calls
        while deadlines and deadlines[0][1] not in calls:
            heappop(deadlines)
        return deadlines[0][0] if deadlines else float("inf")

    def abandon(self, now: float) -> None:
        """Give up everything, and begin nothing more: the node stops."""
        self._stopped = True
        for call in list(self._calls.values()):
            self._close(call)
            call.done(None, now)

    def _send(self, call: Call, now: float, *, again: bool) -> None:
        node_id = call.remote.node_id
        has_session = self._wire.session(node_id, call.remote.address, now) is not None
        call.fresh = has_session and not again
        call.sent_at = now
        timeout = self._timing.timeout(node_id) + (0 if has_session else HANDSHAKE_EXTRA)
        call.deadline = now + timeout
        heappush(self._deadlines, (call.deadline, call.request.request_id))
        call.nonce = self._wire.send_request(call.remote, call.message, now, again=again)

    def _close(self, call: Call) -> None:
        self._wire.forget(call.nonce)
        self._calls.pop(call.request.request_id, None)


def _collect(call: Call, answer: Nodes) -> Nodes | None:
    """One more packet of NODES; all as one when they are complete."""
    call.packets += 1
    if call.packets == 1:
        call.total = min(max(answer.total, 1), MAX_NODES_PACKETS)
    call.records += answer.records[: MAX_NODES_RECORDS - len(call.records)]
    if call.packets < call.total and len(call.records) < MAX_NODES_RECORDS:
        return None
    return Nodes(answer.request_id, call.packets, tuple(call.records))


def _fits(call: Call, answer: Message) -> bool:
    """Whether the message can be a part of the answer to REGTOPIC or TOPICQUERY."""
    if isinstance(call.request, RegTopic):
        return isinstance(answer, Nodes) or (isinstance(answer, RegConfirmation) and call.confirmation is None)
    return isinstance(answer, Nodes | TopicNodes)


def _collect_topic(call: Call, answer: Message) -> TopicAnswer | None:
    """One more packet of the answer; all as one when they are complete."""
    assert isinstance(answer, Nodes | RegConfirmation | TopicNodes)
    call.packets += 1
    if call.packets == 1:
        call.total = min(max(answer.total, 1), MAX_NODES_PACKETS)
    if isinstance(answer, RegConfirmation):
        call.confirmation = answer
    elif isinstance(answer, TopicNodes):
        call.advertisers += answer.records[: MAX_NODES_RECORDS - len(call.advertisers)]
    else:
        call.records += answer.records[: MAX_NODES_RECORDS - len(call.records)]
    if call.packets < call.total:
        return None
    return TopicAnswer(call.confirmation, tuple(call.advertisers), tuple(call.records))


def _so_far(call: Call) -> Answer:
    """What came of an answer of several packets."""
    if isinstance(call.request, RegTopic | TopicQuery):
        return TopicAnswer(call.confirmation, tuple(call.advertisers), tuple(call.records))
    return Nodes(call.request.request_id, call.packets, tuple(call.records))
