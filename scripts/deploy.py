"""Deploy NodeRegistry and OwnerCurator and record where they are.

    brownie run deploy                                              to a local chain that Brownie starts
    brownie run deploy main account=ops dry_run=yes --network sepolia
    brownie run deploy main account=ops confirmations=5 --network sepolia
    WAYPOST_RPC=http://127.0.0.1:8545 brownie run deploy main --network waypost

Run again with the same options, it goes on where an earlier run ended. Options: see scripts/session.py; and `record`,
the file to write instead of deployments/<network>.json. docs/how-to/deployer.md is the guide for a live chain.
"""

from __future__ import annotations

from pathlib import Path

from brownie import NodeRegistry, OwnerCurator, chain, network
from brownie._config import CONFIG

from scripts import live
from scripts.deployment import Deployment
from scripts.session import DEPLOYMENTS, Refusal, Session, command

NAMES = ("NodeRegistry", "OwnerCurator")


@command
def main(*, record=None, **options):
    session = Session.open(**options)
    deployment = begin(session, record, options.get("chain_id"))
    if deployment.holds(*NAMES):
        raise Refusal(f"{deployment.path} has both already: for another deployment name another file, record=FILE")
    contracts = deploy(session.sender, deployment=deployment)
    if session.dry_run:
        print(f"{session.sender} would be guardian of the one and owner of the other")
        deployment.tell_cost()
        return None
    if deployment.path:
        print(deployment.path)
    return contracts


def deploy(sender, confirmations=1, deployment: Deployment | None = None):
    """Deploy and return registry and curator; the sender is guardian of the one and owner of the other."""
    made = deployment or Deployment(sender, confirmations)
    return made.contract(NodeRegistry, str(sender)), made.contract(OwnerCurator, str(sender))


def begin(session: Session, record=None, chain_id=None) -> Deployment:
    """A deployment, or one to go on with, in the file that was named or in the network's own."""
    live_network = CONFIG.network_type == "live"
    untold = live_network and chain_id is None and network.show_active() in live.ANY_CHAIN
    if untold and chain.id not in live.LOCAL_CHAINS and not session.dry_run:
        raise Refusal(f"the endpoint serves chain {chain.id}: say chain_id={chain.id} if that is the one you mean")
    named = record or session.deployment
    path = Path(named) if named else DEPLOYMENTS / f"{network.show_active()}.json" if live_network else None
    return Deployment(session.sender, session.confirmations, path, session.dry_run)
