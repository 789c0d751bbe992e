"""Gas of the token-curated registry's calls; part of bench/gas.py, which says how it is measured.

All amounts are held or were approved before, all accounts that are paid have been paid before, and votes other than the
one measured are in. Approvals are finite, so that they are written down at each use.
"""

from __future__ import annotations

from scripts.terms import DAY, DEFAULT, TOKEN

GOALS = {
    "apply (61-byte URI)": 100_000,
    "challenge (61-byte URI)": 150_000,
    "commit, tokens held": 60_000,
    "commit, deposited inline": 100_000,
    "reveal": 45_000,
    "resolve, kept": 60_000,
    "resolve, application kept": 60_000,
    "resolve, removed": 75_000,
    "claim": 42_000,
}
URI = "ipfs://bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55"
SALT = "0x" + "5a" * 32


def measured(registry, accounts) -> dict[str, int]:
    """Deploy it beside a registry, and measure."""
    from brownie import TestToken

    from scripts.deploy_token_curator import deploy

    token = TestToken.deploy(10**27, {"from": accounts[0], "silent": True})
    return measure(deploy(accounts[0], registry, token, treasury=accounts[9]), registry, accounts)


def measure(made, registry, accounts) -> dict[str, int]:
    """Gas of each call, by name. `made` is a Curation as deployed; the first account holds all tokens."""
    from brownie import chain

    provider, challenger, pro, con, late, resolver = accounts[:6]
    token, box, curator = made.token, made.ballot_box, made.curator
    weight = 20_000 * TOKEN
    terms = DEFAULT
    used: dict[str, int] = {}

    def by(who):
        return {"from": who, "silent": True}

    def pass_time(seconds: int) -> None:
        chain.sleep(seconds + 1)
        chain.mine()

    for who in (provider, challenger, pro, con, late, resolver):
        if who != provider:
            token.transfer(who, 1_000_000 * TOKEN, by(provider))
        token.approve(box, 500_000 * TOKEN, by(who))
        token.approve(curator, 500_000 * TOKEN, by(who))
        box.deposit(100_000 * TOKEN, by(who))
    first = registry.providerCount() + 1
    for _ in range(4):
        registry.createProvider(URI, by(provider))

    def apply(provider_id: int) -> int:
        return curator.applyFor(provider_id, 1, terms.listing.min_deposit, URI, by(provider)).gas_used

    def vote(voter, poll: int, choice: int, amount: int = weight) -> int:
        commitment = box.commitmentOf(poll, voter, choice, SALT)
        return box.commit(poll, commitment, amount, by(voter)).gas_used

    def reveal(voter, poll: int, choice: int, amount: int = weight) -> int:
        return box.reveal(poll, choice, amount, SALT, by(voter)).gas_used

    def contest(provider_id: int, remove: bool) -> dict[str, int]:
        """A challenge from beginning to end, with two against one."""
        side = int(remove)
        gas = {"challenge (61-byte URI)": curator.challenge(provider_id, 1, URI, by(challenger)).gas_used}
        poll = box.pollCount()
        vote(pro, poll, side)
        vote(con, poll, 1 - side, 10_000 * TOKEN)
        gas["commit, tokens held"] = vote(resolver, poll, side)
        commitment = box.commitmentOf(poll, late, side, SALT)
        gas["commit, deposited inline"] = box.depositAndCommit(weight, poll, commitment, weight, by(late)).gas_used
        pass_time(terms.voting.commit_period)
        reveal(con, poll, 1 - side, 10_000 * TOKEN)
        reveal(pro, poll, side)
        gas["reveal"] = reveal(resolver, poll, side)
        reveal(late, poll, side)
        pass_time(terms.voting.reveal_period)
        gas["resolve"] = curator.resolve(provider_id, 1, by(resolver)).gas_used
        box.claim(poll, pro, by(pro))
        gas["claim"] = box.claim(poll, resolver, by(resolver)).gas_used
        box.claim(poll, late, by(late))
        return gas

    apply(first)
    used["apply (61-byte URI)"] = apply(first + 1)
    apply(first + 2)
    pass_time(terms.listing.apply_period)
    used["finalise 1 application"] = curator.finalise([(first, 1)], by(resolver)).gas_used
    curator.finalise([(first + 1, 1), (first + 2, 1)], by(resolver))
    contest(first + 2, remove=True)

    kept = contest(first, remove=False)
    removed = contest(first + 1, remove=True)
    used |= {name: max(kept[name], removed[name]) for name in kept if name != "resolve"}
    used["resolve, kept"] = kept["resolve"]
    used["resolve, removed"] = removed["resolve"]
    apply(first + 3)
    used["resolve, application kept"] = contest(first + 3, remove=False)["resolve"]
    curator.finalise([(first + 3, 1)], by(resolver))
    used["top up"] = curator.topUp(first + 3, 1, TOKEN, by(provider)).gas_used
    used["withdraw the excess"] = curator.withdraw(first + 3, 1, TOKEN, by(provider)).gas_used
    used["announce an exit"] = curator.announceExit(first + 3, 1, by(provider)).gas_used
    pass_time(terms.listing.exit_delay)
    used["exit"] = curator.exit(first + 3, 1, by(provider)).gas_used
    pass_time(DAY)
    used["withdraw from the ballot box"] = box.withdraw(TOKEN, by(resolver)).gas_used
    return used
