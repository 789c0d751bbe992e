"""Ends the demonstration's processes when the demonstration is gone, however it went.

Run as a program, in a session of its own. Its standard input is a pipe that only the demonstration holds: lines "+ N"
and "- N" say that process group N was started, or ended. At the end of input (the demonstration ended, was killed, or
crashed) every group that is left is killed. This holds on any POSIX system, for grandchildren too, and after kill -9.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable


def watch(lines: Iterable[str]) -> set[int]:
    """The groups that are left at the end of the lines."""
    groups: set[int] = set()
    for line in lines:
        sign, _, number = line.partition(" ")
        if not number.strip().isdigit():
            continue
        if sign == "+":
            groups.add(int(number))
        else:
            groups.discard(int(number))
    return groups


def main() -> None:
    """Wait for the end of input, then kill what is left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for group in watch(sys.stdin):
        try:
            os.killpg(group, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


if __name__ == "__main__":
    main()
