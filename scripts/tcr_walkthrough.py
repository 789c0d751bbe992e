"""Play a whole challenge on the local chain and print what stands where after every step.

    brownie run tcr_walkthrough

A provider is listed with a deposit. Somebody finds that its servers lose mail and challenges it. Three holders of the
token vote, in secret first; the provider is voted out, and everybody is paid. Then the same again for another provider,
whose challenge fails. Uses accounts that the chain itself holds, and nothing that is deployed already.
"""

from __future__ import annotations

import contextlib
import io

from brownie import NodeRegistry, TestToken, accounts, chain, web3

from scripts import anvil
from scripts.deploy_token_curator import Curation, deploy
from scripts.live import LOCAL_CHAINS
from scripts.session import Refusal, command
from scripts.terms import DEFAULT, TOKEN

STATES = ("not listed", "applied for", "listed")
STATUSES = ("no verdict", "accepted", "rejected")
OUTCOMES = ("open", "failed", "succeeded", "undecided")
KEEP, REMOVE = 0, 1
MAILSERVERS = 1


@command
def main():
    """Returns the curator's verdicts on both providers, as numbers."""
    if chain.id not in LOCAL_CHAINS:
        raise Refusal(f"this plays with time and tokens; it is for local chains, and this is chain {chain.id}")
    anvil.install(web3)
    with _quiet():
        walk = Walk()
    return walk.play()


class Walk:
    """The people, the contracts, and the two stories."""

    def __init__(self) -> None:
        people = ("owner", "good provider", "bad provider", "challenger", "ann", "ben", "cem", "passer-by")
        self.people = dict(zip(people, accounts, strict=False))
        self.names = {str(account): name for name, account in self.people.items()}
        owner = self.people["owner"]
        by_owner = {"from": owner}
        self.registry = NodeRegistry.deploy(owner, by_owner)
        token = TestToken.deploy(10**9 * TOKEN, by_owner)
        self.made: Curation = deploy(owner, self.registry, token)
        for name, account in self.people.items():
            if name != "owner":
                token.transfer(account, 50_000 * TOKEN, by_owner)
            token.approve(self.made.curator, 2**255, {"from": account})
            token.approve(self.made.ballot_box, 2**255, {"from": account})

    def play(self) -> tuple[int, int]:
        for number, name in enumerate(("good provider", "bad provider"), 1):
            self._send(
                name, f"registers as provider {number}", self.registry.createProvider, f"https://{number}.example"
            )
            self._send(
                name, "applies to be listed for mail servers", self.made.curator.applyFor,
                number, MAILSERVERS, DEFAULT.listing.min_deposit, "https://why.example",
            )  # fmt: skip
        self._show()
        self._wait(DEFAULT.listing.apply_period, "nobody challenges the applications in time")
        self._send("passer-by", "finalises both", self.made.curator.finalise, [(1, MAILSERVERS), (2, MAILSERVERS)])
        self._show()

        self._story(2, "its servers lose mail", {"ann": REMOVE, "ben": REMOVE, "cem": KEEP})
        self._story(1, "its logo is ugly", {"ann": KEEP, "ben": REMOVE, "cem": KEEP})
        self._show()
        return tuple(self.made.curator.verdict(number, MAILSERVERS)[0] for number in (1, 2))

    def _story(self, provider: int, why: str, votes: dict[str, int]) -> None:
        curator, box = self.made.curator, self.made.ballot_box
        print(f"\n== A challenge of provider {provider}: {why}")
        tx = self._send(
            "challenger", "challenges, with an equal stake", curator.challenge, provider, 1, "https://e.example"
        )
        poll = tx.events["Challenged"]["pollId"]
        salts = {name: web3.keccak(text=f"{name} {poll}") for name in votes}
        weights = dict(zip(votes, (9_000 * TOKEN, 6_000 * TOKEN, 5_000 * TOKEN), strict=True))
        for name, choice in votes.items():
            commitment = box.commitmentOf(poll, self.people[name], choice, salts[name])
            self._send(name, "commits a vote", box.depositAndCommit, weights[name], poll, commitment, weights[name])
        self._show(provider)
        self._wait(DEFAULT.voting.commit_period, "the reveal period begins")
        for name, choice in votes.items():
            side = "remove" if choice else "keep"
            self._send(name, f"reveals: {side}", box.reveal, poll, choice, weights[name], salts[name])
        self._wait(DEFAULT.voting.reveal_period, "the vote is over")
        tx = self._send("passer-by", "resolves it, for the bounty", curator.resolve, provider, MAILSERVERS)
        print(f"   the challenge {OUTCOMES[tx.events['ChallengeResolved']['outcome']]}")
        for name in votes:
            if share := box.claimable(poll, self.people[name]):
                self._send(name, f"claims {_tokens(share)}", box.claim, poll, self.people[name])
        self._show(provider)

    def _send(self, name: str, does: str, method, *arguments):
        with _quiet():
            tx = method(*arguments, {"from": self.people[name]})
        print(f" * {name} {does}  ({tx.gas_used:,} gas)")
        return tx

    def _wait(self, seconds: int, why: str) -> None:
        chain.sleep(seconds)
        chain.mine()
        print(f" . {seconds / 86_400:g} days pass: {why}")

    def _show(self, *providers: int) -> None:
        curator, box = self.made.curator, self.made.ballot_box
        for provider in providers or (1, 2):
            deposit, state, _, _, poll, *_ = curator.listingOf(provider, MAILSERVERS)
            status, _, weight = curator.verdict(provider, MAILSERVERS)
            challenged = f", challenged in poll {poll}" if poll else ""
            print(f"   provider {provider}: {STATES[state]}{challenged}; {STATUSES[status]}, weight {_tokens(weight)}")
            print(f"     deposit {_tokens(deposit)}")
        held = {name: box.accountOf(account) for name, account in self.people.items()}
        shown = [f"{name} {_tokens(account[0])}" for name, account in held.items() if account[0]]
        print(f"   in the ballot box: {', '.join(shown) or 'nobody has anything'};")
        reserve, total = box.consumerOf(curator)[1], box.totalTokens()
        polls = total - reserve - sum(account[0] for account in held.values())
        print(f"     deposits and stakes {_tokens(reserve)}, polls {_tokens(polls)}, together {_tokens(total)}")


def _quiet():
    """Without what Brownie prints of each transaction."""
    return contextlib.redirect_stdout(io.StringIO())


def _tokens(amount: int) -> str:
    return f"{amount / TOKEN:,.10g}"
