"""A client's connection to a push server, for the pool to hold, and registering over it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from offchain.client.held import Answers, Held
from offchain.contact import Contact
from offchain.errors import ConnectionLost, PeerError, Refused
from offchain.hashing import keccak256
from offchain.keys import PrivateKey
from offchain.pushserver.grant import ANSWER, GRANT, MAX_PACKET, WPPUSH, Grant, decode_answer, seal
from offchain.rlpx import connection, peer

ANSWER_TIMEOUT = 20.0


@dataclass(frozen=True, slots=True)
class Subscription:
    """Where a device can be pushed to, as its browser or system gave it (PushSubscription)."""

    endpoint: str = field(repr=False)
    p256dh: bytes = field(repr=False)
    """65 bytes."""
    auth: bytes = field(repr=False)
    """16 bytes."""


class PushLink(Held):
    """An open connection. While it is open the client counts as present, and is not pushed to."""

    def __init__(self, key: PrivateKey, contact: Contact, connected: peer.Peer) -> None:
        super().__init__(contact)
        self._key = key
        self._peer = connected
        self._answers: Answers[str] = Answers()

    @classmethod
    async def connect(cls, key: PrivateKey, contact: Contact) -> PushLink:
        """A connection to the node, whose key is proven. PeerError if it can't be made; the caller bounds the time."""
        limits = connection.Limits(max_message=MAX_PACKET)
        connected = await peer.connect(key, contact.public, contact.host, contact.tcp, [WPPUSH], limits=limits)
        return cls(key, contact, connected)

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
        try:
            with self._answers.to(keccak256(packet)) as answer:
                async with asyncio.timeout(ANSWER_TIMEOUT):
                    await self._peer.send(WPPUSH.name, GRANT, packet)
                    text = await answer
        except TimeoutError:
            raise ConnectionLost("the push server did not answer") from None
        if text:
            raise Refused(f"the push server did not take the grant: {text}")
        return grant

    async def _read(self) -> str:
        try:
            while True:
                message = await self._peer.receive()
                if message.code == ANSWER:
                    self._answers.came(*decode_answer(message.payload))
        except PeerError as error:
            return str(error)

    def _fail_all(self, reason: str) -> None:
        self._answers.fail(reason)

    async def _hang_up(self) -> None:
        await self._peer.close()
