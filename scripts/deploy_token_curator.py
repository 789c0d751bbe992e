"""Deploy the token-curated registry beside a NodeRegistry, and record where it is.

    brownie run deploy_token_curator                                 to a local chain, with a registry and a test token
    brownie run deploy_token_curator main token=0x... account=ops --network sepolia
    ... by=vote                                                      terms are changed by vote, not by a role
    ... delay=172800 treasury=0x...                                  what new terms wait; who gets what is nobody's

Options: see scripts/session.py; and `record`, the file to write instead of deployments/<network>.json. The registry is
the one recorded there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from brownie import (
    BallotBox,
    DiscoveryLens,
    NodeRegistry,
    Parameters,
    ParameterVote,
    TestToken,
    TokenCurator,
    chain,
    network,
)
from brownie._config import CONFIG

from scripts.session import DEPLOYMENTS, Refusal, Session, address, command, number
from scripts.terms import DAY, DEFAULT, MAXIMUM, MINIMUM, TOKEN, Terms


class Curation(NamedTuple):
    """The contracts of a token-curated registry."""

    token: Any
    ballot_box: Any
    parameters: Any
    curator: Any
    vote: Any
    """Consumer of the ballot box in any case; governs `parameters` if the deployment chose so."""
    lens: Any

    def contracts(self) -> tuple:
        """Those that a deployment records."""
        return self.ballot_box, self.parameters, self.curator, self.vote, self.lens


@command
def main(*, token=None, by="role", delay=2 * DAY, treasury=None, record=None, **options):
    session = Session.open(**options)
    live = CONFIG.network_type == "live"
    if by not in ("role", "vote"):
        raise Refusal(f"found by={by!r}, expected role or vote")
    if token is None and live:
        raise Refusal("say which token: token=0x...")
    if session.dry_run:
        print(f"would deploy BallotBox, Parameters, TokenCurator, ParameterVote, DiscoveryLens to chain {chain.id}")
        print(f"  from {session.sender}; terms are then changed by a {by}")
        return None
    terms = {"from": session.sender, "required_confs": session.confirmations}
    fresh = () if live or len(NodeRegistry) else (NodeRegistry.deploy(session.sender, terms),)
    registry = fresh[0] if fresh else session.registry
    made = deploy(
        session.sender,
        registry,
        TestToken.at(address(token), persist=False) if token else TestToken.deploy(10**9 * TOKEN, terms),
        by_vote=by == "vote",
        delay=number(delay, "delay"),
        treasury=address(treasury) if treasury else None,
        confirmations=session.confirmations,
    )
    if record or live:
        path = Path(record) if record else session.deployment or DEPLOYMENTS / f"{network.show_active()}.json"
        print(add_record((*fresh, *made.contracts()), path))
    return made


def deploy(
    sender,
    registry,
    token,
    *,
    terms: Terms = DEFAULT,
    minimum: Terms = MINIMUM,
    maximum: Terms = MAXIMUM,
    delay: int = 2 * DAY,
    treasury=None,
    by_vote: bool = False,
    confirmations: int = 1,
) -> Curation:
    """Deploy all of it. The sender owns the ballot box (it may register consumers) and, unless `by_vote`, the terms."""
    by = {"from": sender, "required_confs": confirmations}
    ballot_box = BallotBox.deploy(token, treasury or sender, sender, by)
    parameters = Parameters.deploy(terms, minimum, maximum, delay, sender, by)
    curator = TokenCurator.deploy(registry, ballot_box, parameters, token, by)
    vote = ParameterVote.deploy(ballot_box, parameters, token, by)
    lens = DiscoveryLens.deploy(registry, by)
    ballot_box.registerConsumer(curator, by)
    ballot_box.registerConsumer(vote, by)
    if by_vote:
        parameters.transferOwnership(vote, by)
        vote.acceptParameters(by)
    return Curation(token, ballot_box, parameters, curator, vote, lens)


def add_record(contracts, path: Path) -> Path:
    """Add address and block of each contract to a record of this chain; one of another chain is not touched."""
    document = {"network": network.show_active(), "chainId": chain.id, "contracts": {}}
    if path.exists():
        document = json.loads(path.read_text())
        if document["chainId"] != chain.id:
            raise Refusal(f"{path} is of chain {document['chainId']}, this is chain {chain.id}")
    for contract in contracts:
        document["contracts"][contract._name] = {"address": contract.address, "block": contract.tx.block_number}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n")
    return path
