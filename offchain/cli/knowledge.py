"""What commands know of the registry: from the running client, or by looking for themselves.

A command that looks for itself works on the checkpoint of the home folder. Beside a running service, which keeps that
to itself, it reads the registry's events anew.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from offchain.cli.calls import request
from offchain.cli.daemon import Daemon, find_daemon, lock_home
from offchain.cli.narrator import tell_change, tell_states
from offchain.cli.output import Output
from offchain.cli.policy_edits import Preview
from offchain.cli.running import Stop, run, serve
from offchain.cli.settings import Settings
from offchain.config import ChainConfig
from offchain.contact import Contact
from offchain.enr import Enr
from offchain.errors import ChainError, ConfigError, DecodeError
from offchain.node.background import background
from offchain.node.policy_watch import default_policy
from offchain.trust.freshness import Freshness
from offchain.trust.nodes import Resync, TrustedNodes
from offchain.trust.policy import Policy
from offchain.trust.policy_file import load_policy
from offchain.trust.voices import Voice, voices
from offchain.types import Kind, KindId, NodeId, ProviderId, node_address, parse_kind
from offchain.web import views

Document = dict[str, Any]
T = TypeVar("T")

ADDRESS_SIZE = 20
"""Bytes of a node's name in the registry."""


class Knowledge(Protocol):
    """What is asked of it; answers are documents."""

    def status(self) -> Document:
        """state, trust, poolNodes, serving."""
        ...

    def nodes(self, kind: Kind) -> Document:
        """state, kind, nodes."""
        ...

    def verify(self, kind: Kind, identity: bytes) -> Document:
        """state, kind, nodeId, trusted, own, expiresAt, reasons, and where it was listed."""
        ...


def learn(settings: Settings, output: Output, wait: float) -> Knowledge:
    """The best knowledge there is."""
    daemon = find_daemon(settings)
    own_look = OwnLook(settings, output, wait)
    return own_look if daemon is None else Served(daemon, own_look)


class Served:
    """What the running client knows."""

    def __init__(self, daemon: Daemon, own_look: Knowledge) -> None:
        self._daemon = daemon
        self._own_look = own_look

    def status(self) -> Document:
        """See Knowledge."""
        status = self._daemon.get("/v1/status")
        pool = self._daemon.get("/v1/pool")["nodes"]
        return {"state": status["trust"]["state"], "serving": True, **status, "poolNodes": pool}

    def nodes(self, kind: Kind) -> Document:
        """See Knowledge."""
        return {"state": self._state(), **self._daemon.get("/v1/nodes", kind=kind)}

    def verify(self, kind: Kind, identity: bytes) -> Document:
        """See Knowledge. The interface of the running client takes no address: the registry is looked at for that."""
        if len(identity) == ADDRESS_SIZE:
            return self._own_look.verify(kind, identity)
        found = self._daemon.get("/v1/verify", kind=kind, node=identity.hex())
        return {"state": self._state(), **found}

    def _state(self) -> str:
        return str(self._daemon.get("/healthz")["state"])


class OwnLook:
    """What a look of our own finds: the registry is caught up with, then asked once."""

    def __init__(self, settings: Settings, output: Output, wait: float) -> None:
        self._settings = settings
        self._output = output
        self._wait = wait

    def status(self) -> Document:
        """See Knowledge."""

        def ask(trust: TrustedNodes) -> Document:
            return {"state": trust.state.name, "serving": False, "trust": trust.status(), "poolNodes": []}

        return self.ask(ask)

    def nodes(self, kind: Kind) -> Document:
        """See Knowledge."""

        def ask(trust: TrustedNodes) -> Document:
            rows = [views.trusted_node(node) for node in trust.nodes(kind)]
            return {"state": trust.state.name, "kind": kind, "nodes": rows}

        return self.ask(ask)

    def verify(self, kind: Kind, identity: bytes) -> Document:
        """See Knowledge."""

        def ask(trust: TrustedNodes) -> Document:
            node_id = _node_id(trust, identity)
            found = views.explanation(trust.explain(kind, node_id))
            return {"state": trust.state.name, "kind": kind, "nodeId": views.hexed(node_id), **found}

        return self.ask(ask)

    def ask(self, question: Callable[[TrustedNodes], T]) -> T:
        """Catch up, then ask."""

        async def main() -> T:
            async with open_trust(self._settings) as trust:
                await caught_up(trust, self._output, self._wait)
                return question(trust)

        return run(main)


@asynccontextmanager
async def open_trust(settings: Settings) -> AsyncIterator[TrustedNodes]:
    """The trusted set of this home folder, following the chain for as long as the block lasts."""
    chain = settings.chain()
    with own_checkpoint(settings, chain) as own:
        async with TrustedNodes(own, read_policy(settings)) as trust:
            yield trust


async def caught_up(trust: TrustedNodes, output: Output, wait: float) -> None:
    """Wait until what is known is fresh, and the head is taken in: a removal counts as soon as the head shows it.

    Not longer than it is worth waiting; then say why.
    """
    if trust.state is not Freshness.FRESH:
        output.note("catching up with the registry")
    head = await asyncio.to_thread(_height, trust.config.rpc)
    try:
        await trust.wait_for(lambda each: _is_current(each, head), wait)
    except TimeoutError:
        problem = trust.status().get("problem")
        output.note(f"the registry could not be followed within {wait:g} s" + (f": {problem}" if problem else ""))


def _is_current(trust: TrustedNodes, head: int) -> bool:
    if trust.state is Freshness.TAMPERED:
        return True
    return trust.state is Freshness.FRESH and (trust.status().get("head") or 0) >= head


def _height(endpoints: Sequence[str]) -> int:
    """The height that the first endpoint to answer tells; 0 if none does."""
    for endpoint in endpoints:
        with suppress(ChainError, ValueError):
            return int(str(request(endpoint, "eth_blockNumber", [])), 16)
    return 0


@contextmanager
def own_checkpoint(settings: Settings, chain: ChainConfig) -> Iterator[ChainConfig]:
    """The configuration with a checkpoint that is ours alone."""
    with ExitStack() as stack:
        try:
            stack.enter_context(lock_home(settings.home))
        except ConfigError:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="waypost-"))
            chain = replace(chain, database=Path(folder) / "chain.sqlite")
        yield chain


def read_policy(settings: Settings) -> Policy:
    """The user's policy; without a file, that the project's curator decides."""
    return load_policy(settings.policy_path, default_policy(settings.chain()))


def preview(settings: Settings, output: Output, wait: float, kind: Kind, changed: Policy) -> Preview:
    """What a changed policy would do to the nodes of a kind."""

    def ask(trust: TrustedNodes) -> Preview:
        before = {node.node_id for node in trust.nodes(kind)}
        after = set(before)
        for change in trust.preview(changed):
            if change.kind == kind:
                (after.add if change.trusted else after.discard)(change.node_id)
        return Preview.between(kind, before, after)

    return OwnLook(settings, output, wait).ask(ask)


def known_providers(settings: Settings, output: Output, wait: float, kind: Kind) -> list[Document]:
    """Every provider: how it stands with the user, and its nodes of the kind."""

    def ask(trust: TrustedNodes) -> list[Document]:
        facts = trust.trusted_set.adopted
        numbers = {name: number for number, name in facts.all_kinds().items()}
        listed: dict[int, int] = {}
        for listing in facts.all_listings():
            if listing.origin.kind == numbers.get(kind):
                listed[listing.origin.provider] = listed.get(listing.origin.provider, 0) + 1
        trusted: dict[int, int] = {}
        for node in trust.nodes(kind):
            if node.provider is not None and trust.explain(kind, node.node_id).trusted:
                trusted[node.provider] = trusted.get(node.provider, 0) + 1
        return [
            {
                "provider": number,
                "stand": _stand(trust, number, numbers.get(kind)),
                "curators": [views.voice(each) for each in _voices(trust, number, numbers.get(kind))],
                "nodes": listed.get(number, 0),
                "trusted": trusted.get(number, 0),
                "metadata": found.metadata_uri,
                "admin": "0x" + found.admin.hex(),
                "createdInBlock": found.block,
            }
            for number, found in sorted(facts.all_providers().items())
        ]

    return OwnLook(settings, output, wait).ask(ask)


def _voices(trust: TrustedNodes, provider: ProviderId, kind: KindId | None) -> Sequence[Voice]:
    return () if kind is None else voices(trust.trusted_set, provider, kind, time.time())


def _stand(trust: TrustedNodes, provider: Any, kind: KindId | None) -> str:
    if provider in trust.policy.blocked:
        return "blocked by you"
    if provider in trust.policy.chosen:
        return "chosen by you"
    view, now = trust.trusted_set, time.time()
    accepted = kind is not None and all(
        view.accepted_until(facts, provider, kind, now) > 0 for facts in (view.adopted, view.head)
    )
    return "accepted" if accepted else "not accepted"


def run_watch(settings: Settings, output: Output, http: bool = False) -> None:
    """`waypost watch`; with its local interface if that is wanted."""
    from offchain.web.trust_api import serve_trust

    config = settings.http()

    async def service(stop: Stop) -> None:
        async with AsyncExitStack() as stack:
            trust = await stack.enter_async_context(open_trust(settings))
            url = None
            if http:
                interface = serve_trust(trust, settings.home, config.host, config.port)
                url = await stack.enter_async_context(interface)
            output.event(
                {
                    "event": "ready",
                    "registry": views.hexed(trust.config.registry.address),
                    "rpc": [urlsplit(each).netloc.rpartition("@")[2] for each in trust.config.rpc],
                    "url": url,
                },
                f"watching 0x{trust.config.registry.address.hex()} on chain {trust.config.chain_id}"
                + (f", answering at {url}" if url else ""),
            )
            async with background(tell_states(output, trust), _tell_changes(output, trust)):
                await stop.wait()

    serve(service)


async def _tell_changes(output: Output, trust: TrustedNodes) -> None:
    async for change in trust.changes():
        if isinstance(change, Resync):
            output.event({"event": "resync"}, "more changed than could be told one by one; see: waypost nodes")
        else:
            tell_change(output, change)


def named_curators(settings: Settings, text: str) -> str:
    """A text with the names that the deployment has for curators beside their addresses."""
    with suppress(ConfigError):  # a running client answers without any deployment of ours
        for name, contract in settings.deployment().curators.items():
            address = "0x" + contract.address.hex()
            text = text.replace(f"curator {address}", f"curator {name} {address}")
    return text


def parsed_kind(name: str) -> Kind:
    """A kind, or a ConfigError."""
    try:
        return parse_kind(name)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def parsed_node(text: str) -> bytes:
    """What names a node: 32 bytes of its id, or 20 of its address. ConfigError says what was expected."""
    text = text.strip()
    digits = text.removeprefix("0x")
    if len(digits) in (40, 64):
        try:
            return bytes.fromhex(digits)
        except ValueError:
            pass
    try:
        return Enr.parse(text).node_id if text.startswith("enr:") else Contact.parse(text).node_id
    except DecodeError as error:
        raise ConfigError(
            f"{text[:40]!r} names no node: {error}. Expected an enode, a record (enr:..), an id of 64 hex digits or an "
            "address of 40"
        ) from None


def _node_id(trust: TrustedNodes, identity: bytes) -> NodeId:
    """The id of a node that was named by its id or its address."""
    if len(identity) == 32:
        return NodeId(identity)
    for facts in (trust.trusted_set.head, trust.trusted_set.adopted):
        address = node_address(NodeId(bytes(12) + identity))
        entry = facts.listing(address) or facts.removal(address)
        if entry is not None:
            return entry.node_id
    raise ConfigError(f"the registry never listed a node at 0x{identity.hex()}; name it by its enode, record or id")
