"""Whether what is asked for lies in memory, or must come from the disk first.

LMDB maps its files: a look at a page that is not in memory stops the thread until the disk has it. In memory a look is
best done at once, one after another; from the disk it is best done in several threads, which the disk serves at a time,
and which hold up nobody else. So the page faults of each look decide about the next ones.
"""

from __future__ import annotations

import math
import resource

FAULTS = 3
"""Page faults in a look at which the archive counts as cold."""

COLD_FOR = 2.0
"""Seconds for which it does."""


class Warmth:
    """Remembers when the disk was last waited for."""

    def __init__(self) -> None:
        self._cold_until = -math.inf

    def note(self, faults: int, now: float) -> None:
        """A look has had so many page faults."""
        if faults >= FAULTS:
            self._cold_until = now + COLD_FOR

    def is_cold(self, now: float) -> bool:
        """Whether the next look had better be made in a thread."""
        return now < self._cold_until


def page_faults() -> int:
    """For how many pages this thread has waited for the disk; 0 on systems that do not say."""
    who = getattr(resource, "RUSAGE_THREAD", None)
    return 0 if who is None else resource.getrusage(who).ru_majflt
