"""Write what off-chain code needs to know of the contracts to offchain/chain/abi/: ABI and storage layout, as compiled.

    python -m scripts.export_abi           write the files
    python -m scripts.export_abi --check   say which are out of date; exit 1 if any is

Needs the compiler of the set-up, not Brownie.
"""

from __future__ import annotations

import json
import sys

from scripts.sources import ROOT, SOURCES, Mismatch, solc

TARGET = ROOT / "offchain" / "chain" / "abi"


def main() -> None:
    documents = exported()
    stale = [name for name, text in documents.items() if _read(name) != text]
    if "--check" in sys.argv[1:]:
        if stale:
            sys.exit(f"out of date: {', '.join(stale)}; run: python -m scripts.export_abi")
        return
    TARGET.mkdir(parents=True, exist_ok=True)
    for name, text in documents.items():
        (TARGET / f"{name}.json").write_text(text)


def exported() -> dict[str, str]:
    """The files' text by contract name."""
    output = compiled()
    return {name: _document(name, output["contracts"][path][name]) for name, path in SOURCES.items()}


def compiled() -> dict:
    """The compiler's ABI and storage layout of the contracts and all they import."""
    request = {
        "language": "Solidity",
        "sources": {path: {"content": (ROOT / path).read_text()} for path in SOURCES.values()},
        "settings": {
            "remappings": ["@openzeppelin=node_modules/@openzeppelin"],
            "evmVersion": "cancun",
            "outputSelection": {"*": {"*": ["abi", "storageLayout"]}},
        },
    }
    try:
        return solc(request, "--allow-paths", str(ROOT), cwd=ROOT)
    except Mismatch as error:
        sys.exit(str(error))


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
