"""Print the compiler's input for slither: every contract, with the settings of brownie-config.yaml."""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

sources = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "contracts").rglob("*.sol"))
document = {
    "language": "Solidity",
    "sources": {source: {"urls": [source]} for source in sources},
    "settings": {
        "remappings": ["@openzeppelin=node_modules/@openzeppelin"],
        "optimizer": {"enabled": True, "runs": 200},
        "evmVersion": "cancun",
        "outputSelection": {
            "*": {
                "*": [
                    "abi",
                    "metadata",
                    "devdoc",
                    "userdoc",
                    "evm.bytecode",
                    "evm.deployedBytecode",
                    "evm.methodIdentifiers",
                ],
                "": ["ast"],
            }
        },
    },
}
print(json.dumps(document, indent=2))
