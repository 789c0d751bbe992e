"""A discovery node as one state machine.

Bytes and time in (`receive_datagram`, `handle_timeouts`), bytes (`datagrams_to_send`), events (`next_event`) and the
next deadline out. No socket, no clock: `service` gives it both. It is made of

    wire        packets, sessions, handshakes
    requests    what it asks
    contacts    whom it keeps: the table, checks, newer records
    explore     how it finds others
    directory   topic discovery: what it advertises, for whom it is a registrar, what it searches
    answers     what it answers: below
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from random import Random

from offchain.config import DiscoveryConfig
from offchain.discovery import message as messages
from offchain.discovery.access import Access
from offchain.discovery.address import UdpAddress, families, ip_of, may_name
from offchain.discovery.batch import batches
from offchain.discovery.calls import Request
from offchain.discovery.contacts import Contacts, NodeVerified
from offchain.discovery.endpoint import OwnAddress
from offchain.discovery.explore import Explorer
from offchain.discovery.limits import InboundLimiter, Limits
from offchain.discovery.message import (
    Codec,
    FindNode,
    Message,
    MessageError,
    Nodes,
    Ping,
    Pong,
    RegTopic,
    TalkRequest,
    TalkResponse,
    TopicQuery,
)
from offchain.discovery.packet import MAX_MESSAGE_SIZE
from offchain.discovery.requests import Requests
from offchain.discovery.topics import capability
from offchain.discovery.topics.admission import Admission
from offchain.discovery.topics.directory import Directory
from offchain.discovery.wire import PacketLayer, Received, Remote, Wire
from offchain.enr import Enr, EnrError, sign
from offchain.errors import ConfigError
from offchain.keys import PrivateKey
from offchain.rlp import Item, int_to_bytes
from offchain.types import NodeId, normalised, parse_ip, short, topic_of

logger = logging.getLogger("offchain.discovery")

MAX_RECORDS = 16
"""Records in an answer to FINDNODE."""

MAX_TALK = MAX_MESSAGE_SIZE - 16
"""Bytes of the longest TALKRESP payload."""

SWEEP_INTERVAL = 0.5


class Node:
    """One node. `record` is what it says of itself now."""

    def __init__(
        self,
        key: PrivateKey,
        config: DiscoveryConfig,
        rng: Random,
        *,
        limits: Limits | None = None,
        seq: int = 1,
        admission: Admission | None = None,
        wire: Callable[[Enr, Callable[[NodeId], Enr | None]], PacketLayer] | None = None,
        codec: Codec = messages,
    ) -> None:
        """`admission` decides whom we advertise, None is the default strategy; `wire` makes another packet layer.

        `codec` makes what it carries of messages.

        ConfigError if a bootnode's record cannot be used.
        """
        self.id = key.public.node_id
        self.talk_handlers: dict[bytes, Callable[[NodeId, bytes], bytes]] = {}
        self.counts: Counter[str] = Counter()
        self._key = key
        self._codec = codec
        entries: dict[str, Item] = {capability.KEY: capability.VERSION}
        self._record = Enr.create(key, seq, tcp=config.tcp, kinds=config.kinds, extra=entries)
        self._limiter = InboundLimiter(limits or Limits(), lan=config.lan)
        access = Access(config.allow, config.deny)
        reached = families(config.host)
        self._wire: PacketLayer
        if wire is not None:
            self._wire = wire(self._record, self._known)
        else:
            self._wire = Wire(
                key, self._record, rng, self._limiter, self._known, protocol_id=config.protocol_id, access=access
            )
        self._wire.stats = self.counts
        self.requests = Requests(
            self._wire, rng, self.counts, lan=config.lan, families=reached, access=access, codec=codec
        )
        self.contacts = Contacts(self.id, self.requests, rng, lan=config.lan)
        self.explorer = Explorer(
            self.id, self.requests, self.contacts, [_bootnode(text) for text in config.bootnodes], rng, self.counts
        )
        self.directory = Directory(
            self.id,
            self.requests,
            self.contacts,
            lambda: self._record,
            rng,
            self.counts,
            lan=config.lan,
            ipv6=":" in config.host,
            admission=admission,
        )
        for kind in config.kinds:
            self.directory.advertise(topic_of(kind))
        self._own_addresses = {version: OwnAddress(version) for version in reached}
        """Of the families in which others tell us our address."""

        self._running = False
        self._next_sweep = 0.0

    @property
    def record(self) -> Enr:
        """What the node says of itself now."""
        return self._record

    # Life

    def start(self, ips: Iterable[str], port: int, now: float, seeds: Iterable[Enr] = ()) -> None:
        """Begin. The node can be reached at this port, and at these addresses, at most one of each family.

        Of the other families others must tell us the address. `seeds` are nodes to start from, beside the bootnodes.
        """
        entries: dict[str, Item] = dict(self._record.pairs)
        for ip in map(parse_ip, ips):
            entries.update(
                {"ip": ip.packed, "udp": int_to_bytes(port)}
                if ip.version == 4
                else {"ip6": ip.packed, "udp6": int_to_bytes(port)}
            )
            self._own_addresses.pop(ip.version, None)
        if self._own_addresses:
            entries.setdefault("udp", int_to_bytes(port))
            self.contacts.on_pong = self._on_pong
        self.explorer.add_seeds(seeds)
        self._set_record(sign(self._key, self._record.seq, entries))
        self._running = True
        self.handle_timeouts(now)

    def stop(self, now: float) -> None:
        """End: whoever waits for an answer gets none."""
        self._running = False
        self.directory.stop()
        self.requests.calls.abandon(now)

    def update_record(self, changes: Mapping[str, Item | None], now: float) -> None:
        """Change entries of the own record (None removes one), and let those who know us know."""
        self._set_record(self._record.amended(self._key, changes))
        for entry in self.contacts.table:
            self.contacts.queue_check(entry.enr, inbound=entry.inbound)
        self.contacts.run_checks(now)
        self.directory.record_changed(now)

    def _set_record(self, record: Enr) -> None:
        self._record = record
        self._wire.record = record

    # In and out

    def receive_datagram(self, datagram: bytes, source: UdpAddress, now: float) -> None:
        """Take in a datagram. Whatever it holds, no exception comes of it."""
        received = self._wire.receive_datagram(datagram, source, now)
        if received is not None:
            self.receive_message(received, now)

    def receive_message(self, received: Received, now: float) -> None:
        """Take in a message that the packet layer believes."""
        if not self._running:
            return
        source = received.address
        if received.record is not None:
            self.contacts.contacted_us(received.record, source, now)
            own = self._own_addresses.get(6 if ":" in source[0] else 4)
            if own is not None:
                own.called(now)
        try:
            message = self._codec.decode(received.message)
        except MessageError as error:
            self.counts["dropped_message"] += 1
            logger.debug("%s sent no message: %s", short(received.node_id), error)
            return
        if isinstance(message, Request):
            self._on_request(received, message, now)
        elif not self.requests.calls.receive(received.node_id, source, message, now):
            self.counts["dropped_unasked"] += 1

    def datagrams_to_send(self) -> list[tuple[bytes, UdpAddress]]:
        """What to send, and where to; each once."""
        return self._wire.datagrams_to_send()

    def next_event(self) -> NodeVerified | None:
        """The next thing to tell the program."""
        return self.contacts.next_event()

    def handle_timeouts(self, now: float) -> None:
        """Do what is due."""
        self.requests.calls.handle_timeouts(now)
        if now >= self._next_sweep:
            self._next_sweep = now + SWEEP_INTERVAL
            self._wire.handle_timeouts(now)
        if self._running:
            self.explorer.handle_timeouts(now)
            self.directory.handle_timeouts(now)
            self.contacts.run_checks(now)
            for own in self._own_addresses.values():
                if changes := own.handle_timeouts(now):
                    self.update_record(changes, now)

    def next_deadline(self) -> float:
        """When `handle_timeouts` is due."""
        if not self._running:
            return float("inf")
        due = min(
            self.requests.calls.next_deadline(),
            self.contacts.table.next_check(),
            self.explorer.next_deadline(),
            self.directory.next_deadline(),
        )
        if not self._wire.idle:
            due = min(due, self._next_sweep)
        for own in self._own_addresses.values():
            due = min(due, own.next_deadline())
        return due

    def sizes(self) -> dict[str, int]:
        """How much is held: each of these is bounded."""
        return {
            **self._wire.sizes(),
            **self.contacts.sizes(),
            **self.directory.sizes(),
            "calls": len(self.requests.calls),
            "votes": sum(map(len, self._own_addresses.values())),
        }

    # Answers

    def _on_request(self, received: Received, request: Request, now: float) -> None:
        source = received.address
        if not self._limiter.request(source, now):
            self.counts["dropped_requests"] += 1
            return
        self.counts["requests"] += 1
        if isinstance(request, Ping):
            self._answer(received, Pong(request.request_id, self._record.seq, ip_of(source[0]), source[1]), now)
            known = self._known(received.node_id)
            if known is not None and request.enr_seq > known.seq:
                self.contacts.has_newer(known, source, now)
        elif isinstance(request, FindNode):
            for nodes in self._nodes_for(request, source):
                self._answer(received, nodes, now)
        elif isinstance(request, RegTopic):
            for answer in self.directory.on_regtopic(received, request, now):
                self._answer(received, answer, now)
        elif isinstance(request, TopicQuery):
            for answer in self.directory.on_topicquery(received, request, now):
                self._answer(received, answer, now)
        else:
            response = self._talk_response(received.node_id, request)
            self._answer(received, TalkResponse(request.request_id, response), now)

    def _answer(self, received: Received, message: Message, now: float) -> None:
        self._wire.send_response(received.node_id, received.address, self._codec.encode(message), now)

    def _nodes_for(self, request: FindNode, source: UdpAddress) -> list[Nodes]:
        found = [self._record.raw] if 0 in request.distances else []
        for entry in self.contacts.table.at_distances(distance for distance in request.distances if distance):
            if may_name(source[0], entry.address[0]):
                found.append(entry.enr.raw)
        packets = batches(found[:MAX_RECORDS])
        return [Nodes(request.request_id, len(packets), packet) for packet in packets]

    def _talk_response(self, node_id: NodeId, request: TalkRequest) -> bytes:
        handler = self.talk_handlers.get(request.protocol)
        if handler is None:
            return b""
        try:
            response = handler(node_id, request.request)
        except Exception:
            logger.exception("the handler of the talk protocol %r failed", request.protocol)
            return b""
        if len(response) > MAX_TALK:
            logger.error("the talk protocol %r answered %d bytes; %d fit", request.protocol, len(response), MAX_TALK)
            return b""
        return response

    def _on_pong(self, remote: Remote, pong: Pong, now: float) -> None:
        ip = normalised(pong.ip)
        own = self._own_addresses.get(ip.version)
        if own is not None:
            changes = own.seen(remote.node_id, remote.address[0], (str(ip), pong.port), now)
            if changes:
                self.update_record(changes, now)

    def _known(self, node_id: NodeId) -> Enr | None:
        return self.contacts.known(node_id)


def _bootnode(text: str) -> Enr:
    try:
        return Enr.parse(text)
    except EnrError as error:
        raise ConfigError(f"a bootnode's record cannot be used: {error}") from None
