"""The finder's shell: what discovery offers and what the registry names ends up as findings."""

import asyncio
import random
from contextlib import asynccontextmanager

import pytest

from offchain.client.finder import Finder
from offchain.client.finder_machine import Admitted, Discarded
from offchain.contact import Source
from offchain.enr import Enr
from offchain.errors import ConnectionLost
from offchain.types import MAILSERVER
from tests.support.client import FakeTrust, contact, key


def record(number, **changes):
    return Enr.create(key(number), 1, **{"ip": f"10.0.0.{number}", "tcp": 30303, "udp": 9000, **changes})


class FakeDirectory:
    """A discovery network that is a queue of records to walk past, and a dict of records to find."""

    def __init__(self):
        self.walk = asyncio.Queue()
        self.known = {}
        self.searched = []

    async def candidates(self, kind):
        while True:
            yield await self.walk.get()

    async def find(self, node_id):
        self.searched.append(node_id)
        if node_id not in self.known:
            raise ConnectionLost("nobody answers")
        return self.known[node_id]


@pytest.fixture
def directory():
    return FakeDirectory()


@asynccontextmanager
async def running(finder):
    with finder.findings.listen() as findings:
        task = asyncio.create_task(finder.run())
        try:
            yield findings
        finally:
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()


async def test_admits_and_discards_what_discovery_walks_past(directory):
    finder = Finder(MAILSERVER, FakeTrust(contact(1).node_id), directory, rng=random.Random(1))
    directory.walk.put_nowait(record(2))
    directory.walk.put_nowait(record(1))

    async with running(finder) as findings:
        discarded, admitted = await anext(findings), await anext(findings)

    assert discarded == Discarded(contact(2).node_id, "nobody lists it as a mailserver", "10.0.0.2:30303")
    assert admitted.contact.node_id == contact(1).node_id
    assert admitted.contact.source is Source.DISCOVERED


async def test_passes_over_a_record_that_cannot_be_called(directory):
    finder = Finder(MAILSERVER, FakeTrust(contact(1).node_id), directory, rng=random.Random(1))
    directory.walk.put_nowait(record(1, tcp=None))
    directory.walk.put_nowait(record(2))

    async with running(finder) as findings:
        assert isinstance(await anext(findings), Discarded)
    assert finder.contact(contact(1).node_id) is None


async def test_searches_for_nodes_of_the_registry_while_nodes_are_needed(directory):
    directory.known = {contact(1).node_id: record(1)}
    trust = FakeTrust(contact(1).node_id, contact(2).node_id)
    ids = [contact(1).node_id, contact(2).node_id]
    finder = Finder(MAILSERVER, trust, directory, trusted_ids=lambda: ids, rng=random.Random(1))

    async with running(finder) as findings:
        admitted = await anext(findings)

    assert admitted == Admitted(contact(1, source=Source.REGISTRY))
    assert set(directory.searched) == set(ids)


async def test_does_not_search_when_no_nodes_are_needed(directory):
    trust = FakeTrust(contact(1).node_id, contact(2).node_id)
    finder = Finder(MAILSERVER, trust, directory, trusted_ids=lambda: [contact(1).node_id], hungry=lambda: False)
    directory.walk.put_nowait(record(2))

    async with running(finder) as findings:
        await anext(findings)
        finder.trust_changed(contact(1).node_id, True)

    assert directory.searched == []


async def test_a_node_met_before_is_admitted_when_its_trust_begins(directory):
    trust = FakeTrust()
    finder = Finder(MAILSERVER, trust, directory, rng=random.Random(1))
    directory.walk.put_nowait(record(1))

    async with running(finder) as findings:
        discarded = await anext(findings)
        trust.add(contact(1).node_id)
        finder.trust_changed(contact(1).node_id, True)
        admitted = await anext(findings)

    assert isinstance(discarded, Discarded)
    assert admitted.contact.node_id == contact(1).node_id
    assert directory.searched == []


async def test_a_node_never_met_is_searched_for_when_its_trust_begins(directory):
    trust = FakeTrust()
    directory.known = {contact(1).node_id: record(1)}
    finder = Finder(MAILSERVER, trust, directory, rng=random.Random(1))

    async with running(finder) as findings:
        trust.add(contact(1).node_id)
        finder.trust_changed(contact(1).node_id, True)
        admitted = await anext(findings)

    assert admitted == Admitted(contact(1, source=Source.REGISTRY))


async def test_own_nodes_are_findings_too(directory):
    finder = Finder(MAILSERVER, FakeTrust(), directory, rng=random.Random(1))
    own = contact(9, source=Source.OWN)

    async with running(finder) as findings:
        finder.set_own([own])

        assert await anext(findings) == Admitted(own)
