"""Noticing that our own clock is wrong: decided without sockets, clocks or tasks.

Servers refuse envelopes whose time is not theirs, and a client whose clock is wrong would else see one server after
another fail. One server that says so may be wrong itself; two say that it is us.
"""

from __future__ import annotations

from collections.abc import Callable

from offchain.types import NodeId
from offchain.whisper.envelope import Fault

WITNESSES = 2
"""Different servers that must say the same."""

REMEMBERED = 64
"""Servers whose word is remembered."""


class ClockWatch:
    """Takes in what servers say of the time of our messages and requests."""

    def __init__(self, on_notice: Callable[[str], None]) -> None:
        """`on_notice` is called once whenever it becomes certain that the clock is wrong."""
        self._on_notice = on_notice
        self._said: dict[NodeId, Fault] = {}
        self._told: Fault | None = None

    @property
    def notice(self) -> str | None:
        """What is to be told to the user; None while nothing is wrong."""
        for fault in (Fault.FUTURE, Fault.EXPIRED):
            count = sum(said is fault for said in self._said.values())
            if count >= WITNESSES and 2 * count > len(self._said):
                return _NOTICES[fault].format(count=count)
        return None

    def heard(self, node_id: NodeId, refusal: str | None, *, fresh: bool = True) -> None:
        """A server took something that we made just now (None), or refused it. `fresh`: it was indeed made just now."""
        fault = _fault(refusal)
        if refusal is None:
            self._said.pop(node_id, None)
        elif fault is not None and fresh:
            self._said.pop(node_id, None)
            self._said[node_id] = fault
            if len(self._said) > REMEMBERED:
                del self._said[next(iter(self._said))]
        notice = self.notice
        now = None if notice is None else fault
        if notice is None:
            self._told = None
        elif now is not None and now is not self._told:
            self._told = now
            self._on_notice(notice)


_NOTICES = {
    Fault.FUTURE: "this machine's clock seems to be ahead: {count} servers say that its messages come from the future",
    Fault.EXPIRED: "this machine's clock seems to be behind: {count} servers say that its messages are old",
}


def _fault(refusal: str | None) -> Fault | None:
    """Which of the two a refusal means. Servers add words of their own."""
    if refusal is None:
        return None
    return next((each for each in (Fault.FUTURE, Fault.EXPIRED) if each.value in refusal), None)
