"""Carry out a list of administration steps from a file, in one run.

    brownie run apply main steps.json dry_run=yes
    brownie run apply main steps.json

    [{"do": "kinds create", "name": "pushserver"},
     {"do": "providers create", "metadata": "https://example.org/provider.json"},
     {"do": "nodes add", "provider": 1, "kind": "mailserver", "proofs": ["proof-a.json", {...}], "expires": "90d"},
     {"do": "curator accept", "provider": 1, "account": 1}]

`do` names a command: the file in scripts/ and the function. The other members are its arguments and options; options
of the run itself (see scripts/session.py) count where a step has none of its own. Before anything is sent every step is
checked for its form, and its proofs are read. A dry run tries the steps against the chain as it is: it stops where a
step needs an earlier one to have happened.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path

from scripts import curator, kinds, nodes, providers, token_curator
from scripts.session import Refusal, Session, command, yes

MODULES = {
    "curator": curator,
    "kinds": kinds,
    "nodes": nodes,
    "providers": providers,
    "token_curator": token_curator,
}


@command
def main(path, **options):
    Session.open(**options)  # unusable options are refused before anything happens
    steps = [_step(index, step, Path(path).parent) for index, step in enumerate(_read(Path(path)), 1)]
    dry_run = yes(options.get("dry_run", False))
    for index, (name, function, positional, named) in enumerate(steps, 1):
        try:
            function.__wrapped__(*positional, **{**options, **named})
        except Refusal as refusal:
            if dry_run and index > 1:
                print(f"step {index}, {name}: cannot be tried before the steps above have happened ({refusal})")
                return
            where = f"step {index} of {len(steps)}, {name}"
            raise Refusal(f"{where}: {refusal}; {index - 1} steps before it are done") from None


def _read(path: Path) -> list:
    try:
        steps = json.loads(path.read_text())
    except OSError as error:
        raise Refusal(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise Refusal(f"{path} is no JSON: {error}") from None
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise Refusal(f"{path} is not a list of steps")
    return steps


def _step(index: int, step: dict, folder: Path) -> tuple:
    """A step as command, positional arguments and options; proofs read, relative to the file's folder."""
    name = step.get("do")
    module, _, function_name = str(name).partition(" ")
    function = getattr(MODULES.get(module), function_name, None)
    if function is None or function_name.startswith("_") or not hasattr(function, "__wrapped__"):
        raise Refusal(f"step {index}: there is no command {name!r}")
    members = {key: value for key, value in step.items() if key != "do"}
    if "proofs" in members:
        members["proofs"] = [_proof(index, proof, folder) for proof in members["proofs"]]
    positional, named = [], {}
    signature = inspect.signature(function.__wrapped__)
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            positional.extend(members.pop(parameter.name, ()))
        elif parameter.kind is parameter.POSITIONAL_OR_KEYWORD and parameter.name in members:
            positional.append(members.pop(parameter.name))
        elif parameter.kind is parameter.KEYWORD_ONLY and parameter.name in members:
            named[parameter.name] = members.pop(parameter.name)
    common = set(inspect.signature(Session.open).parameters)
    if strange := members.keys() - common:
        raise Refusal(f"step {index}, {name}: unknown members {', '.join(sorted(strange))}")
    try:
        signature.bind(*positional, **named, **members)
    except TypeError as error:
        raise Refusal(f"step {index}, {name}: {error}") from None
    return name, function, positional, {**named, **members}


def _proof(index: int, source, folder: Path) -> dict:
    where = source if isinstance(source, dict) else folder / str(source)
    try:
        _, proof = nodes.read_proof(where)
    except Refusal as refusal:
        raise Refusal(f"step {index}: {refusal}") from None
    return proof.to_json()
