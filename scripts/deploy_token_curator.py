"""Deploy the token-curated registry beside a NodeRegistry, and record where it is.

    brownie run deploy_token_curator main token=0x... --network sepolia account=my-keystore-id
    brownie run deploy_token_curator main                   to a local chain: deploys a registry and a test token too
    ... by=vote                                             terms are changed by vote, not by a role
    ... delay=172800                                        seconds that new terms wait

Every argument is `name=value`. The registry is the one in deployments/<network>.json.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from brownie import (
    BallotBox,
    DiscoveryLens,
    NodeRegistry,
    Parameters,
    ParameterVote,
    TestToken,
    TokenCurator,
    accounts,
    chain,
    network,
)

from scripts.deploy import DEPLOYMENTS
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


def main(*arguments: str):
    options = dict(argument.split("=", 1) for argument in arguments)
    unknown = options.keys() - {"account", "token", "by", "delay", "treasury", "confirmations"}
    if unknown or options.get("by", "role") not in ("role", "vote"):
        raise SystemExit(f"arguments are account= token= by=role|vote delay= treasury= confirmations=, not {arguments}")
    sender = accounts.load(options["account"]) if "account" in options else accounts[0]
    path = DEPLOYMENTS / f"{network.show_active()}.json"
    terms = {"from": sender}
    local = network.show_active() == "development"
    registry = NodeRegistry.deploy(sender, terms) if local else _recorded_registry(path)
    if not local and "token" not in options:
        raise SystemExit("name the token: token=0x...")
    token = TestToken.at(options["token"]) if "token" in options else TestToken.deploy(10**9 * TOKEN, terms)
    made = deploy(
        sender,
        registry,
        token,
        by_vote=options.get("by") == "vote",
        delay=int(options.get("delay", 2 * DAY)),
        treasury=options.get("treasury", sender),
        confirmations=int(options.get("confirmations", 1)),
    )
    fresh = (registry,) if local else ()
    print(record(network.show_active(), *fresh, *made.contracts()))
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
    """Deploy all of it. The sender owns the ballot box (may register consumers) and, unless `by_vote`, the parameters."""
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


def record(name: str, *contracts, folder=DEPLOYMENTS):
    """Add the contracts to deployments/<name>.json; what it holds of another chain is dropped. Returns the path."""
    path = folder / f"{name}.json"
    document = json.loads(path.read_text()) if path.exists() else {}
    if document.get("chainId") != chain.id:
        document = {"network": name, "chainId": chain.id, "contracts": {}}
    for contract in contracts:
        document["contracts"][contract._name] = {"address": contract.address, "block": contract.tx.block_number}
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n")
    return path


def _recorded_registry(path):
    if not path.exists():
        raise SystemExit(f"no registry is recorded in {path.name}: deploy it first (brownie run deploy)")
    return NodeRegistry.at(json.loads(path.read_text())["contracts"]["NodeRegistry"]["address"])
