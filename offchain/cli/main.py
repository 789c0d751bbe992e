"""The command `waypost`: options, the list of commands, and how every command ends.

Commands are imported when they run, so that `waypost --help` and shell completion are quick.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from typing import Any

import click

from offchain import __version__
from offchain.cli.context import common_options, state_of
from offchain.cli.output import Exit, Failed, Output
from offchain.errors import WaypostError

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("demo:demo", "Run the whole story on this machine: chain, servers, sender, client."),
    "serve": ("serve:serve", "Run the client: follow the registry, keep a pool of trusted nodes, offer HTTP."),
    "watch": ("trust:watch", "Follow the registry and print what changes in whom you trust."),
    "status": ("trust:status", "Say how fresh and how complete the knowledge of the registry is."),
    "nodes": ("trust:nodes", "List the nodes that are trusted, and by whose word."),
    "verify": ("trust:verify", "Say whether a node is trusted, with the whole chain of reasons."),
    "discover": ("discover:discover", "Look for nodes of KIND, and say of each whether it is trusted, and why."),
    "export": ("snapshot:export", "Write the history of the registry up to a proven block into FILE."),
    "import": ("snapshot:import_", "Begin with the history in FILE, which another client exported, once it is proven."),
    "providers": ("providers:providers", "Choose whom to trust: providers, one by one."),
    "curators": ("providers:curators", "Choose whose word on providers counts, and how many of them must agree."),
    "own": ("providers:own", "Keep own nodes, which are always trusted."),
    "mail": ("mail:mail", "Send messages, fetch and follow what was sent."),
    "push": ("push:push", "Be told of mail while you are away, by a trusted server."),
    "mailserver": ("server:mailserver", "Run a mail server."),
    "service": ("service:service", "Run a node of another kind than a mail server."),
    "node": ("node:node", "Keys, records and proofs of a node; run a plain discovery node."),
}
"""Name: module and object under offchain.cli.commands, and the line in the list of commands."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order in which a newcomer meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(f"offchain.cli.commands.{module}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list, without importing what is in it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As usual, but an unknown command is answered with the nearest ones."""
        from difflib import get_close_matches

        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = get_close_matches(args[0], COMMANDS, n=2)
            hint = f" Did you mean {' or '.join(near)}?" if near else " See: waypost --help"
            raise click.UsageError(f"there is no command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="waypost")
@common_options
def waypost() -> None:
    """Find server nodes that can be trusted, and use them.

    A registry on chain says who runs which node; curators say who is good; this program follows both, finds the
    nodes on the discovery network, and uses only those that your policy accepts.

    Exit codes: 0 yes, 1 error, 2 usage, 3 untrusted, 4 stale or expired, 5 tampered.
    """


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code. Prints no traceback for what a user or a peer did."""
    os.umask(0o077)  # what we write says whom the user trusts and what he reads: for nobody else on this machine
    context: dict[str, Any] = {}
    output = Output(as_json="--json" in (sys.argv[1:] if arguments is None else arguments))
    try:
        result = waypost.main(args=arguments, prog_name="waypost", standalone_mode=False, obj=context)
        return result if isinstance(result, int) else Exit.YES
    except Failed as end:
        return end.code
    except click.UsageError as error:
        _show_usage(error, output)
        return Exit.USAGE
    except click.ClickException as error:
        output.error(type(error).__name__, error.format_message())
        return Exit.ERROR
    except WaypostError as error:
        output.error(type(error).__name__, str(error))
        return Exit.ERROR
    except (KeyboardInterrupt, click.Abort):
        return 130  # click has ended the line that ^C stands on
    except BrokenPipeError:
        # The reader of our output went away, as `head` does: nothing to tell, and nobody to tell it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.YES
    except ExceptionGroup as group:
        return _show_group(group, output)
    except Exception as error:
        return _show_bug(error, output)


def _show_usage(error: click.UsageError, output: Output) -> None:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        output.error("UsageError", "name a command")
        return
    if error.ctx is not None:
        click.echo(error.ctx.get_usage(), err=True)
    output.error("UsageError", error.format_message())


def _show_group(group: ExceptionGroup[Exception], output: Output) -> int:
    """What a TaskGroup raised: the errors that were foreseen, or the bug among them."""
    expected, bugs = group.split((WaypostError, Failed))
    if bugs is not None:
        return _show_bug(bugs, output)
    assert expected is not None
    first: BaseException = expected
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    if isinstance(first, Failed):
        return first.code
    output.error(type(first).__name__, str(first))
    return Exit.ERROR


def _show_bug(error: Exception, output: Output) -> int:
    if isinstance(error, OSError):
        output.error(type(error).__name__, f"the system refused: {error}")
        if not os.environ.get("WAYPOST_DEBUG"):
            return Exit.ERROR
    else:
        output.error(type(error).__name__, f"a fault of this program: {type(error).__name__}: {error}")
    if os.environ.get("WAYPOST_DEBUG"):
        traceback.print_exception(error)
    else:
        click.echo("Set WAYPOST_DEBUG=1 to see where, and please report it.", err=True)
    return Exit.ERROR


__all__ = ["COMMANDS", "main", "state_of", "waypost"]

if __name__ == "__main__":
    sys.exit(main())
