"""`waypost status`, `nodes`, `verify`, `watch`: what is known of the registry, and whom that makes trusted."""

from __future__ import annotations

import time
from typing import Any

import click

from offchain.cli.context import common_options, state_of
from offchain.cli.options import chain_options, overrides
from offchain.cli.output import Exit, Failed, table
from offchain.types import MAILSERVER

_CODES = {"TAMPERED": Exit.TAMPERED, "STALE": Exit.STALE, "EXPIRED": Exit.STALE, "NEVER": Exit.STALE}
"""With what a command ends when what is known is not fresh."""

kind_option = click.option("--kind", default=MAILSERVER, show_default=True, help="What the nodes serve.")
wait_option = click.option(
    "--wait",
    type=click.FloatRange(0.1),
    default=20.0,
    show_default=True,
    help="Seconds to catch up with the registry, if `waypost serve` is not running.",
)


@click.command()
@wait_option
@chain_options
@common_options
def status(wait: float, **chain: object) -> None:
    """Say how fresh and how complete the knowledge of the registry is.

    Asks the running `waypost serve`, whose pool it shows too; or looks for itself. Ends with 4 if what is known is
    stale or expired, with 5 if an endpoint contradicted what was proven.
    """
    from offchain.cli.knowledge import learn, named_curators

    state = state_of()
    settings = state.settings(overrides(chain))
    document = learn(settings, state.output, wait).status()
    state.output.answer(document, named_curators(settings, _status_text(document)))
    _end(document["state"])


@click.command()
@kind_option
@wait_option
@chain_options
@common_options
def nodes(kind: str, wait: float, **chain: object) -> None:
    """List the nodes that are trusted, and by whose word."""
    from offchain.cli.knowledge import learn, parsed_kind

    state = state_of()
    document = learn(state.settings(overrides(chain)), state.output, wait).nodes(parsed_kind(kind))
    rows = [
        (
            str(node["nodeId"]),
            "own" if node["own"] else f"provider {node['provider']}",
            "" if node["own"] else f"until {day(node['expiresAt'])}",
            str(node.get("state") or ""),
        )
        for node in document["nodes"]
    ]
    text = table(rows, ("node", "by", "listed", "pool")) if rows else f"no {kind} is trusted; see: waypost status"
    state.output.answer(document, text)
    _end(document["state"])


@click.command()
@click.argument("node")
@kind_option
@wait_option
@chain_options
@common_options
def verify(node: str, kind: str, wait: float, **chain: object) -> None:
    """Say whether a node is trusted, with the whole chain of reasons.

    NODE is an enode, a record (enr:...), a node id or a registry address. Ends with 0 if it is trusted, 3 if not, 4 if
    what is known is too old to say or its listing has expired, 5 if an endpoint contradicted what was proven.
    """
    from offchain.cli.knowledge import learn, named_curators, parsed_kind, parsed_node

    state = state_of()
    identity = parsed_node(node)
    settings = state.settings(overrides(chain))
    document = learn(settings, state.output, wait).verify(parsed_kind(kind), identity)
    state.output.answer(document, named_curators(settings, _verify_text(document)))
    if document["own"]:
        return
    _end(document["state"])
    if not document["trusted"]:
        ended = document["expiresAt"] is not None and document["expiresAt"] <= time.time()
        raise Failed(Exit.STALE if ended else Exit.UNTRUSTED)


@click.command()
@click.option(
    "--http-port",
    type=click.IntRange(0, 65535),
    help="Also answer on this TCP port of this machine: status, nodes, reasons, changes, metrics; 0 takes a free one.",
)
@chain_options
@common_options
def watch(http_port: int | None, **chain: object) -> None:
    """Follow the registry and print what changes in whom you trust.

    Runs until it is stopped. With --json each change is a document on a line of its own, after one that says that it is
    ready.
    """
    from offchain.cli.knowledge import run_watch

    state = state_of()
    settings = state.settings(overrides(chain, http={"port": http_port}))
    run_watch(settings, state.output, http=http_port is not None)


def day(moment: object) -> str:
    """A Unix time as people read it."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(float(str(moment)))) if moment else "no end"


def _end(known: str) -> None:
    """End with the code of the state of knowledge, unless it is fresh."""
    if known in _CODES:
        raise Failed(_CODES[known])


def _status_text(document: dict[str, Any]) -> str:
    trust = document["trust"]
    rows = [(name, _plain(value, name)) for name, value in trust.items() if value not in (None, "")]
    text = f"{document['state']}; {trust['policy']['rule']}\n\n{table(rows)}"
    if document["poolNodes"]:
        pool = [
            (
                node["nodeId"][:18] + "..",
                node["state"],
                node["address"],
                "own" if node["own"] else "",
                node["reason"] or "",
            )
            for node in document["poolNodes"]
        ]
        text += "\n\n" + table(pool, ("pool", "", "", "", ""))
    if not document["serving"]:
        text += "\n\n`waypost serve` is not running: there is no pool"
    return text


def _verify_text(document: dict[str, Any]) -> str:
    word = "trusted" if document["trusted"] else "NOT trusted"
    reasons = "\n".join(f"  - {reason}" for reason in document["reasons"])
    head = f"{document['nodeId']} is {word} as {document['kind']}"
    return f"{head}\n{reasons}\n  - what is known of the registry is {document['state']}"


def _plain(value: object, name: str = "") -> str:
    if isinstance(value, dict):
        known = {key: each for key, each in value.items() if each not in (None, "")}
        return ", ".join(f"{key} {_plain(each, key)}" for key, each in known.items())
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "none"
    if isinstance(value, float):
        return day(value) if name.endswith("At") else f"{value:.3g} s"
    return str(value)
