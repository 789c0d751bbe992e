"""What commands know: from the running client, or by a look of their own where that cannot answer."""

from __future__ import annotations

from offchain.cli.knowledge import Served
from offchain.types import Kind

MAILSERVER = Kind("mailserver")


class Running:
    """The running client; notes what it is asked."""

    def __init__(self):
        self.asked = []

    def get(self, path, **query):
        self.asked.append((path, query))
        return {"state": "FRESH", "trusted": True}


class OwnLook:
    """Answers with what it was asked."""

    def verify(self, kind, identity):
        return {"looked": (kind, identity)}


def test_the_running_client_is_asked_for_a_node_by_its_id():
    running = Running()

    found = Served(running, OwnLook()).verify(MAILSERVER, b"\xab" * 32)

    assert found == {"state": "FRESH", "trusted": True}
    assert ("/v1/verify", {"kind": "mailserver", "node": "ab" * 32}) in running.asked


def test_a_node_named_by_its_address_is_looked_up_in_the_registry():
    running = Running()

    found = Served(running, OwnLook()).verify(MAILSERVER, b"\xab" * 20)

    assert found == {"looked": (MAILSERVER, b"\xab" * 20)}
    assert running.asked == []
