"""A token without worth, to try a token-curated registry with. For local chains only.

    brownie run test_token main 4 5 6 amount=50000       deploys it; accounts 4, 5 and 6 of the chain get so many each

Options: see scripts/session.py; and `record`, the file to write its address to, instead of `deployment`.
"""

from __future__ import annotations

from brownie import TestToken, chain

from scripts.deploy import begin
from scripts.live import LOCAL_CHAINS
from scripts.session import Refusal, Session, command, number
from scripts.signers import sender_of
from scripts.terms import TOKEN

SUPPLY = 10**9 * TOKEN


@command
def main(*holders, amount=50_000, record=None, **options):
    session = Session.open(**options)
    if chain.id not in LOCAL_CHAINS:
        raise Refusal(f"this token has no worth; it is for local chains, and this is chain {chain.id}")
    people = [sender_of(holder) for holder in holders]
    tokens = number(amount, "amount") * TOKEN
    deployment = begin(session, record, options.get("chain_id"))
    token = deployment.contract(TestToken, SUPPLY)
    for person in people:
        deployment.call(
            lambda person=person: token.balanceOf(person) < tokens,
            token, "transfer", person, tokens, words=f"give {amount} to {person}",
        )  # fmt: skip
    return token
