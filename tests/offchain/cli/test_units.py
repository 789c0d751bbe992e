"""The systemd units: what they start is a command that there is, and systemd understands them."""

import configparser
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from offchain.cli.main import waypost

ROOT = Path(__file__).parents[3]
UNITS = sorted((ROOT / "setup" / "systemd").glob("*.service"))
EXECUTABLE = "/opt/waypost/.venv/bin/waypost"


def read(unit):
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str
    parser.read_string(unit.read_text())
    return parser


def name_of(unit):
    return unit.stem


@pytest.mark.parametrize("unit", UNITS, ids=name_of)
def test_starts_a_command_that_there_is_with_options_that_it_has(unit):
    program, *arguments = shlex.split(read(unit)["Service"]["ExecStart"])
    assert program == EXECUTABLE

    at = arguments.index(unit.stem.removeprefix("waypost-"))
    with waypost.make_context("waypost", arguments[: at + 1], obj={}) as context:
        command = waypost.get_command(context, arguments[at])
        with command.make_context(arguments[at], arguments[at + 1 :], parent=context, obj={}):
            pass


@pytest.mark.parametrize("unit", UNITS, ids=name_of)
def test_may_write_where_its_home_is_and_is_asked_to_end_as_it_expects(unit):
    service = read(unit)["Service"]
    arguments = shlex.split(service["ExecStart"])

    home = arguments[arguments.index("--home") + 1]
    assert home == "/var/lib/" + service["StateDirectory"]
    assert (service["ProtectSystem"], service["NoNewPrivileges"]) == ("strict", "yes")
    assert service["KillSignal"] == "SIGTERM"
    assert service["Restart"] == "on-failure"


@pytest.mark.parametrize("unit", UNITS, ids=name_of)
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
def test_systemd_understands_it(unit, tmp_path):
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace(EXECUTABLE, "/bin/true"))

    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stderr) == (0, "")
