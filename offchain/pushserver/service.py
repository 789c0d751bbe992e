"""The push server: takes grants over RLPx, watches trusted mail servers as any client does, and pushes.

It holds nothing that opens a message: it knows topics and endpoints, and that an envelope is there.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from ipaddress import ip_address
from types import TracebackType
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from offchain.client.finder import Directory, Finder
from offchain.client.finder_machine import Admitted
from offchain.client.history import Finished, Query
from offchain.client.link import MailLink
from offchain.client.mailbox import Mail, Mailbox
from offchain.client.pool import Pool
from offchain.config import ClientConfig, ServiceConfig
from offchain.errors import ConfigError, PeerError, StorageError
from offchain.keys import PrivateKey
from offchain.pushserver.grant import ANSWER, GRANT, MAX_PACKET, WPPUSH, GrantError, encode_answer, unseal
from offchain.pushserver.ledger import Ledger
from offchain.pushserver.watch import Push, Watch
from offchain.pushserver.webpush import Pusher, Unusable, is_public
from offchain.rlpx import connection, peer
from offchain.types import MAILSERVER, Kind, NodeId, TrustView, short
from offchain.whisper.mail import MAX_TOPICS

log = logging.getLogger("offchain.pushserver")

LOOK_INTERVAL = 2.0
"""Seconds between looks at what mail servers have."""

OVERLAP = 120
"""Seconds looked back each time: an envelope can arrive some time after it was sent, and our clock may be off."""

SERVERS = 2
"""Mail servers to keep connected; a look asks one of them at random."""

LONGEST_LOOK_BACK = 86_400
"""Seconds looked back after the server was down."""

NOTE_INTERVAL = 10
"""Seconds between notes on disk of how far was looked: so much more than needed is looked at after a restart."""

GRANTS_PER_MINUTE = 20
"""Of one connection; beyond it grants are refused."""

PUSH_TIMEOUT = 15.0


class PushServer:
    """Runs while its block does; `run` does the watching, once the network is known."""

    def __init__(
        self,
        key: PrivateKey,
        config: ServiceConfig,
        trust: TrustView,
        *,
        clock: Callable[[], float] = time.time,
        look_interval: float = LOOK_INTERVAL,
    ) -> None:
        """`clock` tells the time of day."""
        self._key = key
        self._config = config
        self._clock = clock
        self._trust = trust
        self._look_interval = look_interval
        self._watch = Watch()
        self.counts: Counter[str] = Counter()
        self._connections: Counter[NodeId] = Counter()
        self._listener: peer.Server | None = None
        self._finder: Finder | None = None
        client = ClientConfig(MAILSERVER, pool_target=SERVERS, health=config.data / "health.json")
        self._looked: int | None = None
        self._pool = Pool(client, trust, lambda contact: MailLink.connect(key, contact))
        self._mailbox = Mailbox(self._pool, key)

    async def __aenter__(self) -> PushServer:
        config = self._config
        config.data.mkdir(parents=True, exist_ok=True)
        self._ledger = Ledger(config.data / "grants.sqlite")
        self._pusher = Pusher(config.contact, self._own_key())
        self._looked = self._ledger.looked()
        self._watch = Watch(self._ledger.told())
        for client, grant in self._ledger.all():
            self._watch.granted(client, grant)
        limits = connection.Limits(max_message=MAX_PACKET)
        try:
            self._listener = await peer.serve(self._key, config.host, config.port, [WPPUSH], self._serve, limits=limits)
        except OSError as error:
            self._ledger.close()
            raise ConfigError(f"the push server cannot listen on {config.host}:{config.port}: {error}") from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._listener is not None:
            await self._listener.close()
        self._ledger.close()

    @property
    def port(self) -> int:
        """The TCP port we listen on."""
        assert self._listener is not None, "the server is not running"
        return self._listener.port

    def stats(self) -> dict[str, int]:
        """How often what happened since the start, and how much there is now."""
        return {**self.counts, "devices": self._watch.devices, "mail servers": self._pool.ready}

    def trust_changed(self, kind: Kind, node_id: NodeId, trusted: bool, reason: str) -> None:
        """Take in a change of trust: a mail server that lost it is left at once."""
        if kind == MAILSERVER:
            self._pool.trust_changed(node_id, trusted, reason)
            if self._finder is not None:
                self._finder.trust_changed(node_id, trusted)

    def recheck(self) -> None:
        """Changes of trust may have been missed."""
        self._pool.recheck()
        if self._finder is not None:
            self._finder.recheck()

    async def run(self, directory: Directory) -> None:
        """Watch and push until cancelled."""
        self._finder = Finder(MAILSERVER, self._trust, directory, hungry=lambda: self._pool.hungry)
        with self._finder.findings.listen() as findings:

            async def admit() -> None:
                async for finding in findings:
                    if isinstance(finding, Admitted):
                        self._pool.offer(finding.contact)

            async with asyncio.TaskGroup() as tasks:
                for work in (self._pool.run(), self._finder.run(), admit(), self._look(), self._push()):
                    tasks.create_task(work)

    # Grants

    async def _serve(self, connected: peer.Peer) -> None:
        client = connected.node_id
        self._connections[client] += 1
        self._watch.came(client)
        taken = 0
        since = self._clock()
        try:
            while True:
                message = await connected.receive()
                if message.code != GRANT:
                    continue
                if abs(self._clock() - since) > 60:
                    taken, since = 0, self._clock()
                taken += 1
                text = "too many grants: wait a minute"
                if taken <= GRANTS_PER_MINUTE:
                    text = self._take(message.payload, connected)
                await connected.send(WPPUSH.name, ANSWER, encode_answer(message.payload, text))
        except PeerError as error:
            log.debug("%s: %s", short(client), error)
        finally:
            self._connections[client] -= 1
            if not self._connections[client]:
                del self._connections[client]
                self._watch.left(client)

    def _take(self, packet: bytes, connected: peer.Peer) -> str:
        """Take in a grant; what is wrong with it, or nothing."""
        try:
            grant = unseal(packet, self._key, connected.remote, self._clock())
            if not self._config.lan and not grant.endpoint.startswith("https://"):
                raise GrantError("the endpoint must be https")
            self._ledger.put(connected.node_id, grant)
        except GrantError as error:
            self.counts["grants refused"] += 1
            return str(error)
        except StorageError as error:
            log.warning("%s", error)
            return "this server cannot keep grants now"
        self._watch.granted(connected.node_id, grant)
        self.counts["grants taken"] += 1
        return ""

    # Watching

    async def _look(self) -> None:
        while True:
            now = self._clock()
            lower = int(now) - OVERLAP
            if self._looked is not None:
                lower = max(min(lower, self._looked - OVERLAP), int(now) - LONGEST_LOOK_BACK)
            topics = sorted(self._watch.topics)
            complete = True
            for at in range(0, len(topics), MAX_TOPICS):
                query = Query(tuple(topics[at : at + MAX_TOPICS]), lower, int(now) + 60)
                complete = await self._read(query) and complete
            try:
                if complete:
                    self._note_looked(self._watch.pending_since(now))
                self._ledger.expire(now)
            except StorageError as error:
                log.warning("%s", error)
            self._watch.expire(now)
            await asyncio.sleep(self._look_interval)

    def _note_looked(self, until: int) -> None:
        if self._looked is None or abs(until - self._looked) >= NOTE_INTERVAL:
            self._ledger.note_looked(until)
            self._ledger.forget_told(until - OVERLAP)
            self._looked = until

    async def _read(self, query: Query) -> bool:
        """Take in what mail servers have; whether that was everything."""
        complete = False
        async with aclosing(self._mailbox.fetch(query, keys=())) as events:
            async for event in events:
                if isinstance(event, Mail):
                    envelope = event.envelope
                    self._watch.envelope(envelope.hash, envelope.topic, envelope.sent, self._clock())
                elif isinstance(event, Finished):
                    complete = event.complete
        return complete

    # Pushing

    async def _push(self) -> None:
        resolver = ThreadedResolver() if self._config.lan else _PublicResolver()
        connector = aiohttp.TCPConnector(limit=32, resolver=resolver, use_dns_cache=False)
        timeout = aiohttp.ClientTimeout(total=PUSH_TIMEOUT)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http, asyncio.TaskGroup() as tasks:
            while True:
                for push in self._watch.due(self._clock()):
                    tasks.create_task(self._deliver(http, push))
                await asyncio.sleep(min(self._look_interval, 0.5))

    async def _deliver(self, http: aiohttp.ClientSession, push: Push) -> None:
        device = (push.client, push.grant.endpoint)
        try:
            request = self._pusher.request(push, self._clock())
        except Unusable:
            self._forget(push, "its key is not one")
            return
        retry_after = 0.0
        try:
            if not self._config.lan and _is_private_literal(request.url):
                self._forget(push, "its endpoint is not on the internet")
                return
            async with http.post(request.url, data=request.body, headers=request.headers, allow_redirects=False) as got:
                if 200 <= got.status < 300:
                    self._watch.pushed(device, self._clock())
                    self.counts["pushes"] += 1
                    self._note_told(push)
                    return
                if got.status in (400, 403, 404, 410, 413):
                    self._forget(push, f"the push service says {got.status}")
                    return
                retry_after = _seconds(got.headers.get("Retry-After"))
        except (aiohttp.InvalidURL, UnicodeError, ValueError):
            self._forget(push, "its endpoint is not a URL that can be called")
            return
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.debug("a push failed: %s", type(error).__name__)
        self.counts["pushes failed"] += 1
        self._watch.failed(device, self._clock(), retry_after)

    def _note_told(self, push: Push) -> None:
        try:
            self._ledger.note_told(push.client, push.grant.endpoint, push.envelopes)
        except StorageError as error:
            log.warning("%s", error)

    def _forget(self, push: Push, reason: str) -> None:
        log.info("no more pushes to a device of %s: %s", short(push.client), reason)
        self.counts["devices gone"] += 1
        self._watch.gone((push.client, push.grant.endpoint))
        try:
            self._ledger.forget(push.client, push.grant.endpoint)
        except StorageError as error:
            log.warning("%s", error)

    def _own_key(self) -> bytes:
        """The key that push services know us by; made at the first start."""
        path = self._config.data / "vapid.pem"
        if not path.exists():
            draft = path.with_suffix(".tmp")
            draft.unlink(missing_ok=True)
            draft.touch(mode=0o600)
            draft.write_bytes(Pusher(self._config.contact).private_key)
            draft.replace(path)  # whole or not at all, whenever we are killed
        return path.read_bytes()


class _PublicResolver(AbstractResolver):
    """Looks names up, and finds nothing that is not on the internet: what is checked is what is connected to."""

    def __init__(self) -> None:
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = [each for each in await self._inner.resolve(host, port, family) if is_public(each["host"])]
        if not found:
            raise OSError(None, f"{host} is not on the internet")
        return found

    async def close(self) -> None:
        await self._inner.close()


def _is_private_literal(url: str) -> bool:
    """Whether the URL has an address instead of a name, and it is not public: no resolver sees it."""
    host = urlsplit(url).hostname or ""
    try:
        ip_address(host)
    except ValueError:
        return False
    return not is_public(host)


def _seconds(text: str | None) -> float:
    return float(text) if text is not None and text.isdecimal() and len(text) < 8 else 0.0


def open_service(key: PrivateKey, config: ServiceConfig, trust: TrustView) -> PushServer:
    """What the registration names."""
    return PushServer(key, config, trust)
