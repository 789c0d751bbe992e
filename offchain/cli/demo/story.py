"""The stories of the demonstration: acts in an order, and who is in them. Each act checks what it shows."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from offchain.cli.demo import mail, opening, push, vote
from offchain.cli.demo.actors import Troupe
from offchain.cli.demo.report import Report
from offchain.cli.demo.scene import Cast, Scene
from offchain.cli.demo.stage import Stage

Act = Callable[[Scene], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Story:
    """A play."""

    cast: Cast
    acts: tuple[Act, ...]


STORIES = {
    "owner": Story(
        Cast(
            listed={"alpha": 1, "bravo": 1, "charlie": 1, "outsider": 2},
            unlisted=("impostor", "own"),
            accepted=(1,),
        ),
        (
            opening.the_chain,
            opening.the_providers,
            opening.the_servers,
            mail.the_sender,
            mail.the_client,
            mail.a_removal,
            mail.the_user_decides,
            push.a_push_server,
            mail.a_crash,
        ),
    ),
    "token": Story(
        Cast(
            listed={"alpha": 1, "bravo": 1, "charlie": 1, "mallory": 2, "outsider": 3},
            unlisted=("impostor",),
            accepted=(1, 2),
            curators=(vote.CURATOR,),
        ),
        (
            opening.the_chain,
            vote.the_list,
            vote.the_applications,
            opening.the_servers,
            mail.the_sender,
            mail.the_client,
            vote.the_challenge,
            vote.the_removal,
            vote.the_shares,
        ),
    ),
}
"""By who curates: the owner of a list, or the holders of a token."""


async def perform(story: Story, stage: Stage, report: Report, lines: Sequence[str]) -> list[int]:
    """Play a story with processes of our own; the ids of those that were left, which should be none.

    CheckFailed or ActorFailed at the first thing that does not hold.
    """
    troupe = Troupe(stage.logs, stage.environment())
    async with troupe:
        scene = Scene(stage, troupe, report, story.cast, lines)
        try:
            for act in story.acts:
                await act(scene)
        finally:
            await scene.end()
    return [actor.pid for actor in troupe.running]


def read_lines(path: Path, count: int) -> list[str]:
    """The first `count` non-empty lines of a text."""
    lines = [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return lines[:count]


def sweep(folder: Path) -> None:
    """Remove the folder of a demonstration that held."""
    import shutil

    with contextlib.suppress(OSError):
        shutil.rmtree(folder)
