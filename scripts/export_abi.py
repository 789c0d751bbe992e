"""Write what off-chain code needs to know of the contracts to offchain/chain/abi/: ABI and storage layout, as compiled.

    python scripts/export_abi.py           write the files
    python scripts/export_abi.py --check   say which are out of date; exit 1 if any is

Needs the compiler of the set-up, not Brownie.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "offchain" / "chain" / "abi"
CONTRACTS = {
    "NodeRegistry": "contracts/NodeRegistry.sol",
    "OwnerCurator": "contracts/curation/OwnerCurator.sol",
    "TokenCurator": "contracts/curation/TokenCurator.sol",
    "BallotBox": "contracts/curation/BallotBox.sol",
    "Parameters": "contracts/curation/Parameters.sol",
    "ParameterVote": "contracts/curation/ParameterVote.sol",
    "DiscoveryLens": "contracts/DiscoveryLens.sol",
}
SOLC_VERSION = "0.8.37"


def main() -> None:
    documents = exported()
    stale = [name for name, text in documents.items() if _read(name) != text]
    if "--check" in sys.argv[1:]:
        if stale:
            sys.exit(f"out of date: {', '.join(stale)}; run: python scripts/export_abi.py")
        return
    TARGET.mkdir(parents=True, exist_ok=True)
    for name, text in documents.items():
        (TARGET / f"{name}.json").write_text(text)


def exported() -> dict[str, str]:
    """The files' text by contract name."""
    output = compiled()
    return {name: _document(name, output["contracts"][path][name]) for name, path in CONTRACTS.items()}


def compiled() -> dict:
    """The compiler's ABI and storage layout of the contracts and all they import."""
    request = {
        "language": "Solidity",
        "sources": {path: {"content": (ROOT / path).read_text()} for path in CONTRACTS.values()},
        "settings": {
            "remappings": ["@openzeppelin=node_modules/@openzeppelin"],
            "evmVersion": "cancun",
            "outputSelection": {"*": {"*": ["abi", "storageLayout"]}},
        },
    }
    folder = Path(os.environ.get("SOLCX_BINARY_PATH", ROOT / ".solcx"))
    process = subprocess.run(
        [folder / f"solc-v{SOLC_VERSION}", "--standard-json", "--allow-paths", str(ROOT)],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    output: dict = json.loads(process.stdout)
    errors = [error["formattedMessage"] for error in output.get("errors", ()) if error["severity"] == "error"]
    if errors:
        sys.exit("\n".join(errors))
    return output


def storage(layout: dict) -> dict[str, dict]:
    """A compiler's storage layout without its names for types and places in sources."""
    types = layout["types"]
    return {
        entry["label"]: {
            "slot": int(entry["slot"]),
            "offset": entry["offset"],
            "type": types[entry["type"]]["label"],
        }
        for entry in layout["storage"]
    }


def _document(name: str, output: dict) -> str:
    """One line per member, so that a change can be read."""
    abi = ",\n".join("    " + json.dumps(entry, sort_keys=True) for entry in output["abi"])
    slots = ",\n".join(
        f"    {json.dumps(label)}: {json.dumps(place)}" for label, place in storage(output["storageLayout"]).items()
    )
    return f'{{\n  "contract": "{name}",\n  "abi": [\n{abi}\n  ],\n  "storage": {{\n{slots}\n  }}\n}}\n'


def _read(name: str) -> str | None:
    path = TARGET / f"{name}.json"
    return path.read_text() if path.exists() else None


if __name__ == "__main__":
    main()
