"""`waypost demo`: the whole story on one machine."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from offchain.cli.context import common_options, state_of
from offchain.cli.output import Exit, Failed

TEXT = Path(__file__).parents[2] / "texts" / "sonnets.txt"


@click.command()
@click.option(
    "--input",
    "text",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Text whose lines are sent.  [default: Shakespeare's sonnets]",
)
@click.option("--count", type=click.IntRange(20, 100_000), default=1_000, show_default=True, help="Lines to send.")
@click.option(
    "--curation",
    type=click.Choice(["owner", "token"]),
    default="owner",
    show_default=True,
    help="Who says which providers are good: the owner of a list, or the holders of a token by vote.",
)
@click.option("--keep", is_flag=True, help="Keep the folders and logs of all actors, and say where they are.")
@common_options
def demo(text: Path | None, count: int, curation: str, keep: bool) -> None:
    """Run the whole story on this machine: chain, servers, sender, client.

    A registry and a curator are deployed to a local chain; six mail servers announce themselves on a discovery network
    of their own; a thousand messages are sent, found again and compared; a server is removed, a provider blocked, a
    server killed. Every actor is a process, started with the commands that an operator would use. Each step is checked.
    Nothing outside a temporary folder is changed, and nothing is left running.
    """
    from offchain.cli.demo.report import Report
    from offchain.cli.demo.stage import Stage
    from offchain.cli.demo.story import STORIES, perform, read_lines, sweep
    from offchain.cli.running import run
    from offchain.errors import WaypostError

    state = state_of()
    lines = read_lines(text or TEXT, count)
    if len(lines) < count:
        raise click.UsageError(f"the text has {len(lines)} lines that are not empty, expected {count}: use --count")
    folder = Path(tempfile.mkdtemp(prefix="waypost-demo-"))
    story = STORIES[curation]
    report = Report(state.output, len(story.acts), folder)
    try:
        stage = Stage(folder)
    except WaypostError:
        sweep(folder)
        raise
    try:
        left = run(lambda: perform(story, stage, report, lines))
        held = report.end(f"still running: processes {', '.join(map(str, left))}" if left else None)
    except WaypostError as fault:  # a check that did not hold, an actor that ended, a chain that did not answer
        report.conclude(str(fault))
        state.output.note(f"The folders and logs are kept: {folder}")
        raise Failed(Exit.ERROR) from None
    except KeyboardInterrupt:
        state.output.note("Stopped. Everything that was started has ended.")
        sweep(folder)
        raise
    if keep:
        state.output.note(f"The folders and logs are kept: {folder}")
    else:
        sweep(folder)
    if not held:
        raise Failed(Exit.ERROR)
