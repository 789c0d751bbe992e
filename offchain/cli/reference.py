"""The reference of all commands, made from their help: `python -m offchain.cli.reference > docs/commands.md`."""

from __future__ import annotations

from collections.abc import Iterator

import click

from offchain.cli.main import waypost

HEAD = """# Commands

Made from the commands' own help by `python -m offchain.cli.reference > docs/commands.md`; a test compares.
"""
WIDTH = 100


def reference() -> str:
    """The document."""
    parts = [HEAD]
    for name, context in _commands(waypost, "waypost", None):
        parts.append(f"## {name}\n```\n{context.get_help()}\n```\n")
    return "\n".join(parts)


def _commands(command: click.Command, name: str, parent: click.Context | None) -> Iterator[tuple[str, click.Context]]:
    settings = {**command.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
    context = click.Context(command, info_name=name.rpartition(" ")[2], parent=parent, **settings)
    yield name, context
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            found = command.get_command(context, each)
            if found is not None:
                yield from _commands(found, f"{name} {each}", context)


if __name__ == "__main__":
    print(reference(), end="")
