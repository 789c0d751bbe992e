"""RLPx over TCP: gives the connection machine a socket, a clock and queues with bounds, and nothing else.

    connect() -> Peer          serve(handler) -> Server, which calls the handler with each Peer

Reading stops while `QUEUE_MESSAGES` or `QUEUE_BYTES` wait to be received, so a flood is held by TCP at its sender.
Sending waits while the socket's buffer is full, at most `SEND_TIMEOUT`; then the peer is gone.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from types import TracebackType

from offchain.errors import ConnectionLost, PeerError
from offchain.keys import PrivateKey, PublicKey
from offchain.rlpx.connection import Closed, Connection, Limits, Message, Opened
from offchain.rlpx.p2p import Capability, DisconnectReason, Hello
from offchain.types import NodeId, network_of, short

log = logging.getLogger("offchain.rlpx")

QUEUE_MESSAGES = 1024
"""Messages waiting to be received, beyond which we stop reading."""

QUEUE_BYTES = 4 * 1024 * 1024
"""Their payloads, likewise."""

WRITE_BUFFER = 256 * 1024
"""Bytes the socket has not taken yet, beyond which senders wait."""

ANSWER_BUFFER = 4 * 1024 * 1024
"""Bytes the socket has not taken yet, at which even answers are no longer added."""

SEND_TIMEOUT = 30.0
"""How long a sender waits for a peer that does not read."""

LINGER = 1.0
"""How long a goodbye may take to leave."""

FREE_PORTS_TRIED = 5
"""How often a free port is looked for that is free on every address."""

CLIENT_ID = "Waypost/v0.1.0"
Handler = Callable[["Peer"], Awaitable[None]]


class Disconnected(ConnectionLost):
    """The connection is over."""

    def __init__(self, reason: DisconnectReason, by_us: bool, detail: str = "") -> None:
        who = "we" if by_us else "the peer"
        super().__init__(f"{who} closed the connection: {reason.name.lower()}" + (f" ({detail})" if detail else ""))
        self.reason = reason
        self.by_us = by_us
        self.detail = detail


class Peer:
    """An open connection to a node whose key is proven. `connect` and `serve` make them."""

    def __init__(self, shell: _Shell, opened: Opened, remote: PublicKey) -> None:
        self._shell = shell
        self.remote = remote
        self.hello: Hello = opened.hello
        self.capabilities: tuple[Capability, ...] = tuple(each.capability for each in opened.shared)
        self.address: tuple[str, int] = shell.address

    @property
    def node_id(self) -> NodeId:
        """The other node's id."""
        return self.remote.node_id

    @property
    def closed(self) -> bool:
        """Whether the connection is over; messages that came before may still wait to be received."""
        return self._shell.over is not None

    async def send(self, capability: str, code: int, payload: bytes) -> None:
        """Send one message; waits while the peer does not keep up. Disconnected once the connection is over."""
        await self.send_many(capability, ((code, payload),))

    async def send_many(self, capability: str, messages: Iterable[tuple[int, bytes]]) -> None:
        """Send messages in order, cheaper than one by one. Waits as often as WRITE_BUFFER is full; other senders may
        come in between then.
        """
        for group in _groups(messages):
            await self._shell.wait_writable()
            self._shell.send(capability, group)

    def send_now(self, capability: str, messages: Iterable[tuple[int, bytes]]) -> None:
        """Send answers to what the peer sent, without waiting: if both ends waited for room before they read on,
        neither would ever. A peer that asks but does not take its answers is dropped at ANSWER_BUFFER.
        """
        self._shell.send_now(capability, messages)

    async def receive(self) -> Message:
        """The next message. Disconnected once the connection is over and all that came was received."""
        return (await self.receive_many(1))[0]

    async def receive_many(self, limit: int = QUEUE_MESSAGES) -> list[Message]:
        """The messages that wait, at least one and at most `limit`."""
        return await self._shell.take(limit)

    async def close(self, reason: DisconnectReason = DisconnectReason.REQUESTED) -> None:
        """Say goodbye, and wait until the socket is closed (at most LINGER)."""
        self._shell.disconnect(reason)
        await self._shell.wait_closed()

    async def wait_closed(self) -> Disconnected:
        """Wait for the end, whoever brings it, and say how it came."""
        await self._shell.wait_closed()
        assert self._shell.over is not None
        return self._shell.over

    def __repr__(self) -> str:
        return f"Peer({short(self.node_id)} at {self.address[0]}:{self.address[1]})"


class _Shell(asyncio.Protocol):
    """The socket of one connection."""

    def __init__(self, make: Callable[[float], Connection], server: Server | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._queue: deque[Message] = deque()
        self._queued_bytes = 0
        self._paused = False
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._gone = asyncio.Event()
        self.connection = make(self._loop.time())
        self.opened: asyncio.Future[Peer] = self._loop.create_future()
        self.over: Disconnected | None = None
        self.address: tuple[str, int] = ("", 0)
        self.network = ""
        """Of the address: see `serve`."""

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_BUFFER)
        name = transport.get_extra_info("peername")
        if name:
            self.address = (name[0], name[1])
            self.network = network_of(name[0])
        if self._server is not None:
            self._server._on_connection(self)
        self.pump()

    def data_received(self, data: bytes) -> None:
        self.connection.receive(data, self._loop.time())
        self.pump()

    def eof_received(self) -> bool:
        self.connection.end_of_stream()
        self.pump()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.connection.end_of_stream()
        self.pump()
        if self._timer is not None:
            self._timer.cancel()
        self._gone.set()
        if self._server is not None:
            self._server._on_gone(self)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # The machine

    def pump(self) -> None:
        """Carry out what the machine decided. Call after every call into it."""
        while (event := self.connection.next_event()) is not None:
            if isinstance(event, Message):
                self._queue.append(event)
                self._queued_bytes += len(event.payload)
            elif isinstance(event, Opened):
                self._on_opened(event)
            else:
                self._on_closed(event)
        data = self.connection.data_to_send()
        if data and self._transport is not None:
            self._transport.write(data)
        if self._queue:
            self._readable.set()
            if self._full(1) and not self._paused and self._transport is not None:
                self._paused = True
                self._transport.pause_reading()
        if self.over is None:
            self._arm()
        elif self._transport is not None and not self._transport.is_closing():
            self._transport.close()
            self._timer = self._loop.call_later(LINGER, self._transport.abort)

    def disconnect(self, reason: DisconnectReason, detail: str = "") -> None:
        """Say goodbye and close."""
        self.connection.disconnect(reason, detail)
        self.pump()

    def _on_opened(self, event: Opened) -> None:
        assert self.connection.remote is not None
        peer = Peer(self, event, self.connection.remote)
        log.debug("open: %r, %r", peer, event.hello.client_id)
        if not self.opened.done():
            self.opened.set_result(peer)
        if self._server is not None:
            self._server._on_opened(self, peer)

    def _on_closed(self, event: Closed) -> None:
        self.over = Disconnected(event.reason, event.by_us, event.detail)
        log.debug("closed: %s:%d, %s", *self.address, self.over)
        if self._timer is not None:
            self._timer.cancel()
        if not self.opened.done():
            self.opened.set_exception(self.over)
            self.opened.exception()  # seen: a server does not await it
        self._readable.set()
        self._writable.set()

    def _arm(self) -> None:
        """Have the machine called at its deadline. A timer that comes early does no harm, so it is not moved later."""
        deadline = self.connection.next_deadline()
        if deadline is None or (self._timer is not None and self._timer.when() <= deadline):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._paused:
            self.connection.postpone(self._loop.time())
        else:
            self.connection.tick(self._loop.time())
        self.pump()

    # The queues

    def _full(self, share: int) -> bool:
        """Whether a `share`-th of the queue's bounds is used up."""
        return len(self._queue) * share >= QUEUE_MESSAGES or self._queued_bytes * share >= QUEUE_BYTES

    async def take(self, limit: int) -> list[Message]:
        """See Peer.receive_many."""
        queue = self._queue
        while not queue:
            if self.over is not None:
                raise self.over.with_traceback(None)
            self._readable.clear()
            await self._readable.wait()
        taken = [queue.popleft() for _ in range(min(limit, len(queue)))]
        self._queued_bytes -= sum(len(each.payload) for each in taken)
        if self._paused and not self._full(2):
            self._paused = False
            if self._transport is not None and self.over is None:
                self.connection.postpone(self._loop.time())
                self._transport.resume_reading()
        return taken

    async def wait_writable(self) -> None:
        """Return when there is room for another message. Of several who wait, the first may fill it again."""
        while self.over is None and not self._writable.is_set():
            try:
                async with asyncio.timeout(SEND_TIMEOUT):
                    await self._writable.wait()
            except TimeoutError:
                self.disconnect(DisconnectReason.TIMEOUT, f"the peer took nothing for {SEND_TIMEOUT:.0f} s")
        if self.over is not None:
            raise self.over.with_traceback(None)

    def send(self, capability: str, messages: Iterable[tuple[int, bytes]]) -> None:
        """Hand messages to the machine, and its bytes to the socket. The connection must not be over."""
        self.connection.send_many(capability, messages)
        self.pump()

    def send_now(self, capability: str, messages: Iterable[tuple[int, bytes]]) -> None:
        """See Peer.send_now."""
        if self.over is None and self._transport is not None:
            waiting = self._transport.get_write_buffer_size()
            if waiting > ANSWER_BUFFER:
                self.disconnect(DisconnectReason.TIMEOUT, f"{waiting} bytes of answers were not taken")
        if self.over is not None:
            raise self.over.with_traceback(None)
        self.send(capability, messages)

    async def wait_closed(self) -> None:
        """Return when the socket is closed."""
        await self._gone.wait()

    def abort(self) -> None:
        """Close without a goodbye."""
        self.connection.end_of_stream()
        if self._transport is not None:
            self._transport.abort()
        self.pump()


def _by_network(shells: Iterable[_Shell]) -> dict[str, list[_Shell]]:
    networks: dict[str, list[_Shell]] = {}
    for each in shells:
        networks.setdefault(each.network, []).append(each)
    return networks


def _groups(messages: Iterable[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    """The messages, cut where their payloads reach WRITE_BUFFER."""
    group: list[tuple[int, bytes]] = []
    size = 0
    for each in messages:
        group.append(each)
        size += len(each[1])
        if size >= WRITE_BUFFER:
            yield group
            group, size = [], 0
    if group:
        yield group


async def connect(
    key: PrivateKey,
    remote: PublicKey,
    host: str,
    port: int,
    capabilities: Sequence[Capability],
    *,
    client_id: str = CLIENT_ID,
    timeout: float = 5.0,  # noqa: ASYNC109 (one bound for dialling and both handshakes)
    limits: Limits | None = None,
) -> Peer:
    """An open connection to the node with that key at that address, within `timeout` seconds.

    ConnectionLost if nobody answers; Disconnected (one of these) if somebody does but refuses, or has another key.
    """

    def make(now: float) -> Connection:
        rng = random.SystemRandom()
        return Connection(key, capabilities, remote=remote, client_id=client_id, now=now, rng=rng, limits=limits)

    shell: _Shell | None = None
    try:
        async with asyncio.timeout(timeout):
            loop = asyncio.get_running_loop()
            _, shell = await loop.create_connection(lambda: _Shell(make), host, port)
            return await shell.opened
    except TimeoutError:
        raise ConnectionLost(f"{host}:{port} did not answer within {timeout:g} s") from None
    except OSError as error:
        raise ConnectionLost(f"{host}:{port} cannot be reached: {error}") from error
    finally:
        if shell is not None and (not shell.opened.done() or shell.opened.cancelled()):
            shell.abort()


async def serve(
    key: PrivateKey,
    host: str | Sequence[str],
    port: int,
    capabilities: Sequence[Capability],
    handler: Handler,
    *,
    client_id: str = CLIENT_ID,
    max_peers: int = 1_000,
    max_handshakes: int = 512,
    limits: Limits | None = None,
    reuse_port: bool = False,
) -> Server:
    """Listen (port 0 takes a free one), and call the handler with each peer. When it returns, the peer is closed.

    `host` may be several addresses, of IPv4 and IPv6: the port is the same on all. With `reuse_port` several processes
    may listen on one port, and the system spreads connections over them.

    Beyond `max_peers`, the network with most peers gives its oldest up to a newcomer whose own has at least two fewer;
    any other newcomer is told TOO_MANY_PEERS. Beyond `max_handshakes` unfinished handshakes, the oldest of the network
    that has most of them gives way. A network is an address, or of IPv6 a /64. A node that connects again replaces its
    own older connection.
    """
    server = Server(key, capabilities, handler, client_id, max_peers, max_handshakes, limits)
    await server._listen((host,) if isinstance(host, str) else tuple(host), port, reuse_port)
    return server


class Server:
    """A listening socket and the connections that came of it. `serve` makes them; `close` ends them."""

    def __init__(
        self,
        key: PrivateKey,
        capabilities: Sequence[Capability],
        handler: Handler,
        client_id: str,
        max_peers: int,
        max_handshakes: int,
        limits: Limits | None,
    ) -> None:
        self._key = key
        self._capabilities = tuple(capabilities)
        self._handler = handler
        self._client_id = client_id
        self._max_peers = max_peers
        self._max_handshakes = max_handshakes
        self._limits = limits
        self._rng = random.SystemRandom()
        self._listeners: list[asyncio.Server] = []
        self._handshakes: dict[_Shell, None] = {}
        """Unfinished, oldest first."""
        self._shells: set[_Shell] = set()
        self._peers: dict[NodeId, Peer] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    @property
    def peers(self) -> tuple[Peer, ...]:
        """The peers whose handlers run."""
        return tuple(self._peers.values())

    async def close(self) -> None:
        """Stop listening, tell every peer that we quit, cancel the handlers and wait for them."""
        for listener in self._listeners:
            listener.close()
        for shell in tuple(self._shells):
            shell.disconnect(DisconnectReason.QUITTING)
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for shell in tuple(self._shells):
            await shell.wait_closed()
        for listener in self._listeners:
            await listener.wait_closed()

    async def __aenter__(self) -> Server:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _listen(self, hosts: Sequence[str], port: int, reuse_port: bool) -> None:
        """Take the port on every address. A free one of the first may be taken on the next: then another is tried."""
        for attempt in range(FREE_PORTS_TRIED):
            try:
                for host in hosts:
                    await self._listen_at(host, self.port or port, reuse_port)
            except OSError:
                for listener in self._listeners:
                    listener.close()
                if port or len(hosts) == 1 or attempt == FREE_PORTS_TRIED - 1:
                    raise
                self._listeners, self.port = [], 0
            else:
                return

    async def _listen_at(self, host: str, port: int, reuse_port: bool) -> None:
        listener = await asyncio.get_running_loop().create_server(
            lambda: _Shell(self._make, self), host, port, backlog=1024, reuse_port=reuse_port or None
        )
        self._listeners.append(listener)
        self.port = listener.sockets[0].getsockname()[1]

    def _make(self, now: float) -> Connection:
        return Connection(
            self._key,
            self._capabilities,
            client_id=self._client_id,
            now=now,
            rng=self._rng,
            port=self.port,
            limits=self._limits,
        )

    def _on_connection(self, shell: _Shell) -> None:
        self._shells.add(shell)
        self._handshakes[shell] = None
        if len(self._handshakes) > self._max_handshakes:
            oldest = max(_by_network(self._handshakes).values(), key=len)[0]
            self._handshakes.pop(oldest)
            oldest.abort()

    def _on_opened(self, shell: _Shell, peer: Peer) -> None:
        self._handshakes.pop(shell, None)
        older = self._peers.pop(peer.node_id, None)
        if older is not None:
            older._shell.disconnect(DisconnectReason.ALREADY_CONNECTED, "the node connected again")
        if len(self._peers) >= self._max_peers and not self._make_room(shell):
            self._shell_full(shell)
            return
        self._peers[peer.node_id] = peer
        task = asyncio.get_running_loop().create_task(self._run(peer), name=f"rlpx {peer!r}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _make_room(self, newcomer: _Shell) -> bool:
        """Have the network with most peers give one up for a newcomer of a less crowded one; whether it did.

        Otherwise whoever makes a thousand identities would keep everybody else out.
        """
        networks = _by_network(peer._shell for peer in self._peers.values())
        crowd = max(networks.values(), key=len, default=[])
        if len(crowd) < len(networks.get(newcomer.network, ())) + 2:
            return False
        remote = crowd[0].connection.remote
        assert remote is not None
        del self._peers[remote.node_id]
        crowd[0].disconnect(DisconnectReason.TOO_MANY_PEERS, "a newcomer of another network takes the place")
        return True

    def _shell_full(self, shell: _Shell) -> None:
        # Not from inside its own pump: the machine may still hold events of this batch.
        asyncio.get_running_loop().call_soon(shell.disconnect, DisconnectReason.TOO_MANY_PEERS)

    def _on_gone(self, shell: _Shell) -> None:
        self._handshakes.pop(shell, None)
        self._shells.discard(shell)

    async def _run(self, peer: Peer) -> None:
        """One peer from open to closed. What the peer does wrong ends with it; what we do wrong is logged in full."""
        try:
            await self._handler(peer)
        except PeerError as error:
            log.debug("%r: %s", peer, error)
        except Exception:
            log.exception("%r: its handler failed", peer)
            peer._shell.disconnect(DisconnectReason.SUBPROTOCOL_ERROR)
        finally:
            if self._peers.get(peer.node_id) is peer:
                del self._peers[peer.node_id]
            peer._shell.disconnect(DisconnectReason.REQUESTED)
