"""A token without worth, to try a token-curated registry with. For local chains only.

    brownie run test_token main 4 5 6 amount=50000       deploys it; accounts 4, 5 and 6 of the chain get so many each

Options: see scripts/session.py; and `record`, a file to add its address to.
"""

from __future__ import annotations

from pathlib import Path

from brownie import TestToken, chain

from scripts.deploy_token_curator import add_record
from scripts.session import LOCAL_CHAINS, Refusal, Session, command, number, sender_of
from scripts.terms import TOKEN

SUPPLY = 10**9 * TOKEN


@command
def main(*holders, amount=50_000, record=None, **options):
    session = Session.open(**options)
    if chain.id not in LOCAL_CHAINS:
        raise Refusal(f"this token has no worth; it is for local chains, and this is chain {chain.id}")
    people = [sender_of(holder) for holder in holders]
    tokens = number(amount, "amount") * TOKEN
    if session.dry_run:
        print(f"would deploy a test token and give {amount} to each of {len(people)} accounts")
        return None
    by_sender = {"from": session.sender, "required_confs": session.confirmations}
    token = TestToken.deploy(SUPPLY, by_sender)
    for account in people:
        token.transfer(account, tokens, by_sender)
    if record:
        print(add_record((token,), Path(record)))
    return token
