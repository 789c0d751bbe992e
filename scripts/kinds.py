"""Give kinds of servers their numbers.

    brownie run kinds create pushserver
    brownie run kinds show

Options: see scripts/session.py.
"""

from __future__ import annotations

from scripts.session import Session, command


@command
def create(name, **options):
    """Create a kind; anybody may. Returns its number (in a dry run, the next one)."""
    session = Session.open(**options)
    following = session.registry.kindCount() + 1
    sent = session.send(session.registry, "createKind", str(name), words=f"create kind {following}, {name!r}")
    return sent.events["KindCreated"]["kind"] if sent else following


@command
def show(**options):
    """Print kinds: number and discovery topic. Names are in the events and are whatever hashes to the topic."""
    session = Session.open(**options)
    for kind in range(1, session.registry.kindCount() + 1):
        print(f"kind {kind}: topic {session.registry.topicOf(kind)}")
