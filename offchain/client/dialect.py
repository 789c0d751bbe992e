"""In which words a mail server understands a request for history: guessed from its handshake, found out by trying.

    program          fields of its status               asks with
    Waypost          5, and says that it is Waypost     TOPICS
    status-go 0.50   6                                  TOPICS
    status-go 0.35   5                                  RLP
    status-go 0.13   3                                  BINARY_76, BINARY_112

Nothing in a handshake says it for certain, so when an old server refuses a request, or is silent, the next way is
tried, and the first that is understood is kept. Old servers may take no requests to their own key at all, only those
encrypted with a password that everybody knows: that way is tried only if the user allows it.

Old servers also differ in the order of their answers: see `offchain.client.history`.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from offchain.types import NodeId
from offchain.whisper.envelope import PowRule
from offchain.whisper.mail import Layout

OURS = "Waypost/"
"""What the client id of a Waypost server begins with."""

TRY_TIME = 3.0
"""Seconds of silence after which another way is tried, while none is known to be understood."""

REMEMBERED = 1_000
"""Servers whose way is remembered."""

_GUESSES = {3: (Layout.BINARY_112, Layout.RLP, Layout.TOPICS), 6: (Layout.TOPICS, Layout.RLP, Layout.BINARY_112)}
_GUESS = (Layout.RLP, Layout.TOPICS, Layout.BINARY_112)
_ABOUT_PACE = ("rate limit", "too many requests", "the server is busy")
"""Beginnings of refusals that another way of asking would not help."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """A way of asking."""

    layout: Layout
    by_password: bool = False
    """Whether the request is encrypted with the well-known password, else to the server's key."""

    @property
    def has_topics(self) -> bool:
        """Whether a request names the topics; else it has their bloom filter only."""
        return self.layout in (Layout.TOPICS, Layout.SEALED)

    @property
    def pow_rules(self) -> tuple[PowRule, ...]:
        """By which rules a request needs proof of work. Programs that take binary requests are of either age."""
        return (PowRule.LEADING, PowRule.TRAILING) if self.layout is Layout.BINARY_112 else (PowRule.LEADING,)


@dataclass(slots=True)
class _Learnt:
    ways: tuple[Dialect, ...]
    at: int = 0
    sure: bool = False


def is_ours(client_id: str) -> bool:
    """Whether a server that says this client id is one of Waypost's."""
    return client_id.startswith(OURS)


class Dialects:
    """What is known of the servers that were asked. The one unused for longest is forgotten."""

    def __init__(self, *, sealed: bool = False, by_password: bool = False) -> None:
        """`sealed`: every request is for a sealed answer, and no other way is tried."""
        self._sealed = sealed
        self._by_password = by_password
        self._learnt: OrderedDict[NodeId, _Learnt] = OrderedDict()

    def of(self, node_id: NodeId, client_id: str, fields: int) -> Dialect:
        """How to ask a server that says this client id, and so many fields in its status."""
        ways = self._ways(client_id, fields)
        learnt = self._learnt.get(node_id)
        if learnt is None or learnt.ways != ways:
            learnt = self._learnt[node_id] = _Learnt(ways)
        self._learnt.move_to_end(node_id)
        if len(self._learnt) > REMEMBERED:
            self._learnt.popitem(last=False)
        return learnt.ways[learnt.at]

    def trying(self, node_id: NodeId) -> bool:
        """Whether the server has not understood anything yet, and another way could be tried."""
        learnt = self._learnt.get(node_id)
        return learnt is not None and not learnt.sure and learnt.at + 1 < len(learnt.ways)

    def understood(self, node_id: NodeId) -> None:
        """The server answered: this way is kept."""
        if node_id in self._learnt:
            self._learnt[node_id].sure = True

    def refused(self, node_id: NodeId, text: str = "") -> bool:
        """The server refused, in these words, or was silent. Whether it is to be asked in another way, from now on."""
        learnt = self._learnt.get(node_id)
        if learnt is None or learnt.sure or text.lower().startswith(_ABOUT_PACE):
            return False
        learnt.at += 1
        if learnt.at < len(learnt.ways):
            return True
        learnt.at = 0
        return False

    def _ways(self, client_id: str, fields: int) -> tuple[Dialect, ...]:
        if self._sealed:
            return (Dialect(Layout.SEALED),)
        if is_ours(client_id):
            return (Dialect(Layout.TOPICS),)
        first, *rest = _GUESSES.get(fields, _GUESS)
        order = [first], rest
        passwords = (False, True) if self._by_password else (False,)
        return tuple(Dialect(layout, each) for layouts in order for each in passwords for layout in layouts)
