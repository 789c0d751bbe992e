"""Topic discovery of one node: it is a registrar for others, advertises what the node serves, and searches.

On the requests and contacts of the node. What a search finds is pinged before it is handed on, like everything that
others say; whether to trust it is for the program.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from random import Random

from offchain.discovery.address import UdpAddress, may_name, udp_address
from offchain.discovery.batch import batches
from offchain.discovery.calls import Overloaded, TopicAnswer
from offchain.discovery.contacts import Contacts
from offchain.discovery.message import Message, Nodes, RegConfirmation, RegTopic, TopicNodes, TopicQuery
from offchain.discovery.requests import Requests
from offchain.discovery.topics.admission import Admission, SharedAdmission
from offchain.discovery.topics.advertiser import Advertiser, Ask
from offchain.discovery.topics.capability import speaks_topics
from offchain.discovery.topics.discoverer import F_LOOKUP, Discoverer
from offchain.discovery.topics.registrar import Confirmation, Registrar
from offchain.discovery.topics.service_table import MAX_HINTS, Exclusions, ServiceTable
from offchain.discovery.walk import Pacer
from offchain.discovery.wire import Received
from offchain.enr import Enr
from offchain.types import NodeId, Topic

MAX_ADVERTISERS = 4_096
"""Pairs of a topic and an advertiser that are remembered; the oldest is forgotten."""

SYNC_INTERVAL = 10.0
"""So far apart at least are service tables filled from a routing table that did not change, for who was left alone."""


class Directory:
    """One node's topic discovery."""

    def __init__(
        self,
        local_id: NodeId,
        requests: Requests,
        contacts: Contacts,
        own_record: Callable[[], Enr],
        rng: Random,
        counts: Counter[str],
        *,
        lan: bool,
        ipv6: bool,
        admission: Admission | None = None,
    ) -> None:
        self.admission = admission or SharedAdmission()
        self.registrar = Registrar(self.admission, rng, lan=lan, ipv6=ipv6)
        self.registrar.counts = counts
        self.advertisers: dict[Topic, Advertiser] = {}
        self._local_id = local_id
        self._requests = requests
        self._contacts = contacts
        self._own_record = own_record
        self._rng = rng
        self._counts = counts
        self._lan = lan
        self._ipv6 = ipv6
        self._exclusions = Exclusions()
        self._wanted: dict[Topic, _Wanted] = {}
        self._found: OrderedDict[tuple[Topic, NodeId], None] = OrderedDict()
        self._seen_changes = -1
        self._synced = float("-inf")
        self._addressed: tuple[Enr, bool] | None = None
        """The own record, and whether it names an address."""

        self._stopped = False

    # What the node wants

    def advertise(self, topic: Topic, make: Callable[..., Advertiser] = Advertiser) -> None:
        """Be advertised under a topic from now on, as soon as the own record names an address."""
        if topic not in self.advertisers:
            table = self._service_table(topic)
            self.advertisers[topic] = make(table, self._exclusions, self._rng, lifetime=self.admission.lifetime)
            self._seen_changes = -1

    def stop(self) -> None:
        """The node ends: nobody is asked any more."""
        self.advertisers.clear()
        self._wanted.clear()
        self._stopped = True

    def record_changed(self, now: float) -> None:
        """The own record is a new one."""
        for advertiser in self.advertisers.values():
            advertiser.record_changed(now)

    def want(self, topic: Topic, now: float) -> None:
        """Search for advertisers of a topic until `unwant`."""
        wanted = self._wanted.setdefault(topic, _Wanted())
        wanted.count += 1
        wanted.pacer.hurry(now)

    def unwant(self, topic: Topic) -> None:
        """One less searches for it."""
        wanted = self._wanted.get(topic)
        if wanted is None:
            return  # the node ended before
        wanted.count -= 1
        if not wanted.count:
            del self._wanted[topic]

    def is_advertised(self, topic: Topic, node_id: NodeId) -> bool:
        """Whether a registrar named the node as an advertiser of the topic."""
        return (topic, node_id) in self._found

    def found(self, topic: Topic) -> set[NodeId]:
        """The advertisers of a topic that registrars named, as far as they are remembered."""
        return {node_id for each, node_id in self._found if each == topic}

    # Time

    def handle_timeouts(self, now: float) -> None:
        """Ask registrars, begin searches: what is due."""
        if self.advertisers and self._has_address():
            if self._contacts.table.changes != self._seen_changes or now >= self._next_sync():
                self._seen_changes = self._contacts.table.changes
                self._synced = now
                self._exclusions.pass_by(now)
                for advertiser in self.advertisers.values():
                    self._fill(advertiser.table, now)
                    self._advance(advertiser, now)
            for advertiser in self.advertisers.values():
                if advertiser.next_deadline() <= now:
                    self._advance(advertiser, now)
        for topic, wanted in list(self._wanted.items()):
            if not wanted.searching and now >= wanted.pacer.due:
                self._search_wanted(topic, wanted, now)

    def next_deadline(self) -> float:
        """When `handle_timeouts` is due."""
        due = float("inf")
        for wanted in self._wanted.values():
            if not wanted.searching:
                due = min(due, wanted.pacer.due)
        if self.advertisers and self._has_address():
            if self._contacts.table.changes != self._seen_changes:
                return 0.0
            for advertiser in self.advertisers.values():
                due = min(due, advertiser.next_deadline())
            due = min(due, self._next_sync())
        return due

    # Answers

    def on_regtopic(self, received: Received, request: RegTopic, now: float) -> list[Message]:
        """Answer REGTOPIC; nothing if it deserves no answer."""
        known = self._contacts.known(received.node_id)
        answer = self.registrar.register(
            received.node_id,
            received.address,
            request.topic,
            request.record,
            request.ticket,
            known.seq if known is not None else 0,
            now,
        )
        if answer is None:
            return []
        hints = self._hint_batches(request.topic, request.distances, received)
        total = 1 + len(hints)
        wait_ms = int(answer.seconds * 1000) + 1 if answer.ticket else int(answer.seconds * 1000)
        confirmation = RegConfirmation(request.request_id, total, answer.ticket, wait_ms)
        return [confirmation, *(Nodes(request.request_id, total, batch) for batch in hints)]

    def on_topicquery(self, received: Received, request: TopicQuery, now: float) -> list[Message]:
        """Answer TOPICQUERY."""
        named = batches(enr.raw for enr in self.registrar.advertisers(request.topic, received.address, now))
        hints = self._hint_batches(request.topic, request.distances, received)
        total = len(named) + len(hints)
        return [
            *(TopicNodes(request.request_id, total, batch) for batch in named),
            *(Nodes(request.request_id, total, batch) for batch in hints),
        ]

    def sizes(self) -> dict[str, int]:
        """How much is held: each of these is bounded."""
        return {
            **self.registrar.sizes(),
            "advertised": sum(advertiser.active for advertiser in self.advertisers.values()),
            "advertising": sum(advertiser.pending for advertiser in self.advertisers.values()),
            "found_by_topic": len(self._found),
            "excluded_registrars": len(self._exclusions),
        }

    # Searching

    def search(
        self, topic: Topic, now: float, done: Callable[[Discoverer, float], None], *, enough: int = F_LOOKUP
    ) -> None:
        """Look once for advertisers of a topic, first among those who advertise at this very node.

        Each one found is pinged; those who answer are verified nodes.
        """
        table = self._service_table(topic)
        self._fill(table, now)
        self._counts["topic_searches"] += 1
        discoverer = Discoverer(table, enough=enough)
        for enr in self.registrar.own_answer(topic, now):
            discoverer.found[enr.node_id] = enr
            self._on_found(topic, enr, now)
        self._contacts.run_checks(now)
        _Search(self, discoverer, done).advance(now)

    def query(self, enr: Enr, discoverer: Discoverer, now: float, advance: Callable[[float], None]) -> None:
        """Ask a registrar on behalf of a search."""
        topic = discoverer.table.topic
        if self._stopped:
            discoverer.failed(enr.node_id)
            return

        def heard(answer: TopicAnswer | None, then: float) -> None:
            remote = self._requests.remote(enr)
            if answer is None or remote is None:
                discoverer.failed(enr.node_id)
                self._exclusions.add(enr.node_id, then)
            else:
                named = self._believed(answer.advertisers, remote.address)
                hints = self._believed(answer.hints, remote.address)
                for new in discoverer.answered(enr.node_id, [each for each, _ in named], hints, then):
                    self._on_found(topic, new, then)
                self._contacts.run_checks(then)
            advance(then)

        self._counts["topic_queries_sent"] += 1
        try:
            self._requests.query_topic(enr, topic, discoverer.table.wanted(), now, heard)
        except Overloaded:
            discoverer.failed(enr.node_id)

    def _search_wanted(self, topic: Topic, wanted: _Wanted, now: float) -> None:
        wanted.searching = True
        before = self._contacts.news

        def over(_: Discoverer, then: float) -> None:
            wanted.searching = False
            wanted.pacer.done(then, news=self._contacts.news > before)

        self.search(topic, now, over)

    def _on_found(self, topic: Topic, enr: Enr, now: float) -> None:
        if enr.node_id == self._local_id:
            return
        is_new = (topic, enr.node_id) not in self._found
        self._found[topic, enr.node_id] = None
        self._found.move_to_end((topic, enr.node_id))
        if len(self._found) > MAX_ADVERTISERS:
            self._found.popitem(last=False)
        if self._contacts.is_verified(enr):
            if is_new:
                self._contacts.tell_again(enr.node_id)
        else:
            self._contacts.named(enr, now, wanted=True)

    # Advertising

    def _advance(self, advertiser: Advertiser, now: float) -> None:
        if self._stopped:
            return
        for ask in advertiser.next_asks(now):
            self._register(advertiser, ask, now)

    def _register(self, advertiser: Advertiser, ask: Ask, now: float) -> None:
        node_id = ask.enr.node_id

        def heard(answer: TopicAnswer | None, then: float) -> None:
            remote = self._requests.remote(ask.enr)
            confirmation = answer.confirmation if answer is not None else None
            if answer is None or confirmation is None or remote is None:
                advertiser.failed(node_id, then)
            else:
                advertiser.table.add_hints(self._believed(answer.hints, remote.address), then)
                advertiser.answered(node_id, Confirmation(confirmation.ticket, confirmation.wait_ms / 1000), then)
            self._advance(advertiser, then)

        self._counts["registrations_sent"] += 1
        try:
            self._requests.register_topic(
                ask.enr,
                advertiser.table.topic,
                self._own_record(),
                ask.ticket,
                advertiser.table.wanted(),
                now,
                heard,
            )
        except Overloaded:
            advertiser.failed(node_id, now)

    # Inside

    def _next_sync(self) -> float:
        """When service tables are filled anew though the routing table is as it was."""
        return max(self._exclusions.next_end, self._synced + SYNC_INTERVAL)

    def _has_address(self) -> bool:
        record = self._own_record()
        if self._addressed is None or self._addressed[0] is not record:
            self._addressed = record, self._requests.remote(record) is not None
        return self._addressed[1]

    def _service_table(self, topic: Topic) -> ServiceTable:
        return ServiceTable(topic, self._local_id, self._exclusions, self._rng, lan=self._lan)

    def _fill(self, table: ServiceTable, now: float) -> None:
        for entry in self._contacts.table:
            if entry.live and speaks_topics(entry.enr):
                table.add(entry.enr, entry.address, now)

    def _believed(self, records: Iterable[bytes], source: UdpAddress) -> list[tuple[Enr, UdpAddress]]:
        """Of the records that a registrar sent, those that it may name."""
        believed: list[tuple[Enr, UdpAddress]] = []
        for enr in self._requests.decoded(records):
            address = udp_address(enr, ipv6=self._ipv6, lan=self._lan)
            if address is not None and enr.node_id != self._local_id and may_name(source[0], address[0]):
                believed.append((enr, address))
            else:
                self._counts["records_elsewhere"] += 1
        return believed

    def _hint_batches(self, topic: Topic, distances: Iterable[int], received: Received) -> list[tuple[bytes, ...]]:
        """Live nodes that speak topic discovery, one for each distance from the topic that was asked for."""
        source = received.address[0]
        table = self._contacts.table
        hints: list[bytes] = []
        for distance in dict.fromkeys(list(distances)[:MAX_HINTS]):
            entries = table.live_at(topic, distance) if distance else []
            if not entries:
                continue
            entry = entries[self._rng.randrange(len(entries))]
            if (
                speaks_topics(entry.enr)
                and entry.enr.node_id != received.node_id
                and may_name(source, entry.address[0])
            ):
                hints.append(entry.enr.raw)
        return batches(hints) if hints else []


class _Wanted:
    """A topic that somebody wants."""

    __slots__ = ("count", "pacer", "searching")

    def __init__(self) -> None:
        self.count = 0
        self.searching = False
        self.pacer = Pacer(start=0.4, floor=5.0, ceiling=60.0, eager=10)


class _Search:
    """A discoverer and who waits for it."""

    __slots__ = ("_directory", "_discoverer", "_done", "_over")

    def __init__(self, directory: Directory, discoverer: Discoverer, done: Callable[[Discoverer, float], None]) -> None:
        self._directory = directory
        self._discoverer = discoverer
        self._done = done
        self._over = False

    def advance(self, now: float) -> None:
        """Ask whom the discoverer says; tell when it is over."""
        while queries := self._discoverer.next_queries():
            for enr in queries:
                self._directory.query(enr, self._discoverer, now, self.advance)
        if self._discoverer.done and not self._over:
            self._over = True
            self._done(self._discoverer, now)
