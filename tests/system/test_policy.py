"""Several curators and a threshold, with real processes: anvil, both curators' contracts, a mail server, a client.

OwnerCurator and TokenCurator must both accept a provider (2 of 2). What each of them decides, and what the user then
chooses, reaches the running `waypost serve` as an event, and every command says which curator said what.
"""

from __future__ import annotations

import io
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from offchain.cli.demo import chain, opening
from offchain.cli.demo.actors import Troupe
from offchain.cli.demo.report import Report
from offchain.cli.demo.scene import KIND, Cast, Scene
from offchain.cli.demo.stage import Stage
from offchain.cli.output import Output
from offchain.errors import ConfigError

CURATORS = ("OwnerCurator", "TokenCurator")
ALPHA = Cast(listed={"alpha": 1}, unlisted=(), accepted=(1,))
THREE_DAYS = 3 * 86_400
PATIENCE = 60.0
"""Seconds for what comes with the next final block."""

TOO_FEW = "listed by provider 1, which 1 of your curators accept, 2 are needed"


class Case(Scene):
    """A scene with the steps of this test."""

    async def decide(self, name, **step):
        """A curator's decision, or a provider's, by the scripts."""
        await chain.carry_out(self.troupe, self.stage, name, [{"provider": 1, "kind": KIND, **step}])

    async def change_policy(self, *words):
        """What the user types."""
        return await self.run_waypost(" ".join(words[:2]), self.players["client"], *words, "--yes")

    async def told(self, *, trusted):
        """What `waypost verify` says of each curator, by name, and the reason that decides."""
        found = await self.verify("alpha", trusted=trusted)
        return self.by_name(found["curators"]), found["summary"]

    async def told_in_time(self, expected):
        """The reason why alpha is not trusted, once the curators are heard as expected: what is said must be final."""
        deadline = time.monotonic() + PATIENCE
        voices, reason = await self.told(trusted=False)
        while voices != expected:
            assert time.monotonic() < deadline, voices
            voices, reason = await self.told(trusted=False)
        return reason

    def by_name(self, voices):
        names = {"0x" + chain.address_of(self.stage, name).hex(): name for name in CURATORS}
        return {names[voice["curator"]]: voice["says"] for voice in voices}

    async def happens(self, what, since):
        """The client says that it dropped alpha, or the like."""
        return await self.pool(self.players["alpha"].node_id, what, since=since)

    @property
    def now(self):
        """A point in what the client has said."""
        return len(self.client_events)


@asynccontextmanager
async def case(folder: Path):
    """Both curators on a chain; alpha is accepted by the owner, and its provider has applied for the token's list."""
    try:
        stage = Stage(folder)
    except ConfigError as missing:
        pytest.skip(str(missing))
    async with Troupe(stage.logs, stage.environment()) as troupe:
        report = Report(Output(as_json=True, _out=io.StringIO(), _err=sys.stderr), 1, folder)
        scene = Case(stage, troupe, report, ALPHA)
        try:
            await opening.the_chain(scene)
            options = (f"record={stage.deployment}", f"deployment={stage.deployment}")
            await chain.brownie(troupe, stage, "token", "test_token", "main", "1", *options)
            token = "token=0x" + chain.address_of(stage, "TestToken").hex()
            await chain.brownie(troupe, stage, "curator", "deploy_token_curator", "main", token, *options)
            await opening.list_everybody(
                scene,
                [
                    {"do": "curator accept", "provider": 1, "kind": KIND},
                    {"do": "token_curator apply", "provider": 1, "kind": KIND, "account": 1},
                ],
            )
            await opening.show_running(scene, "alpha", KIND)
            scene.make_client("client", pool_target=1)
            yield scene
        finally:
            await scene.end()


async def test_a_verdict_of_one_of_two_curators_reaches_the_pool_and_so_does_the_users_choice(tmp_path):
    async with case(tmp_path) as scene:
        used = await scene.change_policy("curators", "use", *CURATORS)
        assert (used["threshold"], used["rule"]) == (2, "2 of your 2 curators must accept a provider")
        await scene.start_client()

        # One of two is not enough.
        await scene.happens("discarded", 0)
        one_of_two = {"OwnerCurator": "accepts", "TokenCurator": "says nothing"}
        assert await scene.told_in_time(one_of_two) == TOO_FEW

        # The second accepts.
        await chain.put_forward(scene.stage, THREE_DAYS)
        await scene.decide("finalise", do="token_curator finalise")
        await scene.happens("ready", 0)
        voices, _ = await scene.told(trusted=True)
        assert voices == {"OwnerCurator": "accepts", "TokenCurator": "accepts"}

        # The first takes it back, by an event.
        before = scene.now
        await scene.decide("reject", do="curator reject")
        dropped = await scene.happens("dropped", before)
        assert dropped["connected"]
        assert dropped["reason"] == TOO_FEW
        voices, _ = await scene.told(trusted=False)
        assert voices == {"OwnerCurator": "rejects", "TokenCurator": "accepts"}
        listed = await scene.run_waypost("providers", scene.players["client"], "providers", "list")
        (row,) = listed["providers"]
        assert (row["stand"], scene.by_name(row["curators"])) == ("not accepted", voices)

        # The user chooses the provider nevertheless, and blocks it, and leaves it to the curators again.
        before = scene.now
        await scene.change_policy("providers", "trust", "1")
        await scene.happens("ready", before)
        assert (await scene.told(trusted=True))[1] == "listed by provider 1, which you chose"
        await scene.change_policy("providers", "block", "1")
        assert (await scene.happens("dropped", before))["reason"] == "listed by provider 1, which you blocked"
        await scene.change_policy("providers", "unblock", "1")

        # The first accepts again.
        before = scene.now
        await scene.decide("accept", do="curator accept")
        await scene.happens("ready", before)

        # And whose word it takes is what status says.
        status = await scene.run_waypost("status", scene.players["client"], "status")
        assert status["trust"]["policy"]["rule"] == "2 of your 2 curators must accept a provider"
        await scene.change_policy("curators", "use", "TokenCurator")
        listed = await scene.run_waypost("curators", scene.players["client"], "curators", "list")
        assert [row["name"] for row in listed["curators"] if row["counts"]] == ["TokenCurator"]
        assert listed["rule"].startswith("one curator decides alone")
