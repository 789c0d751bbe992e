"""Create providers and manage who controls them.

    brownie run providers create https://example.org/provider.json
    brownie run providers metadata 1 https://example.org/new.json
    brownie run providers operator 1 0x70997970C51812dc3A010C7d01b50e0d17dc79C8 yes
    brownie run providers transfer 1 0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC      the other side then:
    brownie run providers accept_admin 1 account=theirs
    brownie run providers show [1]

Options: see scripts/session.py. Whether clients trust a provider is said by curators: scripts/curator.py.
"""

from __future__ import annotations

from scripts.lists import walk
from scripts.session import Session, address, command, provider_of, yes


@command
def create(metadata="", **options):
    """Create a provider; the sender becomes its admin. Returns its number (in a dry run, the next one)."""
    session = Session.open(**options)
    following = session.registry.providerCount() + 1
    sent = session.send(
        session.registry,
        "createProvider",
        str(metadata),
        words=f"create provider {following}, described at {metadata!r}",
    )
    provider = sent.events["ProviderCreated"]["providerId"] if sent else following
    if sent:
        print(f"provider {provider}, admin {session.sender}")
    return provider


@command
def metadata(provider, uri, **options):
    """Change where the provider describes itself."""
    session, provider = _open(provider, options)
    return session.send(
        session.registry, "setMetadata", provider, str(uri), words=f"describe provider {provider} at {uri}"
    )


@command
def operator(provider, account_address, allowed="yes", **options):
    """Let somebody manage the provider's nodes, or no longer."""
    session, provider = _open(provider, options)
    who, allowed = address(account_address), yes(allowed)
    words = f"{'let' if allowed else 'no longer let'} {who} manage the nodes of provider {provider}"
    return session.send(session.registry, "setOperator", provider, who, allowed, words=words)


@command
def transfer(provider, to, **options):
    """Offer the provider to a new admin, who must accept; the zero address withdraws the offer."""
    session, provider = _open(provider, options)
    who = address(to)
    words = f"offer provider {provider} to {who}" if int(who, 16) else f"withdraw the offer of provider {provider}"
    return session.send(session.registry, "transferAdmin", provider, who, words=words)


@command
def accept_admin(provider, **options):
    """Become the provider's admin; for the one to whom it was offered."""
    session, provider = _open(provider, options)
    print("operators stay when the admin changes: look through them afterwards")
    return session.send(
        session.registry, "acceptAdmin", provider, words=f"become admin of provider {provider} as {session.sender}"
    )


@command
def show(provider=None, **options):
    """Print providers: number, admin, offer, and how many nodes of each kind."""
    session = Session.open(**options)
    registry = session.registry
    numbers = range(1, registry.providerCount() + 1) if provider is None else [provider_of(registry, provider)]
    for each in numbers:
        pending = registry.pendingAdminOf(each)
        offer = f", offered to {pending}" if int(pending, 16) else ""
        counts = {kind: sum(1 for _ in walk(registry, each, kind)) for kind in range(1, registry.kindCount() + 1)}
        said = ", ".join(f"{count} of kind {kind}" for kind, count in counts.items() if count)
        print(f"provider {each}: admin {registry.adminOf(each)}{offer}; nodes: {said or 'none'}")


def _open(provider, options):
    session = Session.open(**options)
    return session, provider_of(session.registry, provider)
