import asyncio
import random
from contextlib import asynccontextmanager
from ipaddress import ip_address

import pytest

from offchain.contact import Contact
from offchain.errors import ConnectionLost
from offchain.keys import PrivateKey
from offchain.mailserver.outbox import Outbox
from offchain.mailserver.relay import Relay
from offchain.rlpx.p2p import DisconnectReason
from offchain.whisper.envelope import Envelope
from tests.support.mailserver import MARCH, until

KEYS = sorted((PrivateKey(bytes((n,)) * 32) for n in range(1, 6)), key=lambda each: each.public.node_id)
LOWEST, OWN, HIGHER, OTHER, STRANGER = (each.public.node_id for each in KEYS)


def mail(number, ttl=50):
    return Envelope.create(MARCH + ttl, ttl, b"abcd", number.to_bytes(4, "big"))


def contact(number):
    return Contact(KEYS[number].public.node_id, KEYS[number].public, ip_address("127.0.0.1"), 30303)


class FakeSession:
    """What the relay needs to know of a session."""

    def __init__(self, node_id, dialed=False, max_bytes=10**6):
        self.node_id = node_id
        self.dialed = dialed
        self.outbox = None
        self.ended = None
        self._max_bytes = max_bytes

    def link(self):
        self.outbox = self.outbox or Outbox(self._max_bytes)

    def end(self, reason):
        self.ended = reason

    def waiting(self):
        return list(self.outbox._waiting.values())


class World:
    """A relay, whose calls the test answers."""

    def __init__(self, *trusted, target=8):
        self.trusted = set(trusted)
        self.called = []
        self.failure = None
        self.hold = asyncio.Event()
        self.relay = Relay(
            OWN,
            target,
            self.trusted.__contains__,
            self.call,
            asyncio.ensure_future,
            random.Random(1),
        )

    async def call(self, contact_):
        self.called.append(contact_.node_id)
        if self.failure is not None:
            raise self.failure
        session = FakeSession(contact_.node_id, dialed=True)
        self.relay.enter(session)
        try:
            await self.hold.wait()
        finally:
            self.relay.leave(session)

    @asynccontextmanager
    async def running(self):
        task = asyncio.ensure_future(self.relay.run())
        try:
            yield self.relay
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self.relay.stop()

    def enter(self, *arguments, **options):
        session = FakeSession(*arguments, **options)
        self.relay.enter(session)
        return session


async def test_new_envelopes_go_to_every_link_but_not_back():
    world = World(HIGHER, OTHER)
    higher, other, stranger = (world.enter(each) for each in (HIGHER, OTHER, STRANGER))

    world.relay.publish([mail(1)], STRANGER, MARCH)
    world.relay.publish([mail(2)], HIGHER, MARCH)

    assert higher.waiting() == [mail(1)]
    assert other.waiting() == [mail(1), mail(2)]
    assert stranger.outbox is None
    assert set(world.relay.links) == {HIGHER, OTHER}


async def test_what_has_expired_is_not_passed_on():
    world = World(HIGHER)
    higher = world.enter(HIGHER)

    world.relay.publish([mail(1, ttl=5), mail(2, ttl=50)], STRANGER, MARCH + 10)

    assert higher.waiting() == [mail(2)]


async def test_a_server_too_slow_for_what_comes_is_dropped_and_the_others_are_not():
    world = World(HIGHER, OTHER)
    slow = world.enter(HIGHER, max_bytes=2 * len(mail(1).raw))
    fast = world.enter(OTHER)

    world.relay.publish([mail(number) for number in range(5)], STRANGER, MARCH)

    assert slow.ended is DisconnectReason.USELESS_PEER
    assert world.relay.links == (OTHER,)
    assert len(fast.waiting()) == 5


async def test_a_link_ends_at_once_when_trust_does():
    world = World(HIGHER, OTHER)
    higher, other = world.enter(HIGHER), world.enter(OTHER)

    world.trusted.remove(HIGHER)
    world.relay.review()

    assert higher.ended is DisconnectReason.REQUESTED
    assert other.ended is None
    assert world.relay.links == (OTHER,)


async def test_a_peer_that_becomes_trusted_becomes_a_link():
    world = World()
    session = world.enter(HIGHER)
    assert world.relay.links == ()

    world.trusted.add(HIGHER)
    world.relay.review()

    assert world.relay.links == (HIGHER,)
    assert session.outbox is not None


@pytest.mark.parametrize("dialed_first", [True, False])
@pytest.mark.parametrize(("peer", "ours_stays"), [(LOWEST, False), (HIGHER, True)])
async def test_of_two_calls_at_the_same_time_that_of_the_lower_node_stays(peer, ours_stays, dialed_first):
    world = World(peer)
    sessions = {dialed: world.enter(peer, dialed=dialed) for dialed in (dialed_first, not dialed_first)}

    assert sessions[ours_stays].ended is None
    assert sessions[not ours_stays].ended is DisconnectReason.ALREADY_CONNECTED
    world.relay.leave(sessions[not ours_stays])
    assert world.relay.links == (peer,)
    assert sessions[ours_stays].outbox is not None


async def test_a_server_that_calls_again_replaces_its_older_connection():
    world = World(HIGHER)
    older, newer = world.enter(HIGHER), world.enter(HIGHER)
    world.relay.leave(older)

    assert older.ended is DisconnectReason.ALREADY_CONNECTED
    assert newer.ended is None
    assert world.relay.links == (HIGHER,)


async def test_calls_trusted_candidates_only():
    world = World(HIGHER)
    async with world.running() as relay:
        relay.set_peers([contact(2), contact(4)])
        await until(lambda: relay.links)

    assert world.called == [HIGHER]


async def test_does_not_call_who_has_called():
    world = World(HIGHER)
    world.enter(HIGHER)
    async with world.running() as relay:
        relay.add_peer(contact(2))
        for _ in range(20):
            await asyncio.sleep(0)

    assert world.called == []


async def test_calls_a_candidate_once_it_is_trusted():
    world = World()
    async with world.running() as relay:
        relay.add_peer(contact(2))
        for _ in range(20):
            await asyncio.sleep(0)
        assert world.called == []
        world.trusted.add(HIGHER)
        relay.review()
        await until(lambda: relay.links)

    assert world.called == [HIGHER]


async def test_a_server_that_cannot_be_reached_is_left_alone_for_a_while():
    world = World(HIGHER)
    world.failure = ConnectionLost("nobody is there")
    async with world.running() as relay:
        relay.add_peer(contact(2))
        await until(lambda: world.called)
        for _ in range(20):
            relay.review()
            await asyncio.sleep(0)

    assert world.called == [HIGHER]


async def test_stopping_ends_the_calls():
    world = World(HIGHER)
    async with world.running() as relay:
        relay.add_peer(contact(2))
        await until(lambda: relay.links)

    assert world.relay.links == ()
