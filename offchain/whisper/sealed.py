"""Answers that only the client that asked can read, from the server that was asked.

A client asks for one by the layout SEALED of its request (see offchain.whisper.mail). Packets 127 and 125 then carry,
in place of a list of envelopes or a completion, one RLP string:

    box     = seal_asym(the client's key, [id32, number, content], signed by the server)
    content = what the packet would carry if it were not sealed
    number  = 0 for the first packet of the answer, one more for each

The client's key is that of the connection, which signed the request. The id and the number bind a box to its place in
its answer: none can be repeated, left out or moved. Failures are not sealed: the request may be what failed, and they
tell nothing of mail. A client that asked for a sealed answer takes no other, so nobody in between can ask for less.

RLPx encrypts with one key and IV in both directions, so an eavesdropper learns the XOR of what both say: this is for
those who do not want to rely on it.
"""

from __future__ import annotations

from offchain import rlp
from offchain.keys import PrivateKey, PublicKey
from offchain.whisper import cipher
from offchain.whisper.mail import ID_SIZE, MailError


class AnswerSealer:
    """The server's side of one answer."""

    def __init__(self, server: PrivateKey, client: PublicKey, request_id: bytes) -> None:
        self._server = server
        self._client = client
        self._id = request_id
        self._number = 0

    def seal(self, content: bytes) -> bytes:
        """The payload that takes the place of `content`. Call it in the order of the packets."""
        inside = rlp.encode([self._id, self._number, content])
        self._number += 1
        return rlp.encode(cipher.seal_asym(self._client, inside, self._server))


class AnswerOpener:
    """The client's side of one answer."""

    def __init__(self, client: PrivateKey, server: PublicKey, request_id: bytes) -> None:
        self._client = client
        self._server = server
        self._id = request_id
        self._number = 0

    def open(self, payload: bytes) -> bytes:
        """What is in a sealed packet. MailError if it is none, not for us, not from the server, or out of place."""
        try:
            box = rlp.decode(payload)
            if not isinstance(box, bytes):
                raise MailError("the answer is not sealed, as was asked for")
            message = cipher.open_asym(self._client, box)
            request_id, number, content = rlp.as_list(rlp.decode(message.payload), 3)
            place = rlp.as_bytes(request_id, ID_SIZE), rlp.as_int(number, 4)
            inside = rlp.as_bytes(content)
        except (rlp.RlpError, cipher.CipherError) as error:
            raise MailError(f"the sealed answer: {error}") from None
        if message.signer != self._server:
            raise MailError("the sealed answer is not signed by the server")
        if place != (self._id, self._number):
            raise MailError(
                f"the sealed answer is packet {place[1]} of some answer, expected {self._number} of this one"
            )
        self._number += 1
        return inside
