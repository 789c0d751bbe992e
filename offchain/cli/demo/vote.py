"""The acts about a token-curated list: providers are listed with a deposit; one is challenged and voted out.

Days must pass for applications and votes. The chain is a local one, so its clock is put forward instead of waited for;
everything else is by the rules: the terms are those that the deployment script gives a live network too.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from offchain.cli.demo import chain
from offchain.cli.demo.opening import list_everybody, show_contracts
from offchain.cli.demo.scene import KIND, Scene

CURATOR = "TokenCurator"
LISTED = 2
"""State of a listing that is in force."""

NO_VERDICT, ACCEPTED, REJECTED = range(3)
DAY = 86_400
TOKEN = 10**18
"""Base units of the test token in a whole one."""

EVIDENCE = "https://watchdog.example/provider-2-loses-mail"
CHALLENGER, PASSER_BY = 4, 8
"""Accounts of the chain."""

TOKENS = 50_000
"""What every account gets to begin with."""


class Holder(NamedTuple):
    """Who votes."""

    name: str
    account: int
    choice: str
    tokens: int


HOLDERS = (Holder("ann", 5, "remove", 9_000), Holder("ben", 6, "remove", 6_000), Holder("cem", 7, "keep", 5_000))


async def the_list(scene: Scene) -> None:
    """A token, and the contracts of the list, as `brownie run deploy_token_curator` makes them for any network."""
    report, stage = scene.report, scene.stage
    report.begin("A list that is curated by the holders of a token")
    people = [*scene.cast.providers, CHALLENGER, *(holder.account for holder in HOLDERS)]
    report.command(f"brownie run test_token main {' '.join(map(str, people))}      (a live network has its own token)")
    options = (f"record={stage.deployment}", f"deployment={stage.deployment}")
    await chain.brownie(
        scene.troupe, stage, "token", "test_token", "main", *map(str, people), f"amount={TOKENS}", *options
    )
    token = "0x" + chain.address_of(stage, "TestToken").hex()
    report.command(f"brownie run deploy_token_curator main token={token[:10]}..")
    await chain.brownie(scene.troupe, stage, "curator", "deploy_token_curator", "main", f"token={token}", *options)
    await show_contracts(scene, ("TestToken", "BallotBox", "Parameters", CURATOR, "ParameterVote", "DiscoveryLens"))


async def the_applications(scene: Scene) -> None:
    """Providers apply with a deposit; nobody objects in time, and they are listed: a bad one too."""
    report, stage, cast = scene.report, scene.stage, scene.cast
    applying = cast.accepted
    report.begin("Three providers; two of them apply for the list, with a deposit")
    await list_everybody(
        scene,
        [
            {
                "do": "token_curator apply",
                "provider": provider,
                "kind": KIND,
                "uri": f"https://provider-{provider}.example/why",
                "account": provider,
            }
            for provider in applying
        ],
    )
    for provider in applying:
        deposit, state, *_ = await _listing(scene, provider)
        report.check(
            f"provider {provider} has applied",
            deposit > 0 and state != LISTED and await _verdict(scene, provider) == NO_VERDICT,
            f"{deposit // TOKEN:,} tokens deposited, no verdict yet",
        )
    await _pass(scene, 3, "nobody challenges the applications in time")
    report.command(f"brownie run token_curator finalise {applying[0]} kind={KIND}      (anybody, for each)")
    await chain.carry_out(
        scene.troupe,
        stage,
        "finalise",
        [
            {"do": "token_curator finalise", "provider": provider, "kind": KIND, "account": PASSER_BY}
            for provider in applying
        ],
    )
    for provider in cast.providers:
        wanted = ACCEPTED if provider in applying else NO_VERDICT
        verdict = await _verdict(scene, provider)
        words = "listed: the curator accepts it" if wanted == ACCEPTED else "never applied: no verdict"
        report.check(f"provider {provider}", verdict == wanted, words)


async def the_challenge(scene: Scene) -> None:
    """Somebody challenges a provider, and says why; until the vote is over nothing changes for clients."""
    report, stage, bad = scene.report, scene.stage, scene.cast.accepted[-1]
    (server,) = scene.cast.of(bad)
    report.begin(f"Provider {bad} is challenged, with evidence; the holders of the token vote")
    words = ("challenge", str(bad), f"kind={KIND}", f"uri={EVIDENCE}")
    await _token_curator(scene, "challenge", CHALLENGER, *words)
    poll = (await _listing(scene, bad))[4]
    filed = await chain.texts(stage, CURATOR, "Challenged(uint256,uint256,uint256,address,uint256,uint256,string)", 3)
    report.check("the challenge is open, and its evidence on the chain", poll > 0 and filed == [EVIDENCE], EVIDENCE)
    verdict = await scene.verify(server, trusted=True)
    report.check(f"{server} is trusted while the vote is open", verdict["trusted"], verdict["summary"])
    for holder in HOLDERS:
        said = {"tokens": holder.tokens, "account": holder.account}
        ballot = {"poll": poll, "choice": holder.choice, "salts": str(_salts(scene, holder)), **said}
        report.command(
            f"brownie run apply main {holder.name}.json      (token_curator deposit {holder.tokens}; "
            f"token_curator commit {poll} {holder.choice} {holder.tokens})"
        )
        steps = [{"do": "token_curator deposit", **said}, {"do": "token_curator commit", **ballot}]
        await chain.carry_out(scene.troupe, stage, holder.name, steps)
    tallies = await _tallies(scene, poll)
    committed = tallies.committed
    report.check(
        "nobody can tell yet how they voted",
        committed == sum(holder.tokens for holder in HOLDERS) and not (tallies.remove or tallies.keep),
        f"{committed:,} tokens committed, none revealed",
    )
    await _pass(scene, 3, "the time to commit is over")
    for holder in HOLDERS:
        options = ("reveal", str(poll), f"salts={_salts(scene, holder)}")
        await _token_curator(scene, f"reveal {holder.name}", holder.account, *options)
    tallies = await _tallies(scene, poll)
    report.check(
        "every vote is revealed",
        all(
            sum(holder.tokens for holder in HOLDERS if holder.choice == choice) == tally
            for choice, tally in (("remove", tallies.remove), ("keep", tallies.keep))
        ),
        f"{tallies.remove:,} tokens to remove it, {tallies.keep:,} to keep it",
    )
    pool = await scene.pool_now()
    report.check(
        f"{server} is still in the pool",
        scene.players[server].node_id in pool,
        ", ".join(sorted(map(scene.name, pool))),
    )


async def the_removal(scene: Scene) -> None:
    """The vote is resolved: the verdict changes, and the client leaves the provider's server at once, and no other."""
    report, stage, cast = scene.report, scene.stage, scene.cast
    bad = cast.accepted[-1]
    (server,) = cast.of(bad)
    others = scene.ids(cast.trusted) - scene.ids((server,))
    report.begin(f"Provider {bad} is voted out: the client leaves its server, and no other")
    await _pass(scene, 2, "the time to reveal is over")
    before = len(scene.client_events)
    node_id = scene.players[server].node_id
    dropped = await scene.dropped(
        node_id, lambda: _token_curator(scene, "resolve", PASSER_BY, "resolve", str(bad), f"kind={KIND}")
    )
    report.check(
        f"the curator rejects provider {bad}", await _verdict(scene, bad) == REJECTED, f"since block {dropped['block']}"
    )
    curator = "0x" + chain.address_of(stage, CURATOR).hex()
    report.check("the reason names the curator", f"curator {curator} rejects" in dropped["reason"], dropped["reason"])
    verdict = await scene.verify(server, trusted=False)
    report.check(f"{server} is not trusted any more", not verdict["trusted"], verdict["summary"])
    left = {
        event["nodeId"]
        for event in scene.client_events[before:]
        if event.get("event") == "pool" and event["what"] == "dropped"
    }
    pool = await scene.pool_now()
    report.check("the others stayed", pool == others and left == {node_id}, ", ".join(sorted(map(scene.name, pool))))
    await scene.fetch_from_others("its history again", {node_id})


async def the_shares(scene: Scene) -> None:
    """Whoever voted with the outcome is paid; whoever did not, is not."""
    report, stage = scene.report, scene.stage
    report.begin("Who was right is paid")
    (poll,) = await chain.call(stage, "BallotBox", "pollCount()")
    owed: dict[str, int] = {}
    accounts: dict[str, int] = {}
    for holder in HOLDERS:
        account = accounts[holder.name] = await chain.account(stage, holder.account)
        (share,) = await chain.call(stage, "BallotBox", "claimable(uint256,address)", poll, account)
        seen = f"is owed {share / TOKEN:,.6g} tokens"
        report.check(
            f"{holder.name}, who voted to {holder.choice} it", (share > 0) == (holder.choice == "remove"), seen
        )
        if share:
            owed[holder.name] = share
    before = {name: await _balance(scene, accounts[name]) for name in owed}
    report.command(f"brownie run token_curator claim {poll}      (each; here in one plan)")
    claims = [
        {"do": "token_curator claim", "poll": poll, "account": holder.account}
        for holder in HOLDERS
        if holder.name in owed
    ]
    await chain.carry_out(scene.troupe, stage, "claims", claims)
    for name, share in owed.items():
        paid = await _balance(scene, accounts[name]) - before[name]
        report.check(f"{name} is paid", paid == share, f"{paid / TOKEN:,.6g} tokens more in the ballot box")


class Tallies(NamedTuple):
    """Of a poll, in whole tokens."""

    committed: int
    keep: int
    remove: int


async def _tallies(scene: Scene, poll: int) -> Tallies:
    committed = (await chain.call(scene.stage, "BallotBox", "pollOf(uint256)", poll))[4]
    _, _, remove, keep = await chain.call(scene.stage, "BallotBox", "countOf(uint256)", poll)
    return Tallies(committed // TOKEN, keep // TOKEN, remove // TOKEN)


async def _balance(scene: Scene, account: int) -> int:
    return (await chain.call(scene.stage, "BallotBox", "accountOf(address)", account))[0]


async def _listing(scene: Scene, provider: int) -> list[int]:
    """deposit, state, when it is ready, until when it cools down, poll, ..."""
    return await chain.call(scene.stage, CURATOR, "listingOf(uint256,uint256)", provider, chain.MAILSERVER_KIND)


async def _verdict(scene: Scene, provider: int) -> int:
    return (await chain.call(scene.stage, CURATOR, "verdict(uint256,uint256)", provider, chain.MAILSERVER_KIND))[0]


async def _pass(scene: Scene, days: int, why: str) -> None:
    await chain.put_forward(scene.stage, days * DAY)
    scene.report.tell(f"the chain's clock is put forward by {days} days: {why}")


async def _token_curator(scene: Scene, log: str, account: int, *words: str) -> None:
    """One command of a provider, challenger or holder of the token, from an account of its own."""
    shown = " ".join(word for word in words if not word.startswith("salts="))
    scene.report.command(f"brownie run token_curator {shown} account={account}")
    options = (f"account={account}", f"deployment={scene.stage.deployment}")
    await chain.brownie(scene.troupe, scene.stage, log, "token_curator", *words, *options)


def _salts(scene: Scene, holder: Holder) -> Path:
    """Where a holder keeps the secrets of its votes."""
    return scene.stage.folder / holder.name / "ballots.jsonl"
