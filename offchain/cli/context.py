"""The options that every command has, and where it finds them.

They may stand before the command or after it: `waypost --json nodes` is `waypost nodes --json`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from offchain.cli.output import Output

if TYPE_CHECKING:
    from offchain.cli.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])


def default_home() -> Path:
    """$WAYPOST_HOME, else ~/.waypost."""
    return Path(os.environ.get("WAYPOST_HOME") or "~/.waypost").expanduser()


@dataclass(slots=True)
class State:
    """What the common options said."""

    home: Path = field(default_factory=default_home)
    yes: bool = False
    log: str = "warning"
    output: Output = field(default_factory=Output)

    def settings(self, overrides: dict[str, dict[str, object]] | None = None) -> Settings:
        """The configuration under the home folder; see `offchain.cli.settings`."""
        from offchain.cli.settings import load

        configure_logging(self.log, as_json=self.output.as_json)
        return load(self.home, overrides=overrides)

    def confirm(self, question: str) -> None:
        """Ask before what is hard to undo; --yes answers. Aborts on no."""
        if self.yes:
            return
        if not sys.stdin.isatty():
            raise click.UsageError(f"{question} Nobody can answer here: give --yes")
        click.confirm(question, abort=True, err=True)


def configure_logging(level: str, *, as_json: bool = False) -> None:
    """Send logs of this level and above to standard error: a line each, or with --json a JSON object on each line."""
    import json
    import logging
    import time

    class JsonFormatter(logging.Formatter):
        """time, level, logger, message; and the traceback of an error that nobody foresaw."""

        def format(self, record: logging.LogRecord) -> str:
            document = {
                "time": self.formatTime(record, self.datefmt),
                "level": record.levelname.lower(),
                "logger": record.name,
                "message": record.getMessage(),
            }
            if record.exc_info:
                document["traceback"] = self.formatException(record.exc_info)
            return json.dumps(document)

    formatter = (JsonFormatter if as_json else logging.Formatter)(
        "%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%SZ"
    )
    formatter.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logger = logging.getLogger("offchain")
    logger.handlers = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False


def state_of(ctx: click.Context | None = None) -> State:
    """The state of the command that is running."""
    root = (ctx or click.get_current_context()).find_root()
    if not isinstance(root.obj, dict):
        root.obj = {}
    state: State = root.obj.setdefault("state", State())
    return state


def _set_home(ctx: click.Context, _: click.Parameter, value: Path | None) -> None:
    if value is not None:
        state_of(ctx).home = value.expanduser()


def _set_json(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        state_of(ctx).output.as_json = True


def _set_quiet(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        state_of(ctx).output.quiet = True


def _set_log(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        state_of(ctx).log = value


def _set_yes(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        state_of(ctx).yes = True


def common_options(command: F) -> F:
    """Add --home, --json, --quiet, --yes and --log to a command."""
    for option in (
        click.option(
            "--log",
            type=click.Choice(["error", "warning", "info", "debug"]),
            expose_value=False,
            callback=_set_log,
            help="What to log on stderr.  [default: warning]",
        ),
        click.option("--yes", "-y", is_flag=True, expose_value=False, callback=_set_yes, help="Ask nothing."),
        click.option(
            "--quiet", "-q", is_flag=True, expose_value=False, callback=_set_quiet, help="No remarks on stderr."
        ),
        click.option(
            "--json",
            is_flag=True,
            expose_value=False,
            callback=_set_json,
            help="Answer with JSON on stdout, everything else on stderr.",
        ),
        click.option(
            "--home",
            type=click.Path(file_okay=False, path_type=Path),
            expose_value=False,
            callback=_set_home,
            help="Folder of config.toml, policy.json and data.  [default: $WAYPOST_HOME or ~/.waypost]",
        ),
    ):
        command = option(command)
    return command
