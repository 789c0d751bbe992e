"""A push server from grant to push: a real mail server, a real connection, a push service that decrypts."""

import asyncio
import json
import sys
import time
from base64 import urlsafe_b64encode
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from offchain.client.pool import Pool
from offchain.config import ClientConfig, MailserverConfig, ServiceConfig
from offchain.contact import Contact
from offchain.enr import Enr
from offchain.errors import ConfigError, Refused
from offchain.keys import PrivateKey
from offchain.mailserver.server import Mailserver
from offchain.node.kinds import make_service
from offchain.pushserver import PUSHSERVER, watch
from offchain.pushserver.client import PushLink, Subscription
from offchain.pushserver.ledger import Ledger
from offchain.types import Kind
from tests.support.mail_client import MailClient, mail

http_ece = pytest.importorskip("http_ece")
pytest.importorskip("jwt")

ROOT = Path(__file__).parents[2]
MAIL, PUSH, READER, SENDER, STRANGER = (PrivateKey(bytes((n,)) * 32) for n in (21, 22, 23, 24, 25))
DEVICE = ec.derive_private_key(7, ec.SECP256R1())
POINT = DEVICE.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
AUTH = b"a" * 16


class Trust:
    def __init__(self):
        self.trusted = {("mailserver", MAIL.public.node_id), ("pushserver", PUSH.public.node_id)}

    def is_trusted(self, kind, node_id):
        return (kind, node_id) in self.trusted

    def why(self, kind, node_id):
        return "it is in the list" if self.is_trusted(kind, node_id) else "it is not in the list"


class Directory:
    """The network: records of everybody."""

    def __init__(self, *records):
        self.records = records

    async def candidates(self, kind):
        for record in self.records:
            if kind in record.kinds:
                yield record
        await asyncio.Event().wait()

    async def find(self, node_id):
        return None


class PushService:
    """Takes pushes, and decrypts them as the device would."""

    def __init__(self):
        self.notices = []
        self.bodies = []
        self.headers = []
        self.status = 201
        self.statuses = []
        """For the next pushes, one each; then `status`."""
        self.answer = {}

    async def take(self, request):
        body = await request.read()
        plain = http_ece.decrypt(body, private_key=DEVICE, auth_secret=AUTH, version="aes128gcm")
        self.notices.append(json.loads(plain))
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        return web.Response(status=self.statuses.pop(0) if self.statuses else self.status, headers=self.answer)

    @asynccontextmanager
    async def running(self):
        app = web.Application()
        app.router.add_post("/push/{device}", self.take)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/push/1"
        finally:
            await runner.cleanup()


def record(key, kind, port):
    return Enr.create(key, 1, ip=ip_address("127.0.0.1"), udp=port, tcp=port, kinds=(kind,))


def contact(key, port):
    return Contact(key.public.node_id, key.public, ip_address("127.0.0.1"), port)


async def until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.01)


@asynccontextmanager
async def connected(key, port):
    link = await PushLink.connect(key, contact(PUSH, port))
    running = asyncio.ensure_future(link.run())
    try:
        yield link
    finally:
        link.close("done")
        await running


@asynccontextmanager
async def world(tmp_path, lan=True):
    trust, service = Trust(), PushService()
    async with (
        Mailserver(MAIL, MailserverConfig(tmp_path / "mail", min_pow=0.0), trust) as mailserver,
        make_service(PUSHSERVER, PUSH, ServiceConfig(tmp_path / "push", lan=lan), trust) as push,
        service.running() as url,
    ):
        push._look_interval = 0.05
        running = asyncio.ensure_future(push.run(Directory(record(MAIL, "mailserver", mailserver.port))))
        try:
            yield trust, mailserver, push, service, url
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def post(mailserver, *envelopes):
    sender = await MailClient.connect(MAIL.public, mailserver.port, SENDER)
    assert await sender.post(envelopes) == []
    await sender.close()


async def test_who_is_away_hears_of_mail_and_who_is_there_does_not(tmp_path):
    async with world(tmp_path) as (_, mailserver, push, service, url):
        async with connected(READER, push.port) as link:
            await link.register(Subscription(url, POINT, AUTH), [b"abcd"], now=time.time())
            await post(mailserver, mail(1, b"abcd"))
            await until(lambda: push._watch._seen)  # seen, and the reader is there
        await until(lambda: not push._watch._present)
        assert service.notices == []

        await post(mailserver, mail(2, b"efgh"), mail(3, b"abcd"))
        await until(lambda: push.counts["pushes"])  # the server's word: the push service counts a moment earlier

    assert service.notices == [{"topic": "0x61626364", "count": 1}]
    assert push.counts["pushes"] == 1


async def test_grants_outlive_a_restart_and_a_device_that_is_gone_is_forgotten(tmp_path):
    async with world(tmp_path) as (_, _, push, _, url), connected(READER, push.port) as link:
        await link.register(Subscription(url, POINT, AUTH), [b"abcd"], now=time.time())
    async with world(tmp_path) as (_, mailserver, push, service, other_url):
        assert push.stats()["devices"] == 1
        async with connected(READER, push.port) as link:
            await link.register(Subscription(other_url, POINT, AUTH), [b"abcd"], now=time.time())
        service.status = 410
        await until(lambda: not push._watch._present)
        await post(mailserver, mail(1, b"abcd"))
        await until(lambda: push.counts["devices gone"])

        assert (READER.public.node_id, other_url) not in push._watch._grants


async def test_a_grant_that_another_signed_and_one_that_came_before_are_refused(tmp_path):
    async with world(tmp_path) as (_, _, push, _, url):
        async with connected(READER, push.port) as link:
            link._key = STRANGER
            with pytest.raises(Refused, match="not signed by the key of the connection"):
                await link.register(Subscription(url, POINT, AUTH), [b"abcd"], now=time.time())
            link._key = READER
            now = time.time()
            await link.register(Subscription(url, POINT, AUTH), [b"abcd"], now=now)
            with pytest.raises(Refused, match="known already"):
                await link.register(Subscription(url, POINT, AUTH), [], now=now)

        assert push.stats()["devices"] == 1
        assert push.counts["grants refused"] == 2


async def test_does_not_call_into_its_own_network(tmp_path):
    async with world(tmp_path, lan=False) as (_, mailserver, push, service, url):
        async with connected(READER, push.port) as link:
            with pytest.raises(Refused, match="must be https"):
                await link.register(Subscription(url, POINT, AUTH), [b"abcd"], now=time.time())
            for number, host in enumerate(("127.0.0.1", "localhost")):
                endpoint = url.replace("http://127.0.0.1", f"https://{host}")
                await link.register(Subscription(endpoint, POINT, AUTH), [b"abcd"], now=time.time() + number)
        await until(lambda: not push._watch._present)
        await post(mailserver, mail(1, b"abcd", age=-2))
        await until(lambda: push.counts["devices gone"] and push.counts["pushes failed"])

    assert service.notices == []


@pytest.fixture
def quick(monkeypatch):
    """No pauses worth waiting for."""
    monkeypatch.setattr(watch, "PAUSE", 0.0)
    monkeypatch.setattr(watch, "FIRST_RETRY", 0.01)


async def grant(push, url, topics=(b"abcd",), **terms):
    """Register, and go away."""
    async with connected(READER, push.port) as link:
        await link.register(Subscription(url, POINT, AUTH), topics, **{"now": time.time(), **terms})
    await until(lambda: not push._watch._present)


async def test_a_revoked_grant_and_an_expired_one_are_not_pushed_to(tmp_path, quick):
    async with world(tmp_path) as (_, mailserver, push, service, url):
        revoked, expired, valid = (url.replace("/push/1", f"/push/{name}") for name in ("revoked", "expired", "valid"))
        now = time.time()
        await grant(push, revoked, now=now - 10)
        await grant(push, revoked, (), now=now - 5)
        await grant(push, expired, now=now - 10, days=60 / 86_400)
        push._clock = lambda: time.time() + 60  # its time has come
        await grant(push, valid, now=now - 10)
        await post(mailserver, mail(1, b"abcd"))
        await until(lambda: push.counts["pushes"])
        await until(lambda: push.stats()["devices"] == 1)

    assert len(service.notices) == 1


@pytest.mark.parametrize(
    ("statuses", "attempts", "counts"),
    [
        ([500, 503, 429, 201], 4, {"pushes": 1, "pushes failed": 3}),
        ([404], 1, {"devices gone": 1}),
        ([410], 1, {"devices gone": 1}),
        ([503, 410], 2, {"pushes failed": 1, "devices gone": 1}),
        ([500] * 20, watch.RETRIES, {"pushes failed": watch.RETRIES}),
    ],
    ids=("in trouble for a while", "not found", "gone", "in trouble, then gone", "in trouble for good"),
)
async def test_what_a_push_service_answers_is_heeded(tmp_path, quick, statuses, attempts, counts):
    async with world(tmp_path) as (_, mailserver, push, service, url):
        await grant(push, url)
        service.statuses = list(statuses)
        await post(mailserver, mail(1, b"abcd"))
        await until(lambda: {name: push.counts[name] for name in counts} == counts)
        device = (READER.public.node_id, url)
        assert (device in push._watch._grants) == ("devices gone" not in counts)
        assert not push._watch._waiting

    assert len(service.notices) == attempts


async def test_a_push_service_that_asks_for_patience_gets_it(tmp_path, quick):
    async with world(tmp_path) as (_, mailserver, push, service, url):
        await grant(push, url)
        service.statuses, service.answer = [429], {"Retry-After": "600"}
        await post(mailserver, mail(1, b"abcd"))
        await until(lambda: push._watch._waiting and push.counts["pushes failed"])
        (waiting,) = push._watch._waiting.values()

    assert waiting.at > time.time() + 300
    assert len(service.notices) == 1


async def test_an_endpoint_that_nobody_can_call_harms_nobody_else(tmp_path, quick):
    async with world(tmp_path) as (_, mailserver, push, service, url):
        for endpoint in ("http://127.0.0.1:1/closed", "http://[::1]:1/closed", "http://a..b/", url):
            await grant(push, endpoint)
        await post(mailserver, mail(1, b"abcd"))
        await until(lambda: service.notices and push.counts["pushes failed"])
        await post(mailserver, mail(2, b"abcd"))
        await until(lambda: len(service.notices) == 2)


async def test_what_the_mail_says_is_not_in_the_push(tmp_path, quick):
    envelopes = [mail(number, b"abcd", size=size) for number, size in ((1, 40), (2, 4_000))]
    async with world(tmp_path) as (_, mailserver, push, service, url):
        await grant(push, url, now=time.time() - 100)  # before the mails were sent
        for number, envelope in enumerate(envelopes):
            await post(mailserver, envelope)
            await until(lambda number=number: len(service.notices) > number)

    assert [set(notice) for notice in service.notices] == [{"topic", "count"}] * 2
    assert len({len(body) for body in service.bodies}) == 1
    told = json.dumps(service.headers).encode() + b"".join(service.bodies)
    assert not any(envelope.data[:16] in told or envelope.hash in told for envelope in envelopes)


async def test_what_came_while_it_was_down_is_told_when_it_is_back(tmp_path, quick):
    service = PushService()
    async with service.running() as url:
        async with world(tmp_path) as (_, _, push, _, _):
            await grant(push, url, now=time.time() - 1_500)
            await until(lambda: push._looked is not None)
        async with Mailserver(MAIL, MailserverConfig(tmp_path / "mail", min_pow=0.0), Trust()) as mailserver:
            await post(mailserver, mail(1, b"abcd", age=600), mail(2, b"abcd", age=2_000))
        with closing(Ledger(tmp_path / "push" / "grants.sqlite")) as ledger:
            ledger.note_looked(int(time.time()) - 1_000)  # it was down for as long
        async with world(tmp_path):
            await until(lambda: service.notices)

    assert service.notices == [{"topic": "0x61626364", "count": 1}]


async def test_nobody_hears_twice_of_the_same_mail_after_a_restart(tmp_path, quick):
    service = PushService()
    async with service.running() as url:
        async with world(tmp_path) as (_, mailserver, push, _, _):
            await grant(push, url, [b"abcd", b"efgh"], now=time.time() - 5)
            await post(mailserver, mail(1, b"abcd"))
            await until(lambda: push.counts["pushes"])
        async with world(tmp_path) as (_, mailserver, push, _, _):
            await until(lambda: push._watch._seen)  # it has met the first once more
            await post(mailserver, mail(2, b"efgh"))
            await until(lambda: len(service.notices) == 2)

    assert service.notices == [{"topic": "0x61626364", "count": 1}, {"topic": "0x65666768", "count": 1}]


PROCESS = """
import asyncio, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from offchain.config import ServiceConfig
from offchain.node.kinds import make_service
from offchain.pushserver import PUSHSERVER
from tests.system.test_pushserver import MAIL, PUSH, Directory, Trust, record

async def main():
    config = ServiceConfig(Path({folder!r}), lan=True)
    async with make_service(PUSHSERVER, PUSH, config, Trust()) as push:
        push._look_interval = 0.05
        print(push.port, push.stats()["devices"], flush=True)
        await push.run(Directory(record(MAIL, "mailserver", {port})))

asyncio.run(main())
"""


@asynccontextmanager
async def process(folder, port):
    """A push server that can be killed: its process, its port, and how many devices it knows."""
    program = PROCESS.format(root=str(ROOT), folder=str(folder), port=port)
    started = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(60):
            own_port, devices = map(int, (await started.stdout.readline()).split())
        yield started, own_port, devices
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


async def test_what_it_took_is_there_after_it_was_killed_at_any_moment(tmp_path):
    service = PushService()
    async with (
        service.running() as url,
        Mailserver(MAIL, MailserverConfig(tmp_path / "mail", min_pow=0.0), Trust()) as mailserver,
    ):
        taken = 0
        for round_ in range(3):
            async with process(tmp_path / "push", mailserver.port) as (started, port, devices):
                assert devices == taken
                async with connected(READER, port) as link:
                    for number in range(2):
                        endpoint = f"{url}{round_}{number}"
                        await link.register(Subscription(endpoint, POINT, AUTH), [b"abcd"], now=time.time() - 5)
                        taken += 1
                    started.kill()  # right after the word that the second was taken
                    await started.wait()
        await post(mailserver, mail(1, b"abcd"))
        async with process(tmp_path / "push", mailserver.port) as (_, _, devices):
            assert devices == taken == 6
            await until(lambda: len(service.notices) == 6)
        vapid = (tmp_path / "push" / "vapid.pem").read_bytes()

    assert {header["Authorization"].split("k=")[1] for header in service.headers} == {public_of(vapid)}


def public_of(pem):
    key = serialization.load_pem_private_key(pem, None).public_key()
    point = key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    return urlsafe_b64encode(point).rstrip(b"=").decode()


async def test_a_mail_server_that_lost_trust_is_left_at_once(tmp_path):
    async with world(tmp_path) as (trust, _, push, _, _):
        await until(lambda: push.stats()["mail servers"] == 1)

        trust.trusted.remove(("mailserver", MAIL.public.node_id))
        push.trust_changed(Kind("mailserver"), MAIL.public.node_id, False, "its provider was delisted")

        assert push.stats()["mail servers"] == 0


async def test_push_servers_are_chosen_and_dropped_by_the_pool_that_serves_mail(tmp_path):
    async with world(tmp_path) as (trust, _, push, _, url):
        pool = Pool(ClientConfig(PUSHSERVER), trust, lambda each: PushLink.connect(READER, each))
        running = asyncio.ensure_future(pool.run())
        assert pool.offer(contact(PUSH, push.port))
        assert not pool.offer(contact(STRANGER, push.port))
        assert await pool.wait_ready(1, 10.0)
        node_id, link = pool.pick()
        await link.register(Subscription(url, POINT, AUTH), [b"abcd"], now=time.time())

        trust.trusted.remove((PUSHSERVER, node_id))
        pool.trust_changed(node_id, False, "its provider was delisted")

        assert pool.pick() is None
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def test_a_kind_without_a_registration_is_said_to_be_unknown(tmp_path):
    with pytest.raises(ConfigError, match="no service is known for the kind 'teapot'; known: pushserver"):
        make_service(Kind("teapot"), PUSH, replace(ServiceConfig(tmp_path)), Trust())
