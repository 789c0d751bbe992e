"""Deploy NodeRegistry and OwnerCurator and record where they are.

    brownie run deploy                                       to a local chain that Brownie starts
    brownie run deploy main my-keystore-id --network sepolia
"""

from __future__ import annotations

import json
from pathlib import Path

from brownie import NodeRegistry, OwnerCurator, accounts, chain, network

DEPLOYMENTS = Path(__file__).resolve().parent.parent / "deployments"


def main(account=None):
    sender = accounts.load(account) if account else accounts[0]
    registry, curator = deploy(sender)
    print(record(network.show_active(), registry, curator))
    return registry, curator


def deploy(sender, confirmations=1):
    """Deploy and return registry and curator; the sender is guardian of one and owner of the other."""
    terms = {"from": sender, "required_confs": confirmations}
    return NodeRegistry.deploy(sender, terms), OwnerCurator.deploy(sender, terms)


def record(name, *contracts, folder=DEPLOYMENTS):
    """Write deployments/<name>.json: chain, and address and block of each contract. Returns the path."""
    document = {
        "network": name,
        "chainId": chain.id,
        "contracts": {
            contract._name: {"address": contract.address, "block": contract.tx.block_number} for contract in contracts
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(document, indent=2) + "\n")
    return path
