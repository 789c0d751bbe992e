"""Deploy NodeRegistry and OwnerCurator and record where they are.

    brownie run deploy                                              to a local chain that Brownie starts
    brownie run deploy main account=ops --network sepolia
    WAYPOST_RPC=http://127.0.0.1:8545 brownie run deploy main --network waypost

Options: see scripts/session.py; and `record`, the file to write instead of deployments/<network>.json.
"""

from __future__ import annotations

import json
from pathlib import Path

from brownie import NodeRegistry, OwnerCurator, chain, network
from brownie._config import CONFIG

from scripts.session import DEPLOYMENTS, Session, command


@command
def main(*, record=None, **options):
    session = Session.open(**options)
    if session.dry_run:
        print(f"would deploy NodeRegistry and OwnerCurator to chain {chain.id} from {session.sender},")
        print("  who becomes guardian of the one and owner of the other")
        return None
    contracts = deploy(session.sender, session.confirmations)
    if record or CONFIG.network_type == "live":
        print(write_record(contracts, Path(record) if record else DEPLOYMENTS / f"{network.show_active()}.json"))
    return contracts


def deploy(sender, confirmations=1):
    """Deploy and return registry and curator; the sender is guardian of the one and owner of the other."""
    terms = {"from": sender, "required_confs": confirmations}
    return NodeRegistry.deploy(sender, terms), OwnerCurator.deploy(sender, terms)


def write_record(contracts, path):
    """Write chain, and address and block of each contract: where a follower begins. Returns the path."""
    document = {
        "network": network.show_active(),
        "chainId": chain.id,
        "contracts": {
            contract._name: {"address": contract.address, "block": contract.tx.block_number} for contract in contracts
        },
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n")
    return path
