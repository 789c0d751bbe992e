"""The guardian (rule X10): what it hears is what it kills."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from offchain.cli.demo.guardian import watch


def test_what_was_started_and_has_not_ended_is_left():
    assert watch(["+ 11\n", "+ 12\n", "- 11\n", "+ 13\n"]) == {12, 13}


@given(st.lists(st.text(max_size=8)))
def test_noise_names_no_process(lines):
    noise = [line for line in lines if not line[2:].strip().isdigit()]

    assert watch(noise) == set()
