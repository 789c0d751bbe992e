"""The command line of the simulator."""

import json

from offchain.discovery.sim.__main__ import main


def test_figures_are_one_document_a_line_and_are_kept_in_a_file(capsys, tmp_path):
    out = tmp_path / "figures.jsonl"

    main(["--out", str(out), "sweep", "--sizes", "5", "8", "--strategy", "shared"])

    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [json.loads(line) for line in out.read_text().splitlines()] == printed
    assert [each["nodes"] for each in printed] == [5, 8]
    assert all(each["command"] == "sweep" and each["not_found"] == 0 for each in printed)


def test_an_hour_says_what_it_was_asked_and_what_came_of_it(capsys):
    main(["--seed", "3", "hour", "--nodes", "30", "--topics", "2", "--seconds", "35", "--first-search", "2"])

    figures = json.loads(capsys.readouterr().out)
    assert (figures["seed"], figures["nodes"], figures["topics"]) == (3, 30, 2)
    assert figures["searches"] == 30
    assert figures["packets"] > 0
