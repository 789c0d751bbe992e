"""Deploy the token-curated registry beside a NodeRegistry, and record where it is.

    brownie run deploy_token_curator                                 to a local chain, with a registry and a test token
    brownie run deploy_token_curator main token=0x... account=ops --network sepolia
    ... by=vote                                                      terms are changed by vote, not by a role
    ... delay=172800 treasury=0x...                                  what new terms wait; who gets what is nobody's

Run again with the same options, it goes on where an earlier run ended. Options: see scripts/session.py; and `record`,
the file to write instead of deployments/<network>.json. The registry is the one recorded in that file,
or in `deployment`. docs/how-to/deployer.md is the guide for a live chain.
"""

from __future__ import annotations

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
    web3,
)
from brownie._config import CONFIG
from brownie.exceptions import ContractExists, VirtualMachineError

from scripts.deploy import begin
from scripts.deployment import Deployment
from scripts.session import Refusal, Session, address, command, number
from scripts.terms import DAY, DEFAULT, MAXIMUM, MINIMUM, TOKEN, Terms

NAMES = ("BallotBox", "Parameters", "TokenCurator", "ParameterVote", "DiscoveryLens")


class Curation(NamedTuple):
    """The contracts of a token-curated registry."""

    token: Any
    ballot_box: Any
    parameters: Any
    curator: Any
    vote: Any
    """Consumer of the ballot box in any case; governs `parameters` if the deployment chose so."""
    lens: Any


@command
def main(*, token=None, by="role", delay=2 * DAY, treasury=None, record=None, **options):
    session = Session.open(**options)
    live = CONFIG.network_type == "live"
    if by not in ("role", "vote"):
        raise Refusal(f"found by={by!r}, expected role or vote")
    if token is None and live:
        raise Refusal("say which token: token=0x...")
    if record and session.deployment is None and Path(record).exists():
        session.deployment = Path(record)  # what is added to has the registry
    deployment = begin(session, record, options.get("chain_id"))
    if deployment.holds(*NAMES) and not needs_connecting(session, by):
        raise Refusal(f"{deployment.path} has all of it already: for another one name another file, record=FILE")
    made = deploy(
        session.sender,
        session.registry if live or len(NodeRegistry) else deployment.contract(NodeRegistry, str(session.sender)),
        _token(session, token),
        by_vote=by == "vote",
        delay=number(delay, "delay"),
        treasury=address(treasury) if treasury else None,
        deployment=deployment,
    )
    if session.dry_run:
        print(f"terms would be changed by a {by}")
        deployment.tell_cost()
        return None
    if deployment.path:
        print(deployment.path)
    return made


def needs_connecting(session: Session, by: str) -> bool:
    """Whether an earlier run deployed everything, and died before the contracts knew each other."""
    box, parameters = session.contract("BallotBox"), session.contract("Parameters")
    vote = session.contract("ParameterVote")
    known = [box.consumerOf(session.contract(name))[0] for name in ("TokenCurator", "ParameterVote")]
    return not all(known) or (by == "vote" and parameters.owner() != vote)


def _token(session: Session, token):
    """The token's contract, looked at; on a local chain a new one, if none is named."""
    if token is not None:
        place = address(token)
        try:
            found = TestToken.at(place, persist=False) if web3.eth.get_code(place) else None
            print(f"the token is {found.name()} ({found.symbol()}), {found.decimals()} decimals")
        except (AttributeError, ContractExists, VirtualMachineError, ValueError, OverflowError):
            raise Refusal(f"there is no token at {place} on chain {chain.id}") from None
        return found
    if session.dry_run:
        raise Refusal("name a token to try this with: token=0x...")
    return TestToken.deploy(10**9 * TOKEN, {"from": session.sender})


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
    deployment: Deployment | None = None,
) -> Curation:
    """Deploy all of it. The sender owns the ballot box (it may register consumers) and, unless `by_vote`, the terms."""
    made = deployment or Deployment(sender, confirmations)
    box = made.contract(BallotBox, token, treasury or str(sender), str(sender))
    parameters = made.contract(Parameters, terms, minimum, maximum, delay, str(sender))
    curator = made.contract(TokenCurator, registry, box, parameters, token)
    vote = made.contract(ParameterVote, box, parameters, token)
    lens = made.contract(DiscoveryLens, registry)
    for consumer in (curator, vote):
        made.call(
            lambda consumer=consumer: box.consumerOf(consumer)[0] == 0,
            *(box, "registerConsumer", consumer),
            words=f"let {consumer._name} use the ballot box",
        )
    if by_vote:
        made.call(
            lambda: parameters.owner() != vote and parameters.pendingOwner() != vote,
            *(parameters, "transferOwnership", vote),
            words="offer the terms to the vote",
        )
        made.call(lambda: parameters.owner() != vote, vote, "acceptParameters", words="let the vote accept them")
    return Curation(token, box, parameters, curator, vote, lens)
