"""Fakes for the client's tests: a trust that is a set, contacts made from numbers, mail servers without sockets."""

import asyncio
import random
import time
from collections import deque
from contextlib import asynccontextmanager

from offchain.client.link import STATUS, MailLink
from offchain.client.mailbox import Mailbox
from offchain.client.pool import Pool
from offchain.config import ClientConfig
from offchain.contact import Contact, Source
from offchain.keys import PrivateKey
from offchain.rlpx.connection import Message
from offchain.rlpx.p2p import DisconnectReason, Hello
from offchain.rlpx.peer import CLIENT_ID, Disconnected
from offchain.types import MAILSERVER, parse_ip
from offchain.whisper.envelope import Envelope
from offchain.whisper.mail import Completion, Failure, encode_mail, open_request
from offchain.whisper.protocol import SHH, Code, EnvelopesReceived, Extension, ShhPeer, Status
from offchain.whisper.sealed import AnswerSealer


class FakeTrust:
    """A TrustView that is a set of (kind, node id), and counts how often it is asked."""

    def __init__(self, *node_ids, kind=MAILSERVER):
        self.trusted = {(kind, node_id) for node_id in node_ids}
        self.asked = 0

    def is_trusted(self, kind, node_id):
        self.asked += 1
        return (kind, node_id) in self.trusted

    def why(self, kind, node_id):
        return "provider 1 lists it" if (kind, node_id) in self.trusted else f"nobody lists it as a {kind}"

    def add(self, node_id, kind=MAILSERVER):
        self.trusted.add((kind, node_id))

    def remove(self, node_id, kind=MAILSERVER):
        self.trusted.discard((kind, node_id))


def key(number):
    """The key of node `number`, from 1."""
    return PrivateKey(number.to_bytes(32, "big"))


def contact(number, *, seq=1, source=Source.DISCOVERED, ip=None, tcp=30303):
    """Node `number`, listening at an address of its own."""
    public = key(number).public
    return Contact(
        public.node_id, public, parse_ip(ip or f"10.0.{number // 256}.{number % 256}"), tcp, 9000, source, seq
    )


class MemoryPeer:
    """One end of a connection without a socket: what rlpx.Peer offers, as far as ShhPeer uses it."""

    def __init__(self, remote, node_key, client_id=CLIENT_ID):
        self.remote = remote
        self.hello = Hello(client_id, (SHH,), remote)
        self.key = node_key
        self.other = None
        self.over = None
        self._queue = deque()
        self._readable = asyncio.Event()
        self.messages_sent = self.bytes_sent = 0

    @classmethod
    def pair(cls, one, two, client_id=CLIENT_ID):
        """Both ends of a connection between the owners of two keys; the second says that it is this program."""
        left, right = cls(two.public, one, client_id), cls(one.public, two)
        left.other, right.other = right, left
        return left, right

    @property
    def closed(self):
        return self.over is not None

    async def send(self, capability, code, payload):
        await self.send_many(capability, ((code, payload),))

    async def send_many(self, capability, messages):
        self.send_now(capability, messages)

    def send_now(self, capability, messages):
        if self.over is not None:
            raise self.over
        for code, payload in messages:
            self.other._queue.append(Message(capability, code, payload))
            self.messages_sent += 1
            self.bytes_sent += len(payload)
        self.other._readable.set()

    async def receive_many(self, limit=64):
        while not self._queue:
            if self.over is not None:
                raise self.over
            self._readable.clear()
            await self._readable.wait()
        return [self._queue.popleft() for _ in range(min(limit, len(self._queue)))]

    async def read_up(self):
        """Wait until everything sent to this end was received."""
        for _ in range(1_000):
            if not self._queue:
                return
            await asyncio.sleep(0)
        raise AssertionError("nobody reads")

    async def close(self, reason=DisconnectReason.REQUESTED):
        for end, by_us in ((self, True), (self.other, False)):
            if end.over is None:
                end.over = Disconnected(reason, by_us)
            end._readable.set()


class FakeServer:
    """A mail server that holds a list of envelopes and answers from it, or misbehaves as told.

    `tricks` are used up one per history request: "silent", "cut" (half a page, then hang up), "refuse", "nonsense",
    "foreign" (an envelope outside the range), "plain" (not sealed, though asked for). Without any it is honest.
    """

    client_id = CLIENT_ID

    def __init__(self, number, mails=(), *tricks):
        self.contact = contact(number)
        self.key = key(number)
        self.mails = sorted(mails, key=lambda each: each.position)
        self.tricks = list(tricks)
        self.requests = []
        self.stored = []
        self.packets = 0
        self.statuses = []
        self.min_pow = 0.0
        self.delay = 0.0
        """Seconds until a request is answered."""
        self.confirmations = True
        self.tasks = set()
        self.peers = []

    @property
    def node_id(self):
        return self.contact.node_id

    def connect(self, client_key):
        """The client's end of a new connection, which this server serves from now on."""
        ours, theirs = MemoryPeer.pair(client_key, self.key, self.client_id)
        task = asyncio.ensure_future(self._serve(theirs))
        self.tasks.add(task)
        self.peers.append(theirs)
        return ours

    async def hang_up(self):
        for peer in self.peers:
            await peer.close(DisconnectReason.QUITTING)

    async def _serve(self, peer):
        status = Status(min_pow=self.min_pow, confirmations=self.confirmations)
        try:
            shh = await ShhPeer.start(peer, status)
            self.statuses.append(shh.remote_status)
            async for event in shh:
                if isinstance(event, EnvelopesReceived):
                    self.packets += 1
                    self.stored += event.envelopes
                elif isinstance(event, Extension) and event.code == Code.HISTORY_REQUEST:
                    await self._answer(shh, peer, event.payload)
        except Disconnected:
            pass

    async def _answer(self, shh, peer, packet):
        opened = open_request(packet, self.key, peer.remote, time.time())
        if self.delay:
            await asyncio.sleep(self.delay)
        self.requests.append(opened.request)
        request = opened.request
        trick = self.tricks.pop(0) if self.tricks else None
        wanted = [m for m in self.mails if request.lower <= m.sent <= request.upper and m.position > request.cursor]
        wanted = [m for m in wanted if not request.topics or m.topic in request.topics]
        page = wanted[: request.limit]
        if trick == "silent":
            return
        if trick == "refuse":
            await shh.send(Code.REQUEST_COMPLETE, Failure(opened.id, "busy").encode())
            return
        if trick == "nonsense":
            await shh.send(Code.DIRECT, b"\xff\xff")
            return
        if trick == "foreign":
            await shh.send(Code.DIRECT, encode_mail([Envelope.create(500, 50, bytes(4), b"").raw]))
            return
        if trick == "cut":
            await shh.send(Code.DIRECT, encode_mail([m.raw for m in page[: len(page) // 2]]))
            await peer.close(DisconnectReason.QUITTING)
            return
        sealed = request.sealed and trick != "plain"
        seal = AnswerSealer(self.key, peer.remote, opened.id).seal if sealed else bytes
        for start in range(0, len(page), 2):
            await shh.send(Code.DIRECT, seal(encode_mail([m.raw for m in page[start : start + 2]])))
        if trick == "endless":
            return
        last = page[-1].hash if page else bytes(32)
        more = page[-1].position if len(page) == request.limit else b""
        await shh.send(Code.REQUEST_COMPLETE, seal(Completion(opened.id, last, more).encode()))


CLIENT = key(100)


class Setting:
    """A pool of fake servers, a mailbox over it, and the trust that both rely on."""

    def __init__(self, *servers, keys=(), timeout=5.0, hedge_after=60.0, seed=1, **mailbox):
        self.servers = {server.node_id: server for server in servers}
        self.trust = FakeTrust(*self.servers)
        config = ClientConfig(MAILSERVER, pool_target=len(servers))
        self.pool = Pool(config, self.trust, self._connect, rng=random.Random(seed))
        self.mailbox = Mailbox(
            self.pool, CLIENT, keys, request_timeout=timeout, hedge_after=hedge_after, rng=random.Random(1), **mailbox
        )

    async def _connect(self, contact):
        peer = self.servers[contact.node_id].connect(CLIENT)
        return MailLink(contact, await ShhPeer.start(peer, STATUS))

    def distrust(self, node_id, reason="curator delisted provider 1"):
        self.trust.remove(node_id)
        self.pool.trust_changed(node_id, False, reason)


@asynccontextmanager
async def running(*servers, **changes):
    setting = Setting(*servers, **changes)
    task = asyncio.create_task(setting.pool.run())
    try:
        for server in servers:
            setting.pool.offer(server.contact)
        assert await setting.pool.wait_ready(len(servers), 5.0)
        yield setting
    finally:
        task.cancel()
        await asyncio.wait([task])
        for server in servers:
            for served in server.tasks:
                served.cancel()
                await asyncio.wait([served])
