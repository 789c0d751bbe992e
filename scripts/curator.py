"""Give verdicts on providers, and say who may.

    brownie run curator accept 1                          for all kinds, without end
    brownie run curator accept 1 kind=mailserver until=90d
    brownie run curator reject 2
    brownie run curator clear 2
    brownie run curator permit 0x7099...79C8 yes
    brownie run curator show 1

Options: see scripts/session.py; and `kind` ("all" without it) and `until` (Unix time or "90d"; 0: without end).
"""

from __future__ import annotations

from enum import IntEnum

from scripts.session import Session, address, command, kind_or_all, kind_text, moment, present, provider_of, utc, yes


class Status(IntEnum):
    """ICurator.Status."""

    NONE = 0
    ACCEPTED = 1
    REJECTED = 2


@command
def accept(provider, *, kind="all", until=0, **options):
    """Accept a provider: clients that use this curator trust its nodes."""
    return _judge(provider, kind, Status.ACCEPTED, until, options)


@command
def reject(provider, *, kind="all", until=0, **options):
    """Reject a provider."""
    return _judge(provider, kind, Status.REJECTED, until, options)


@command
def clear(provider, *, kind="all", **options):
    """Say nothing of a provider any more."""
    return _judge(provider, kind, Status.NONE, 0, options)


@command
def permit(account_address, allowed="yes", **options):
    """Let somebody besides the owner give verdicts, or no longer. Owner only."""
    session = Session.open(**options)
    who, allowed = address(account_address), yes(allowed)
    words = f"{'let' if allowed else 'no longer let'} {who} give verdicts"
    return session.send(session.curator, "setCurator", who, allowed, words=words)


@command
def show(provider, **options):
    """Print the verdicts on a provider."""
    session = Session.open(**options)
    provider, silent = provider_of(session.registry, provider), True
    for kind in range(session.registry.kindCount() + 1):
        status, until, _ = session.curator.verdict(provider, kind)
        if status:
            silent = False
            print(f"provider {provider}, {kind_text(kind)}: {Status(status).name.lower()}{_ending(until)}")
    if silent:
        print(f"provider {provider}: nothing is said of it")


def _judge(provider, kind, status: Status, until, options):
    session = Session.open(**options)
    provider, kind_number = provider_of(session.registry, provider), kind_or_all(session.registry, kind)
    ends = moment(until, present()) if str(until) != "0" else 0
    what = {Status.NONE: "say nothing of", Status.ACCEPTED: "accept", Status.REJECTED: "reject"}[status]
    words = f"{what} provider {provider} for {kind_text(kind_number)}{_ending(ends)}"
    return session.send(session.curator, "setVerdict", provider, kind_number, int(status), ends, words=words)


def _ending(until: int) -> str:
    if not until:
        return ""
    return f" until {utc(until)}{', which is over' if until <= present() else ''}"
