"""Patience for tests with real sockets: on a busy machine an answer on loopback can take seconds."""

import pytest

from offchain.discovery import calls

PATIENCE = 3.0


@pytest.fixture(autouse=True)
def patient_requests(monkeypatch):
    """A discovery request waits that long before it is sent again or given up."""
    for bound in ("FIRST_TIMEOUT", "MIN_TIMEOUT", "MAX_TIMEOUT"):
        monkeypatch.setattr(calls, bound, PATIENCE)
