"""When to look around again: at once at first, seldom once nothing new turns up."""

from __future__ import annotations


class Pacer:
    """Says when the next attempt is due. The wait doubles after each one that brought nothing new, up to `ceiling`.

    After news it is `floor` again; during the first `eager` attempts it is never above `start`, so that a network whose
    nodes all start together finds itself quickly.
    """

    def __init__(self, *, start: float, floor: float, ceiling: float, eager: int) -> None:
        self._start = start
        self._floor = floor
        self._ceiling = ceiling
        self._eager = eager
        self._attempts = 0
        self._wait = start
        self.due = 0.0

    def done(self, now: float, *, news: bool) -> None:
        """An attempt is over."""
        self._attempts += 1
        if self._attempts <= self._eager:
            self._wait = self._start
        elif news:
            self._wait = self._floor
        else:
            self._wait = min(max(self._wait * 2, self._start), self._ceiling)
        self.due = now + self._wait

    def rest(self, due: float) -> None:
        """As after many attempts that brought nothing new."""
        self._attempts = self._eager + 1
        self._wait = self._ceiling
        self.due = due

    def hurry(self, now: float) -> None:
        """Something happened that makes the next attempt worthwhile at once."""
        self._attempts = 0
        self._wait = self._start
        self.due = now
