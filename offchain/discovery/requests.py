"""What a node asks others, and what it believes of their answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from functools import cache
from random import Random

from offchain.discovery import message as messages
from offchain.discovery.access import OPEN, Access
from offchain.discovery.address import may_name, udp_address
from offchain.discovery.calls import Answer, Calls, TopicAnswer
from offchain.discovery.message import (
    Codec,
    FindNode,
    Nodes,
    Ping,
    Pong,
    RegTopic,
    TalkRequest,
    TalkResponse,
    TopicQuery,
)
from offchain.discovery.packet import MAX_FIRST_MESSAGE_SIZE
from offchain.discovery.table import log_distance
from offchain.discovery.topics.capability import speaks_topics
from offchain.discovery.wire import PacketLayer, Remote
from offchain.enr import Enr, EnrError
from offchain.types import NodeId, Topic, short

MAX_TALK_REQUEST = MAX_FIRST_MESSAGE_SIZE - 24
"""Bytes of the longest TALKREQ payload and protocol name together: it may have to go into a handshake packet."""


class _Remotes:
    """How to reach the nodes of records, by the records' bytes: worked out once for each of the last 2,048."""

    capacity = 2_048

    def __init__(self, ipv4: bool, ipv6: bool, lan: bool) -> None:
        self._known: dict[bytes, Remote | None] = {}
        self._ipv4 = ipv4
        self._ipv6 = ipv6
        self._lan = lan

    def of(self, enr: Enr) -> Remote | None:
        known = self._known
        try:
            return known[enr.raw]
        except KeyError:
            address = udp_address(enr, ipv4=self._ipv4, ipv6=self._ipv6, lan=self._lan)
            remote = known[enr.raw] = None if address is None else Remote(enr.node_id, enr.public, address)
            if len(known) > self.capacity:
                del known[next(iter(known))]
            return remote


_remotes = cache(_Remotes)
"""One for all nodes of the process with the same ways to reach others."""


def remember(count: int) -> None:
    """Keep so many of them: for a process that is many nodes, as a simulation is."""
    _Remotes.capacity = count


class Requests:
    """Sends PING, FINDNODE and TALKREQ. Every `done` is called once, with None if there was no answer."""

    def __init__(
        self,
        wire: PacketLayer,
        rng: Random,
        stats: Counter[str],
        *,
        lan: bool,
        families: Collection[int],
        access: Access = OPEN,
        codec: Codec = messages,
    ) -> None:
        """`lan`: private and loopback addresses are used; `families`: of IP, that we can send to."""
        self.calls = Calls(wire, rng, codec)
        self._wire = wire
        self._stats = stats
        self._lan = lan
        self._remotes = _remotes(4 in families, 6 in families, lan)
        self._access = access

    def remote(self, enr: Enr) -> Remote | None:
        """How to reach the node of a record; None if it names no address that we use, or we don't deal with it."""
        remote = self._remotes.of(enr)
        if remote is None or self._access.is_open or self._access.permits(enr.node_id, remote.address[0]):
            return remote
        return None

    def needed_remote(self, enr: Enr) -> Remote:
        """The same; ValueError if there is none."""
        remote = self.remote(enr)
        if remote is None:
            raise ValueError(f"the record of {short(enr.node_id)} names no address that can be used")
        return remote

    def ping(self, remote: Remote, now: float, done: Callable[[Pong | None, float], None], *, retries: int = 1) -> None:
        """Is the node there?"""

        def heard(answer: Answer | None, then: float) -> None:
            done(answer if isinstance(answer, Pong) else None, then)

        self.calls.start(remote, Ping(self.calls.new_id(), self._wire.record.seq), now, heard, retries=retries)

    def find_node(
        self,
        remote: Remote,
        distances: tuple[int, ...],
        now: float,
        done: Callable[[list[Enr] | None, float], None],
    ) -> None:
        """Whom does the node know at these distances? What it may not say is left out of its answer."""

        def heard(answer: Answer | None, then: float) -> None:
            done(self._believed(answer.records, remote, distances) if isinstance(answer, Nodes) else None, then)

        self.calls.start(remote, FindNode(self.calls.new_id(), distances), now, heard)

    def talk(
        self,
        remote: Remote,
        protocol: bytes,
        request: bytes,
        now: float,
        done: Callable[[bytes | None, float], None],
    ) -> None:
        """Send a request of another protocol, once: it is never carried out twice. ValueError if it is too long."""
        if len(protocol) + len(request) > MAX_TALK_REQUEST:
            raise ValueError(f"a talk request takes {MAX_TALK_REQUEST} bytes, found {len(protocol) + len(request)}")

        def heard(answer: Answer | None, then: float) -> None:
            done(answer.response if isinstance(answer, TalkResponse) else None, then)

        self.calls.start(remote, TalkRequest(self.calls.new_id(), protocol, request), now, heard, retries=0)

    def register_topic(
        self,
        registrar: Enr,
        topic: Topic,
        record: Enr,
        ticket: bytes,
        distances: tuple[int, ...],
        now: float,
        done: Callable[[TopicAnswer | None, float], None],
    ) -> None:
        """Ask a registrar to advertise us. None, at once, if it does not speak topic discovery."""
        request = RegTopic(self.calls.new_id(), topic, record.raw, ticket, distances)
        self._ask_registrar(registrar, request, now, done)

    def query_topic(
        self,
        registrar: Enr,
        topic: Topic,
        distances: tuple[int, ...],
        now: float,
        done: Callable[[TopicAnswer | None, float], None],
    ) -> None:
        """Ask a registrar who advertises a topic. None, at once, if it does not speak topic discovery."""
        self._ask_registrar(registrar, TopicQuery(self.calls.new_id(), topic, distances), now, done)

    def _ask_registrar(
        self, enr: Enr, request: RegTopic | TopicQuery, now: float, done: Callable[[TopicAnswer | None, float], None]
    ) -> None:
        remote = self.remote(enr)
        if remote is None or not speaks_topics(enr):
            done(None, now)
            return

        def heard(answer: Answer | None, then: float) -> None:
            done(answer if isinstance(answer, TopicAnswer) else None, then)

        self.calls.start(remote, request, now, heard)

    def decoded(self, records: Iterable[bytes]) -> list[Enr]:
        """The records that are valid, newest of each node only."""
        valid: dict[NodeId, Enr] = {}
        for raw in records:
            try:
                enr = Enr.decode(raw)
            except EnrError:
                self._stats["records_bad"] += 1
                continue
            known = valid.get(enr.node_id)
            if known is None or enr.seq > known.seq:
                valid[enr.node_id] = enr
        return list(valid.values())

    def _believed(self, records: Iterable[bytes], remote: Remote, distances: tuple[int, ...]) -> list[Enr]:
        """Of the records in an answer, those that the node may name: signed, at a distance asked for, once each."""
        believed: dict[NodeId, Enr] = {}
        for raw in records:
            try:
                enr = Enr.decode(raw)
            except EnrError:
                self._stats["records_bad"] += 1
                continue
            if log_distance(remote.node_id, enr.node_id) not in distances or enr.node_id in believed:
                self._stats["records_unasked"] += 1
            elif not self._may_name(remote, enr):
                self._stats["records_elsewhere"] += 1
            else:
                believed[enr.node_id] = enr
        return list(believed.values())

    def _may_name(self, remote: Remote, enr: Enr) -> bool:
        if enr.node_id == remote.node_id:
            return True
        address = udp_address(enr, ipv6=True, lan=self._lan)
        return address is not None and may_name(remote.address[0], address[0])
