"""A network of ten nodes of ours and ten of @chainsafe/discv5, over real UDP on loopback."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack, aclosing

import pytest

from offchain.config import DiscoveryConfig
from offchain.discovery import Discovery
from offchain.keys import PrivateKey
from offchain.types import MAILSERVER
from tests.support.discv5_peer import Discv5Peer, available

PATIENCE = 120.0
OURS = 10
PROCESSES, EACH = 2, 5
SERVERS = 3
TOPIC_MESSAGES = range(7, 11)

pytestmark = pytest.mark.skipif(not available(), reason="needs Node and its packages (make setup)")


class Mixed:
    """Ours and theirs. Each of ours starts from one of theirs, and nobody from one of its own."""

    def __init__(self):
        self.ours = []
        self.peers = []

    async def open(self, stack):
        self.peers = [await stack.enter_async_context(Discv5Peer(EACH)) for _ in range(PROCESSES)]
        self.theirs = {record: (peer, n) for peer in self.peers for n, record in enumerate(peer.records)}
        for number, start in enumerate(self.theirs):
            kinds = (MAILSERVER,) if number < SERVERS else ()
            config = DiscoveryConfig(lan=True, bootnodes=(start.text,), kinds=kinds)
            self.ours.append(await stack.enter_async_context(Discovery(PrivateKey.generate(), config)))
        assert len(self.ours) == len(self.theirs) == OURS
        # A ring through both kinds, so that the network is one: each of theirs knows the next one's node of ours.
        for number, (peer, node) in enumerate(self.theirs.values()):
            await peer.do("add", node=node, enr=self.ours[(number + 1) % OURS].record.text)

    async def seen(self):
        """The types of the messages that theirs decrypted, and how many of each."""
        seen = Counter()
        for peer in self.peers:
            seen.update((await peer.do("seen"))["types"])
        return {int(kind): count for kind, count in seen.items()}


async def eventually(true):
    async with asyncio.timeout(PATIENCE):
        # What happens in another process sends no event.
        while not await true():  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_ours_and_theirs_find_each_other_and_theirs_never_see_a_topic_message():
    """Each of ours finds each of theirs by its id, and the next of ours through them; each of theirs comes to know all.

    Their lookups give sixteen of the nineteen others, and not always the nearest: so all that is asked of one
    is that it leads to both kinds.
    """
    async with AsyncExitStack() as stack:
        mixed = Mixed()
        await mixed.open(stack)
        texts = {node.record.text for node in mixed.ours}

        for number, node in enumerate(mixed.ours):
            for wanted in (*mixed.theirs, mixed.ours[(number + 3) % OURS].record):

                async def is_found(node=node, wanted=wanted):
                    return await node.find(wanted.node_id) == wanted

                await eventually(is_found)
        for peer, number in mixed.theirs.values():

            async def knows_all(peer=peer, number=number):
                return texts <= set((await peer.do("table", node=number))["enrs"])

            async def leads_to_both(peer=peer, number=number):
                target = mixed.ours[number].node_id.hex()
                found = set((await peer.do("lookup", node=number, target=target))["enrs"])
                return found & texts and found - texts

            await eventually(leads_to_both)
            await eventually(knows_all)

        client = mixed.ours[-1]
        async with asyncio.timeout(PATIENCE), aclosing(client.candidates(MAILSERVER)) as candidates:
            found = {(await anext(candidates)).node_id for _ in range(SERVERS)}

            async def are_found_by_topic():
                return all(client.is_advertised(MAILSERVER, server.node_id) for server in mixed.ours[:SERVERS])

            await eventually(are_found_by_topic)
        seen = await mixed.seen()

    assert found == {node.node_id for node in mixed.ours[:SERVERS]}
    assert seen[1] > 0
    assert seen[3] > 0
    assert not set(seen) & set(TOPIC_MESSAGES), seen
