"""List, renew, remove and prune nodes.

    brownie run nodes add 1 mailserver proof-a.json proof-b.json expires=90d
    brownie run nodes renew 1 mailserver expires=90d                  all of them; or name some
    brownie run nodes remove 1 mailserver 0x8f3c...                   by address or by node id
    brownie run nodes prune 1 mailserver                              what has expired; anybody may
    brownie run nodes page 1 mailserver [start=0x8f3c...]
    brownie run nodes enr enr:-Iq4Q...                                publish a listed node's record

A proof is what `waypost node authorize` writes. Options: see scripts/session.py; and `expires` (Unix time or "90d") and
`batch` (nodes per transaction, 100).
"""

from __future__ import annotations

from pathlib import Path

from brownie import chain
from eth_utils import to_checksum_address

from offchain.enr import Enr, EnrError
from offchain.possession import Possession, PossessionError
from scripts.lists import ZERO_ADDRESS, predecessors, walk
from scripts.session import (
    Refusal,
    Session,
    address,
    at_least,
    command,
    kind_of,
    moment,
    number,
    present,
    provider_of,
    utc,
)

BATCH = 100
PAGE = 50


@command
def add(provider, kind, *proofs, expires="90d", batch=BATCH, **options):
    """List nodes whose keys agreed. Each proof is a file, or the document itself."""
    session, provider, kind_number = _open(provider, kind, options)
    registry, expiry = session.registry, moment(expires, present())
    if not proofs:
        raise Refusal("name at least one proof: `waypost node authorize` makes them")
    read = [read_proof(proof) for proof in proofs]
    for where, proof in read:
        if problem := fault(proof, registry, provider, kind_number):
            raise Refusal(f"{where}: {problem}")
    sent = []
    for part in _parts(read, batch):
        structs = [(proof.terms.node_id, proof.terms.deadline, proof.r, proof.vs) for _, proof in part]
        words = f"list {len(part)} {kind} nodes of provider {provider} until {utc(expiry)}"
        sent.append(session.send(registry, "addNodes", provider, kind_number, expiry, structs, words=words))
    return sent


@command
def renew(provider, kind, *nodes, expires="90d", batch=BATCH, **options):
    """Extend listings: those of the named nodes, or of all."""
    session, provider, kind_number = _open(provider, kind, options)
    registry, expiry = session.registry, moment(expires, present())
    listed = dict(walk(registry, provider, kind_number))
    chosen = [node_of(node) for node in nodes] or list(listed)
    _all_listed(chosen, listed, provider, kind)
    if not chosen:
        raise Refusal(f"provider {provider} lists no {kind} nodes")
    return [
        session.send(
            *(registry, "renewNodes", provider, kind_number, expiry, part),
            words=f"renew {len(part)} {kind} nodes of provider {provider} until {utc(expiry)}",
        )
        for part in _parts(chosen, batch)
    ]


@command
def remove(provider, kind, *nodes, batch=BATCH, **options):
    """Take nodes off the list; the hints that the contract wants are found here."""
    session, provider, kind_number = _open(provider, kind, options)
    if not nodes:
        raise Refusal("name at least one node, by address or by node id")
    return _take_off(session, "removeNodes", provider, kind_number, kind, [node_of(node) for node in nodes], batch)


@command
def prune(provider, kind, *nodes, batch=BATCH, **options):
    """Take expired nodes off a list: the named ones, or all. Anybody may."""
    session, provider, kind_number = _open(provider, kind, options)
    now = present()
    listed = walk(session.registry, provider, kind_number)
    chosen = [node_of(node) for node in nodes] or [node for node, info in listed if expires_at(info) <= now]
    if not chosen:
        print(f"no {kind} node of provider {provider} has expired")
        return []
    return _take_off(session, "pruneNodes", provider, kind_number, kind, chosen, batch)


@command
def page(provider, kind, *, start=ZERO_ADDRESS, batch=PAGE, **options):
    """Print a page of a list, latest addition first, and how to get the next one."""
    session, provider, kind_number = _open(provider, kind, options)
    size, now, after = at_least(1, number(batch, "batch"), "batch"), present(), address(start)
    if int(after, 16) and tuple(session.registry.nodeOf(after)[1:3]) != (provider, kind_number):
        raise Refusal(f"{after} is not, or no longer, in this list: begin again, without start=")
    nodes, infos = session.registry.nodesOf(provider, kind_number, after, size)
    for node, info in zip(nodes, infos, strict=True):
        expired = "  expired" if expires_at(info) <= now else ""
        print(f"{node}  until {utc(expires_at(info))}  listing {info[4]}{expired}")
    if len(nodes) == size:
        print(f"more: brownie run nodes page {provider} {kind} start={nodes[-1]}")
    return nodes


@command
def enr(record, **options):
    """Publish a listed node's record, for clients that cannot use the discovery network yet."""
    session = Session.open(**options)
    try:
        parsed = Enr.parse(str(record))
    except EnrError as error:
        raise Refusal(f"not a node record: {error}") from None
    node = to_checksum_address(parsed.node_id[12:])
    words = f"publish record {parsed.seq} of node {node}"
    return session.send(session.registry, "publishEnr", node, parsed.seq, parsed.raw, words=words)


def read_proof(source) -> tuple[str, Possession]:
    """A proof and where it came from; Refusal if it is none."""
    where = "proof" if isinstance(source, dict) else str(source)
    try:
        if isinstance(source, dict):
            return where, Possession.from_json(source)
        return where, Possession.parse(Path(str(source)).read_bytes())
    except OSError as error:
        raise Refusal(f"{where} cannot be read: {error.strerror}") from None
    except PossessionError as error:
        raise Refusal(f"{where}: {error}") from None


def fault(proof: Possession, registry, provider: int, kind: int) -> str | None:
    """What is wrong with a proof for this registry, provider and kind now; None if nothing is."""
    terms = proof.terms
    if terms.chain_id != chain.id:
        return f"the proof is for chain {terms.chain_id}, this is chain {chain.id}"
    if to_checksum_address(terms.registry) != registry.address:
        return f"the proof is for the registry {to_checksum_address(terms.registry)}, this is {registry.address}"
    if terms.provider != provider:
        return f"the proof is for provider {terms.provider}, not {provider}"
    if terms.kind_id != kind:
        return f"the proof is for kind {terms.kind_id} ({terms.kind}), not {kind}"
    if terms.deadline < present():
        return f"the proof was good until {utc(terms.deadline)}: have the node's operator make a new one"
    info = registry.nodeOf(to_checksum_address(proof.address))
    if info[1]:
        return f"the node is listed already, by provider {info[1]} for kind {info[2]}"
    if terms.generation != info[4] + 1:
        return f"the proof is for listing {terms.generation} of the node, the next one is {info[4] + 1}"
    return None


def node_of(text) -> str:
    """A node's address from a word: the address, or the 32-byte node id."""
    digits = str(text).removeprefix("0x").lower()
    if len(digits) == 64 and all(digit in "0123456789abcdef" for digit in digits):
        digits = digits[24:]
    return address("0x" + digits)


def expires_at(info) -> int:
    """A listing's expiry, in what nodeOf and nodesOf return."""
    return info[3]


def _take_off(session, function, provider, kind_number, kind, chosen, batch):
    order = [node for node, _ in walk(session.registry, provider, kind_number)]
    _all_listed(chosen, order, provider, kind)
    if len(set(chosen)) != len(chosen):
        raise Refusal("a node is named twice")
    hints = predecessors(order, chosen)
    sent = []
    for part in _parts(list(zip(chosen, hints, strict=True)), batch):
        leaving, before = [node for node, _ in part], [hint for _, hint in part]
        words = f"take {len(part)} {kind} nodes of provider {provider} off the list: {', '.join(leaving)}"
        sent.append(session.send(session.registry, function, provider, kind_number, leaving, before, words=words))
        if session.dry_run:
            break  # what follows can be tried only when this has happened
    return sent


def _open(provider, kind, options):
    session = Session.open(**options)
    return session, provider_of(session.registry, provider), kind_of(session.registry, kind)


def _all_listed(chosen, listed, provider, kind) -> None:
    if missing := [node for node in chosen if node not in listed]:
        raise Refusal(f"provider {provider} does not list as {kind}: {', '.join(missing)}")


def _parts(items, size):
    step = at_least(1, number(size, "batch"), "batch")
    return [items[start : start + step] for start in range(0, len(items), step)]
