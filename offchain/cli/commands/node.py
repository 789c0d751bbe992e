"""`waypost node`: keys, records and possession proofs of a node; a plain discovery node."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from offchain.cli.context import common_options, state_of
from offchain.cli.options import bootnode_option, chain_options, host_option, key_option, overrides, port_option
from offchain.cli.output import table
from offchain.enr import Enr
from offchain.errors import ConfigError
from offchain.hashing import keccak256
from offchain.keys import PrivateKey
from offchain.possession import Possession, PossessionError, Terms, authorize
from offchain.types import MAILSERVER, Address, Kind, KindId, ProviderId, parse_ip, parse_kind

DEFAULT_VALIDITY = 7 * 24 * 3600
"""Seconds for which a possession proof may be used, unless told otherwise."""


@click.group()
@common_options
def node() -> None:
    """Keys, records and proofs of a node; run a plain discovery node."""


@node.command()
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="File to write.  [default: the node key]")
@click.option("--show", is_flag=True, help="Make nothing; show the identity of the key that is there.")
@common_options
def key(out: Path | None, show: bool) -> None:
    """Make a node's private key.

    The file is readable by you alone and is never overwritten. The node's id, its address in the registry and its
    public key are printed; none of them is secret.
    """
    state = state_of()
    path = out or state.settings().key_path()
    if show:
        made = PrivateKey.load(path)
    else:
        made = PrivateKey.generate()
        try:
            made.save(path)
        except ConfigError as error:
            raise ConfigError(f"{error}. To see whose it is: --show") from None
    public = made.public
    document: dict[str, object] = {
        "key": str(path),
        "nodeId": _hex(public.node_id),
        "address": _hex(public.address),
        "publicKey": _hex(public.to_bytes()),
    }
    text = table(
        [
            ("key file", str(path)),
            ("node id", _hex(public.node_id)),
            ("address", _hex(public.address)),
            ("public key", _hex(public.to_bytes())),
        ]
    )
    state.output.answer(document, text)


@node.command()
@key_option
@click.option("--ip", required=True, help="Address at which others reach the node.")
@click.option("--udp", type=click.IntRange(1, 65535), help="Discovery port.")
@click.option("--tcp", type=click.IntRange(1, 65535), help="RLPx port.")
@click.option("--kind", "kinds", multiple=True, help="What the node serves; may be given more than once.")
@click.option("--seq", type=click.IntRange(0, 2**64 - 1), help="Sequence number.  [default: the time]")
@common_options
def enr(
    key_path: Path | None, ip: str, udp: int | None, tcp: int | None, kinds: tuple[str, ...], seq: int | None
) -> None:
    """Make a node's record (EIP-778), signed by its key.

    A running node makes its own; this is for publishing one, or for a bootstrap list.
    """
    state = state_of()
    secret = PrivateKey.load(key_path or state.settings().key_path())
    try:
        record = Enr.create(
            secret,
            int(time.time()) if seq is None else seq,
            ip=parse_ip(ip),
            udp=udp,
            tcp=tcp,
            kinds=[parse_kind(name) for name in kinds],
        )
    except ValueError as error:
        raise ConfigError(str(error)) from None
    document: dict[str, object] = {
        "enr": record.text,
        "nodeId": _hex(record.node_id),
        "seq": record.seq,
        "kinds": list(record.kinds),
    }
    state.output.answer(document, record.text)


@node.command(name="authorize")
@key_option
@click.option("--provider", type=click.IntRange(1, 2**24 - 1), required=True, help="Number of the provider.")
@click.option("--kind", default=MAILSERVER, show_default=True, help="What the node serves.")
@click.option("--valid", type=click.IntRange(1), default=DEFAULT_VALIDITY, show_default=True, help="Seconds.")
@click.option("--deadline", type=click.IntRange(1), help="Unix time, instead of --valid.")
@click.option(
    "--kind-id", type=click.IntRange(1, 2**24 - 1), help="The registry's number of the kind, to work offline."
)
@click.option("--generation", type=click.IntRange(1, 2**16 - 1), help="The listing's number, to work offline.")
@chain_options
@common_options
def authorize_command(
    key_path: Path | None,
    provider: int,
    kind: str,
    valid: int,
    deadline: int | None,
    kind_id: int | None,
    generation: int | None,
    **chain: object,
) -> None:
    """Let a provider list this node: sign a possession proof.

    The proof is for one listing by one provider for one kind. Hand it to the provider, who sends it to the registry.
    Without --kind-id and --generation the registry is asked for them.
    """
    state = state_of()
    settings = state.settings(overrides(chain))
    secret = PrivateKey.load(key_path or settings.key_path())
    deployment = settings.deployment()
    name = _kind(kind)
    if kind_id is None or generation is None:
        asked_kind, asked_generation = _ask(settings.chain().rpc, deployment.registry.address, secret, name)
        kind_id, generation = kind_id or asked_kind, generation or asked_generation + 1
    proof = authorize(
        secret,
        Terms(
            secret.public.node_id,
            ProviderId(provider),
            name,
            KindId(kind_id),
            generation,
            deadline or int(time.time()) + valid,
            deployment.chain_id,
            deployment.registry.address,
        ),
    )
    document = proof.to_json()
    if state.output.as_json:
        state.output.answer(document, "")
    else:
        state.output.answer(document, json.dumps(document, indent=2))


@node.command(name="check-proof")
@click.argument("file", type=click.Path(dir_okay=False, exists=True, path_type=Path))
@common_options
def check_proof(file: Path) -> None:
    """Check a possession proof that an operator handed over, before paying for a transaction."""
    try:
        terms = Possession.parse(file.read_bytes()).terms
    except PossessionError as error:
        raise PossessionError(f"{file}: {error}") from None
    left = terms.deadline - int(time.time())
    if left <= 0:
        raise PossessionError(f"the proof's deadline passed {-left} s ago; the operator must make a new one")
    state_of().output.answer(
        {"valid": True, "nodeId": _hex(terms.node_id), "provider": terms.provider, "secondsLeft": left},
        f"node {_hex(terms.node_id)} agrees to be listed by provider {terms.provider} as {terms.kind}, "
        f"generation {terms.generation}; the proof can be used for {left} s",
    )


@node.command()
@key_option
@host_option
@port_option
@bootnode_option
@click.option("--kind", "kinds", multiple=True, help="A kind to announce; another program serves it.")
@click.option("--tcp", type=click.IntRange(1, 65535), help="RLPx port of that program.")
@click.option(
    "--http-port",
    type=click.IntRange(0, 65535),
    help="Also answer on this TCP port of this machine: /healthz, /metrics, /v1/status; 0 takes a free one.",
)
@common_options
def run(
    key_path: Path | None,
    host: str | None,
    port: int | None,
    bootnodes: tuple[str, ...],
    kinds: tuple[str, ...],
    tcp: int | None,
    http_port: int | None,
) -> None:
    """Run a plain discovery node: a bootstrap node, or one that announces what another program serves."""
    from offchain.cli.services import run_plain_node

    state = state_of()
    changes = {"host": host, "port": port, "bootnodes": bootnodes}
    settings = state.settings(overrides({}, discovery=changes, http={"port": http_port}))
    kinds_served = tuple(_kind(name) for name in kinds)
    run_plain_node(state.output, settings, key_path, kinds_served, tcp, http_port is not None)


def _ask(rpc: tuple[str, ...], registry: Address, secret: PrivateKey, kind: Kind) -> tuple[int, int]:
    """The kind's number and the node's present generation, by two calls."""
    from offchain.cli.calls import call_contract

    words = call_contract(
        rpc,
        registry,
        [("kindOf(bytes32)", keccak256(kind.encode())), ("nodeOf(address)", secret.public.address.rjust(32, b"\0"))],
    )
    kind_id = int.from_bytes(words[0][:32], "big")
    if kind_id == 0:
        raise ConfigError(f"the registry knows no kind {kind!r}; it is made by: brownie run kinds create {kind}")
    return kind_id, int.from_bytes(words[1][128:160], "big")


def _kind(name: str) -> Kind:
    try:
        return parse_kind(name)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _hex(data: bytes) -> str:
    return "0x" + data.hex()
