"""A client's connection to a push server, for the pool to hold, and registering over it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from offchain.contact import Contact
from offchain.errors import ConnectionLost, PeerError, Refused
from offchain.hashing import keccak256
from offchain.keys import PrivateKey
from offchain.pushserver.grant import ANSWER, GRANT, MAX_PACKET, WPPUSH, Grant, decode_answer, seal
from offchain.rlpx import connection, peer
from offchain.types import NodeId

ANSWER_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Subscription:
    """Where a device can be pushed to, as its browser or system gave it (PushSubscription)."""

    endpoint: str = field(repr=False)
    p256dh: bytes = field(repr=False)
    """65 bytes."""
    auth: bytes = field(repr=False)
    """16 bytes."""


class PushLink:
    """An open connection. While it is open the client counts as present, and is not pushed to."""

    def __init__(self, key: PrivateKey, contact: Contact, connected: peer.Peer) -> None:
        self.contact = contact
        self._key = key
        self._peer = connected
        self._closing: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._answers: dict[bytes, asyncio.Future[str]] = {}

    @classmethod
    async def connect(cls, key: PrivateKey, contact: Contact) -> PushLink:
        """A connection to the node, whose key is proven. PeerError if it can't be made; the caller bounds the time."""
        limits = connection.Limits(max_message=MAX_PACKET)
        connected = await peer.connect(key, contact.public, contact.host, contact.tcp, [WPPUSH], limits=limits)
        return cls(key, contact, connected)

    @property
    def node_id(self) -> NodeId:
        """The server."""
        return self.contact.node_id

    async def register(
        self, subscription: Subscription, topics: Sequence[bytes], *, now: float, days: float = 7.0
    ) -> Grant:
        """Grant pushes for these topics; none revokes. Refused if the server says no, ConnectionLost if nothing.

        `run` must be running. A grant replaces an earlier one for the endpoint, if it is of a later second.
        """
        grant = Grant(
            self.node_id,
            int(now),
            int(now + days * 86_400),
            subscription.endpoint,
            subscription.p256dh,
            subscription.auth,
            tuple(topics),
        )
        packet = seal(grant, self._peer.remote, self._key)
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._answers[keccak256(packet)] = answer
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                await self._peer.send(WPPUSH.name, GRANT, packet)
                text = await answer
        except TimeoutError:
            raise ConnectionLost("the push server did not answer") from None
        finally:
            self._answers.pop(keccak256(packet), None)
        if text:
            raise Refused(f"the push server did not take the grant: {text}")
        return grant

    def close(self, reason: str) -> None:
        """End the connection at once, without waiting."""
        if not self._closing.done():
            self._closing.set_result(reason)
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(ConnectionLost(reason))

    async def run(self) -> str:
        """Read from the connection until it is over; why it ended."""
        reader = asyncio.ensure_future(self._read())
        reason = "the client stops"
        try:
            await asyncio.wait([reader, self._closing], return_when=asyncio.FIRST_COMPLETED)
            reason = self._closing.result() if self._closing.done() else reader.result()
        finally:
            reader.cancel()
            self.close(reason)
            await self._peer.close()
        return reason

    async def _read(self) -> str:
        try:
            while True:
                message = await self._peer.receive()
                if message.code == ANSWER:
                    digest, text = decode_answer(message.payload)
                    answer = self._answers.get(digest)
                    if answer is not None and not answer.done():
                        answer.set_result(text)
        except PeerError as error:
            return str(error)
