"""The shell: a node with a UDP socket and a clock.

async with Discovery(key, config) as discovery:
    async for enr in discovery.candidates(MAILSERVER):
        ...
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from ipaddress import ip_address
from random import Random, SystemRandom
from types import TracebackType
from typing import Any, TypeVar

from offchain.config import DiscoveryConfig
from offchain.discovery.address import Scope, UdpAddress, families, scope_of_text
from offchain.discovery.calls import NoAnswer
from offchain.discovery.limits import Limits
from offchain.discovery.message import Pong
from offchain.discovery.node import Node
from offchain.discovery.packet import MAX_SIZE
from offchain.discovery.store import NodeStore
from offchain.discovery.topics.admission import Admission
from offchain.enr import Enr
from offchain.errors import ConfigError, ConnectionLost, StorageError
from offchain.keys import PrivateKey
from offchain.rlp import Item
from offchain.types import Kind, NodeId, parse_ip, short, topic_of

logger = logging.getLogger("offchain.discovery")

MAX_CANDIDATES = 1_024
"""Records that wait for one reader of `candidates`; the oldest is lost, and comes again with its next record."""

MAX_BATCH = 64
"""Datagrams taken in at a time."""

RECEIVE_BUFFER = 1024 * 1024
"""Bytes that the system keeps for us, if it allows so many: 900 of the largest datagrams where it kept 90 before,
which one burst fills: then what others send is lost."""

LARGEST_READ = MAX_SIZE + 1
"""Bytes read of a datagram: of one that is larger than a packet, enough to see that it is."""

FIRST_SAVE, SAVE_INTERVAL = 1.0, 30.0
"""Seconds until the nodes that answer are written down, and between two times; at first more often."""

MAX_REMEMBERED = 16_384
"""Nodes that one reader of `candidates` is not told of again; the oldest is forgotten, and may be told of again."""

T = TypeVar("T")


class Discovery:
    """One discovery node on the network. An asynchronous context manager."""

    def __init__(
        self,
        key: PrivateKey,
        config: DiscoveryConfig,
        *,
        rng: Random | None = None,
        limits: Limits | None = None,
        seq: int | None = None,
        admission: Admission | None = None,
    ) -> None:
        """`rng` makes keys and nonces: leave it out but in tests.

        `seq` is the first number of the own record; left out, the microseconds since 1970, so that a node that starts
        again with the same key has a newer record than others remember. `admission` decides whom this node advertises
        for others, and when; left out, `SharedAdmission`.

        ConfigError if an address, a bootnode or the protocol id cannot be used.
        """
        if len(config.protocol_id) != 6:
            raise ConfigError(f"a protocol id has six bytes, found {config.protocol_id!r}")
        for name, text in (
            ("host", config.host),
            ("advertised_ip", config.advertised_ip),
            ("advertised_ip6", config.advertised_ip6),
        ):
            _check_ip(name, text)
        self._config = config
        first = time.time_ns() // 1_000 if seq is None else seq
        self._node = Node(key, config, rng or SystemRandom(), limits=limits, seq=first, admission=admission)
        self._ipv6 = ":" in config.host
        self._socket: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._store: NodeStore | None = None
        self._save_timer: asyncio.TimerHandle | None = None
        self._readers: set[_Reader] = set()
        self.port = 0
        """The UDP port, once entered."""

    async def __aenter__(self) -> Discovery:
        self._loop = asyncio.get_running_loop()
        self._socket = self._bound_socket()
        self.port = self._socket.getsockname()[1]
        advertised = self._advertised_ips()
        if not advertised:
            logger.info("the record names no address until ten nodes agree on what it is; set one if it is known")
        self._node.start(advertised, self.port, self._loop.time(), self._open_store())
        self._loop.add_reader(self._socket, self._on_readable)
        self._pump()
        logger.info("discovery node %s listens on %s port %d", short(self._node.id), self._config.host, self.port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._socket is not None
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._socket)
        self._socket.close()
        self._socket = None
        self._close_store()
        self._node.stop(self._loop.time())
        for reader in self._readers:
            reader.close()

    # What programs ask

    @property
    def record(self) -> Enr:
        """What the node says of itself now."""
        return self._node.record

    @property
    def node_id(self) -> NodeId:
        """The node's id."""
        return self._node.id

    async def ping(self, enr: Enr) -> Pong:
        """Ask whether a node is there; what it answered. NoAnswer if nothing."""
        return await self._ask(enr, lambda done: self._node.contacts.ping(enr, self._loop.time(), done))

    async def find_node(self, enr: Enr, distances: Sequence[int]) -> list[Enr]:
        """Ask a node whom it knows at these log distances from itself; 0 is its own record. NoAnswer if none came."""
        remote = self._node.requests.needed_remote(enr)
        wanted = tuple(distances)
        return await self._ask(enr, lambda done: self._node.requests.find_node(remote, wanted, self._loop.time(), done))

    async def talk(self, enr: Enr, protocol: bytes, request: bytes) -> bytes:
        """Send a request of another protocol; its answer is empty if the node does not speak it. NoAnswer if none came.

        Sent once, because it may not be safe to carry out twice. ValueError if it does not fit into a packet.
        """
        remote = self._node.requests.needed_remote(enr)
        return await self._ask(
            enr, lambda done: self._node.requests.talk(remote, protocol, request, self._loop.time(), done)
        )

    def on_talk(self, protocol: bytes, handler: Callable[[NodeId, bytes], bytes]) -> None:
        """Answer requests of a protocol. The handler gets the node's id and the request, and must not block."""
        self._node.talk_handlers[protocol] = handler

    async def lookup(self, target: NodeId) -> list[Enr]:
        """The nodes closest to a target that answered, closest first; at most 16."""
        future: asyncio.Future[list[Enr]] = self._future()
        self._node.explorer.lookup(target, self._loop.time(), lambda lookup, _: _settle(future, lookup.result()))
        self._pump()
        return await future

    async def find(self, node_id: NodeId) -> Enr | None:
        """A node's record by its id: from the node itself if it answers, else the newest that was found; or None."""
        if node_id == self.node_id:
            return self.record
        future: asyncio.Future[Enr | None] = self._future()
        self._node.explorer.find(node_id, self._loop.time(), lambda enr, _: _settle(future, enr))
        self._pump()
        return await future

    async def candidates(self, kind: Kind) -> AsyncGenerator[Enr, None]:
        """Records of nodes that serve a kind and answered us; a node again only when its record is newer.

        Found by asking registrars for the topic of the kind, and by walking about and reading records.
        Endless: while somebody iterates, the node keeps looking, eagerly at first, and at most every 30 s once nothing
        new turns up. Whether to trust what is found is for the caller to decide.
        """
        if self._socket is None:
            raise ConnectionLost("the discovery node is not running")
        topic = topic_of(kind)
        contacts, directory = self._node.contacts, self._node.directory
        reader = _Reader(lambda enr: kind in enr.kinds or directory.is_advertised(topic, enr.node_id))
        self._readers.add(reader)
        self._node.explorer.want(kind, self._loop.time())
        directory.want(topic, self._loop.time())
        self._pump()
        try:
            for enr in contacts.verified(kind) + contacts.verified_records(directory.found(topic)):
                reader.offer(enr)
            while (found := await reader.next()) is not None:
                yield found
        finally:
            self._readers.discard(reader)
            self._node.explorer.unwant(kind)
            directory.unwant(topic)

    async def update_record(self, **changes: Item | int | None) -> Enr:
        """Change entries of the own record, by name; None removes one. The nodes that know us learn of it.

        A value is bytes, an integer, or a list of bytes: `update_record(tcp=30303, kinds=[b"mailserver"])`.
        """
        self._node.update_record({name: _entry(value) for name, value in changes.items()}, self._loop.time())
        self._pump()
        return self._node.record

    def is_advertised(self, kind: Kind, node_id: NodeId) -> bool:
        """Whether a registrar named the node as an advertiser of the kind's topic."""
        return self._node.directory.is_advertised(topic_of(kind), node_id)

    def stats(self) -> dict[str, int]:
        """Counts since the start, and how much is held now."""
        return {**self._node.counts, **self._node.sizes()}

    # The socket and the clock

    def _bound_socket(self) -> socket.socket:
        config = self._config
        bound = socket.socket(socket.AF_INET6 if self._ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            bound.setblocking(False)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)  # the system takes what it allows
            if self._ipv6:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 4 not in families(config.host))
            bound.bind((config.host, config.port))
        except OSError as error:
            bound.close()
            where = f"{config.host} port {config.port}"
            raise ConfigError(f"discovery cannot listen on {where}: {error.strerror or error}") from error
        return bound

    def _on_readable(self) -> None:
        self._take_in()
        self._pump()

    def _take_in(self) -> None:
        """Hand the machine what has arrived. Not without end: others on this loop have their turn."""
        assert self._socket is not None
        receive, now = self._socket.recvfrom, self._loop.time()
        for _ in range(MAX_BATCH):
            try:
                data, addr = receive(LARGEST_READ)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                logger.debug("the socket reports: %s", error)  # ICMP: somebody is not there; their requests time out
                continue
            source = (addr[0], addr[1]) if not self._ipv6 else (str(parse_ip(addr[0].partition("%")[0])), addr[1])
            self._node.receive_datagram(data, source, now)

    def _pump(self) -> None:
        """Carry out what the machine decided. Call after every call into it."""
        if self._socket is None:
            return
        send = self._socket.sendto
        for data, address in self._node.datagrams_to_send():
            try:
                send(data, self._socket_address(address))
            except (BlockingIOError, InterruptedError):
                self._node.counts["dropped_congested"] += 1  # the socket takes no more: lost, as datagrams are
            except OSError as error:
                logger.debug("nothing can be sent to %s: %s", address[0], error)
        while (event := self._node.next_event()) is not None:
            for reader in self._readers:
                reader.offer(event.enr)
        self._arm(self._node.next_deadline())

    def _arm(self, deadline: float) -> None:
        """One timer, moved only when something is due earlier."""
        if self._timer is not None:
            if self._timer.when() <= deadline:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._take_in()  # an answer that has arrived is in time, however late we come to read it
        self._node.handle_timeouts(self._loop.time())
        self._pump()

    def _socket_address(self, address: UdpAddress) -> UdpAddress:
        if self._ipv6 and ":" not in address[0]:
            return f"::ffff:{address[0]}", address[1]
        return address

    def _advertised_ips(self) -> list[str]:
        """At most one of each family."""
        config = self._config
        given = [ip for ip in (config.advertised_ip, config.advertised_ip6) if ip is not None]
        if given:
            return given
        scope = scope_of_text(str(parse_ip(config.host)))
        usable = scope is Scope.PUBLIC or (config.lan and scope is not Scope.NOWHERE)
        return [config.host] if usable else []

    # What is kept for the next start

    def _open_store(self) -> list[Enr]:
        """The nodes to start from."""
        if self._config.database is None:
            return []
        try:
            self._store = NodeStore(self._config.database)
        except StorageError as error:
            logger.warning("%s; going on without", error)
            return []
        self._save_timer = self._loop.call_later(FIRST_SAVE, self._on_save, FIRST_SAVE)
        seeds = self._store.seeds(time.time())
        logger.info("%d nodes known from before are asked first", len(seeds))
        return seeds

    def _on_save(self, waited: float) -> None:
        assert self._store is not None
        self._store.put(self._node.contacts.live_records(), time.time())
        wait = min(2 * waited, SAVE_INTERVAL)
        self._save_timer = self._loop.call_later(wait, self._on_save, wait)

    def _close_store(self) -> None:
        if self._store is not None and self._save_timer is not None:
            self._save_timer.cancel()
            self._store.put(self._node.contacts.live_records(), time.time())
            self._store.close()
            self._store = None

    # Waiting

    async def _ask(self, enr: Enr, start: Callable[[Callable[[T | None, float], None]], None]) -> T:
        """The answer to a request that `start` sends. The machine sees to it that every request ends in time."""
        future: asyncio.Future[T | None] = self._future()
        start(lambda answer, _: _settle(future, answer))
        self._pump()
        answer = await future
        if answer is None:
            raise NoAnswer(f"{short(enr.node_id)} did not answer")
        return answer

    def _future(self) -> asyncio.Future[Any]:
        if self._socket is None:
            raise ConnectionLost("the discovery node is not running")
        return self._loop.create_future()


class _Reader:
    """One iteration of `candidates`: what waits for it, and what it was told."""

    def __init__(self, serves: Callable[[Enr], bool]) -> None:
        self._serves = serves
        self._queue: asyncio.Queue[Enr | None] = asyncio.Queue()
        self._told: dict[NodeId, int] = {}

    def offer(self, enr: Enr) -> None:
        """Tell of a record, unless it is of another kind or was told of."""
        if not self._serves(enr) or self._told.get(enr.node_id, -1) >= enr.seq:
            return
        self._told.pop(enr.node_id, None)
        self._told[enr.node_id] = enr.seq
        if len(self._told) > MAX_REMEMBERED:
            del self._told[next(iter(self._told))]
        if self._queue.qsize() >= MAX_CANDIDATES:
            self._queue.get_nowait()
        self._queue.put_nowait(enr)

    def close(self) -> None:
        """The node stops: the iteration ends."""
        self._queue.put_nowait(None)

    async def next(self) -> Enr | None:
        """The next record; None when the node stops."""
        return await self._queue.get()


def _settle(future: asyncio.Future[T], value: T) -> None:
    if not future.done():
        future.set_result(value)


def _entry(value: Item | int | None) -> Item | None:
    if isinstance(value, int):
        return value.to_bytes((value.bit_length() + 7) // 8, "big")
    return value


def _check_ip(name: str, text: str | None) -> None:
    try:
        if text is not None:
            ip_address(text)
    except ValueError:
        raise ConfigError(f"{name} of discovery is {text!r}, expected an IP address") from None
