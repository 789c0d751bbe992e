"""How commands end (rules X1, X2, X3): exit codes, one document on stdout, no traceback for a user's mistake."""

from __future__ import annotations

import json
import stat
import subprocess
import sys

import click
import pytest

from offchain.cli import main as main_module
from offchain.cli.context import common_options, state_of
from offchain.cli.main import COMMANDS, main, waypost
from offchain.cli.output import Exit, Failed
from offchain.errors import ChainError, ConfigError


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Run a command line; its exit code, standard output and standard error."""
    monkeypatch.setenv("WAYPOST_HOME", str(tmp_path))
    monkeypatch.delenv("WAYPOST_DEBUG", raising=False)

    def run(*arguments):
        code = main(list(arguments))
        captured = capsys.readouterr()
        return int(code), captured.out, captured.err

    return run


@pytest.fixture
def command(monkeypatch):
    """Make a command `try` that does as the test wants."""

    def make(body):
        made = common_options(click.Command("try", callback=body, help="For a test."))
        monkeypatch.setattr(main_module, "COMMANDS", {"try": ("", "For a test.")})
        monkeypatch.setattr(type(waypost), "get_command", lambda self, ctx, name: made)

    return make


def raising(error):
    def body():
        raise error

    return body


@pytest.mark.parametrize("code", list(Exit))
def test_a_command_says_with_which_code_it_ends(run, command, code):
    command(raising(Failed(code)))

    assert run("try")[0] == code


def test_the_exit_codes_are_those_of_the_documents():
    assert {code.name: int(code) for code in Exit} == {
        "YES": 0,
        "ERROR": 1,
        "USAGE": 2,
        "UNTRUSTED": 3,
        "STALE": 4,
        "TAMPERED": 5,
    }


@pytest.mark.parametrize("error", [ConfigError("the key is wrong"), ChainError("nobody answered")])
def test_a_foreseen_error_is_one_line(run, command, error):
    command(raising(error))

    code, out, err = run("try")

    assert (code, out, err) == (Exit.ERROR, "", f"waypost: {error}\n")


def test_an_error_is_a_document_too(run, command):
    command(raising(ConfigError("the key is wrong")))

    code, out, err = run("try", "--json")

    assert code == Exit.ERROR
    assert json.loads(out) == {"schemaVersion": 1, "error": {"kind": "ConfigError", "message": "the key is wrong"}}
    assert err == "waypost: the key is wrong\n"


def test_an_error_inside_a_group_of_tasks_is_one_line_too(run, command):
    command(raising(ExceptionGroup("tasks", [ExceptionGroup("inner", [ConfigError("the key is wrong")])])))

    assert run("try") == (Exit.ERROR, "", "waypost: the key is wrong\n")


def test_a_fault_of_the_program_is_called_one_and_shows_no_traceback(run, command):
    command(raising(KeyError("x")))

    code, _, err = run("try")

    assert code == Exit.ERROR
    assert "a fault of this program: KeyError: 'x'" in err
    assert "Traceback" not in err


def test_a_fault_of_the_program_can_be_traced(run, command, monkeypatch):
    command(raising(KeyError("x")))
    monkeypatch.setenv("WAYPOST_DEBUG", "1")

    assert "Traceback" in run("try")[2]


def test_an_interruption_is_no_error_message(run, command):
    command(raising(KeyboardInterrupt()))

    assert run("try") == (130, "", "\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("verfy",), "there is no command 'verfy'. Did you mean verify?"),
        (("zzz",), "there is no command 'zzz'. See: waypost --help"),
        ((), "name a command"),
        (("providers",), "name a command"),
        (("node", "authorize"), "Missing option '--provider'"),
        (("node", "enr", "--ip", "127.0.0.1", "--udp", "x"), "'x' is not a valid integer"),
    ],
)
def test_a_wrong_command_line_ends_with_2_and_says_what_is_wrong(run, arguments, said):
    code, out, err = run(*arguments)

    assert (code, out) == (Exit.USAGE, "")
    assert said in err


def test_the_common_options_may_stand_before_or_after_the_command(run, command):
    seen = []
    command(lambda: seen.append((str(state_of().home), state_of().output.as_json)))

    run("--home", "/a", "--json", "try")
    run("try", "--home", "/a", "--json")

    assert seen == [("/a", True)] * 2


def test_the_home_folder_of_the_command_line_goes_before_the_environment(run, command):
    seen = []
    command(lambda: seen.append(str(state_of().home)))

    run("--home", "/a", "try")

    assert seen == ["/a"]


def test_a_command_line_without_a_command_is_answered_with_the_help_once(run):
    _, _, err = run("providers")

    assert err.count("Usage:") == 1
    assert "Never use a provider's nodes" in err


def test_what_is_written_is_for_the_user_alone(run, command, tmp_path):
    command((tmp_path / "file").touch)

    run("try")

    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600


def test_help_and_version_end_with_0(run):
    assert run("--help")[0] == 0
    assert run("--version")[1].startswith("waypost, version ")


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_can_be_imported_and_has_the_line_of_the_list(name):
    found = waypost.get_command(click.Context(waypost), name)

    assert found is not None
    assert found.help
    assert found.help.splitlines()[0] == COMMANDS[name][1]


def test_help_imports_nothing_heavy():
    program = (
        "import sys; from offchain.cli.main import main; main(['--help']); "
        "heavy = {'web3', 'aiohttp', 'asyncio', 'rich', 'lmdb', 'coincurve', 'msgspec'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
