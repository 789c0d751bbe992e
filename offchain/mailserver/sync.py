"""Catching up: what a server asks of another after they were apart, page by page (packets 123 and 124).

After the first meeting only what was sent since the last one is asked for, with an overlap: an envelope can arrive some
time after it was sent. Deciding what differs without sending it again is for a later version of this file.
"""

from __future__ import annotations

from offchain.types import NodeId
from offchain.whisper.mail import SyncRequest, SyncResponse

OVERLAP = 600
"""Seconds."""

MAX_PAGES = 10_000
"""Pages after which a server that goes on and on is left alone."""


class CatchUp:
    """One round of asking. `request` is what to send next; None when the round is over."""

    def __init__(self, lower: int, upper: int) -> None:
        self._pages = 0
        self.failure: str | None = None
        self.request: SyncRequest | None = SyncRequest(max(lower, 0), max(upper, lower, 0))

    @property
    def succeeded(self) -> bool:
        """Whether everything that was asked for has come."""
        return self.request is None and self.failure is None

    def receive(self, response: SyncResponse) -> None:
        """Take in a part of the answer; with the final one `request` changes."""
        if self.request is None or not response.final:
            return
        if response.error:
            self._fail(response.error)
            return
        self._pages += 1
        if not response.cursor:
            self.request = None
        elif response.cursor <= self.request.cursor:
            self._fail("its cursor does not move on")
        elif self._pages >= MAX_PAGES:
            self._fail(f"it did not end after {MAX_PAGES} pages")
        else:
            self.request = SyncRequest(self.request.lower, self.request.upper, cursor=response.cursor)

    def _fail(self, failure: str) -> None:
        self.failure = failure
        self.request = None


class Meetings:
    """Until when we had everything of each server."""

    def __init__(self, catch_up: float) -> None:
        self._catch_up = catch_up
        self._until: dict[NodeId, float] = {}

    def begin(self, node_id: NodeId, now: float) -> CatchUp:
        """What to ask of a server that we meet again, or for the first time."""
        lower = max(self._until.get(node_id, 0.0) - OVERLAP, now - self._catch_up)
        return CatchUp(int(lower), int(now) + 10)

    def part(self, node_id: NodeId, now: float) -> None:
        """The server, with which we were even, is gone."""
        self._until[node_id] = now
