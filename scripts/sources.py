"""The contracts' sources as a compiler wants them, and whether code on a chain is what they compile to.

    python scripts/sources.py NodeRegistry > input.json

Needs the compiler of the set-up, not Brownie.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PREFIX, FOLDER = "@openzeppelin", "./node_modules/@openzeppelin"
SOLC_VERSION = "0.8.37"
SOURCES = {
    "NodeRegistry": "contracts/NodeRegistry.sol",
    "OwnerCurator": "contracts/curation/OwnerCurator.sol",
    "TokenCurator": "contracts/curation/TokenCurator.sol",
    "BallotBox": "contracts/curation/BallotBox.sol",
    "Parameters": "contracts/curation/Parameters.sol",
    "ParameterVote": "contracts/curation/ParameterVote.sol",
    "DiscoveryLens": "contracts/DiscoveryLens.sol",
}
SETTINGS = {
    # As in brownie-config.yaml: each is part of the metadata, whose hash is at the end of the code.
    "remappings": [f"{PREFIX}={FOLDER}"],
    "optimizer": {"enabled": True, "runs": 200},
    "evmVersion": "cancun",
}


class Mismatch(Exception):
    """What is on the chain is not what the sources compile to; the text says where it differs."""


def standard_input(name: str) -> dict[str, Any]:
    """The compiler's input for a contract: its source and all it imports, in full, under Brownie's names for them."""
    wanted, sources = [SOURCES[name]], {}
    while wanted:
        path = wanted.pop()
        if path in sources:
            continue
        sources[path] = {"content": (ROOT / path).read_text()}
        wanted.extend(_imports(path, sources[path]["content"]))
    return {
        "language": "Solidity",
        "sources": dict(sorted(sources.items())),
        "settings": {
            **SETTINGS,
            "outputSelection": {"*": {"*": ["abi", "evm.bytecode", "evm.deployedBytecode", "metadata"]}},
        },
    }


def compiled(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The compiler's output for each deployed contract of an input. Nothing besides the input is read."""
    output = solc(document)
    return {name: output["contracts"][path][name] for name, path in SOURCES.items() if path in document["sources"]}


def solc(document: dict[str, Any], *options: str, cwd: Path | None = None) -> dict[str, Any]:
    """What the compiler of the set-up answers to a standard JSON input. Mismatch with its words if it finds errors."""
    folder = Path(os.environ.get("SOLCX_BINARY_PATH", ROOT / ".solcx"))
    process = subprocess.run(
        [folder / f"solc-v{SOLC_VERSION}", "--standard-json", *options],
        input=json.dumps(document), capture_output=True, text=True, check=True, cwd=cwd,
    )  # fmt: skip
    output: dict[str, Any] = json.loads(process.stdout)
    errors = [error["formattedMessage"] for error in output.get("errors", ()) if error["severity"] == "error"]
    if errors:
        raise Mismatch("\n".join(errors))
    return output


def check_sent(output: dict[str, Any], sent: bytes, arguments: bytes) -> None:
    """Mismatch unless a creating transaction's data is the creation code with just these arguments."""
    if sent != bytes.fromhex(output["evm"]["bytecode"]["object"]) + arguments:
        raise Mismatch("the transaction that created it sent other code or other arguments")


def check_code(output: dict[str, Any], code: bytes) -> None:
    """Mismatch unless a contract's code is the compiled one, with any values at the places of immutables."""
    deployed = output["evm"]["deployedBytecode"]
    expected, found = bytearray.fromhex(deployed["object"]), bytearray(code)
    if len(expected) != len(found):
        raise Mismatch(f"the code has {len(found)} bytes, expected {len(expected)}")
    for places in deployed["immutableReferences"].values():
        for place in places:
            start, end = place["start"], place["start"] + place["length"]
            found[start:end] = expected[start:end]
    if found != expected:
        at = next(index for index, pair in enumerate(zip(found, expected, strict=True)) if pair[0] != pair[1])
        raise Mismatch(f"the code differs from byte {at} on")


def _imports(path: str, text: str) -> list[str]:
    """The sources that one imports, under the names that the compiler gives them."""
    found = []
    for target in re.findall(r'^\s*(?:import|\}\s*from)[^";]*"([^"]+)"', text, re.MULTILINE):
        if target.startswith(PREFIX + "/"):
            found.append(FOLDER + target.removeprefix(PREFIX))
        else:
            found.append(_joined(path, target))
    return found


def _joined(path: str, target: str) -> str:
    if not target.startswith("."):
        return target
    joined = os.path.normpath(os.path.join(os.path.dirname(path), target))
    return f"./{joined}" if path.startswith("./") else joined


if __name__ == "__main__":
    print(json.dumps(standard_input(sys.argv[1]), indent=1))
