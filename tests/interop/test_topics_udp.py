"""Topic discovery over real UDP on loopback: networks that start all at once."""

import asyncio
from contextlib import AsyncExitStack, aclosing

from offchain.config import DiscoveryConfig
from offchain.discovery import Discovery
from offchain.keys import PrivateKey
from offchain.types import MAILSERVER

PATIENCE = 300.0
SERVERS = 5
CLIENTS = 70


async def started(stack, *boot, **config):
    settings = DiscoveryConfig(lan=True, bootnodes=tuple(record.text for record in boot), **config)
    return await stack.enter_async_context(Discovery(PrivateKey.generate(), settings))


async def servers_at_once(stack):
    """Five servers that start together; the first is where the others begin."""
    first = await started(stack, kinds=(MAILSERVER,))
    others = (started(stack, first.record, kinds=(MAILSERVER,)) for _ in range(SERVERS - 1))
    return [first, *await asyncio.gather(*others)]


async def found(client):
    """The servers that the client is told of, until it has all."""
    told = {}
    async with asyncio.timeout(PATIENCE), aclosing(client.candidates(MAILSERVER)) as candidates:
        async for enr in candidates:
            told[enr.node_id] = enr
            if len(told) == SERVERS:
                return told
    return told


async def by_topic_alone(client, servers):
    """Wait until registrars have named every server."""
    async with asyncio.timeout(PATIENCE), aclosing(client.candidates(MAILSERVER)) as candidates:
        await anext(candidates)
        while not all(client.is_advertised(MAILSERVER, server.node_id) for server in servers):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_five_servers_of_a_network_that_just_started_are_all_found_by_their_topic():
    async with AsyncExitStack() as stack:
        servers = await servers_at_once(stack)
        client = await started(stack, servers[0].record)

        await by_topic_alone(client, servers)
        told = await found(client)

        assert told == {server.node_id: server.record for server in servers}


async def test_seventy_clients_that_join_at_once_all_find_all_servers():
    async with AsyncExitStack() as stack:
        servers = await servers_at_once(stack)
        clients = await asyncio.gather(*(started(stack, servers[number % SERVERS].record) for number in range(CLIENTS)))

        told = await asyncio.gather(*map(found, clients))

        wanted = {server.node_id: server.record for server in servers}
        assert all(each == wanted for each in told)
