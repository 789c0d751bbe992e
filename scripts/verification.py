"""What an explorer needs to verify the contracts of a deployment, and the same check made here.

    brownie run verification main --network sepolia
    brownie run verification main NodeRegistry --network sepolia        only this one

writes deployments/<network>.verification/: for each contract the compiler's standard JSON input, to be given to the
explorer as it is, and index.json with what else its form asks for (compiler, contract, address, constructor arguments).
Before it writes anything it compiles each input again, and refuses unless that is, byte by byte, what was sent to the
chain and what is there now: the transaction's data is the creation code with the recorded arguments; the code at the
address is the compiled one, what the constructor put at the places of immutables aside.

Options: `record`, the deployment's file instead of deployments/<network>.json.
"""

from __future__ import annotations

import json

from brownie import chain, web3

from scripts import live
from scripts.session import Refusal, command, record_of
from scripts.sources import SOURCES, Mismatch, check_code, check_sent, compiled, standard_input


@command
def main(*names, record=None):
    """Check the contracts of the record, and write what an explorer needs for each. Returns the folder."""
    path, document = record_of(record)
    entries = {name: entry for name, entry in document["contracts"].items() if name in SOURCES}
    if unknown := set(names) - entries.keys():
        raise Refusal(f"{path} has no {', '.join(sorted(unknown))}; it has {', '.join(entries)}")
    checked = {name: _check(name, entries[name]) for name in names or entries}
    folder = path.with_suffix(".verification")
    folder.mkdir(exist_ok=True)
    for name, (source, _) in checked.items():
        (folder / f"{name}.json").write_text(json.dumps(source, indent=1) + "\n")
    form = {name: fields for name, (_, fields) in checked.items()}
    (folder / "index.json").write_text(json.dumps({"chainId": chain.id, "contracts": form}, indent=2) + "\n")
    print(folder)
    return folder


def _check(name: str, entry: dict) -> tuple[dict, dict]:
    """A contract's input and the other fields of an explorer's form; Refusal if the chain has something else."""
    source = standard_input(name)
    output = compiled(source)[name]
    try:
        sent = bytes(live.transaction(entry["transaction"])["input"])
        check_sent(output, sent, bytes.fromhex(entry["arguments"][2:]))
        check_code(output, bytes(web3.eth.get_code(entry["address"])))
    except KeyError as missing:
        raise Refusal(f"the record of {name} has no {missing}: it was written by an older version") from None
    except Mismatch as mismatch:
        raise Refusal(f"{name} at {entry['address']}: {mismatch}") from None
    print(f"{name} at {entry['address']}: byte by byte what the sources compile to")
    return source, {
        "address": entry["address"],
        "contract": f"{SOURCES[name]}:{name}",
        "compiler": f"v{json.loads(output['metadata'])['compiler']['version']}",
        "constructorArguments": entry["arguments"][2:],
        "input": f"{name}.json",
    }
