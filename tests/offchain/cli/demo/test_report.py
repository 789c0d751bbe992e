"""The demonstration's report: it says that all held only if all held (rule X15)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from offchain.cli.demo.report import CheckFailed, Report
from offchain.cli.output import Output


def told(steps=2):
    return Report(Output(as_json=True), steps, Path("folder"))


def document(capsys):
    return json.loads(capsys.readouterr().out)


def test_everything_held_if_every_step_did(capsys):
    report = told()
    for title in ("one", "two"):
        report.begin(title)
        report.check("it is so", True, "seen")

    assert report.end()
    answer = document(capsys)
    assert (answer["held"], answer["fault"]) == (True, None)
    assert [step["held"] for step in answer["steps"]] == [True, True]


def test_a_check_that_does_not_hold_ends_the_story(capsys):
    report = told()
    report.begin("one")

    with pytest.raises(CheckFailed, match="step 1: it is so: not seen"):
        report.check("it is so", False, "not seen")

    assert not report.conclude("step 1 failed")
    answer = document(capsys)
    assert (answer["held"], answer["fault"], answer["steps"][0]["held"]) == (False, "step 1 failed", False)


def test_a_step_that_was_not_played_did_not_hold(capsys):
    report = told()
    report.begin("one")

    assert not report.end()
    assert document(capsys)["held"] is False


def test_a_fault_at_the_end_counts_though_every_step_held(capsys):
    report = told(1)
    report.begin("one")
    report.check("it is so", True, "seen")

    assert not report.end("still running: processes 5")
    answer = document(capsys)
    assert (answer["held"], answer["fault"]) == (False, "still running: processes 5")
