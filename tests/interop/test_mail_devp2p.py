"""Mail with @ethereumjs/devp2p carrying it: their connection asks our server, and our client asks theirs."""

import asyncio
import time

import pytest

from offchain import rlp
from offchain.client.history import Finished, Query
from offchain.client.link import MailLink
from offchain.client.mailbox import Mail, Mailbox
from offchain.client.pool import Pool
from offchain.config import ClientConfig, MailserverConfig
from offchain.contact import Contact
from offchain.keys import PrivateKey
from offchain.mailserver.server import Mailserver
from offchain.types import MAILSERVER, parse_ip
from offchain.whisper.bloom import topic_bloom
from offchain.whisper.cipher import key_from_password
from offchain.whisper.envelope import Envelope, PowRule, encode_many, mine
from offchain.whisper.mail import (
    DEFAULT_PASSWORD,
    Completion,
    Failure,
    HistoryRequest,
    Layout,
    decode_completion,
    encode_mail,
    open_request,
    seal_request,
)
from offchain.whisper.packets import BatchResponse
from offchain.whisper.protocol import Code, Status
from offchain.whisper.sealed import AnswerOpener, AnswerSealer
from tests.support.client import FakeTrust
from tests.support.devp2p_peer import PATIENCE, Foreign, needs_devp2p
from tests.support.old_server import OldServer

pytestmark = needs_devp2p

OURS, THEIRS = (PrivateKey(bytes((number,)) * 32) for number in (7, 8))
TOPIC = b"abcd"


@pytest.fixture
async def foreign():
    started = await Foreign.start(THEIRS)
    yield started
    await started.stop()


def mail(number, rule=PowRule.LEADING):
    return mine(int(time.time()) + 50, 60 + number, TOPIC, bytes([number]) * 200, 0.002, rule)


async def told(foreign, *, sealed_as=None):
    """The answer to a request: its packets with mail, each a list of envelopes, and its end."""
    opener = None if sealed_as is None else AnswerOpener(THEIRS, OURS.public, sealed_as)
    mails = []
    while True:
        found = await foreign.heard("message")
        payload = bytes.fromhex(found["payload"])
        content = payload if opener is None else opener.open(payload)
        if found["code"] == Code.REQUEST_COMPLETE:
            return mails, decode_completion(content)
        assert found["code"] == Code.DIRECT
        mails.append(Envelope.decode_many(content))


def request_in(layout, **changes):
    now = int(time.time())
    topics = {"topics": (TOPIC,)} if layout in (Layout.TOPICS, Layout.SPEC, Layout.SEALED) else {}
    bloom = {} if topics else {"bloom": topic_bloom(TOPIC)}
    binary = layout.value.startswith("binary")
    return HistoryRequest(now - 1_000, now + 60, **topics, **bloom, **changes, batch=not binary, layout=layout)


async def fetched(foreign, serving, *, ends=False, **options):
    """The events of a fetch by our client, while `serving` answers behind their connection; if it `ends`, it must."""
    contact = Contact(THEIRS.public.node_id, THEIRS.public, parse_ip("127.0.0.1"), foreign.port)
    pool = Pool(ClientConfig(MAILSERVER), FakeTrust(contact.node_id), lambda one: MailLink.connect(OURS, one))
    mailbox = Mailbox(pool, OURS, request_timeout=PATIENCE, **options)
    running = [asyncio.ensure_future(pool.run()), asyncio.ensure_future(serving)]
    try:
        pool.offer(contact)
        now = int(time.time())
        async with asyncio.timeout(60):
            events = [event async for event in mailbox.fetch(Query((TOPIC,), now - 1_000, now + 60, page_size=3))]
        if ends:
            await running[1]
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    return events


async def test_their_connection_leaves_mail_with_our_server_and_reads_it_in_every_layout(foreign, tmp_path):
    kept = [mail(1), mail(2, PowRule.TRAILING), mail(3)]
    config = MailserverConfig(tmp_path, port=0, password_requests=True)
    async with Mailserver(OURS, config, FakeTrust()) as server, asyncio.timeout(60):
        await foreign.do("connect", id=OURS.public.to_bytes().hex(), port=server.port)
        await foreign.heard("hello")
        await foreign.do("send", code=0, payload=Status(0.0, None, True, True).encode().hex())
        status = Status.decode(bytes.fromhex((await foreign.heard("message"))["payload"]))
        assert (status.min_pow, status.confirmations) == (config.min_pow, True)

        # Both rules of proof of work, and what became of the batch
        batch = encode_many([*kept, mine(int(time.time()) + 50, 50, TOPIC, bytes(100_000), 0)])
        await foreign.do("send", code=1, payload=batch.hex())
        response = BatchResponse.decode(bytes.fromhex((await foreign.heard("message"))["payload"]))
        assert [fault.text for fault in response.faults] == ["not enough proof of work"]
        assert rlp.decode(bytes.fromhex((await foreign.heard("message"))["payload"])) == response.batch

        in_order = sorted(kept, key=lambda each: each.position)
        for layout in Layout:
            if layout is Layout.PLAIN:
                packet, number = request_in(layout).encode_plain(b"p" * 32), b"p" * 32
            else:
                sealed = seal_request(request_in(layout), OURS.public, THEIRS, time.time())
                packet, number = sealed.packet, sealed.id
            await foreign.do("send", code=126, payload=packet.hex())
            mails, end = await told(foreign, sealed_as=number if layout is Layout.SEALED else None)
            assert [each for part in mails for each in part] == in_order, layout
            assert end == Completion(number, in_order[-1].hash), layout

        # A part of it, and a cursor to go on from
        sealed = seal_request(request_in(Layout.RLP, limit=2), OURS.public, THEIRS, time.time())
        await foreign.do("send", code=126, payload=sealed.packet.hex())
        mails, end = await told(foreign)
        rest = seal_request(request_in(Layout.BINARY_112, cursor=end.cursor), OURS.public, THEIRS, time.time())
        await foreign.do("send", code=126, payload=rest.packet.hex())
        assert (mails[0], (await told(foreign))[0]) == (in_order[:2], [in_order[2:]])

        # With the password of old clients; and signed by somebody else
        by_password = seal_request(request_in(Layout.RLP), key_from_password(DEFAULT_PASSWORD), THEIRS, time.time())
        await foreign.do("send", code=126, payload=by_password.packet.hex())
        assert (await told(foreign))[1].last_hash == in_order[-1].hash
        stolen = seal_request(request_in(Layout.RLP), OURS.public, PrivateKey.generate(), time.time())
        await foreign.do("send", code=126, payload=stolen.packet.hex())
        assert await told(foreign) == (
            [],
            Failure(stolen.id, "the request is signed by another key than the connection's"),
        )


@pytest.mark.parametrize("sealed", [False, True], ids=("plain", "sealed"))
async def test_our_client_reads_what_a_server_behind_their_connection_sends(foreign, sealed):
    envelopes = sorted((mail(number) for number in range(5)), key=lambda each: each.position)

    async def serve():
        """What a mail server would do, by hand: a list, a bare envelope, a cursor; then the rest."""
        await foreign.heard("hello")
        await foreign.do("send", code=0, payload=Status(0.002, None, False, True).encode().hex())
        assert (await foreign.heard("message"))["code"] == Code.STATUS
        for parts, more in (([envelopes[:2], envelopes[2]], True), ([envelopes[3:]], False)):
            asked = await foreign.heard("message")
            assert asked["code"] == Code.HISTORY_REQUEST
            opened = open_request(bytes.fromhex(asked["payload"]), THEIRS, OURS.public, time.time())
            assert opened.request.sealed == sealed
            seal = AnswerSealer(THEIRS, OURS.public, opened.id).seal if sealed else bytes
            for part in parts:
                content = part.raw if isinstance(part, Envelope) else encode_mail([each.raw for each in part])
                await foreign.do("send", code=127, payload=seal(content).hex())
            last = envelopes[2] if more else envelopes[4]
            cursor = last.position if more else b""
            end = Completion(opened.id, last.hash, cursor).encode()
            await foreign.do("send", code=125, payload=seal(end).hex())

    events = await fetched(foreign, serve(), ends=True, hedge_after=PATIENCE, sealed_answers=sealed)

    assert [event.envelope for event in events if isinstance(event, Mail)] == envelopes
    assert isinstance(events[-1], Finished)
    assert events[-1].complete


@pytest.mark.parametrize(
    ("program", "newest_first", "own_key"), [("0.13", True, False), ("0.35", False, True), ("0.50", True, False)]
)
async def test_our_client_reads_from_a_server_as_deployed_behind_their_connection(
    foreign, program, newest_first, own_key
):
    envelopes = sorted((mail(number) for number in range(7)), key=lambda each: each.position)
    old = OldServer(program, THEIRS, envelopes, newest_first=newest_first, takes_own_key=own_key)

    async def serve():
        await foreign.heard("hello")
        await foreign.do("send", code=0, payload=old.status.hex())
        assert (await foreign.heard("message"))["code"] == Code.STATUS
        while True:
            asked = await foreign.heard("message")
            for code, payload in old.answer(bytes.fromhex(asked["payload"]), OURS.public):
                await foreign.do("send", code=code, payload=payload.hex())

    events = await fetched(foreign, serve(), password_requests=not own_key)

    assert [event.envelope for event in events if isinstance(event, Mail)] == envelopes
    assert isinstance(events[-1], Finished)
    assert events[-1].complete
    assert {by_password for _, by_password in old.asked} == {not own_key}
