"""`waypost providers` and `waypost own`: the user's choice, and what a change of it would do."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from offchain.cli.commands.trust import kind_option, wait_option
from offchain.cli.context import State, common_options, state_of
from offchain.cli.options import F, chain_options, overrides
from offchain.cli.output import table
from offchain.cli.settings import Settings
from offchain.types import MAILSERVER, ProviderId

if TYPE_CHECKING:
    from offchain.trust.policy import Policy

provider_argument = click.argument("provider", type=click.IntRange(1, 2**24 - 1))
dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would happen, change nothing.")


def switch_options(command: F) -> F:
    """Add what all four switches of a provider take."""
    for option in (common_options, chain_options, wait_option, kind_option, dry_run_option, provider_argument):
        command = option(command)
    return command


@click.group()
@common_options
def providers() -> None:
    """Choose whom to trust: providers, one by one."""


@providers.command(name="list")
@kind_option
@wait_option
@chain_options
@common_options
def list_providers(kind: str, wait: float, **chain: object) -> None:
    """List providers: what curators and you say of each, and how many nodes it lists."""
    from offchain.cli.knowledge import known_providers, parsed_kind

    state = state_of()
    settings = state.settings(overrides(chain))
    rows = known_providers(settings, state.output, wait, parsed_kind(kind))
    names = {"0x" + contract.address.hex(): name for name, contract in settings.deployment().curators.items()}
    lines = [
        (
            str(row["provider"]),
            row["stand"],
            "; ".join(f"{names.get(each['curator'], each['curator'])} {each['says']}" for each in row["curators"]),
            f"{row['trusted']} of {row['nodes']}",
            row["metadata"],
        )
        for row in rows
    ]
    header = ("provider", "", "curators", "trusted nodes", "says of itself")
    text = table(lines, header) if rows else "no provider is known yet"
    state.output.answer({"kind": kind, "providers": rows}, text)


@providers.command()
@switch_options
def trust(provider: int, dry_run: bool, kind: str, wait: float, **chain: object) -> None:
    """Trust a provider's nodes, whatever curators say."""
    _switch("trust", provider, dry_run, kind, wait, chain)


@providers.command()
@switch_options
def untrust(provider: int, dry_run: bool, kind: str, wait: float, **chain: object) -> None:
    """Take back `trust`: curators decide again."""
    _switch("untrust", provider, dry_run, kind, wait, chain)


@providers.command()
@switch_options
def block(provider: int, dry_run: bool, kind: str, wait: float, **chain: object) -> None:
    """Never use a provider's nodes, whatever curators say."""
    _switch("block", provider, dry_run, kind, wait, chain)


@providers.command()
@switch_options
def unblock(provider: int, dry_run: bool, kind: str, wait: float, **chain: object) -> None:
    """Take back `block`: curators decide again."""
    _switch("unblock", provider, dry_run, kind, wait, chain)


@click.group()
@common_options
def curators() -> None:
    """Choose whose word on providers counts, and how many of them must agree."""


@curators.command(name="list")
@chain_options
@common_options
def list_curators(**chain: object) -> None:
    """List the curators of this deployment, and whose word counts."""
    from offchain.trust.voices import rule

    state, settings, policy = _open(chain)
    rows = [
        {"name": name, "curator": "0x" + contract.address.hex(), "counts": contract.address in policy.curators}
        for name, contract in settings.deployment().curators.items()
    ]
    said = rule(policy)
    lines = [(str(row["name"]), str(row["curator"]), "counts" if row["counts"] else "") for row in rows]
    document: dict[str, object] = {"curators": rows, "threshold": policy.threshold, "rule": said}
    state.output.answer(document, f"{said}\n\n{table(lines, ('curator', 'contract', ''))}")


@curators.command()
@click.argument("names", nargs=-1, required=True, metavar="CURATOR...")
@click.option("--threshold", type=click.IntRange(1), help="How many of them must accept a provider.  [default: all]")
@dry_run_option
@kind_option
@wait_option
@chain_options
@common_options
def use(names: tuple[str, ...], threshold: int | None, dry_run: bool, kind: str, wait: float, **chain: object) -> None:
    """Let these curators decide, by name or address, and no others."""
    from offchain.cli.policy_edits import use_curators
    from offchain.trust.voices import rule

    state, settings, policy = _open(chain)
    known = {name: contract.address for name, contract in settings.deployment().curators.items()}

    def edit(now: Policy) -> Policy:
        return use_curators(now, names, known, threshold)

    changed = edit(policy)
    said: dict[str, object] = {
        "curators": ["0x" + curator.hex() for curator in changed.curators],
        "threshold": changed.threshold,
        "rule": rule(changed),
    }
    _change(state, settings, (policy, edit), dry_run, kind, wait, said, rule(changed))


@click.group()
@common_options
def own() -> None:
    """Keep own nodes, which are always trusted."""


@own.command()
@click.argument("node")
@click.option("--kind", default=MAILSERVER, show_default=True, help="What it serves.")
@click.option("--label", default="", help="What you call it.")
@chain_options
@common_options
def add(node: str, kind: str, label: str, **chain: object) -> None:
    """Use a node, always: an enode (enode://...) or a record (enr:...). It needs nobody's word."""
    from offchain.cli.policy_edits import add_own

    state, settings, policy = _open(chain)
    added = add_own(policy, node, kind, label)[1]
    changed = _edit(settings, lambda now: add_own(now, node, kind, label)[0])
    state.output.answer(
        {"changed": changed != policy, **_own_document(added)},
        f"{_name(added)} is one of your own {added.kind} nodes now",
    )


@own.command()
@click.argument("node")
@chain_options
@common_options
def remove(node: str, **chain: object) -> None:
    """Forget an own node: by its id, enode, record or label."""
    from offchain.cli.policy_edits import remove_own

    state, settings, policy = _open(chain)
    removed = remove_own(policy, node)[1]
    _edit(settings, lambda now: remove_own(now, node)[0])
    state.output.answer({"changed": True, **_own_document(removed)}, f"{_name(removed)} is none of your own nodes now")


@own.command(name="list")
@chain_options
@common_options
def list_own(**chain: object) -> None:
    """List your own nodes."""
    state, _, policy = _open(chain)
    rows = [("0x" + each.node_id.hex(), str(each.kind), each.label) for each in policy.own]
    text = table(rows, ("node", "kind", "label")) if rows else "you have no own nodes; see: waypost own add --help"
    state.output.answer({"own": [_own_document(each) for each in policy.own]}, text)


def _switch(action: str, provider: int, dry_run: bool, kind: str, wait: float, chain: dict[str, object]) -> None:
    from offchain.cli.policy_edits import edit_provider

    state, settings, policy = _open(chain)
    said: dict[str, object] = {"action": action, "provider": provider}

    def edit(now: Policy) -> Policy:
        return edit_provider(now, action, ProviderId(provider))

    _change(state, settings, (policy, edit), dry_run, kind, wait, said, f"{action} provider {provider}")


def _change(
    state: State,
    settings: Settings,
    change: tuple[Policy, Callable[[Policy], Policy]],
    dry_run: bool,
    kind: str,
    wait: float,
    said: dict[str, object],
    text: str,
) -> None:
    """Edit the policy that was read: preview, ask if it would leave nothing, write, say what was done."""
    from offchain.cli.knowledge import parsed_kind, preview

    policy, edit = change
    changed = edit(policy)
    seen = preview(settings, state.output, wait, parsed_kind(kind), changed)
    if not dry_run and changed != policy:
        if seen.empties:
            state.confirm(f"No {kind} node would be left. Go on?")
        _edit(settings, edit)
    document: dict[str, object] = {
        **said,
        "kind": kind,
        "dryRun": dry_run,
        "changed": changed != policy,
        "nodes": len(seen.before),
        "stay": seen.stay,
        "leaving": ["0x" + node_id.hex() for node_id in seen.leaving],
        "joining": ["0x" + node_id.hex() for node_id in seen.joining],
        "summary": seen.summary,
    }
    done = "nothing changes: it is so already" if changed == policy else ("would" if dry_run else "done")
    text = f"{text}: {seen.summary}"
    state.output.answer(document, f"{text} ({done})" if done != "would" else f"{text} (dry run, nothing was changed)")


def _open(chain: dict[str, object]) -> tuple[State, Settings, Any]:
    from offchain.cli.knowledge import read_policy

    state = state_of()
    settings = state.settings(overrides(chain))
    return state, settings, read_policy(settings)


def _edit(settings: Settings, change: Any) -> Any:
    """Change the policy in the file as it is by now: the user may have thought for long."""
    from offchain.node.policy_watch import default_policy
    from offchain.trust.policy_file import edit_policy

    return edit_policy(settings.policy_path, default_policy(settings.chain()), change)


def _own_document(node: Any) -> dict[str, object]:
    return {"nodeId": "0x" + node.node_id.hex(), "kind": node.kind, "url": node.url, "label": node.label}


def _name(node: Any) -> str:
    short = "0x" + node.node_id.hex()[:16] + ".."
    return f"{node.label} ({short})" if node.label else short
