"""The documents are true: rules name tests that exist, commands shown exist, links lead somewhere."""

from __future__ import annotations

import ast
import importlib
import re
from functools import cache
from pathlib import Path

import click
import pytest

from offchain.cli.main import COMMANDS, waypost
from offchain.cli.reference import reference
from offchain.cli.settings import load

ROOT = Path(__file__).parents[2]
SPECIFICATION = ROOT / "docs" / "specification.md"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])

RULE = re.compile(r"^\* \*\*([A-Z])([0-9]+)\.\*\*(.*?)(?=^\* \*\*|^## |\Z)", re.MULTILINE | re.DOTALL)
CITATION = re.compile(r"`(tests/[\w./]+\.py)::(\w+)`")
CODE_BLOCK = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)\)")


def rules():
    return {f"{area}{number}": text for area, number, text in RULE.findall(SPECIFICATION.read_text())}


@cache
def names_in(path: str) -> frozenset[str]:
    """The functions and classes of a file."""
    tree = ast.parse((ROOT / path).read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, kinds))


def test_rules_are_numbered_without_gaps():
    numbers: dict[str, list[int]] = {}
    for area, number, _ in RULE.findall(SPECIFICATION.read_text()):
        numbers.setdefault(area, []).append(int(number))

    assert numbers.keys() == set("RCTDMPX")
    for area, found in numbers.items():
        assert found == list(range(1, len(found) + 1)), area


@pytest.mark.parametrize("rule", sorted(rules()))
def test_every_rule_names_a_test_that_exists(rule):
    cited = CITATION.findall(rules()[rule])

    assert cited, f"{rule} names no test"
    for path, name in cited:
        assert (ROOT / path).exists(), f"{rule} names {path}"
        assert name in names_in(path), f"{rule} names {name}, which {path} does not have"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_test_named_exists(document):
    for path, name in CITATION.findall(document.read_text()):
        assert (ROOT / path).exists(), path
        assert name in names_in(path), f"{path} has no {name}"


def test_every_complaint_names_a_test():
    lines = (ROOT / "docs" / "complaints.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("| ") and not line.startswith("| complaint")]

    assert len(rows) >= 15
    assert all(CITATION.findall(row) for row in rows)


def commands_shown():
    """Every `waypost ...` in a code block, with the document it stands in."""
    for document in DOCUMENTS:
        for language, block in CODE_BLOCK.findall(document.read_text()):
            if language in ("", "sh", "console"):
                for line in block.splitlines():
                    match = re.match(r"(?:\$ )?(?:[\w./]*/)?waypost (.*)", line.strip())
                    if match:
                        yield pytest.param(match[1], id=f"{document.name}: {match[1][:40]}")


@pytest.mark.parametrize("line", list(commands_shown()))
def test_every_command_shown_exists_and_has_its_options(line):
    words = re.split(r"\s{2,}|[>|]", line)[0].split()
    command: click.Command = waypost
    context = click.Context(waypost)
    options = {name for parameter in waypost.params for name in parameter.opts}
    while words:
        word = words.pop(0)
        if word in ("--home", "--key", "--deployment", "--bootnode"):
            words.pop(0)
        elif word.startswith("--"):
            continue
        elif isinstance(command, click.Group):
            found = command.get_command(context, word)
            assert found is not None, f"there is no command {word}"
            command = found
            options |= {name for parameter in command.params for name in parameter.opts}
    shown = {word.partition("=")[0] for word in re.findall(r"(?<![\w-])--?[a-z][\w-]*", line)}
    assert shown <= options | {"--help", "--version"}, shown - options


def blocks(*wanted):
    """The code blocks in one of these languages, with the document they stand in."""
    for document in DOCUMENTS:
        for number, (language, block) in enumerate(CODE_BLOCK.findall(document.read_text())):
            if language in wanted:
                yield pytest.param(block, id=f"{document.name}#{number}")


@pytest.mark.parametrize("block", list(blocks("toml")))
def test_every_configuration_shown_is_taken(tmp_path, block):
    (tmp_path / "config.toml").write_text(block)

    assert load(tmp_path, environment={}).values


@pytest.mark.parametrize("block", list(blocks("python")))
def test_every_program_shown_uses_what_there_is(block):
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("offchain"):
            module = importlib.import_module(str(node.module))
            assert [name.name for name in node.names if not hasattr(module, name.name)] == [], node.module


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_script_shown_has_its_function(document):
    for block in CODE_BLOCK.findall(document.read_text()):
        for file, function in re.findall(r"brownie run (\w+) ([a-z_]\w*)(?![\w=])", block[1]):
            assert function in names_in(f"scripts/{file}.py"), f"brownie run {file} {function}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(document):
    for target in LINK.findall(document.read_text()):
        assert (document.parent / target).exists(), target


def test_the_readme_lists_every_command():
    text = (ROOT / "README.md").read_text()

    assert [name for name in COMMANDS if f"`{name}`" not in text and f"waypost {name}" not in text] == []


def test_the_reference_of_commands_is_what_the_commands_say():
    assert (ROOT / "docs" / "commands.md").read_text() == reference(), "run: python -m offchain.cli.reference"
